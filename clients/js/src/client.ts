import type { Socket } from "socket.io-client";
import type { Call } from "./call.js";
import { Calls } from "./calls.js";
import { Emitter, nothing } from "./emitter.js";
import { HeyManitoError } from "./errors.js";
import { Inbox } from "./inbox.js";
import { Link } from "./link.js";
import { Outbox } from "./outbox.js";
import { People } from "./people.js";
import { MemoryStore } from "./store.js";
import type {
  CallInfo,
  ChatPath,
  Connect,
  Draft,
  Events,
  Media,
  Message,
  MessageId,
  Options,
  Presence,
  Receipt,
  Sending,
  State,
  Times,
} from "./types.js";
import { CALL_EVENTS, ENTRIES, type Entries, type InboxReady, type WireMessage, type WireReceipt } from "./wire.js";

/** What somebody who calls may say. */
export interface Dial {
  to: ChatPath;
  media?: Media;
  /** Is shown to the callee, unchecked. */
  info?: unknown;
  /** Counts where the server has no LiveKit. */
  room?: string;
}

/**
 * One device of one user. It connects, and reconnects, by itself; what is said
 * to it is told by events, once each and in order; what it is asked to say it
 * says until the server has it.
 *
 * The events `message`, `sent`, `delivered`, `read`, `conversationRead`,
 * `missedCall`, `erased` and `ready` come one after the other: when a handler of
 * one of them returns a promise, the next one waits for it. Only then the client's
 * place in the inbox goes forward, and the sender is told "delivered". So a
 * handler that stores a message and awaits that has it for good; one that never
 * comes back stops the inbox. A handler that throws is reported by `error`, and
 * does not stop anything.
 */
export class Client<Content = unknown, Profile = unknown> extends Emitter<Events<Content, Profile>> {
  readonly chatPath: ChatPath;
  /** socket.io-client's own: for events of the host's, and nothing that this client does. */
  readonly socket: Socket;
  readonly #link: Link;
  readonly #inbox: Inbox;
  readonly #outbox: Outbox;
  readonly #people: People;
  readonly #calls: Calls;
  readonly #profile: Profile | undefined;

