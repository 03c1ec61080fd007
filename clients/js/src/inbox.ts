// What we are told of our inbox: every entry once and in order, over any number
// of connections, and our place in it.
import { isPromise, nothing } from "./emitter.js";
import type { Store } from "./store.js";
import type { Entries, InboxReady } from "./wire.js";

/** Up to where the handlers have had everything. */
export interface Position {
  epoch: string;
  seq: number;
}

/** What was told and not handled yet, in the order in which it came. */
type Item =
  | { kind: "entry"; name: keyof Entries; entry: Entries[keyof Entries]; key: string; ack: (() => void) | undefined; connection: number }
  | { kind: "own"; seq: number } // told by an ack
  | { kind: "ready"; ready: InboxReady };

/** What a client does with it. A promise is waited for before the next one. */
export interface Reader {
  entry(name: keyof Entries, entry: Entries[keyof Entries]): Promise<void> | undefined;
  ready(r: InboxReady): Promise<void> | undefined;
  /** The store has failed. */
  failed(err: unknown): void;
}

export class Inbox {
  readonly #store: Store;
  readonly #key: string;
  readonly #reader: Reader;
  #place: Position | null = null;
  #loaded: Promise<void> | null = null;
  #connection = 0; // counts them
  #current = false; // the items of this connection's replay have all been handled
  #items: Item[] = [];
  #busy = false; // a handler has not come back
  #saving = false;
  #unsaved = false;
  #back = false; // what is saved may be further than the server is
  // What was begun and is not certain to be behind the place that the next
  // connection will say: of a replay that has not ended all, else the last one.
  // By name, seq, time and id: the epoch of a replay is known at its end only.
  readonly #begun = new Set<string>();

  constructor(store: Store, key: string, reader: Reader) {
    this.#store = store;
    this.#key = key;
    this.#reader = reader;
  }

  /** The seq up to which everything was handled. */
  get seq(): number {
    return this.#place?.seq ?? 0;
  }

  /** What auth.since says: {} is a new device. */
  async since(): Promise<Position | Record<string, never>> {
    await (this.#loaded ??= this.#load());
    return this.#place ? { ...this.#place } : {};
  }

  async #load(): Promise<void> {
    try {
      this.#place = parsePosition(await this.#store.getItem(this.#key));
    } catch (err) {
      this.#reader.failed(err); // everything that is kept is told again
    }
  }

  connected(): void {
    this.#connection++;
    this.#current = false;
  }

  /** What was not handled yet the next connection tells again. */
  disconnected(): void {
    this.#connection++;
    this.#items = [];
  }

  push(name: keyof Entries, entry: Entries[keyof Entries], ack?: () => void): void {
    this.#items.push({ kind: "entry", name, entry, key: keyOf(name, entry), ack, connection: this.#connection });
    this.#drain();
  }

  /** The ack of an event of our own has told the seq of its entry. */
  own(seq: number | undefined): void {
    if (seq === undefined) return; // there is no inbox
    this.#items.push({ kind: "own", seq });
    this.#drain();
  }

  ready(ready: InboxReady): void {
    this.#items.push({ kind: "ready", ready });
    this.#drain();
  }

  #drain(): void {
    while (!this.#busy) {
      const item = this.#items.shift();
      if (!item) return;
      const wait = this.#take(item);
      if (!wait) continue;
      this.#busy = true;
      void wait.then(() => {
        this.#busy = false;
        this.#drain();
      });
    }
  }

  #take(item: Item): Promise<void> | undefined {
    switch (item.kind) {
      case "own":
        this.#advance(item.seq, this.#current);
        return undefined;
      case "ready":
        this.#current = true;
        this.#begun.clear();
        this.#place = { epoch: item.ready.epoch, seq: item.ready.seq };
        if (!item.ready.complete) this.#back = true;
        void this.#save();
        return this.#reader.ready(item.ready);
    }
    const { name, entry, key, ack, connection } = item;
    const { seq } = entry;
    const current = this.#current;
    const told = seq !== undefined && this.#begun.has(key); // in a connection that broke
    if (seq !== undefined) {
      if (current) this.#begun.clear();
      this.#begun.add(key);
    }
    const wait = told ? undefined : this.#reader.entry(name, entry);
    const done = () => {
      if (seq !== undefined) this.#advance(seq, current);
      if (connection === this.#connection) ack?.(); // the number in it is that connection's
    };
    if (wait) return wait.then(done);
    done();
    return undefined;
  }

  /**
   * In a replay the place goes forward only where the entry is the very next
   * one: it may be of an inbox that has begun anew.
   */
  #advance(seq: number, current: boolean): void {
    if (!this.#place || !(current ? seq > this.#place.seq : seq === this.#place.seq + 1)) return;
    this.#place = { ...this.#place, seq };
    void this.#save();
  }

  /** One after the other, and never back behind another tab that shares the store. */
  async #save(): Promise<void> {
    this.#unsaved = true;
    if (this.#saving) return;
    this.#saving = true;
    while (this.#unsaved && this.#place) {
      this.#unsaved = false;
      const place = this.#place;
      try {
        const was = this.#store.getItem(this.#key);
        const kept = parsePosition(isPromise(was) ? await was : was);
        if (!this.#back && kept?.epoch === place.epoch && kept.seq >= place.seq) continue;
        this.#back = false;
        const set = this.#store.setItem(this.#key, JSON.stringify(place));
        if (isPromise(set)) await set.then(nothing);
      } catch (err) {
        this.#reader.failed(err);
      }
    }
    this.#saving = false;
  }
}

function keyOf(name: string, entry: Entries[keyof Entries]): string {
  const { seq, ts, id, upToId, callId } = entry as Partial<Record<"seq" | "ts" | "id" | "upToId" | "callId", unknown>>;
  return JSON.stringify([name, seq, ts, id ?? upToId ?? callId]);
}

/** A place as it was saved; null for anything else. */
function parsePosition(text: string | null): Position | null {
  try {
    const p = JSON.parse(text ?? "null") as Partial<Position> | null;
    if (typeof p?.epoch === "string" && p.epoch !== "" && Number.isSafeInteger(p.seq) && p.seq! >= 0) return { epoch: p.epoch, seq: p.seq! };
  } catch {
    // somebody else has written it
  }
  return null;
}
