// The calls of this device: what it asks of the server, and what the server says
// of them. Whatever is lost with a connection is found out on the next one.
import { LiveCall, type EndReason, type Operator, type Ticket } from "./call.js";
import { HeyManitoError, refused } from "./errors.js";
import type { CallInfo, ChatPath, Media, Times } from "./types.js";
import type { Ack, Ask, Asks, CallEvents } from "./wire.js";

const ACK_TIME = 10_000;
const RETRIES = 5; // of what has to be said, whatever happens to the connection
const TICKET_RETRY = 10_000;
const ENDED_KEPT = 20; // calls of which the server may still say how long they lasted

/** What the calls need to know of the client, and tell. */
export interface Desk {
  readonly chatPath: ChatPath;
  readonly ask: Ask;
  connected(): boolean;
  /** Whether anybody listens. */
  call(call: LiveCall): boolean;
  failed(err: HeyManitoError): void;
}

export class Calls implements Operator {
  readonly live = new Set<LiveCall>();
  readonly #desk: Desk;
  readonly #times: Times;
  readonly #over: LiveCall[] = [];
  readonly #unanswered = new Set<LiveCall>(); // dials that the server has not answered
  readonly #endings = new Map<string, EndReason>(); // heard while there were some of those: by id
  readonly #held = new Map<LiveCall, CallEvents["incomingCall"]>(); // he calls us while we dial him
  readonly #givenUp = new Set<ChatPath>(); // dials that were given up, and of which nobody knows whether they ring
  #dials: Promise<void> = Promise.resolve();
  #waiting: (() => void)[] = []; // for a connection

  constructor(desk: Desk, times: Times) {
    this.#desk = desk;
    this.#times = times;
  }

  byId(callId: string | undefined): LiveCall | undefined {
    if (callId === undefined) return undefined;
    for (const call of this.live) if (call.id === callId) return call;
    return undefined;
  }

  /** Rings peer; answers him if he rings here. */
  dial(peer: ChatPath, media: Media | undefined, info: unknown, room: string | undefined): LiveCall {
    for (const call of this.live) {
      if (!call.incoming || call.peer !== peer || call.state !== "ringing") continue;
      call.accept();
      return call;
    }
    const call = this.#add(new LiveCall(this, { peer, incoming: false, state: "dialling", media, info, room }));
    // One after the other: a dial that was given up is ended before the next one
    // to the same peer begins, which would be the same call.
    this.#dials = this.#dials.then(() => this.#dial(call));
    return call;
  }