  /** It does nothing before connect(): that is the time for handlers. io is socket.io-client's. */
  constructor(io: Connect, options: Options<Profile>) {
    super();
    const { chatPath, store = new MemoryStore(), keepOutbox = false } = options;
    const times: Times = { ack: 60_000, retry: 500, ticket: 600_000, grace: 3_000, ...options.times };
    const failed = (err: HeyManitoError) => this.#report(err);
    const storeFailed = (cause: unknown) => failed(new HeyManitoError("store", "the store has failed", { cause }));
    this.chatPath = chatPath;
    this.#profile = options.profile;
    this.#people = new People((p) => void this.emit("presence", p));
    this.#inbox = new Inbox(store, `heymanito:${chatPath}:position`, {
      entry: (name, entry) => this.#told[name](entry as never),
      ready: ({ complete, now }) => this.emit("ready", { complete, now }),
      failed: storeFailed,
    });
    this.#link = new Link(io, options, times.ack, {
      state: (state, error) => this.#turned(state, error),
      up: () => this.#inbox.connected(),
      down: () => this.#inbox.disconnected(),
      failed,
      since: async () => {
        await this.#outbox.load();
        return this.#inbox.since();
      },
    });
    const link = this.#link;
    this.socket = link.socket;
    this.#outbox = new Outbox(
      {
        chatPath,
        ask: link.ask,
        connected: () => link.up,
        carries: (json, binary) => link.carries(json, binary),
        place: () => this.#inbox.seq,
        own: (seq) => this.#inbox.own(seq),
        accepted: (sent) => void this.emit("accepted", sent),
        refused: (refused) => void this.emit("refused", refused),
        failed: storeFailed,
      },
      times,
      keepOutbox ? { store, key: `heymanito:${chatPath}:outbox` } : null,
    );
    this.#calls = new Calls(
      {
        chatPath,
        ask: link.ask,
        connected: () => link.up,
        call: (call) => {
          void this.emit("call", call);
          return this.listens("call");
        },
        failed,
      },
      times,
    );
    this.#listen();
  }

  get state(): State {
    return this.#link.state;
  }

  /** The bytes that an event may have, attachments included; undefined before the server has said it. */
  get maxPayload(): number | undefined {
    return this.#link.maxPayload;
  }

  /** Connects, and stays connected until close() or the end of the session. */
  connect(): void {
    this.#link.open();
  }

  /**
   * Says goodbye: the others see this device go at once. Calls are hung up, those
   * that only ring here are left to other devices. What waits to be sent rejects
   * with code `closed`; with keepOutbox it is sent after the next start.
   */
  close(): void {
    this.#calls.leave();
    this.#outbox.close("closed");
    this.#link.close();
  }

  /**
   * Sends a message, and goes on trying, in the order of the conversation, until
   * the server has it or refuses it for good. It resolves when the server has it,
   * and rejects with a HeyManitoError; who does not care need not catch it.
   */
  send(draft: Draft<Content, Profile>): Sending {
    return this.#outbox.send({ ...draft, profile: draft.profile ?? this.#profile });
  }

  /**
   * Says that what from has written was read, up to that message: to him, and to
   * our other devices. It goes on trying as send does; of many, the last counts.
   */
  markAsRead(from: ChatPath, upToId: MessageId): Promise<void> {
    const marked = this.#outbox.markAsRead(from, upToId);
    marked.catch(nothing); // who does not care need not catch it
    return marked;
  }

  /** Who is online, and who was, since connect(). It is kept while there is no connection. */
  get presence(): ReadonlyMap<ChatPath, Presence> {
    return this.#people.known;
  }

  isOnline(user: ChatPath): boolean {
    return this.#people.known.get(user)?.online ?? false;
  }

  /**
   * Calls somebody. The call says by events what becomes of it. If he rings here
   * already, it is that call, accepted.
   */
  call({ to, media, info, room }: Dial): Call {
    return this.#calls.dial(to, media, info ?? this.#profile, room);
  }

  /** The calls of this device that have not ended. */
  get calls(): readonly Call[] {
    return [...this.#calls.live];
  }

  /** The calls of this user, on all devices. Rejects with a HeyManitoError. */
  liveCalls(): Promise<CallInfo[]> {
    return this.#calls.list();
  }

  /** Goes back into an answered call, after this device was started anew. Rejects with a HeyManitoError, `not_found` when it is over. */
  rejoin(callId: string): Promise<Call> {
    return this.#calls.rejoin(callId);
  }

  #listen(): void {
    // What a connection that broke had told and nobody had heard yet comes with
    // the next one, before that has begun: the server says it again.
    const on = <Args extends unknown[]>(name: string, f: (...args: Args) => void) =>
      this.socket.on(name, (...args: unknown[]) => {
        if (this.#link.up) f(...(args as Args));
      });
    on("online_users", (users: object) => this.#people.all(users));
    on("contact_online", (user: ChatPath) => this.#people.came(user));
    on("contact_offline", (user: ChatPath, more?: { lastSeen?: number }) => this.#people.left(user, more));
    for (const name of ENTRIES) {
      on(name, (entry: Entries[typeof name], ack?: () => void) => this.#inbox.push(name, entry, typeof ack === "function" ? ack : undefined));
    }
    on("inboxReady", (r: InboxReady) => this.#inbox.ready(r));
    for (const name of CALL_EVENTS) on(name, (c: never) => this.#calls.told[name](c));
  }

  readonly #told: { [K in keyof Entries]: (e: Entries[K]) => Promise<void> | undefined } = {
    receiveMessage: (m) => (this.#own(m) ? undefined : this.emit("message", message(m))),
    messageSent: (m) => (this.#own(m) ? undefined : this.emit("sent", message(m))),
    messagesDelivered: (r) => this.emit("delivered", receipt(r)),
    messagesRead: (r) => this.emit("read", receipt(r)),
    conversationRead: ({ chatPath, upToId, ts }) => this.emit("conversationRead", { with: chatPath, upToId, ts }),
    missedCall: ({ callId, callerId, callerInfo, reason, ts }) => this.emit("missedCall", { callId, from: callerId, info: callerInfo, reason, ts }),
    entryErased: ({ seq }) => this.emit("erased", { seq }),
  };

  /** Whether a replay tells us of what this very client has sent. */
  #own(m: WireMessage): boolean {
    return m.senderChatPath === this.chatPath && this.#outbox.mine(m.recipientChatPath, m.id);
  }

  #turned(state: State, error: HeyManitoError | undefined): void {
    if (state === "ended") {
      this.#outbox.close("ended");
      this.#calls.leave();
    }
    void this.emit("state", { state, error });
    if (state !== "connected") return;
    this.#calls.up();
    this.#outbox.connected();
  }

  protected failed(name: keyof Events, cause: unknown): void {
    this.#report(new HeyManitoError("handler", `a handler of "${name}" has thrown`, { cause }), name === "error");
  }

  #report(err: HeyManitoError, loud = false): void {
    if (!loud && this.listens("error")) void this.emit("error", err);
    else console.error(err);
  }
}

function message<Content, Profile>(m: WireMessage): Message<Content, Profile> {
  return {
    id: m.id,
    from: m.senderChatPath,
    to: m.recipientChatPath,
    content: m.content as Content,
    profile: m.senderProfile as Profile | undefined,
    ts: m.ts,
  };
}

function receipt({ senderChatPath, upToId, ts }: WireReceipt): Receipt {
  return { by: senderChatPath, upToId, ts };
}
