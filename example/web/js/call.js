// The signalling of one call at a time, as this page shows it: who rings, who
// answers, how it ends. heymanito's client knows how calls go; sound and pictures
// are media.js's.
//
// states: null → dialling → active → over
//         null → incoming → answering → active → over
//         null → incoming → declining → over

const SHOWN = 6_000; // how long the end of a call stays on the screen
const KEY = "heymanito.call"; // the call that this tab is in, for a page that has crashed

const STATES = { dialling: "dialling", ringing: "incoming", accepting: "answering", rejecting: "declining", answered: "active", ended: "over" };

/**
 * Events: "change". call is null or {state, peer, media, callId, ringing, token,
 * url, ending, durationMs}. token and url are LiveKit's, and absent where there is
 * none.
 */
export class Calls extends EventTarget {
  call = null;
  #client;
  #note;
  #of = null; // the client's own of call
  #over = null; // the last of them that has ended
  #timer;
  #quiet; // what listens to the client

  /** note(peer, key) keeps a line about how a call went. */
  constructor(client, note) {
    super();
    this.#client = client;
    this.#note = note;
    const off = [client.on("call", (c) => this.#incoming(c)), client.on("state", ({ state }) => state === "connected" && this.#resume())];
    this.#quiet = () => off.forEach((f) => f());
  }

  close() {
    clearTimeout(this.#timer);
    this.#quiet();
    this.#of = this.call = null;
  }

  /** Rings peer. The server makes the room and the call's id. */
  dial(peer, media) {
    if (!this.#busy() && this.#client.state === "connected") this.#follow(this.#client.call({ to: peer, media }));
  }

  accept() {
    this.#of?.accept();
  }

  decline() {
    this.#of?.reject();
  }

  /** Gives up a call that nobody has answered yet. */
  cancel() {
    this.#of?.cancel();
  }

  /** Also while the server has not heard yet that we answer: it may be out of reach. */
  hangUp() {
    if (["answering", "active"].includes(this.call?.state)) this.#of.hangUp();
  }

  /**
   * The page goes away: there is time for one word. A call that only rings here
   * is left alone, another device may answer it.
   */
  leave() {
    if (["dialling", "answering", "active"].includes(this.call?.state)) this.#of.hangUp();
  }

  /** Says that sound or pictures have come. */
  connected() {
    this.#of?.connected();
  }

  /** A fresh {token, url}, or null. */
  async token() {
    return this.#of.freshTicket().catch(() => null);
  }

  /** Takes the end of a call off the screen. */
  dismiss() {
    if (this.call?.state !== "over") return;
    this.#of = null;
    this.#set(null);
  }

  #incoming(c) {
    if (this.#busy()) c.reject("busy");
    else this.#follow(c);
  }

  /** After a crash: the server knows whether the call goes on. */
  async #resume() {
    const callId = sessionStorage.getItem(KEY);
    if (!callId || this.#busy()) return;
    try {
      const c = await this.#client.rejoin(callId);
      if (this.#busy()) c.hangUp();
      else this.#follow(c);
    } catch (err) {
      if (err.code === "not_found") remember(null); // else the next connection tries again
    }
  }

  #follow(c) {
    clearTimeout(this.#timer);
    this.#of = c;
    c.on("change", () => this.#of === c && this.#show(c));
    this.#show(c);
  }

  #show(c) {
    const state = STATES[c.state];
    if (state === "over" && this.#over !== c) return this.#end(c);
    if (state === "over") {
      this.#set({ ...this.call, durationMs: c.ending.durationMs }); // the server says it after our hanging up
      return;
    }
    const begins = state === "active" && this.call?.state !== "active";
    this.#set({ state, peer: c.peer, media: c.media, callId: c.id, ringing: c.ringing, token: c.ticket?.token, url: c.ticket?.url });
    if (!begins) return;
    remember(c.id);
    if (!c.ticket) c.connected(); // there are no media to wait for
  }

  #end(c) {
    this.#over = c;
    remember(null);
    const ending = endingOf(c, this.call.state);
    this.#set({ state: "over", peer: c.peer, callId: c.id, ending, durationMs: c.ending.durationMs });
    this.#timer = setTimeout(() => this.dismiss(), SHOWN);
    if (ending !== "missed") this.#note(c.peer, ending); // the inbox has those
  }

  #busy() {
    return this.call !== null && this.call.state !== "over";
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

/** The words for how a call has ended that was in this state. */
function endingOf({ ending: { reason, byUs } }, state) {
  switch (state) {
    case "active":
      return { left: "leftCall", failed: "failedCall" }[reason] ?? "over";
    case "dialling":
      return {
        declined: "declined", busy: "busy", forbidden: "forbidden", timeout: "timeout",
        offline: "offlineCall", rate_limited: "tooMany", caller_cancelled: "gaveUp",
      }[reason] ?? "failedCall";
  }
  if (byUs) return reason === "hangup" ? "over" : "declinedHere";
  if (reason === "failed" && state === "answering") return "failedCall";
  return { answered_elsewhere: "elsewhere", rejected_elsewhere: "declinedElsewhere", over: "over" }[reason] ?? "missed";
}
