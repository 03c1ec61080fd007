/**
 * Where a client keeps what has to outlive the process: its place in the inbox,
 * and the messages that wait to be sent if that was asked for. `localStorage`,
 * `sessionStorage` and React Native's `AsyncStorage` are such stores as they
 * are; anything with three methods can be one, at once or by promises.
 *
 * The place belongs to the messages: what keeps the messages that your handlers
 * were given keeps it. A page that has its messages in memory needs no store, a
 * tab that keeps them in `sessionStorage` takes that, an app with a database
 * writes a store on it. Tabs may share a store if, and only if, they share the
 * messages: the place goes forward with the fastest of them, so one that keeps
 * its own would miss something when it is loaded again.
 *
 * A store that fails is told of by the `error` event, with code `store`. The
 * client works on without it: after the next start it is told again of what the
 * store does not know.
 */
export interface Store {
  /** The value that was set last; null if there is none. */
  getItem(key: string): Promise<string | null> | string | null;
  setItem(key: string, value: string): Promise<void> | void;
  removeItem(key: string): Promise<void> | void;
}

/** A store that lives as long as the process: the default. */
export class MemoryStore implements Store {
  readonly #items = new Map<string, string>();

  getItem(key: string): string | null {
    return this.#items.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.#items.set(key, value);
  }

  removeItem(key: string): void {
    this.#items.delete(key);
  }
}
