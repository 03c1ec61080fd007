// The connection: who we are, a token that is good, and when to stop trying.
import type { ManagerOptions, Socket, SocketOptions } from "socket.io-client";
import { HeyManitoError } from "./errors.js";
import { newId } from "./id.js";
import type { Connect, Options, State, TokenReason } from "./types.js";
import type { Ack, Ask } from "./wire.js";

/** How often a token is asked for anew because the server did not take the last one. */
const REFUSALS = 3;
const SLOWEST_TOKEN_RETRY = 8_000; // the server waits ten seconds for an answer

/** A connection that still polls after so long does not become a WebSocket any more: an upgrade has ten seconds. */
const LONGEST_UPGRADE = 20_000;
/** What of it passes between two looks at most: a machine that sleeps does not wait. */
const LONGEST_LOOK = 1_000;

/** More than an event's name and the packets around it have. */
const EVENT_NAME = 100;

export interface LinkEvents {
  state(state: State, error: HeyManitoError | undefined): void;
  /** A new connection: what was asked before has no answer any more. */
  up(): void;
  down(): void;
  failed(err: HeyManitoError): void;
  /** What auth.since is to say. */
  since(): Promise<object>;
}

export class Link {
  readonly socket: Socket;
  readonly #options: Options<unknown>;
  readonly #on: LinkEvents;
  readonly #ackTime: number;
  state: State = "closed";
  #up = false;
  #polled = 0; // for how long something has waited for this connection to become a WebSocket
  #looked = 0; // when that was counted last; 0: never
  // What has no answer yet. Some of the socket.io-clients that we take leave it
  // to the timeout when the connection breaks.
  readonly #asked = new Set<(ack: undefined) => void>();
  #refusals = 0; // of tokens, in a row
  #failures = 0; // of token(), in a row
  #why: TokenReason = "connect";
  #ending: HeyManitoError | null = null; // what sessionEnded said
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(connect: Connect, options: Options<unknown>, ackTime: number, on: LinkEvents) {
    this.#options = options;
    this.#on = on;
    this.#ackTime = ackTime;
    const { auth, query, ...io } = options.io ?? {};
    const deviceId = options.deviceId ?? newId();
    this.socket = connect(options.url, {
      transports: ["polling", "websocket"], // begins with the first, goes on to the second
      tryAllTransports: true,
      ...io,
      query: { ...query, userId: options.chatPath },
      // A function: every connection says where we are by then.
      auth: (give) => void this.#introduce(give, { ...auth, deviceId, features: ["acks", "lastSeen"] }),
      autoConnect: false,
      forceNew: true,
    } as Partial<ManagerOptions & SocketOptions>);
    this.socket.on("connect", () => this.#connected());
    this.socket.on("disconnect", (reason) => this.#disconnected(reason));
    this.socket.on("connect_error", (err) => this.#refused(err));
    this.socket.on("sessionEnded", (e: { code?: string } | undefined) => {
      const code = e?.code ?? "ended";
      this.#ending = new HeyManitoError(code, `the server has ended the session: ${code}`);
    });
    this.socket.on("authExpiring", () => void this.#renew());
  }

  get up(): boolean {
    return this.#up;
  }

  get maxPayload(): number | undefined {
    return (this.socket.io?.engine as unknown as { maxPayload?: number } | undefined)?.maxPayload; // socket.io-client calls it private
  }

  open(): void {
    if (this.state !== "closed" && this.state !== "ended") return;
    this.#refusals = this.#failures = 0;
    this.#why = "connect";
    this.#ending = null;
    this.#turn("connecting");
    this.socket.connect();
  }

  /** Says goodbye: the others see us go at once. */
  close(): void {
    if (this.state === "closed") return;
    clearTimeout(this.#timer);
    this.state = "closed"; // the socket's own "disconnect" is no news then
    this.socket.disconnect();
    this.#lost();
    this.#on.state("closed", undefined);
  }

  readonly ask: Ask = (event, payload, answer, ms = this.#ackTime) => {
    if (!this.#up) return answer(undefined);
    const answered = (ack: Ack<never> | undefined) => {
      if (this.#asked.delete(answered)) answer(ack);
    };
    this.#asked.add(answered);
    try {
      this.socket.timeout(ms).emit(event, payload, (err: Error | null, ack: Ack<never> | undefined) => answered(err || !isAck(ack) ? undefined : ack));
    } catch (cause) {
      answered({ status: "error", code: "invalid", message: `socket.io-client cannot send this: ${String(cause)}`, retryable: false });
    }
  };

  /**
   * Whether the connection takes an event with so many bytes: one that polls
   * breaks at one that is too big, and writes what is binary as base64. "later"
   * is when it has become a WebSocket, which does not happen everywhere.
   */
  carries(json: number, binary: number): "now" | "later" | "never" {
    const most = this.maxPayload;
    if (most === undefined) return "now";
    if (json + binary + EVENT_NAME > most) return "never";
    if (this.socket.io.engine?.transport?.name !== "polling" || json + Math.ceil(binary / 3) * 4 + EVENT_NAME <= most) return "now";
    const now = Date.now();
    if (this.#looked) this.#polled += Math.min(now - this.#looked, LONGEST_LOOK);
    this.#looked = now;
    if (this.#polled >= LONGEST_UPGRADE) return "never";
    return this.socket.io.opts.transports?.some((t) => t === "websocket" || t === "webtransport") ? "later" : "never";
  }

  async #introduce(give: (auth: object) => void, auth: object): Promise<void> {
    const { engine } = this.socket.io ?? {};
    let token: string | undefined;
    try {
      token = await this.#options.token?.(this.#why);
    } catch (cause) {
      this.#on.failed(new HeyManitoError("token", "token() has failed, it is asked again in a while", { retryable: true, cause }));
      const wait = Math.min(SLOWEST_TOKEN_RETRY, 500 * 2 ** this.#failures++);
      this.#later(() => engine?.close(), wait); // and the manager begins anew
      return;
    }
    this.#failures = 0;
    const since = await this.#on.since();
    if (this.socket.io?.engine !== engine) return; // that connection is gone
    give(token === undefined ? { ...auth, since } : { ...auth, since, token });
  }

  async #renew(): Promise<void> {
    if (!this.#options.token) return;
    let token: string;
    try {
      token = await this.#options.token("expiring");
    } catch (cause) {
      // The server closes this connection, and the next one asks again.
      this.#on.failed(new HeyManitoError("token", "token() has failed when the old one was about to expire", { retryable: true, cause }));
      return;
    }
    this.ask("refreshAuth", { token }, (ack) => {
      if (ack?.status !== "error") return;
      this.#why = "refused";
      this.#on.failed(new HeyManitoError(ack.code, `the server does not take the new token: ${ack.message}`, { retryable: ack.retryable }));
    });
  }

  #connected(): void {
    this.#refusals = 0;
    this.#why = "connect";
    this.#up = true;
    this.#polled = this.#looked = 0;
    this.#on.up();
    this.#turn("connected");
  }

  #disconnected(reason: string): void {
    this.#lost();
    if (this.state === "closed" || this.state === "ended") return;
    if (this.#ending || reason === "io server disconnect") {
      this.#end(this.#ending ?? new HeyManitoError("ended", "the server has ended the session"));
      return;
    }
    if (this.state === "connected") this.#turn("reconnecting"); // else it was one that the server had not let in yet
  }

  #refused(err: Error & { data?: { code?: string; message?: string } }): void {
    if (this.state === "closed" || this.state === "ended") return;
    if (this.socket.active !== false) {
      // No network, the server is not there or cannot have us now: the client tries again.
      const error = new HeyManitoError("unavailable", `no connection: ${err.message}`, { retryable: true, cause: err });
      this.#turn(this.state === "connecting" ? "connecting" : "reconnecting", error);
      return;
    }
    // CONNECT_ERROR: socket.io-client has stopped.
    const code = err.data?.code ?? err.message;
    const error = new HeyManitoError(code, err.data?.message ?? err.message, { cause: err });
    if (code === "unauthorized" && this.#options.token && this.#refusals++ < REFUSALS) {
      this.#why = "refused";
      this.#turn(this.state === "connecting" ? "connecting" : "reconnecting", error);
      this.#later(() => this.socket.connect(), 250 * this.#refusals);
      return;
    }
    this.#end(error);
  }

  #end(error: HeyManitoError): void {
    clearTimeout(this.#timer);
    this.state = "ended";
    this.socket.disconnect();
    this.#on.state("ended", error);
  }

  #lost(): void {
    if (!this.#up) return;
    this.#up = false;
    this.#on.down();
    for (const answered of [...this.#asked]) answered(undefined);
  }

  #later(f: () => void, ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(f, ms);
  }

  #turn(state: State, error?: HeyManitoError): void {
    if (this.state === state && !error) return;
    this.state = state;
    this.#on.state(state, error);
  }
}

function isAck(x: unknown): boolean {
  const status = (x as { status?: unknown } | null | undefined)?.status;
  return status === "ok" || status === "error";
}
