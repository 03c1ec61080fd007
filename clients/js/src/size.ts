/** How big something is as the payload of an event. */
export interface Size {
  /** In UTF-8. */
  json: number;
  binary: number;
  /** How many binary parts there are. */
  parts: number;
}

/** Throws where JSON.stringify does. */
export function sizeOf(x: unknown): Size {
  let binary = 0;
  let parts = 0;
  const text = JSON.stringify(x, function (this: Record<string, unknown>, key: string, value: unknown): unknown {
    const size = binaryBytes(this[key]); // value is what toJSON has made of it
    if (size < 0) return value;
    binary += size;
    return { _placeholder: true, num: parts++ };
  }) as string | undefined;
  return { json: text === undefined ? 0 : utf8Bytes(text), binary, parts };
}

function binaryBytes(x: unknown): number {
  if (x instanceof ArrayBuffer || ArrayBuffer.isView(x)) return x.byteLength;
  if (typeof Blob !== "undefined" && x instanceof Blob) return x.size;
  return -1;
}

function utf8Bytes(text: string): number {
  let n = text.length;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 0x80) continue;
    n += c < 0x800 ? 1 : 2;
    if (c >= 0xd800 && c < 0xdc00) i++; // half of a pair, which has four: JSON has no others
  }
  return n;
}
