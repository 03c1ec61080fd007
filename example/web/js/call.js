// The signalling of one call at a time: who rings, who answers, how it ends.
// The server owns the call and knows its state; this is what this page shows of
// it. Sound and pictures are media.js's.
//
// states: null → dialling → active → over
//         null → incoming → answering → active → over
//         null → incoming → declining → over

const SHOWN = 6_000; // how long the end of a call stays on the screen
const ANSWER = 3_000; // how long the server's own word about an end is waited for
const ACK_TIMEOUT = 10_000;
const KEY = "heymanito.call"; // the call that this tab is in, for a page that has crashed

/**
 * Events: "change". call is null or {state, peer, theirs, media, roomName,
 * callId, ringing, token, url, ending, durationMs}. theirs: peer has called.
 * token and url are LiveKit's, and absent where there is none.
 */
export class Calls extends EventTarget {
  call = null;
  #socket;
  #me;
  #note;
  #timer;
  #unanswered = false; // a dial that the server has not answered yet

  /** note(peer, key) keeps a line about how a call went. */
  constructor(socket, me, note) {
    super();
    this.#socket = socket;
    this.#me = me;
    this.#note = note;
    socket.on("connect", () => this.#resume());
    socket.on("incomingCall", (c) => this.#incoming(c));
    socket.on("callRinging", (c) => this.#ringing(c));
    socket.on("callAccepted", (c) => this.#accepted(c));
    socket.on("callRejected", (c) => this.#rejected(c));
    socket.on("callCancelled", (c) => this.#cancelled(c));
    socket.on("callEnded", (c) => this.#ended(c));
  }

  close() {
    clearTimeout(this.#timer);
    this.call = null;
  }

  /** Rings peer. The server makes the room and the call's id. */
  dial(peer, media) {
    if (this.#busy() || this.#unanswered || !this.#socket.connected) return;
    const call = { state: "dialling", peer, media };
    this.#set(call);
    this.#unanswered = true;
    const dial = { recipientId: peer, callerId: this.#me, callerInfo: { name: this.#me }, media };
    this.#ask("initiateCall", dial, (ack) => {
      this.#unanswered = false;
      if (this.call !== call) {
        // Given up before the server had answered.
        if (ack?.status === "ok") this.#socket.emit("endCall", { callId: ack.callId });
        return;
      }
      if (!ack) return this.#socket.connected && this.#end("failedCall"); // else #resume finds out
      // A refusal brings a callRejected, too; the first of the two counts.
      if (ack.status !== "ok") return this.#end(endingOf(ack.code));
      if (ack.merged) {
        call.theirs = true; // he was calling as well: that is an answer
        return this.#talk(ack);
      }
      Object.assign(call, { callId: ack.callId, roomName: ack.roomName });
      this.#expire(ack.expiresInMs + ANSWER, "timeout");
    });
  }

  accept() {
    if (this.call?.state !== "incoming") return;
    clearTimeout(this.#timer);
    this.#set({ ...this.call, state: "answering" });
    this.#answer();
  }

  decline() {
    if (this.call?.state !== "incoming") return;
    const call = { ...this.call, state: "declining" };
    this.#set(call);
    this.#expire(ANSWER, "declinedHere");
    const { peer, roomName, callId } = call;
    // Another device may have been faster: then its callCancelled comes first.
    this.#socket.emit("rejectCall", { callerId: peer, recipientId: this.#me, roomName, callId, reason: "declined" }, (ack) => {
      if (this.call === call) this.#end(ack.status === "ok" ? "declinedHere" : "over");
    });
  }

  /** Gives up a call that nobody has answered yet. */
  cancel() {
    const { call } = this;
    if (call?.state !== "dialling") return;
    this.#end("gaveUp");
    if (!call.callId) return; // its ack comes, and is answered
    this.#socket.emit("cancelCall", { callId: call.callId }, (ack) => {
      // He has answered just now: then it is a call to be ended.
      if (ack.code === "conflict") this.#socket.emit("endCall", { callId: call.callId });
    });
  }

  /** Also while the server has not heard yet that we answer: it may be out of reach. */
  hangUp() {
    if (!["answering", "active"].includes(this.call?.state)) return;
    this.#goodbye(this.call);
    this.#end("over");
  }

  #goodbye({ peer, theirs, callId }) {
    // An app that knows no endCall hears of the end when it is a rejectCall.
    if (theirs) this.#socket.emit("rejectCall", { callerId: peer, recipientId: this.#me, callId });
    else this.#socket.emit("endCall", { callId });
  }

  /**
   * The page goes away: there is time for one word. A call that only rings here
   * is left alone, another device may answer it.
   */
  leave() {
    const { call } = this;
    if (!call || !["dialling", "answering", "active"].includes(call.state)) return;
    if (call.callId) this.#goodbye(call);
    this.#end(call.state === "dialling" ? "gaveUp" : "over");
  }

  /** Says that sound or pictures have come. */
  connected() {
    if (this.call?.state === "active") this.#socket.emit("callConnected", { callId: this.call.callId });
  }

  /** A fresh {token, url}, or null. */
  async token() {
    const { callId } = this.call;
    const ack = await new Promise((done) => this.#ask("getCallToken", { callId }, done));
    return ack?.status === "ok" ? { token: ack.token, url: ack.url } : null;
  }

  /** Takes the end of a call off the screen. */
  dismiss() {
    if (this.call?.state === "over") this.#set(null);
  }

  // What the server says

  #incoming({ callerId, roomName, callId, media, expiresInMs }) {
    const mine = this.call;
    if (this.#busy() && mine.callId === callId) return; // told again, after a reconnect
    // Both ring each other: the answer to our own dial says what becomes of it.
    if (mine?.state === "dialling" && mine.peer === callerId) return;
    if (this.#busy()) {
      this.#socket.emit("rejectCall", { callerId, recipientId: this.#me, roomName, callId, reason: "busy" });
      return;
    }
    this.#set({ state: "incoming", peer: callerId, theirs: true, roomName, callId, media });
    this.#expire(expiresInMs + ANSWER, "missed");
    this.#socket.emit("ringCall", { callId });
  }

  #ringing({ callId }) {
    if (this.call?.callId === callId && this.call.state === "dialling") this.#change({ ringing: true });
  }

  /** It comes to all devices of ours: only the one that dials is meant. */
  #accepted(c) {
    const { call } = this;
    if (call?.state !== "dialling" || call.peer !== c.recipientId || (call.callId ?? c.callId) !== c.callId) return;
    this.#talk(c);
  }

  #rejected({ recipientId, callId, reason }) {
    const { call } = this;
    if (call?.state !== "dialling" || call.peer !== recipientId || callId !== call.callId) return;
    this.#end(endingOf(reason));
  }

  #cancelled({ callId, reason }) {
    const { call } = this;
    if (call?.callId !== callId) return;
    if (call.state === "dialling") return this.#end("gaveUp"); // on another device of ours
    if (["incoming", "answering", "declining"].includes(call.state)) {
      this.#end({ answered_elsewhere: "elsewhere", rejected_elsewhere: "declinedElsewhere" }[reason] ?? "missed");
    }
  }

  #ended({ callId, reason, durationMs }) {
    const { call } = this;
    if (call?.callId !== callId) return;
    if (call.state === "over") this.#change({ durationMs }); // we have hung up
    else this.#end({ left: "leftCall", failed: "failedCall" }[reason] ?? "over", { durationMs });
  }

