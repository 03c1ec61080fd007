// One call, as this device sees it. The server owns the call and knows its
// state; calls.ts tells it what the server says.
import { Emitter } from "./emitter.js";
import { HeyManitoError } from "./errors.js";
import type { ChatPath, Media } from "./types.js";

/**
 * - `dialling` (outgoing): until it is answered, or over. `ringing` says whether
 *   a device of the callee's rings.
 * - `ringing` (incoming): until somebody answers, or it is over.
 * - `accepting`, `rejecting` (incoming): we have, and wait for the server's word.
 * - `answered`: the two talk, or are about to: `ticket` opens the room.
 * - `ended`: once, and `ending` says why.
 */
export type CallState = "dialling" | "ringing" | "accepting" | "rejecting" | "answered" | "ended";

/**
 * Why a call has ended.
 *
 * - not answered: `declined`, `busy`, `timeout`, `offline`, `forbidden`,
 *   `failed`, `rate_limited`, `caller_cancelled`, `caller_gone`
 * - by another device of ours: `answered_elsewhere`, `rejected_elsewhere`
 * - answered: `hangup`, `left` (the other side has gone), `room_finished`,
 *   `replaced` (the two began another), `failed`
 * - `over`: it had ended when we came, nobody says how
 */
export type EndReason =
  | "declined"
  | "busy"
  | "timeout"
  | "offline"
  | "forbidden"
  | "failed"
  | "rate_limited"
  | "caller_cancelled"
  | "caller_gone"
  | "answered_elsewhere"
  | "rejected_elsewhere"
  | "hangup"
  | "left"
  | "room_finished"
  | "replaced"
  | "over"
  | (string & {});

export interface Ending {
  reason: EndReason;
  /** We have ended it, on this device. */
  byUs: boolean;
  /** Since it was answered. The server says it a moment after our own hang-up: then a `change` brings it. */
  durationMs: number | undefined;
}

/** What opens the call's room at LiveKit. It is renewed while the call lives. */
export interface Ticket {
  token: string;
  url: string;
}

export interface CallChanges {
  /** Anything: the state, ringing, the ticket, the duration. */
  change: Call;
  answered: Call;
  /** Exactly once. */
  ended: Ending;
}

/** See CallState for the states, and which method does something in which of them; in the others it does nothing. */
export interface Call {
  /** The server's; undefined until it has answered the dial. */
  readonly id: string | undefined;
  /** The other side. */
  readonly peer: ChatPath;
  /** He calls us. Two who call each other at once are in one call, which is then one of them's. */
  readonly incoming: boolean;
  readonly media: Media | undefined;
  /** What the caller says of himself. */
  readonly info: unknown;
  readonly room: string | undefined;
  readonly state: CallState;
  readonly ringing: boolean;
  /** Undefined where there is no LiveKit. */
  readonly ticket: Ticket | undefined;
  readonly ending: Ending | undefined;

  on<K extends keyof CallChanges>(name: K, handler: (event: CallChanges[K]) => unknown): () => void;
  once<K extends keyof CallChanges>(name: K, handler: (event: CallChanges[K]) => unknown): () => void;
  off<K extends keyof CallChanges>(name: K, handler: (event: CallChanges[K]) => unknown): void;

  /** Answers, in `ringing`. Another device may be faster. */
  accept(): void;
  /** Declines, in `ringing`. */
  reject(reason?: "declined" | "busy"): void;
  /** Gives up, in `dialling`. */
  cancel(): void;
  /** Ends it, whatever state it is in. */
  hangUp(): void;
  /** Says that sound or pictures flow, in `answered`. Without that the server takes a call for dead after two minutes, where no webhook of LiveKit's tells it. */
  connected(): void;
  /** A new ticket from the server, for going back into the room. Rejects with a HeyManitoError. */
  freshTicket(): Promise<Ticket>;
}

