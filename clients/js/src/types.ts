import type { ManagerOptions, Socket, SocketOptions } from "socket.io-client";
import type { Call } from "./call.js";
import type { Code, HeyManitoError } from "./errors.js";
import type { Store } from "./store.js";

/** The name of a user: at most 256 bytes of UTF-8 without control characters. */
export type ChatPath = string;

/** The id of a message; 1 and "1" are two. At most 256 bytes. */
export type MessageId = string | number;

/** Milliseconds since 1970 UTC, by the server's clock. */
export type Millis = number;

/** What a call is about; a host may have words of its own. */
export type Media = "audio" | "video" | (string & {});

export interface Message<Content, Profile> {
  id: MessageId;
  from: ChatPath;
  to: ChatPath;
  /** Any JSON, binary included; undefined when the sender gave none. */
  content: Content;
  /** What the sender says of himself; nobody has checked it. */
  profile: Profile | undefined;
  ts: Millis;
}

/** A message to be sent. */
export interface Draft<Content, Profile> {
  to: ChatPath;
  content: Content;
  /** Default: the client's. */
  profile?: Profile;
  /** Default: a new one. The same id to the same user is one message. */
  id?: MessageId;
  /** Gives up. What is on its way already may arrive all the same. */
  signal?: AbortSignal;
}

/** A message that the server has taken. */
export interface Sent {
  id: MessageId;
  to: ChatPath;
  ts: Millis;
  /**
   * `sent`: written to a live device of the recipient's. `queued`: it waits in
   * his inbox. `offline`: he is away, and this server keeps nothing.
   */
  delivery: "sent" | "queued" | "offline";
}

/** The outcome of a message, to come. */
export interface Sending extends Promise<Sent> {
  readonly id: MessageId;
}

/** A message that will not be sent. */
export interface Refused {
  id: MessageId;
  to: ChatPath;
  error: HeyManitoError;
}

/** Up to where by has got, or read, what we have sent him. */
export interface Receipt {
  by: ChatPath;
  /** Absent: all so far. */
  upToId: MessageId | undefined;
  ts: Millis | undefined;
}

/** On another device of ours, what `with` has sent was read up to there. */
export interface ConversationRead {
  with: ChatPath;
  upToId: MessageId | undefined;
  ts: Millis | undefined;
}

export interface MissedCall {
  callId: string;
  from: ChatPath;
  /** What the caller said of himself. */
  info: unknown;
  /** `timeout`, `caller_cancelled`, `caller_gone`, `offline` or `busy`. */
  reason: string;
  ts: Millis;
}

/** Something that was missed, and is gone with the account of whom it had to do with: nothing is left to tell. */
export interface Erased {
  /** Its place in the inbox. */
  seq: number | undefined;
}

/** We have been told all that we had missed. */
export interface Ready {
  /**
   * Everything since our place has come, once. False: something is missing, or
   * the server has lost its inboxes, and what it has comes again from the start:
   * drop what you have by id.
   */
  complete: boolean;
  /** The server's clock. */
  now: Millis;
}

export interface Presence {
  chatPath: ChatPath;
  online: boolean;
  /** When he was last online; only while he is not, and the server says so. */
  lastSeen: Millis | undefined;
}

/**
 * - `closed`: before `connect()`, and after `close()`.
 * - `connecting`: for the first time, and again and again until it succeeds.
 * - `connected`
 * - `reconnecting`: by itself, until it succeeds.
 * - `ended`: for good, see the error's code: the host has ended the session
 *   (whatever code it gives, `logged_out` for one), or does not let us in
 *   (`unauthorized`, `missing_user`, `identity_mismatch`, `invalid`).
 *   `connect()` begins anew.
 */
export type State = "closed" | "connecting" | "connected" | "reconnecting" | "ended";

export interface StateChange {
  state: State;
  /** Why it is `ended`, or the connection that was tried last has failed. */
  error: HeyManitoError | undefined;
}

/** What a client tells. Handlers get one argument each. */
export interface Events<Content = unknown, Profile = unknown> {
  /** Somebody has written, or we to ourselves from another device. */
  message: Message<Content, Profile>;
  /** Another device of ours has written. */
  sent: Message<Content, Profile>;
  /** The server has taken a message of this client's: what `send` resolves to. */
  accepted: Sent;
  /** A message of this client's is refused for good: what `send` rejects with. */
  refused: Refused;
  delivered: Receipt;
  read: Receipt;
  conversationRead: ConversationRead;
  missedCall: MissedCall;
  erased: Erased;
  ready: Ready;
  presence: Presence;
  /** Somebody calls. It rings at the caller's once the handlers have run. */
  call: Call;
  state: StateChange;
  /** What went wrong and is nobody's answer. Without a handler it goes to console.error. */
  error: HeyManitoError;
}

/** Why a token is asked for: see Options. */
export type TokenReason = "connect" | "expiring" | "refused";

export interface Options<Profile = unknown> {
  /** Where the server is: `https://api.example.com`. */
  url: string;
  /** Who we are. */
  chatPath: ChatPath;
  /**
   * A token that is good now. It is asked for on every connect; when the server
   * says that the one it has is about to expire; and, `refused`, when the server
   * did not take the last one: then a cached one will not do. When it throws, it
   * is asked again a little later.
   */
  token?: (why: TokenReason) => Promise<string> | string;
  /** What outlives the process; default: nothing. See Store. */
  store?: Store;
  /**
   * Keeps the messages that wait in the store, too, and sends them after the
   * next start; the events `accepted` and `refused` tell how that went. Those
   * with binary in them are not kept.
   */
  keepOutbox?: boolean;
  /** The profile of messages that have none of their own. */
  profile?: Profile;
  /**
   * Names this device: for calls, to which it may come back. Default: a new one
   * for each client. No two that run at the same time may have the same.
   */
  deviceId?: string;
  /** More for socket.io-client: `path`, `transports`, `reconnectionDelay`, … Its `auth`, an object, is sent too. */
  io?: Partial<Omit<ManagerOptions & SocketOptions, "auth">> & { auth?: Record<string, unknown> };
  times?: Partial<Times>;
}

/** In milliseconds. */
export interface Times {
  /** How long an ack is waited for; default 60,000: a photo on a slow line. */
  ack: number;
  /** The first wait before a message is sent again that the server could not take now; it doubles up to thirty seconds. Default 500. */
  retry: number;
  /** How long a LiveKit token is good: it is renewed after four fifths of that. Default 600,000. */
  ticket: number;
  /** How long the server's own word about the end of a call is waited for. Default 3,000. */
  grace: number;
}

/** A live call of ours, as the server has it. */
export interface CallInfo {
  callId: string;
  roomName: string;
  callerId: ChatPath;
  recipientId: ChatPath;
  callerInfo?: unknown;
  media?: Media;
  state: "ringing" | "connecting" | "active";
  ts: Millis;
  expiresAt: Millis;
  expiresInMs: number;
}

/** What of socket.io-client this package needs: its function io. */
export type Connect = (url: string, options: Partial<ManagerOptions & SocketOptions>) => Socket;

export type { Code };
