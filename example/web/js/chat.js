// Presence, messages, ticks and "typing": what the page knows, and the only
// place that talks to the server about it. It knows nothing of the DOM.
//
// The server keeps what people miss, and the page its place in that: it says
// where it is whenever it connects, and is told what came after. What has no
// answer yet is sent again after a reconnect, with the same id, and is handled
// once. A conversation's messages go one after the other: while one waits, those
// behind it wait too.
import { randomId } from "./session.js";

/**
 * How far a message of ours has come. It never goes back. One that the server
 * refused is "failed", which is none of these steps: it stays until it is tried
 * again.
 */
const STEPS = ["pending", "queued", "sent", "delivered", "read"];
const ACK_TIMEOUT = 60_000; // a photo on a slow line
const TYPING_EVERY = 2_000;
const TYPING_LASTS = 4_000;
const KEPT = 200; // messages of a conversation that survive a reload

const waits = (m) => m.mine && m.status === "pending";
const taken = (m) => m.mine && m.status !== "pending" && m.status !== "failed";

class Conversation {
  messages = [];
  typing = false;
  sending = null; // the message that the server has not answered yet
  reported = null; // the id up to which the server knows that ours is read
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
  #refusals = 0;
  #position = {}; // in our inbox: nothing, or {epoch, seq}
  #current = false; // this connection has had what we missed
  #open = null; // the peer on the screen
  #typingSaid = 0;
  #timers = new Set();

  constructor(io, session) {
    super();
    this.#session = session;
    this.me = session.chatPath;
    this.#restore();
    this.socket = io({
      query: { userId: this.me },
      // A function: every reconnect asks for a token that is good then.
      auth: (give) => this.#auth(give),
      transports: ["polling", "websocket"], // starts with the first, moves on to the second
      tryAllTransports: true,
      reconnectionDelay: 500,
      reconnectionDelayMax: 5_000,
      forceNew: true,
    });
    const on = {
      connect: () => this.#connected(),
      disconnect: (reason) => this.#disconnected(reason),
      connect_error: (err) => this.#connectError(err),
      sessionEnded: () => this.#tell("ended"),
      authExpiring: () => this.#refresh(),
      online_users: (users) => this.#onlineUsers(users),
      contact_online: (user) => this.#contactOnline(user),
      contact_offline: (user) => this.#contactOffline(user),
      inboxReady: (r) => this.#caughtUp(r),
      typing: (e) => this.#typing(e),
    };
    const kept = {
      receiveMessage: (m) => this.#receive(m),
      messageSent: (m) => this.#receive(m), // from another device of ours
      messagesDelivered: (r) => this.#receipt(r, "delivered"),
      messagesRead: (r) => this.#receipt(r, "read"),
      conversationRead: (r) => this.#readElsewhere(r),
      missedCall: (c) => this.#line(c.callerId, { id: c.callId, note: "missed", ts: c.ts }),
      entryErased: () => {}, // of somebody whose account is gone: what is here stays here
    };
    for (const [name, f] of Object.entries(on)) this.socket.on(name, f);
    for (const [name, f] of Object.entries(kept)) {
      this.socket.on(name, (e) => {
        f(e);
        this.#passed(e.seq);
      });
    }
  }

  /** Says goodbye: the others see us go at once. */
  close() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.socket.off();
    this.socket.disconnect();
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

  async #auth(give) {
    let token;
    try {
      token = await this.#session.freshToken();
    } catch {
      token = this.#session.token; // the connection has the next word
    }
    give({ token, deviceId: this.#session.deviceId, since: this.#position });
  }

  async #refresh() {
    try {
      this.socket.emit("refreshAuth", { token: await this.#session.freshToken() });
    } catch {
      // The connection is closed when the token ends, and asks for another then.
    }
  }

  #connected() {
    this.#refusals = 0;
    this.#current = false;
    this.#setConnection("online");
  }

  // What comes before inboxReady may be of an inbox that has begun anew: our
  // place in it is known from then on.
  #caughtUp({ epoch, seq }) {
    this.#position = { epoch, seq };
    this.#current = true;
  }

  #passed(seq) {
    if (this.#current && seq > this.#position.seq) this.#position.seq = seq;
  }