/** What a call asks of those who talk to the server. */
export interface Operator {
  accept(call: LiveCall): void;
  reject(call: LiveCall, reason: "declined" | "busy"): void;
  cancel(call: LiveCall): void;
  hangUp(call: LiveCall): void;
  connected(call: LiveCall): void;
  freshTicket(call: LiveCall): Promise<Ticket>;
  ended(call: LiveCall): void;
  failed(err: HeyManitoError): void;
}

export class LiveCall extends Emitter<CallChanges> implements Call {
  id: string | undefined;
  readonly peer: ChatPath;
  incoming: boolean;
  media: Media | undefined;
  readonly info: unknown;
  room: string | undefined;
  state: CallState;
  ringing = false;
  ticket: Ticket | undefined;
  ending: Ending | undefined;
  mediaFlows = false;
  readonly #operator: Operator;
  #expiry: ReturnType<typeof setTimeout> | undefined;
  #renewal: ReturnType<typeof setTimeout> | undefined;

  constructor(operator: Operator, c: { peer: ChatPath; incoming: boolean; state: CallState; media: Media | undefined; info: unknown; id?: string; room?: string | undefined }) {
    super();
    this.#operator = operator;
    this.id = c.id;
    this.peer = c.peer;
    this.incoming = c.incoming;
    this.state = c.state;
    this.media = c.media;
    this.info = c.info;
    this.room = c.room;
  }

  accept(): void {
    if (this.state !== "ringing") return;
    clearTimeout(this.#expiry);
    this.turn("accepting");
    this.#operator.accept(this);
  }

  reject(reason: "declined" | "busy" = "declined"): void {
    if (this.state !== "ringing") return;
    clearTimeout(this.#expiry);
    this.turn("rejecting");
    this.#operator.reject(this, reason);
  }

  cancel(): void {
    if (this.state !== "dialling") return;
    this.#operator.cancel(this);
  }

  hangUp(): void {
    if (this.state === "dialling") this.cancel();
    else if (this.state === "ringing") this.reject();
    else if (this.state === "accepting" || this.state === "answered") this.#operator.hangUp(this);
  }

  connected(): void {
    if (this.state !== "answered" || this.mediaFlows) return;
    this.mediaFlows = true;
    this.#operator.connected(this);
  }

  freshTicket(): Promise<Ticket> {
    return this.#operator.freshTicket(this);
  }

  // What calls.ts says

  turn(state: CallState): void {
    this.state = state;
    this.changed();
  }

  changed(): void {
    void this.emit("change", this);
  }

  /** It is answered, and we are in it. */
  answer(room: string | undefined, ticket: Ticket | undefined): void {
    clearTimeout(this.#expiry);
    this.room = room ?? this.room;
    this.ticket = ticket;
    this.turn("answered");
    void this.emit("answered", this);
  }

  end(reason: EndReason, byUs = false, durationMs?: number): void {
    if (this.state === "ended") return;
    clearTimeout(this.#expiry);
    clearTimeout(this.#renewal);
    this.ending = { reason, byUs, durationMs };
    this.#operator.ended(this);
    this.turn("ended");
    void this.emit("ended", this.ending);
  }

  /** The server's word about a call that we have ended ourselves. */
  lasted(durationMs: number | undefined): void {
    if (!this.ending || durationMs === undefined || this.ending.durationMs !== undefined) return;
    this.ending = { ...this.ending, durationMs };
    this.changed();
  }

  /** Ends it after ms, unless something happens before. */
  expire(ms: number, reason: EndReason, byUs = false): void {
    clearTimeout(this.#expiry);
    this.#expiry = setTimeout(() => this.end(reason, byUs), ms);
  }

  /** Calls f after ms, if the call lives then. */
  renewAfter(ms: number, f: () => void): void {
    clearTimeout(this.#renewal);
    this.#renewal = setTimeout(f, ms);
  }

  protected failed(name: keyof CallChanges, cause: unknown): void {
    this.#operator.failed(new HeyManitoError("handler", `a handler of a call's "${name}" has thrown`, { cause }));
  }
}
