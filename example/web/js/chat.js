// Presence, messages, ticks and "typing": what the page knows, and the only
// place that talks to the server about it, by heymanito's client. It knows
// nothing of the DOM.
//
// The server keeps what people miss, and the client its place in that, which is
// kept with the messages here. What has no answer yet the client sends again
// after a reconnect, with the same id; what a reload has caught this page with,
// the page hands to it again.
import { randomId } from "./session.js";

/**
 * How far a message of ours has come. It never goes back. One that the server
 * refused is "failed", which is none of these steps: it stays until it is tried
 * again.
 */
const STEPS = ["pending", "queued", "sent", "delivered", "read"];
const TYPING_EVERY = 2_000;
const TYPING_LASTS = 4_000;
const KEPT = 200; // messages of a conversation that survive a reload

// Refusals of a connection; every other end of a session is the host's.
const REFUSALS = ["missing_user", "unauthorized", "identity_mismatch", "invalid"];

const waits = (m) => m.mine && m.status === "pending";
const taken = (m) => m.mine && m.status !== "pending" && m.status !== "failed";

class Conversation {
  messages = [];
  typing = false;
  reported = null; // the id up to which the server is told that we have read
  constructor(peer) {
    this.peer = peer;
  }
  get unread() {
    return this.messages.filter((m) => !m.mine && !m.seen).length;
  }
  /** Those of mine (or theirs) up to the one with that id; all without it. */
  upTo(mine, id) {
    const end = id === undefined ? this.messages.length - 1 : this.messages.findLastIndex((m) => m.mine === mine && m.id === id);
    return this.messages.slice(0, end + 1).filter((m) => m.mine === mine);
  }
}

/**
 * Events: "connection" (state), "presence", "message" (conversation, message),
 * "changed" (conversation, message: its status), "conversation" (unread,
 * typing), "refused" (code), "ended".
 */
export class Chat extends EventTarget {
  online = new Set();
  conversations = new Map();
  connection = "connecting";
  #session;
  #position = null; // in our inbox, as the client writes it
  #open = null; // the peer on the screen
  #typingSaid = 0;
  #news = null; // of presence, to be told in a moment
  #timers = new Set();

  /** open(options) makes a client of heymanito's. */
  constructor(open, session) {
    super();
    this.#session = session;
    this.me = session.chatPath;
    this.#restore();
    this.client = open({
      url: location.origin,
      chatPath: this.me,
      token: (why) => this.#token(why),
      deviceId: session.deviceId,
      profile: { name: this.me },
      store: { getItem: () => this.#position, setItem: (_, place) => (this.#position = place), removeItem() {} },
      io: { reconnectionDelay: 500, reconnectionDelayMax: 5_000 },
    });
    const on = {
      state: (s) => this.#turned(s),
      presence: (p) => this.#came(p),
      message: (m) => this.#receive(m),
      sent: (m) => this.#receive(m), // from another device of ours
      accepted: (a) => this.#accepted(a),
      refused: (r) => this.#refused(r),
      delivered: (r) => this.#receipt(r, "delivered"),
      read: (r) => this.#receipt(r, "read"),
      conversationRead: (r) => this.#readElsewhere(r),
      missedCall: (c) => this.#line(c.from, { id: c.callId, note: "missed", ts: c.ts }),
      error: (err) => console.warn(err.message), // a login that is out of reach: it tries again
    };
    for (const [name, f] of Object.entries(on)) this.client.on(name, f);
    this.client.socket.on("typing", (e) => this.#typing(e)); // the host's own event
    for (const c of this.conversations.values()) {
      for (const m of c.messages) if (waits(m)) this.#send(c, m);
      this.#look(c);
    }
    this.client.connect();
  }

  /** Says goodbye: the others see us go at once. */
  close() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.client.close();
  }

  conversation(peer) {
    let c = this.conversations.get(peer);
    if (!c) this.conversations.set(peer, (c = new Conversation(peer)));
    return c;
  }

  /** Everybody to be listed: who is online, and who has said something. */
  people() {
    const all = new Set(this.online);
    for (const c of this.conversations.values()) if (c.messages.length) all.add(c.peer);
    if (this.#open) all.add(this.#open);
    all.delete(this.me);
    return [...all]
      .map((peer) => ({ peer, online: this.online.has(peer), conversation: this.conversation(peer) }))
      .sort((a, b) => b.online - a.online || a.peer.localeCompare(b.peer));
  }

  // Connecting

  async #token(why) {
    if (why !== "connect") this.#session.forgetToken();
    return this.#session.freshToken();
  }

  #turned({ state, error }) {
    if (state === "closed") return;
    if (state === "ended") {
      if (REFUSALS.includes(error.code)) this.#tell("refused", error.code);
      else this.#tell("ended");
      return;
    }
    this.connection = state === "connected" ? "online" : state;
    this.#tell("connection", this.connection);
  }

  // Presence

