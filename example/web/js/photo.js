// Photos: made smaller before they are sent, as binary, in an ArrayBuffer.

const LONGEST = 1280; // pixels
const KINDS = ["image/jpeg", "image/png", "image/webp", "image/gif", "image/avif"];
const ROOM = 4_000; // bytes of an event that are not the photo

/** Why a photo cannot be sent: "photoUnread" or "photoTooBig". */
export class PhotoError extends Error {}

/** {type, width, height, data} of a file, at most max bytes. */
export async function readPhoto(file, max) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new PhotoError("photoUnread");
  });
  const { width, height } = bitmap;
  const asItIs = KINDS.includes(file.type) && Math.max(width, height) <= LONGEST && file.size < (max - ROOM) / 4;
  if (asItIs) {
    bitmap.close();
    return { type: file.type, width, height, data: await file.arrayBuffer() };
  }
  for (let longest = LONGEST; longest >= 320; longest /= 2) {
    const scale = Math.min(1, longest / Math.max(width, height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    const draw = canvas.getContext("2d");
    draw.fillStyle = "#fff"; // a JPEG has no transparency
    draw.fillRect(0, 0, canvas.width, canvas.height);
    draw.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.82));
    if (blob && blob.size < max - ROOM) {
      bitmap.close();
      return { type: blob.type, width: canvas.width, height: canvas.height, data: await blob.arrayBuffer() };
    }
  }
  bitmap.close();
  throw new PhotoError("photoTooBig");
}

/** A URL for a photo that somebody has sent, or null if it is none. */
export function photoURL({ type, data }) {
  if (!KINDS.includes(type) || !(data instanceof ArrayBuffer)) return null;
  return URL.createObjectURL(new Blob([data], { type }));
}
