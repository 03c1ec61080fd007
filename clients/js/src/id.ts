/**
 * A new id for a message or a device: 128 random bits. Where there is no
 * `crypto` at all (React Native without a polyfill) they are as random as
 * `Math.random`: nobody may guess nothing by them, but they do not meet.
 */
export function newId(): string {
  const c: Partial<Crypto> | undefined = globalThis.crypto;
  if (c?.randomUUID) return c.randomUUID(); // on https and localhost only
  const bytes = new Uint8Array(16);
  if (c?.getRandomValues) c.getRandomValues(bytes);
  else for (let i = 0; i < bytes.length; i++) bytes[i] = Math.random() * 256;
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}