  #disconnected(reason) {
    if (reason === "io server disconnect") {
      this.#tell("ended"); // it wants us to stay away
      return;
    }
    this.#setConnection("reconnecting");
  }

  #connectError(err) {
    const code = err.data?.code;
    if (!code) {
      if (this.connection !== "connecting") this.#setConnection("reconnecting");
      return; // no network, or the server is not there: the client tries again
    }
    // CONNECT_ERROR: the client has stopped, it is up to us.
    if (code === "unauthorized" && ++this.#refusals < 4) {
      this.#session.forgetToken();
      this.#later(() => this.socket.connect(), 250 * this.#refusals);
      return;
    }
    this.#tell("refused", code);
  }

  #setConnection(state) {
    this.connection = state;
    this.#tell("connection", state);
  }

  // Presence

  /** The first event of every connection: what we could not say is said now. */
  #onlineUsers(users) {
    this.online = new Set(Object.keys(users));
    this.#tell("presence");
    for (const c of this.conversations.values()) {
      this.#flush(c);
      this.#look(c);
    }
  }

  #contactOnline(user) {
    this.online.add(user);
    this.#tell("presence");
  }

  #contactOffline(user) {
    this.online.delete(user);
    const c = this.conversations.get(user);
    if (c) c.typing = false;
    this.#tell("presence");
  }

  // Messages

  /** content is {text} or {text, photo: {type, width, height, data}}. */
  send(peer, content) {
    const c = this.conversation(peer);
    const m = { id: randomId(), mine: true, content, ts: Date.now(), status: "pending" };
    c.messages.push(m);
    this.#typingSaid = 0;
    this.#tell("message", c, m);
    this.#flush(c);
  }

  /** Tries one again that was refused. It is the last now: so it is for the other one. */
  retry(peer, m) {
    const c = this.conversation(peer);
    c.messages.splice(c.messages.indexOf(m), 1);
    c.messages.push(m);
    if (m.error === "offline") m.id = randomId(); // the server is done with the old one
    m.status = "pending";
    this.#tell("message", c, m);
    this.#flush(c);
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

  /** Sends the first message that waits; its answer brings us back for the next. */
  #flush(c) {
    if (!this.socket.connected || c.sending) return;
    const m = c.messages.find(waits);
    if (!m) return;
    c.sending = m;
    const message = {
      id: m.id,
      senderChatPath: this.me,
      recipientChatPath: c.peer,
      content: m.content,
      senderProfile: { name: this.me },
    };
    this.socket.timeout(ACK_TIMEOUT).emit("sendMessage", message, (err, ack) => {
      c.sending = null;
      if (!err) this.#answered(c, m, ack);
      this.#flush(c); // does nothing until there is a connection again
    });
  }

  #answered(c, m, ack) {
    this.#passed(ack.seq);
    if (!waits(m)) return; // its receipt was faster
    if (ack.status !== "ok" || ack.delivery === "offline") {
      m.status = "failed"; // offline: he is away, and this server keeps nothing
      m.error = ack.code ?? ack.delivery;
      m.retryable = ack.retryable ?? true;
      this.#tell("changed", c, m);
      return;
    }
    m.ts = ack.ts;
    this.#step(c, m, ack.delivery);
  }

  #step(c, m, status) {
    if (STEPS.indexOf(status) <= STEPS.indexOf(m.status)) return;
    m.status = status;
    this.#tell("changed", c, m);
  }

  #receive({ id, senderChatPath, recipientChatPath, content, ts }) {
    const mine = senderChatPath === this.me;
    const peer = mine ? recipientChatPath : senderChatPath;
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
    if (!last || last.id === c.reported || !this.socket.connected) return; // online_users will bring us here again
    const receipt = { senderChatPath: c.peer, recipientChatPath: this.me, upToId: last.id };
    this.socket.timeout(ACK_TIMEOUT).emit("markAsRead", receipt, (err, ack) => {
      if (err || ack.retryable) return;
      this.#passed(ack.seq);
      c.reported = last.id;
    });
  }

  #receipt({ senderChatPath: peer, upToId }, status) {
    const c = this.conversations.get(peer);
    if (!c) return;
    // It tells nothing of what waits or was refused, though that stands before
    // upToId; unless it is the very one, and the receipt was faster than the ack.
    for (const m of c.upTo(true, upToId)) {
      if (taken(m) || (m === c.sending && m.id === upToId)) this.#step(c, m, status);
    }
  }

  #readElsewhere({ chatPath, upToId }) {
    const c = this.conversations.get(chatPath);
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
    this.socket.volatile.emit("typing", { senderChatPath: this.me, recipientChatPath: peer });
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
      this.#position = position;
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