  // After a break: the server knows how things stand

  #resume() {
    const callId = sessionStorage.getItem(KEY);
    if (!this.#busy() && !callId) return;
    this.#ask("getCalls", {}, (ack) => {
      if (ack?.status !== "ok") return;
      if (this.#busy()) return this.#compare(ack.calls);
      const c = ack.calls.find((c) => c.callId === callId && c.state !== "ringing");
      if (!c) return remember(null);
      const theirs = c.recipientId === this.#me;
      this.#rejoin({ peer: theirs ? c.callerId : c.recipientId, theirs, media: c.media }, c);
    });
  }

  #compare(calls) {
    const { call } = this;
    const c = calls.find((c) => (call.callId ? c.callId === call.callId : c.callerId === this.#me && c.recipientId === call.peer));
    if (!c) {
      // It is over. How it ended the server says to who rings or dials.
      if (call.state === "active") this.#end("over");
      else this.#expire(ANSWER, call.state === "dialling" ? "failedCall" : call.state === "declining" ? "declinedHere" : "missed");
    } else if (call.state === "dialling" && c.state === "ringing") {
      Object.assign(call, { callId: c.callId, roomName: c.roomName });
      this.#expire(c.expiresInMs + ANSWER, "timeout");
    } else if (call.state === "dialling") {
      this.#rejoin(call, c);
    } else if (call.state === "answering") {
      this.#answer(); // again: it is ours if we have won
    }
  }

  /** Goes back into a call that goes on. */
  #rejoin(call, { callId, roomName }) {
    this.#ask("getCallToken", { callId }, (ack) => {
      if (ack?.status !== "ok" && ack?.code !== "not_found") return; // not_found: there is no LiveKit
      if (this.#busy() && this.call !== call) return;
      this.call = call;
      this.#talk({ callId, roomName, token: ack.token, url: ack.url });
    });
  }

  // The state

  #answer() {
    const { call } = this;
    const { peer, roomName, callId } = call;
    this.#ask("acceptCall", { callerId: peer, roomName, callId }, (ack) => {
      if (this.call !== call) return;
      if (!ack) return this.#socket.connected && this.#end("failedCall"); // else #resume asks again
      if (ack.status !== "ok") return this.#end(ack.code === "conflict" ? "over" : "failedCall");
      this.#talk(ack);
    });
  }

  /** The call is answered: token and url open its room. */
  #talk({ callId, roomName, token, url }) {
    clearTimeout(this.#timer);
    const { peer, theirs, media } = this.call;
    remember(callId);
    this.#set({ state: "active", peer, theirs, media, callId, roomName, token, url });
    if (!token) this.connected(); // there are no media to wait for
  }

  #busy() {
    return this.call !== null && this.call.state !== "over";
  }

  /** Emits an event; answer gets the ack, or nothing when none has come. */
  #ask(event, payload, answer) {
    this.#socket.timeout(ACK_TIMEOUT).emit(event, payload, (err, ack) => answer(err ? undefined : ack));
  }

  #expire(ms, ending) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#end(ending), ms);
  }

  #end(ending, more) {
    clearTimeout(this.#timer);
    remember(null);
    const { peer, callId } = this.call;
    this.#set({ state: "over", peer, callId, ending, ...more });
    this.#timer = setTimeout(() => this.dismiss(), SHOWN);
    if (ending !== "missed") this.#note(peer, ending); // the inbox has those
  }

  #change(fields) {
    Object.assign(this.call, fields);
    this.dispatchEvent(new Event("change"));
  }

  #set(call) {
    this.call = call;
    this.dispatchEvent(new Event("change"));
  }
}

function remember(callId) {
  if (callId) sessionStorage.setItem(KEY, callId);
  else sessionStorage.removeItem(KEY);
}

/** The words for a reason of callRejected, or a code of an ack. */
function endingOf(reason) {
  switch (reason) {
    case "offline":
      return "offlineCall";
    case "rate_limited":
      return "tooMany";
    case "declined":
    case "busy":
    case "forbidden":
    case "timeout":
      return reason;
  }
  return "failedCall";
}
