// What this client has to say and the server has not answered yet: messages, one
// after the other in each conversation, and how far we have read.
import { HeyManitoError, refused } from "./errors.js";
import { nothing } from "./emitter.js";
import { newId } from "./id.js";
import { sizeOf } from "./size.js";
import type { Store } from "./store.js";
import type { ChatPath, Draft, MessageId, Refused, Sending, Sent, Times } from "./types.js";
import type { Ask } from "./wire.js";

const LONGEST_WAIT = 30_000;

/** A message that waits. */
interface Letter {
  readonly id: MessageId;
  readonly to: ChatPath;
  readonly content: unknown;
  readonly profile: unknown;
  readonly sending: Sending | undefined; // undefined: it comes from the store
  settle(outcome: Sent | HeyManitoError): void;
  tries: number;
}

/** How far a conversation was read, and who wants to know that the server knows. */
interface Reading {
  upToId: MessageId;
  asked: boolean;
  tries: number;
  wait: Wait | undefined;
  readers: { upToId: MessageId; resolve: () => void; reject: (err: HeyManitoError) => void }[];
}

interface Conversation {
  letters: Letter[];
  asked: Letter | null; // on its way
  wait: Wait | undefined; // until the first is tried again
}

type Wait = ReturnType<typeof setTimeout>;

/** What the outbox needs to know of the connection, and tells. */
export interface Post {
  readonly chatPath: ChatPath;
  readonly ask: Ask;
  connected(): boolean;
  /** Whether the connection takes an event with so many bytes. */
  carries(json: number, binary: number): "now" | "later" | "never";
  /** Up to where everything was handled. */
  place(): number;
  /** The seq of the entry of an action of ours. */
  own(seq: number | undefined): void;
  accepted(sent: Sent): void;
  refused(refused: Refused): void;
  failed(err: unknown): void;
}

export class Outbox {
  readonly #post: Post;
  readonly #times: Times;
  readonly #store: { store: Store; key: string } | null;
  readonly #conversations = new Map<ChatPath, Conversation>();
  readonly #readings = new Map<ChatPath, Reading>();
  // What we have sent and may be told again in a replay, with its seq.
  readonly #mine = new Map<string, number>();
  #storing: Promise<void> = Promise.resolve();
  #loaded: boolean; // what the store has of before is among them
  #closings = 0; // counts them

  /** store: where the messages are kept, null: nowhere. */
  constructor(post: Post, times: Times, store: { store: Store; key: string } | null) {
    this.#post = post;
    this.#times = times;
    this.#store = store;
    this.#loaded = store === null;
  }

  send(draft: Draft<unknown, unknown>): Sending {
    const id = draft.id ?? newId();
    const known = this.#conversations.get(draft.to)?.letters.find((l) => l.id === id && l.sending);
    if (known) return known.sending!;
    const { signal } = draft;
    let letter!: Letter;
    const givenUp = () => new HeyManitoError("aborted", "the message was given up", { cause: signal?.reason });
    const promise = new Promise<Sent>((resolve, reject) => {
      const abort = () => this.#end(letter, givenUp());
      letter = {
        id,
        to: draft.to,
        content: draft.content,
        profile: draft.profile,
        tries: 0,
        get sending() {
          return sending;
        },
        settle(outcome) {
          signal?.removeEventListener("abort", abort);
          if (outcome instanceof HeyManitoError) reject(outcome);
          else resolve(outcome);
        },
      };
      signal?.addEventListener("abort", abort);
    });
    promise.catch(nothing); // who does not look at it has the event "refused"
    const sending: Sending = Object.assign(promise, { id });
    const c = this.#conversation(draft.to);
    c.letters.push(letter);
    if (signal?.aborted) {
      this.#end(letter, givenUp());
    } else {
      this.#keep(letter);
      this.#pump(c);
    }
    return sending;
  }

