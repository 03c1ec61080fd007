// The signalling of one call at a time: who rings, who answers, how it ends.
// Sound and pictures are the app's: where this page says "active", it would
// join the room with what it uses for media.
//
// states: null → dialling → active → over
//         null → incoming → active → over
//         null → incoming → declining → over
import { randomId } from "./session.js";

const SHOWN = 6_000; // how long the end of a call stays on the screen
const ANSWER = 3_000; // how long a "declined" waits for the server's word

/** Events: "change". call is null or {state, peer, media, roomName, callId, ending}. */
export class Calls extends EventTarget {
  call = null;
  #socket;
  #me;
  #note;
  #timer;
  #untold = null; // the last call that ended because its other side had gone

  /** note(peer, key) keeps a line about a call that came to nothing. */
  constructor(socket, me, note) {
    super();
    this.#socket = socket;
    this.#me = me;
    this.#note = note;
    socket.on("incomingCall", (c) => this.#incoming(c));
    socket.on("callAccepted", (c) => this.#accepted(c));
    socket.on("callRejected", (c) => this.#rejected(c));
    socket.on("callCancelled", (c) => this.#cancelled(c));
    socket.on("hangUp", (c) => this.#hungUp(c));
    socket.on("contact_offline", (user) => this.#gone(user));
    socket.on("contact_online", (user) => this.#back(user));
    socket.on("online_users", (users) => {
      if (this.call && !Object.hasOwn(users, this.call.peer)) this.#gone(this.call.peer);
    });
  }

  close() {
    clearTimeout(this.#timer);
    this.call = null;
  }

  /** Rings peer. The room's name is ours, so that every answer is known by it. */
  dial(peer, media) {
    if (this.#busy() || !this.#socket.connected) return;
    const call = { state: "dialling", peer, media, roomName: `demo-${randomId()}` };
    this.#set(call);
    const dial = { recipientId: peer, callerId: this.#me, callerInfo: { name: this.#me }, roomName: call.roomName, media };
    this.#socket.timeout(10_000).emit("initiateCall", dial, (err, ack) => {
      if (this.call !== call || call.state !== "dialling") return;
      if (err) return this.#end("failedCall");
      // A refusal brings a callRejected, too; the first of the two counts.
      if (ack.status !== "ok") return this.#end(endingOf(ack.code));
      call.callId = ack.callId;
      this.#expire(ack.expiresInMs, "timeout");
    });
  }

  accept() {
    const call = this.call;
    if (call?.state !== "incoming") return;
    clearTimeout(this.#timer);
    this.#socket.timeout(10_000).emit("acceptCall", this.#answer(call), (err, ack) => {
      if (this.call !== call) return;
      if (err || ack.status !== "ok") return this.#end(ack?.code === "conflict" ? "over" : "failedCall");
      this.#set({ ...call, state: "active" });
    });
  }

  decline() {
    if (this.call?.state !== "incoming") return;
    const call = { ...this.call, state: "declining" };
    this.#set(call);
    this.#expire(ANSWER, "declinedHere");
    // Another device may have been faster: then its callCancelled comes first.
    this.#socket.emit("rejectCall", { ...this.#answer(call), recipientId: this.#me, reason: "declined" }, (ack) => {
      if (this.call === call) this.#end(ack.status === "ok" ? "declinedHere" : "over");
    });
  }

  /**
   * Ends a call that one has made or answered; also when the page goes away. A
   * call that only rings here is left alone: another device may answer it.
   */
  hangUp() {
    const { call } = this;
    if (call?.state !== "dialling" && call?.state !== "active") return;
    this.#goodbye(call);
    this.#end(call.state === "active" ? "over" : "gaveUp");
  }

  #goodbye(call) {
    if (call.answered) this.#socket.emit("rejectCall", { ...this.#answer(call), recipientId: this.#me });
    // Who has dialled has no event of the contract for it, and of an answer to
    // a server that has restarted since nobody knows: the example's server
    // relays one. Whoever has ended the call by then takes no notice of it.
    this.#socket.emit("hangUp", { senderChatPath: this.#me, recipientChatPath: call.peer, roomName: call.roomName });
  }

  /** Takes the end of a call off the screen. */
  dismiss() {
    if (this.call?.state === "over") this.#set(null);
  }

  // What the server says

  #incoming({ callerId, roomName, callId, media, expiresInMs }) {
    const mine = this.call;
    if (mine?.state === "dialling" && mine.peer === callerId) {
      // Both ring each other: the call of the smaller name is the one.
      if (this.#me < callerId) return;
      clearTimeout(this.#timer);
      this.call = { state: "incoming", peer: callerId, roomName, callId, media, answered: true };
      this.accept();
      return;
    }
    if (this.#busy()) {
      this.#socket.emit("rejectCall", { callerId, recipientId: this.#me, roomName, callId, reason: "busy" });
      this.#note(callerId, "missed");
      return;
    }
    this.#set({ state: "incoming", peer: callerId, roomName, callId, media, answered: true });
    this.#expire(expiresInMs, "missed");
  }

  #accepted({ roomName }) {
    if (this.call?.state !== "dialling" || this.call.roomName !== roomName) return;
    clearTimeout(this.#timer);
    this.#set({ ...this.call, state: "active" });
  }

  #rejected({ recipientId, callId, reason }) {
    const { call } = this;
    if (!call || call.answered || call.peer !== recipientId || call.state === "over") return;
    if (callId && callId !== call.callId) return; // the ack with ours comes before it
    this.#end(call.state === "active" ? "over" : endingOf(reason));
  }

  #cancelled({ callId, reason }) {
    const { call } = this;
    if (call?.callId !== callId || (call.state !== "incoming" && call.state !== "declining")) return;
    this.#end({ answered_elsewhere: "elsewhere", rejected_elsewhere: "declinedElsewhere" }[reason] ?? "missed");
  }

  #hungUp({ senderChatPath, roomName }) {
    const { call } = this;
    if (call?.peer !== senderChatPath || call.roomName !== roomName || call.state === "over") return;
    this.#end(call.state === "active" ? "over" : "missed");
  }

  /** Whoever has gone hangs up no more. */
  #gone(user) {
    const { call } = this;
    if (call?.peer !== user || call.state === "over") return;
    if (call.state === "dialling" || call.state === "active") this.#untold = call;
    this.#end({ dialling: "offlineCall", active: "over" }[call.state] ?? "missed");
  }

  /** Only his connection had broken: he may believe that the call goes on. */
  #back(user) {
    if (this.#untold?.peer !== user) return;
    this.#goodbye(this.#untold);
    this.#untold = null;
  }

  // The state

  #busy() {
    return this.call !== null && this.call.state !== "over";
  }

  #answer({ peer, roomName, callId }) {
    return { callerId: peer, roomName, callId };
  }

  #expire(ms, ending) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#end(ending), ms);
  }

  #end(ending) {
    clearTimeout(this.#timer);
    const { peer } = this.call;
    this.#set({ ...this.call, state: "over", ending });
    this.#timer = setTimeout(() => this.dismiss(), SHOWN);
    this.#note(peer, ending);
  }

  #set(call) {
    this.call = call;
    this.dispatchEvent(new Event("change"));
  }
}

/** The words for a reason of callRejected, or a code of an ack. */
function endingOf(reason) {
  switch (reason) {
    case "offline":
      return "offlineCall";
    case "declined":
    case "busy":
    case "forbidden":
    case "timeout":
      return reason;
  }
  return "failedCall";
}