  #came({ chatPath, online }) {
    if (online) this.online.add(chatPath);
    else this.online.delete(chatPath);
    const c = this.conversations.get(chatPath);
    if (c && !online) c.typing = false;
    this.#news ??= this.#later(() => {
      this.#news = null;
      this.#tell("presence"); // of many who are there at once, once
    }, 0);
  }

  // Messages

  /** content is {text} or {text, photo: {type, width, height, data}}. */
  send(peer, content) {
    const c = this.conversation(peer);
    const m = { id: randomId(), mine: true, content, ts: Date.now(), status: "pending" };
    c.messages.push(m);
    this.#typingSaid = 0;
    this.#tell("message", c, m);
    this.#send(c, m);
  }

  /** Tries one again that was refused. It is the last now: so it is for the other one. */
  retry(peer, m) {
    const c = this.conversation(peer);
    c.messages.splice(c.messages.indexOf(m), 1);
    c.messages.push(m);
    if (m.error === "offline") m.id = randomId(); // the server is done with the old one
    m.status = "pending";
    this.#tell("message", c, m);
    this.#send(c, m);
  }

  /** A line of the page's own, about a call. */
  note(peer, key) {
    this.#line(peer, { id: randomId(), note: key, ts: Date.now() });
  }

  #line(peer, line) {
    const c = this.conversation(peer);
    if (c.messages.some((m) => m.id === line.id && m.note)) return; // a replay
    const m = { ...line, mine: true, status: "read" };
    c.messages.push(m);
    this.#tell("message", c, m);
  }

  #send(c, { id, content }) {
    this.client.send({ to: c.peer, id, content });
  }

  #waiting(to, id) {
    const c = this.conversation(to);
    return [c, c.messages.find((m) => m.id === id && waits(m))]; // none: its receipt was faster
  }

  #accepted({ id, to, ts, delivery }) {
    const [c, m] = this.#waiting(to, id);
    if (!m) return;
    if (delivery === "offline") return this.#fail(c, m, delivery, true); // he is away, and this server keeps nothing
    m.ts = ts;
    this.#step(c, m, delivery);
  }

  #refused({ id, to, error }) {
    const [c, m] = this.#waiting(to, id);
    if (m && error.code !== "closed" && error.code !== "ended") this.#fail(c, m, error.code, error.retryable);
  }

  #fail(c, m, error, retryable) {
    m.status = "failed";
    m.error = error;
    m.retryable = retryable;
    this.#tell("changed", c, m);
  }

  #step(c, m, status) {
    if (STEPS.indexOf(status) <= STEPS.indexOf(m.status)) return;
    m.status = status;
    this.#tell("changed", c, m);
  }

  #receive({ id, from, to, content, ts }) {
    const mine = from === this.me;
    const peer = mine ? to : from;
    if (peer === this.me) return; // a note to oneself: this page does not show them
    const c = this.conversation(peer);
    if (!c.messages.some((m) => m.mine === mine && m.id === id)) {
      const m = { id, mine, content, ts: ts ?? Date.now(), status: "sent" };
      c.messages.push(m);
      if (!mine) c.typing = false;
      this.#tell("message", c, m);
    }
    if (!mine) this.#look(c);
  }

  // Ticks

  /** peer's conversation is on the screen; null: none is, or nobody looks. */
  open(peer) {
    this.#open = peer;
    if (peer) this.#look(this.conversation(peer));
  }

  /** What is on the screen is read. */
  #look(c) {
    if (c.peer === this.#open && c.unread) {
      for (const m of c.upTo(false)) m.seen = true;
      this.#tell("conversation", c);
    }
    c.report ??= this.#later(() => this.#report(c), 0); // of many that come at once, the last
  }

  /** Tells the server, and so the sender and our other devices, how far we have read. */
  #report(c) {
    c.report = null;
    const last = c.messages.findLast((m) => !m.mine && m.seen);
    if (!last || last.id === c.reported) return;
    c.reported = last.id;
    this.client.markAsRead(c.peer, last.id);
  }

  #receipt({ by: peer, upToId }, status) {
    const c = this.conversations.get(peer);
    if (!c) return;
    // It tells nothing of what waits or was refused, though that stands before
    // upToId; unless it is the very one, and the receipt was faster than the ack.
    for (const m of c.upTo(true, upToId)) {
      if (taken(m) || (waits(m) && m.id === upToId)) this.#step(c, m, status);
    }
  }

  #readElsewhere({ with: peer, upToId }) {
    const c = this.conversations.get(peer);
    if (!c) return;
    for (const m of c.upTo(false, upToId)) m.seen = true;
    c.reported = upToId;
    this.#tell("conversation", c);
  }

  // Typing

  /** Called for every key: says so every now and then. */
  typing(peer) {
    if (Date.now() - this.#typingSaid < TYPING_EVERY) return;
    this.#typingSaid = Date.now();
    this.client.socket.volatile.emit("typing", { senderChatPath: this.me, recipientChatPath: peer });
  }

  #typing({ senderChatPath }) {
    const c = this.conversation(senderChatPath);
    c.typing = true;
    this.#cancel(c.timer);
    c.timer = this.#later(() => {
      c.typing = false;
      this.#tell("conversation", c);
    }, TYPING_LASTS);
    this.#tell("conversation", c);
  }

  // What survives a reload

  get #key() {
    return `heymanito.messages.${this.me}`;
  }

  /** Keeps the messages for this tab, and our place in the inbox; photos are too big for that. */
  save() {
    const conversations = [];
    for (const c of this.conversations.values()) {
      const messages = c.messages
        .filter((m) => !(m.content?.photo && (waits(m) || m.status === "failed")))
        .slice(-KEPT)
        .map((m) => (m.content?.photo ? { ...m, content: { ...m.content, photo: { gone: true } } } : m));
      if (messages.length) conversations.push([c.peer, messages]);
    }
    try {
      sessionStorage.setItem(this.#key, JSON.stringify({ position: this.#position, conversations }));
    } catch {
      // no room: what was kept before is kept, messages and place
    }
  }

  #restore() {
    try {
      const { position, conversations } = JSON.parse(sessionStorage.getItem(this.#key));
      for (const [peer, messages] of conversations) this.conversation(peer).messages = messages;
      this.#position = position ?? null;
    } catch {
      // nothing was kept, or somebody else wrote it
    }
  }

  #later(f, ms) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      f();
    }, ms);
    this.#timers.add(timer);
    return timer;
  }

  #cancel(timer) {
    clearTimeout(timer);
    this.#timers.delete(timer);
  }

  #tell(name, ...detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