  #conversation(to: ChatPath): Conversation {
    let c = this.#conversations.get(to);
    if (!c) this.#conversations.set(to, (c = { letters: [], asked: null, wait: undefined }));
    return c;
  }

  markAsRead(from: ChatPath, upToId: MessageId): Promise<void> {
    return new Promise((resolve, reject) => {
      let r = this.#readings.get(from);
      if (!r) this.#readings.set(from, (r = { upToId, asked: false, tries: 0, wait: undefined, readers: [] }));
      r.upToId = upToId;
      r.readers.push({ upToId, resolve, reject });
      this.#tell(from, r);
    });
  }

  /** There is a connection again. */
  connected(): void {
    for (const [from, r] of this.#readings) this.#tell(from, r);
    for (const c of this.#conversations.values()) this.#pump(c);
  }

  /**
   * Takes what the store has of before, in front of what was said since. It is done
   * before there is a connection: a replay may tell of it.
   */
  async load(): Promise<void> {
    if (this.#loaded) return;
    const { store, key } = this.#store!;
    const closings = this.#closings;
    await this.#storing;
    try {
      const kept = parseKept(await store.getItem(key));
      if (closings !== this.#closings) return;
      for (const { id, to, content, profile } of kept) {
        const c = this.#conversation(to);
        if (c.letters.some((l) => l.id === id)) continue;
        const at = c.letters.findIndex((l) => l.sending);
        c.letters.splice(at < 0 ? c.letters.length : at, 0, { id, to, content, profile, sending: undefined, settle: nothing, tries: 0 });
      }
    } catch (err) {
      this.#post.failed(err);
    }
    if (closings === this.#closings) this.#loaded = true;
  }

  /** Whether a message is one of this client's, of which it tells by answers. */
  mine(to: ChatPath, id: MessageId): boolean {
    return this.#mine.has(keyOf(to, id)) || (this.#conversations.get(to)?.letters.some((l) => l.id === id) ?? false);
  }

  /** Gives all up that waits, with the code why; the store keeps what it has. */
  close(why: "closed" | "ended"): void {
    const err = () => new HeyManitoError(why, why === "closed" ? "the client was closed" : "the session has ended");
    for (const c of this.#conversations.values()) {
      clearTimeout(c.wait);
      for (const letter of c.letters.splice(0)) letter.settle(err());
    }
    for (const r of this.#readings.values()) {
      clearTimeout(r.wait);
      for (const reader of r.readers) reader.reject(err());
    }
    this.#conversations.clear();
    this.#readings.clear();
    this.#closings++;
    this.#loaded = this.#store === null;
  }

  // Messages

  /** Sends the first message that waits; its answer brings us back for the next. */
  #pump(c: Conversation): void {
    const letter = c.letters[0];
    if (!letter || c.asked || c.wait !== undefined || !this.#loaded || !this.#post.connected()) return;
    const { id, to } = letter;
    const payload = {
      id,
      senderChatPath: this.#post.chatPath,
      recipientChatPath: to,
      ...(letter.content === undefined ? {} : { content: letter.content }),
      ...(letter.profile === undefined ? {} : { senderProfile: letter.profile }),
    };
    let fits: "now" | "later" | "never";
    try {
      const { json, binary } = sizeOf(payload);
      fits = this.#post.carries(json, binary);
    } catch (cause) {
      return this.#end(letter, new HeyManitoError("invalid", "the message is no JSON", { cause }));
    }
    if (fits === "never") return this.#end(letter, new HeyManitoError("too_large", "the message has more bytes than the server takes, or than a connection that polls does"));
    const again = (tries: number, atLeast?: number) => {
      c.wait = this.#again(tries, atLeast, () => {
        c.wait = undefined;
        this.#pump(c);
      });
    };
    if (fits === "later") return again(0);
    c.asked = letter;
    this.#post.ask(
      "sendMessage",
      payload,
      (ack) => {
        if (c.asked === letter) c.asked = null;
        if (ack?.status === "ok") this.#took(letter, ack.seq, ack.duplicate ?? false);
        if (c.letters[0] !== letter) this.#pump(c); // it was given up
        else if (!ack) this.#pump(c); // does nothing until there is a connection again
        else if (ack.status === "ok") this.#end(letter, { id, to, ts: ack.ts, delivery: ack.delivery });
        else if (!ack.retryable) this.#end(letter, refused(ack));
        else again(letter.tries++, ack.retryAfterMs);
      },
      this.#times.ack,
    );
  }

  /**
   * An entry of our own is at seq. A replay that begins before that tells us of it;
   * where the answer to the first try was lost, it has told us, and that may wait
   * to be handled still.
   */
  #took({ id, to }: Letter, seq: number | undefined, told: boolean): void {
    if (seq === undefined) return;
    if (this.#mine.size % 64 === 63) {
      const place = this.#post.place();
      for (const [key, seq] of this.#mine) if (seq <= place) this.#mine.delete(key);
    }
    this.#mine.set(keyOf(to, id), seq);
    if (!told) this.#post.own(seq);
  }

  /** Calls f after a while that grows with tries, and is not shorter than atLeast. */
  #again(tries: number, atLeast: number | undefined, f: () => void): Wait {
    const wait = Math.min(LONGEST_WAIT, this.#times.retry * 2 ** Math.min(tries, 16)) * (0.5 + Math.random() / 2);
    return setTimeout(f, Math.max(wait, atLeast ?? 0));
  }

  #end(letter: Letter, outcome: Sent | HeyManitoError): void {
    const c = this.#conversations.get(letter.to);
    const i = c?.letters.indexOf(letter) ?? -1;
    if (!c || i < 0) return;
    c.letters.splice(i, 1);
    if (i === 0 && c.wait !== undefined) {
      clearTimeout(c.wait);
      c.wait = undefined;
    }
    this.#drop(letter);
    letter.settle(outcome);
    if (outcome instanceof HeyManitoError) this.#post.refused({ id: letter.id, to: letter.to, error: outcome });
    else this.#post.accepted(outcome);
    if (c.letters.length === 0 && !c.asked && this.#conversations.get(letter.to) === c) this.#conversations.delete(letter.to);
    else this.#pump(c);
  }

  // How far we have read

  #tell(from: ChatPath, r: Reading): void {
    if (r.asked || r.wait !== undefined || !this.#post.connected()) return;
    r.asked = true;
    const { upToId } = r;
    this.#post.ask(
      "markAsRead",
      { senderChatPath: from, recipientChatPath: this.#post.chatPath, upToId },
      (ack) => {
        r.asked = false;
        if (ack?.status === "ok") this.#post.own(ack.seq);
        if (this.#readings.get(from) !== r) return; // the client was closed
        if (!ack) return this.#tell(from, r);
        if (ack.status === "error" && ack.retryable) {
          r.wait = this.#again(r.tries++, ack.retryAfterMs, () => {
            r.wait = undefined;
            this.#tell(from, r);
          });
          return;
        }
        const answered = r.readers.splice(0, r.readers.findLastIndex((reader) => reader.upToId === upToId) + 1);
        for (const reader of answered) {
          if (ack.status === "ok") reader.resolve();
          else reader.reject(refused(ack));
        }
        r.tries = 0;
        if (r.readers.length === 0) this.#readings.delete(from);
        else this.#tell(from, r);
      },
      this.#times.ack,
    );
  }

  // The store

  #keep({ id, to, content, profile }: Letter): void {
    if (!this.#store || isBinary(content) || isBinary(profile)) return;
    this.#change((kept) => [...kept, { id, to, content, profile }]);
  }

  #drop({ id, to }: Letter): void {
    if (this.#store) this.#change((kept) => kept.filter((k) => k.id !== id || k.to !== to));
  }

  /** One change after the other: tabs and promises share it. */
  #change(f: (kept: Kept[]) => Kept[]): void {
    const { store, key } = this.#store!;
    this.#storing = this.#storing.then(async () => {
      try {
        const kept = f(parseKept(await store.getItem(key)));
        if (kept.length) await store.setItem(key, JSON.stringify(kept));
        else await store.removeItem(key);
      } catch (err) {
        this.#post.failed(err);
      }
    });
  }
}

interface Kept {
  id: MessageId;
  to: ChatPath;
  content?: unknown;
  profile?: unknown;
}

function parseKept(text: string | null): Kept[] {
  try {
    const kept = JSON.parse(text ?? "[]") as Partial<Kept>[];
    return kept.filter((k): k is Kept => (typeof k.id === "string" || typeof k.id === "number") && typeof k.to === "string");
  } catch {
    return []; // somebody else has written it
  }
}

function keyOf(to: ChatPath, id: MessageId): string {
  return JSON.stringify([to, id]);
}

function isBinary(x: unknown): boolean {
  try {
    return sizeOf(x).parts > 0;
  } catch {
    return true; // it cannot be sent either
  }
}
