// The signalling of one call at a time: who rings, who answers, how it ends.
// Sound and pictures are the app's: where this page says "active", it would
// join the room with what it uses for media.
//
// states: null → dialling → active → over
//         null → incoming → active → over
import { randomId } from "./session.js";

const SHOWN = 6_000; // how long the end of a call stays on the screen

/** Events: "change". call is null or {state, peer, media, roomName, callId, ending}. */
export class Calls extends EventTarget {
  call = null;
  #socket;
  #me;
  #note;
  #timer;

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
    this.#socket.emit("rejectCall", { ...this.#answer(this.call), recipientId: this.#me, reason: "declined" });
    this.#end("declinedHere");
  }

  /** Ends a call that one has made or answered. */
  hangUp() {
    const { call } = this;
    if (call?.state !== "dialling" && call?.state !== "active") return;
    // Who has dialled has no event of the contract for it, so the example's
    // server relays one.
    const relayed = { senderChatPath: this.#me, recipientChatPath: call.peer, roomName: call.roomName };
    const relay = () => this.#socket.emit("hangUp", relayed);
    if (call.answered) {
      // Who has answered rejects. On a connection that is newer than the answer
      // the server does not know him again.
      this.#socket.emit("rejectCall", { ...this.#answer(call), recipientId: this.#me }, (ack) => {
        if (ack.status !== "ok") relay();
      });
    } else {
      relay();
    }
    this.#end(call.state === "active" ? "over" : "gaveUp");
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
    if (callId && call.callId && callId !== call.callId) return;
    this.#end(call.state === "active" ? "over" : endingOf(reason));
  }

  #cancelled({ callId, reason }) {
    if (this.call?.state !== "incoming" || this.call.callId !== callId) return;
    if (reason === "answered_elsewhere") this.#end("elsewhere");
    else if (reason === "rejected_elsewhere") this.#end("declinedHere");
    else this.#end("missed");
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
    this.#end({ dialling: "offlineCall", incoming: "missed", active: "over" }[call.state]);
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
