import type { ChatPath, Presence } from "./types.js";

/** Who is online, as the server says it. */
export class People {
  readonly known = new Map<ChatPath, Presence>();
  readonly #tell: (p: Presence) => void;

  /** tell is told of every change. */
  constructor(tell: (p: Presence) => void) {
    this.#tell = tell;
  }

  /** All who are online, at the beginning of a connection. */
  all(users: object): void {
    const online = new Set(Object.keys(users));
    for (const p of [...this.known.values()]) if (p.online && !online.has(p.chatPath)) this.#set(p.chatPath, false, undefined);
    for (const user of online) this.came(user);
  }

  came(user: ChatPath): void {
    if (!this.known.get(user)?.online) this.#set(user, true, undefined);
  }

  left(user: ChatPath, more: { lastSeen?: number } | undefined): void {
    this.#set(user, false, more?.lastSeen);
  }

  #set(chatPath: ChatPath, online: boolean, lastSeen: number | undefined): void {
    const p = { chatPath, online, lastSeen };
    this.known.set(chatPath, p);
    this.#tell(p);
  }
}