  #dial(call: LiveCall): Promise<void> {
    if (call.state !== "dialling") return Promise.resolve();
    if (!this.#desk.connected()) {
      call.end("failed");
      return Promise.resolve();
    }
    const { peer, media, info, room } = call;
    const dial = {
      recipientId: peer,
      callerId: this.#desk.chatPath,
      ...(info === undefined ? {} : { callerInfo: info }),
      ...(room === undefined ? {} : { roomName: room }),
      ...(media === undefined ? {} : { media }),
    };
    this.#unanswered.add(call);
    return new Promise((done) => {
      this.#desk.ask(
        "initiateCall",
        dial,
        (ack) => {
          this.#unanswered.delete(call);
          this.#dialled(call, ack);
          this.#endings.clear(); // there is one dial at a time
          done();
        },
        ACK_TIME,
      );
    });
  }

  #dialled(call: LiveCall, ack: Ack<Asks["initiateCall"][1]> | undefined): void {
    const held = this.#held.get(call);
    this.#held.delete(call);
    if (call.state !== "dialling") {
      // Given up before the server had answered; or it has said the end, or the answer, already.
      if (call.state !== "ended" || call.ending?.byUs !== true) return;
      if (ack?.status === "ok") this.#insist("endCall", { callId: ack.callId });
      else if (!ack) this.#givenUp.add(call.peer);
      return;
    }
    if (!ack) {
      if (this.#desk.connected()) call.end("failed"); // else resume finds out
      return;
    }
    if (ack.status !== "ok") {
      call.end(reasonOf(ack.code));
      if (held) this.#incoming(held); // by now it may be over: then it is ended in a moment
      return;
    }
    call.id = ack.callId;
    call.room = ack.roomName;
    const ending = this.#endings.get(ack.callId);
    if (ending !== undefined) return call.end(ending); // it was faster than the ack
    if (ack.merged) {
      call.incoming = true; // he was calling as well: that is an answer
      call.answer(ack.roomName, ticketOf(ack));
      this.#schedule(call);
      return;
    }
    call.expire(ack.expiresInMs + this.#times.grace, "timeout");
    call.changed();
  }

  // What a call asks for

  accept(call: LiveCall): void {
    this.#insist("acceptCall", { callerId: call.peer, callId: call.id! }, (ack) => {
      if (call.state !== "accepting") return;
      if (ack?.status === "ok") {
        call.answer(ack.roomName, ticketOf(ack));
        this.#schedule(call);
      } else {
        call.end(ack?.code === "conflict" || ack?.code === "not_found" ? "over" : "failed");
      }
    });
  }

  reject(call: LiveCall, reason: "declined" | "busy"): void {
    call.expire(this.#times.grace, reason, true);
    this.#insist("rejectCall", { callerId: call.peer, recipientId: this.#desk.chatPath, callId: call.id!, reason }, (ack) => {
      // Another device may have been faster: then its callCancelled comes first.
      if (ack?.status === "ok") call.end(reason, true);
      else call.end("over");
    });
  }

  cancel(call: LiveCall): void {
    call.end("caller_cancelled", true);
    const { id } = call;
    if (id === undefined) return; // the ack of the dial comes, and is answered
    this.#insist("cancelCall", { callId: id }, (ack) => {
      // He has answered just now: then it is a call to be ended.
      if (ack?.status === "error" && ack.code === "conflict") this.#insist("endCall", { callId: id });
    });
  }

  hangUp(call: LiveCall): void {
    const { id, peer, incoming, state } = call;
    call.end("hangup", true);
    if (id === undefined) return;
    if (!incoming) return this.#insist("endCall", { callId: id });
    // An app that knows no endCall hears of the end when it is a rejectCall.
    this.#insist("rejectCall", { callerId: peer, recipientId: this.#desk.chatPath, callId: id }, (ack) => {
      if (state === "answered" && ack?.status === "error" && ack.code === "conflict") this.#insist("endCall", { callId: id });
    });
  }

  connected(call: LiveCall): void {
    this.#insist("callConnected", { callId: call.id! });
  }

  freshTicket(call: LiveCall): Promise<Ticket> {
    return new Promise((resolve, reject) => {
      if (call.state !== "answered") return reject(new HeyManitoError("conflict", `the call is ${call.state}`));
      this.#desk.ask(
        "getCallToken",
        { callId: call.id! },
        (ack) => {
          if (!ack) return reject(noAnswer());
          if (ack.status !== "ok") return reject(refused(ack));
          const ticket = { token: ack.token, url: ack.url };
          if (call.state === "answered") {
            call.ticket = ticket;
            this.#schedule(call);
            call.changed();
          }
          resolve(ticket);
        },
        ACK_TIME,
      );
    });
  }

  /** Renews the ticket in time, while the call lives. */
  #schedule(call: LiveCall): void {
    if (call.ticket) call.renewAfter(this.#times.ticket * 0.8, () => this.#renew(call));
  }

  #renew(call: LiveCall): void {
    call.freshTicket().catch((err: HeyManitoError) => {
      if (call.state === "answered" && (err.retryable || err.code === "no_answer")) call.renewAfter(TICKET_RETRY, () => this.#renew(call));
    });
  }

  ended(call: LiveCall): void {
    this.live.delete(call);
    this.#over.push(call);
    if (this.#over.length > ENDED_KEPT) this.#over.shift();
  }

  failed(err: HeyManitoError): void {
    this.#desk.failed(err);
  }

  /** Goes back into a call that this device was in before it was started anew. */
  async rejoin(callId: string): Promise<LiveCall> {
    const known = this.byId(callId);
    if (known) return known;
    const info = (await this.list()).find((c) => c.callId === callId && c.state !== "ringing");
    if (!info) throw new HeyManitoError("not_found", "there is no such call any more");
    const ack = await this.#answerTo("getCallToken", { callId });
    if (ack.status === "error" && ack.code !== "not_found") throw refused(ack); // not_found: there is no LiveKit
    const again = this.byId(callId);
    if (again) return again;
    const incoming = info.recipientId === this.#desk.chatPath;
    const call = this.#add(
      new LiveCall(this, {
        peer: incoming ? info.callerId : info.recipientId,
        incoming,
        state: "dialling",
        media: info.media,
        info: info.callerInfo,
        id: callId,
      }),
    );
    call.answer(info.roomName, ack.status === "ok" ? ticketOf(ack) : undefined);
    this.#schedule(call);
    return call;
  }

  /** The live calls of this user, on all devices. */
  async list(): Promise<CallInfo[]> {
    const ack = await this.#answerTo("getCalls", {});
    if (ack.status === "error") throw refused(ack);
    return ack.calls;
  }

  #answerTo<K extends keyof Asks>(event: K, payload: Asks[K][0]): Promise<Ack<Asks[K][1]>> {
    return new Promise((resolve, reject) => this.#desk.ask(event, payload, (ack) => (ack ? resolve(ack) : reject(noAnswer())), ACK_TIME));
  }

  // What the server says

  readonly told: { [K in keyof CallEvents]: (c: CallEvents[K]) => void } = {
    incomingCall: (c) => this.#incoming(c),
    callRinging: ({ callId, recipientId }) => {
      const call = this.#dialling(callId, recipientId);
      if (!call || call.ringing) return;
      call.ringing = true;
      call.changed();
    },
    // It comes to all devices of the caller's: only the one that dials is meant.
    callAccepted: (c) => {
      const call = this.#dialling(c.callId, c.recipientId);
      if (!call) return;
      call.id = c.callId;
      call.answer(c.roomName, ticketOf(c));
      this.#schedule(call);
    },
    callRejected: ({ callId, recipientId, reason }) => {
      const call = this.#dialling(callId, recipientId);
      if (call && !this.#unanswered.has(call)) call.end(reason ?? "declined");
      else this.#early(callId, reason ?? "declined"); // without an id: a refusal, of which the ack says more
    },
    callCancelled: ({ callId, reason }) => {
      const call = this.byId(callId);
      // Of our own dial: another device of ours has given it up. In a call that
      // this device has answered, it is not for us.
      if (!call) this.#early(callId, reason);
      else if (call.state !== "answered") call.end(reason);
    },
    callEnded: ({ callId, reason, durationMs }) => {
      const call = this.byId(callId);
      if (call) call.end(reason, false, durationMs);
      else this.#early(callId, reason);
      this.#over.findLast((call) => call.id === callId)?.lasted(durationMs);
    },
  };

  /** The end of a call that may be one of those whose dial has no answer yet. */
  #early(callId: string | undefined, reason: EndReason): void {
    if (callId !== undefined && this.#unanswered.size > 0) this.#endings.set(callId, reason);
  }

  /** The dial that this is about: by its id, or one to that user which has none yet. */
  #dialling(callId: string | undefined, recipientId: ChatPath): LiveCall | undefined {
    const dials = [...this.live].filter((call) => call.state === "dialling");
    return dials.find((d) => d.id !== undefined && d.id === callId) ?? dials.find((d) => d.id === undefined && d.peer === recipientId);
  }

  #incoming(c: CallEvents["incomingCall"]): void {
    const known = this.byId(c.callId);
    if (known) {
      if (known.state === "ringing") known.expire(c.expiresInMs + this.#times.grace, "timeout"); // told again, after a reconnect
      return;
    }
    // Both ring each other: the answer to our own dial says what becomes of it.
    for (const call of this.#unanswered) if (call.peer === c.callerId && call.state === "dialling") return void this.#held.set(call, c);
    const call = this.#add(
      new LiveCall(this, { peer: c.callerId, incoming: true, state: "ringing", media: c.media, info: c.callerInfo, id: c.callId, room: c.roomName }),
    );
    call.expire(c.expiresInMs + this.#times.grace, "timeout");
    if (this.#desk.call(call) && call.state === "ringing") this.#desk.ask("ringCall", { callId: c.callId }, () => {}, ACK_TIME);
  }

  /** There is a connection again. */
  up(): void {
    for (const f of this.#waiting.splice(0)) f();
    if (this.live.size === 0 && this.#givenUp.size === 0) return;
    const before = [...this.live]; // those that begin meanwhile the answer does not know
    this.#desk.ask(
      "getCalls",
      {},
      (ack) => {
        if (ack?.status !== "ok") return;
        for (const call of before) if (call.state !== "ended") this.#compare(call, ack.calls);
        for (const c of ack.calls) {
          if (c.callerId !== this.#desk.chatPath || !this.#givenUp.has(c.recipientId) || this.byId(c.callId)) continue;
          this.#insist("endCall", { callId: c.callId });
        }
        this.#givenUp.clear();
      },
      ACK_TIME,
    );
  }

  #compare(call: LiveCall, calls: CallInfo[]): void {
    if (this.#unanswered.has(call)) return; // its answer comes
    const mine = (c: CallInfo) => c.callerId === this.#desk.chatPath && c.recipientId === call.peer;
    const c = calls.find((c) => (call.id === undefined ? mine(c) : c.callId === call.id));
    const { grace } = this.#times;
    if (!c) {
      // It is over. How it ended the server says to who rings or dials.
      if (call.state === "answered") call.end("over");
      else if (call.state === "dialling") call.expire(grace, "failed");
      else if (call.state === "rejecting") call.expire(grace, "declined", true);
      else call.expire(grace, "timeout");
      return;
    }
    if (call.state === "answered") {
      if (call.ticket) this.#renew(call);
      return;
    }
    if (call.state !== "dialling") return; // what this device has said, it says again
    call.id = c.callId;
    call.room = c.roomName;
    if (c.state === "ringing") {
      call.expire(c.expiresInMs + grace, "timeout");
      return;
    }
    // It was answered meanwhile.
    this.#desk.ask(
      "getCallToken",
      { callId: c.callId },
      (ack) => {
        if (call.state !== "dialling" || !ack) return; // no answer: the next connection asks again
        if (ack.status === "error" && ack.code !== "not_found") return call.end("failed");
        call.answer(c.roomName, ack.status === "ok" ? ticketOf(ack) : undefined);
        this.#schedule(call);
      },
      ACK_TIME,
    );
  }

  /** The client says goodbye: a call that only rings here is left to other devices. */
  leave(): void {
    for (const call of [...this.live]) {
      if (call.state === "ringing" || call.state === "rejecting") call.end("over");
      else call.hangUp();
    }
    this.#waiting = [];
    this.#givenUp.clear();
  }

  #add(call: LiveCall): LiveCall {
    this.live.add(call);
    return call;
  }

  /** Asks until there is an answer: on the next connection if need be. */
  #insist<K extends keyof Asks>(event: K, payload: Asks[K][0], answer?: (ack: Ack<Asks[K][1]> | undefined) => void, tries = RETRIES): void {
    if (!this.#desk.connected()) {
      this.#waiting.push(() => this.#insist(event, payload, answer, tries));
      return;
    }
    this.#desk.ask(
      event,
      payload,
      (ack) => {
        if (ack || tries === 1) answer?.(ack);
        else this.#insist(event, payload, answer, tries - 1);
      },
      ACK_TIME,
    );
  }
}

function ticketOf({ token, url }: { token?: string; url?: string }): Ticket | undefined {
  return token !== undefined && url !== undefined ? { token, url } : undefined;
}

function noAnswer(): HeyManitoError {
  return new HeyManitoError("no_answer", "the server is out of reach", { retryable: true });
}

/** How a call ends whose dial was refused with that code. */
function reasonOf(code: string): EndReason {
  return code === "offline" || code === "rate_limited" || code === "busy" || code === "forbidden" ? code : "failed";
}
