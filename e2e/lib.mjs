// What the end-to-end tests share: the example server as a process, stock
// clients that remember what they were told, and a TCP link that can be slow
// or cut.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

export const TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]];

/** How long anything may take that has no time of its own. */
export const DEADLINE = 10_000;

/** Resolves to what look() resolves to, once that is truthy. */
export async function until(what, look, ms = DEADLINE) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) assert.fail(`not within ${ms} ms: ${typeof what === "function" ? what() : what}`);
    await new Promise((done) => setTimeout(done, 5));
  }
}

/** A promise for one call of an emitter's event. */
export function once(emitter, name, ms = DEADLINE) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no "${name}" within ${ms} ms`)), ms);
    emitter.once(name, (...args) => {
      clearTimeout(timer);
      resolve(args);
    });
  });
}

const running = new Set();
const scratches = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  for (const dir of scratches) rmSync(dir, { recursive: true, force: true });
});

/** A directory, until the end of the tests. */
export function scratch() {
  const dir = mkdtempSync(join(tmpdir(), "heymanito-"));
  scratches.add(dir);
  return dir;
}

/** Starts the example without LiveKit. Arguments are its flags. */
export function startServer(...flags) {
  return startServerIn(process.env, "-no-livekit", ...flags);
}

/** Starts the example in an environment. */
export async function startServerIn(env, ...flags) {
  const bin = process.env.EXAMPLE_BIN;
  assert.ok(bin, "EXAMPLE_BIN must be the path of the built example: go build -race -o /some/where ./example (make test does it)");
  const addr = flags.includes("-addr") ? [] : ["-addr", "127.0.0.1:0"];
  const insecure = flags.some((flag) => flag.startsWith("-insecure")) ? [] : ["-insecure"];
  const server = await startProgram(bin, env, ...addr, ...flags, ...insecure);
  return {
    ...server,
    flags: flags.filter((f, i) => f !== "-addr" && flags[i - 1] !== "-addr"),
    keeps: !flags.includes("-no-inbox"),
  };
}

/** Starts a server that says where it listens in its first line. */
export async function startProgram(bin, env, ...args) {
  const child = spawn(bin, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (log += text));
  const exited = new Promise((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
  exited.then(() => running.delete(child));
  const lines = createInterface({ input: child.stdout });
  const first = await Promise.race([
    once(lines, "line", 20_000).then(([line]) => line),
    exited.then(({ code, signal }) => assert.fail(`the server ended with ${code ?? signal} before it listened:\n${log}`)),
  ]);
  lines.on("line", (line) => (log += line + "\n"));
  const url = /^listening on (http:\/\/\S+)$/.exec(first)?.[1];
  assert.ok(url, `the first line of the server is ${JSON.stringify(first)}`);
  return {
    url,
    addr: new URL(url).host,
    pid: child.pid,
    log: () => log,
    /** Ends the server by its pid and checks that it was well until then. */
    async stop(signal = "SIGTERM") {
      if (child.exitCode === null && child.signalCode === null) process.kill(child.pid, signal);
      const late = setTimeout(() => process.kill(child.pid, "SIGKILL"), 30_000);
      const end = await exited;
      clearTimeout(late);
      assert.doesNotMatch(log, /DATA RACE|panic|fatal error/i, "the server's log");
      assert.deepEqual(end, signal === "SIGKILL" ? { code: null, signal } : { code: 0, signal: null }, `the end of the server; its log:\n${log}`);
    },
  };
}

/** Ends a server and starts the next one at its address; flags are the next one's. */
export async function restart(server, signal, flags = server.flags) {
  await server.stop(signal);
  // Somebody else on this machine may have the port for a moment.
  return until("the server has its port back", () => startServer("-addr", server.addr, ...flags).catch(() => null), 30_000);
}

/** The events of the app that exists today, each with exactly one argument. */
const S = new Set([
  "online_users", "contact_online", "contact_offline", "receiveMessage", "messagesRead",
  "incomingCall", "callAccepted", "callRejected",
]);

/** The events of which each is an entry in the inbox of whoever gets it. */
const KEPT = new Set(["receiveMessage", "messageSent", "messagesDelivered", "messagesRead", "conversationRead", "missedCall"]);

/** A stock client that remembers every event, in order. */
export class Client {
  constructor(server, user, { transports, query = { userId: user }, nsp = "", lastSeen = false, stage = "", via, ...options }) {
    this.user = user;
    this.lastSeen = lastSeen;
    this.acking = options.auth?.features?.includes("acks") ?? false;
    this.keeps = server.keeps;
    this.events = []; // {name, args, id, raw}
    this.acks = []; // {id, args, raw}
    this.raw = []; // the text of every Socket.IO packet, as it came
    this.connections = []; // of each, what it was told: events and acks
    this.unasked = 0; // events sent without a callback
    this.taken = new Set();
    this.socket = io((via ?? server).url + nsp, {
      transports, query, forceNew: true, autoConnect: false,
      reconnectionDelay: 50, reconnectionDelayMax: 200, timeout: DEADLINE, ...options,
    });
    this.manager = this.socket.io;
    this.manager.on("open", () => {
      this.connections.push([]);
      this.decoded = this.raw.length;
      this.manager.engine.on("packet", ({ type, data }) => {
        if (type === "message" && typeof data === "string") this.raw.push(data);
      });
      this.manager.engine.on("packetCreate", ({ type, data }) => {
        if (type === "message" && /^(2|5\d+-)\[/.test(data)) this.unasked++;
      });
    });
    this.manager.on("packet", (p) => {
      const raw = this.raw[this.decoded++];
      const told = p.type === 2 ? { name: p.data[0], args: p.data.slice(1), id: p.id, raw } : { id: p.id, args: p.type === 3 && [...p.data], raw };
      // The people of the stage before may still be leaving: that is theirs.
      const stranger = /^contact_o/.test(told.name) && !String(told.args[0]).startsWith(stage);
      if (p.type === 2 && !stranger) this.events.push(told);
      if (p.type === 3) this.acks.push(told);
      if (p.type === 2 || p.type === 3) this.connections.at(-1).push(told);
    });
    this.disconnects = [];
    this.socket.on("disconnect", (reason, details) => {
      this.disconnects.push(reason);
      this.details = details; // for whoever looks into a failure
      if (process.env.E2E_DEBUG) console.error(this.user, reason, details?.description, details?.context?.status);
    });
    this.socket.connect();
  }

  async ready() {
    if (!this.socket.connected) {
      await new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`${this.user} did not connect`)), DEADLINE);
        const end = (f) => (x) => (clearTimeout(timer), f(x));
        this.socket.once("connect", end(resolve));
        this.socket.once("connect_error", end(reject));
      });
    }
    await this.take("online_users");
    if (this.keeps) await this.take("inboxReady"); // from now on what is sent to it is "sent"
    return this;
  }

  /** The first event of that name that matches and was not taken before. */
  async take(name, match = () => true, ms = DEADLINE) {
    const event = await until(
      () => `${this.user}: ${name}; came: ${JSON.stringify(this.events.map((e) => e.name)).slice(0, 500)}`,
      () => this.events.find((e) => e.name === name && !this.taken.has(e) && match(...e.args)),
      ms,
    );
    this.taken.add(event);
    return event.args[0];
  }

  /** Says goodbye; somebody else sees it. */
  async leave(witness) {
    this.socket.disconnect();
    await witness.take("contact_offline", (user) => user === this.user);
  }

  named(name) {
    return this.events.filter((e) => e.name === name);
  }

  /** Sends an event and resolves to its ack. */
  async emit(name, ...args) {
    const ack = await this.socket.timeout(DEADLINE).emitWithAck(name, ...args);
    return ack;
  }

  message(to, id, content, more = {}) {
    return { id, senderChatPath: this.user, recipientChatPath: to, content, senderProfile: { name: this.user }, ...more };
  }

  send(to, id, content, more) {
    return this.emit("sendMessage", this.message(to, id, content, more));
  }

  /** Sends a Socket.IO packet as it is, with attachments behind it. */
  write(text, ...attachments) {
    this.manager.engine.write(text);
    for (const a of attachments) this.manager.engine.write(a);
  }

  /** Writes an event as text and resolves to its ack; kind is 2 or "5N-". */
  async writeEvent(id, array, { kind = "2", attachments = [] } = {}) {
    this.write(`${kind}${id}${array}`, ...attachments);
    const ack = await until(() => `${this.user}: ack ${id} of ${array.slice(0, 200)}`, () => this.acks.find((a) => a.id === id));
    return ack.args[0];
  }

  upgraded() {
    return until(`${this.user} is on WebSocket`, () => this.manager.engine?.transport.name === "websocket");
  }

  /** Leaves politely, after a look at everything the client was told. */
  close() {
    this.socket.disconnect();
    for (const e of this.events) {
      const args = this.lastSeen && e.name === "contact_offline" ? 2 : 1;
      if (S.has(e.name)) assert.equal(e.args.length, args, `arguments of ${e.name}: ${e.raw}`);
      assert.equal(e.id !== undefined, this.acking && e.name === "receiveMessage", `whether ${e.name} asks for an ack: ${e.raw}`);
    }
    for (const told of this.connections) this.checkInbox(told);
  }

  /**
   * What a connection was told of its inbox: every entry once, by a seq that
   * grows by one; the device that acts has its own in the ack. inboxReady is at
   * the place where it says it is.
   */
  checkInbox(told) {
    let last = null; // the seq up to which it was told
    let ready = false;
    let missing = 0; // entries of events that asked for no ack
    const next = (seq, what) => {
      assert.ok(Number.isSafeInteger(seq) && seq > 0, `${this.user}: the seq of ${what}`);
      if (last !== null) {
        assert.ok(seq > last, `${this.user}: seq ${last}, then ${what}`);
        missing += seq - last - 1;
      }
      last = seq;
    };
    for (const { name, args: [a], raw } of told) {
      if (name === "inboxReady") {
        assert.ok(!ready, `${this.user}: a second ${raw}`);
        assert.deepEqual(Object.keys(a), ["epoch", "seq", "complete", "now"]);
        assert.ok(Number.isSafeInteger(a.seq) && a.seq >= (last ?? 0), `${this.user}: seq ${last}, then ${raw}`);
        missing += a.seq - (last ?? a.seq);
        ready = true;
        last = a.seq;
      } else if (name === undefined) {
        if (a?.seq > (last ?? 0) && !a.duplicate) next(a.seq, raw);
      } else if (this.keeps && KEPT.has(name)) {
        if (a.seq !== undefined) next(a.seq, raw);
        else assert.match(name, /^messages|^conversation/, `only receipts of what no inbox knows have no seq: ${raw}`);
      } else if (name !== "online_users") {
        assert.equal(a?.seq, undefined, `${this.user}: ${raw}`);
      }
    }
    if (!this.keeps) assert.ok(!ready && last === null, `${this.user}: there is no inbox`);
    assert.ok(missing <= this.unasked, `${this.user}: ${missing} seqs are missing, ${this.unasked} events asked for no ack: \n${told.map((e) => e.raw.slice(0, 200)).join("\n")}`);
  }
}

/**
 * A client that keeps its position, and what it was told, over any number of
 * connections: kept is every entry, once. What a replay brings counts when
 * inboxReady has said whether it goes on from the position.
 */
export class Keeper extends Client {
  kept = []; // {name, seq, …the event's argument}
  arrivals = []; // every inboxReady
  #epoch = null;
  #seq = 0;
  #replay = null; // what came before inboxReady

  constructor(server, user, options) {
    super(server, user, { ...options, auth: (give) => give({ since: this.#since(), ...options.auth }) });
    this.acking = options.auth?.features?.includes("acks") ?? false;
    this.socket.on("connect", () => (this.#replay = []));
    this.socket.on("inboxReady", (r) => this.#arrived(r));
    for (const name of KEPT) this.socket.on(name, (e) => e.seq !== undefined && this.#told({ name, ...e }));
  }

  #since() {
    return this.#epoch === null ? {} : { epoch: this.#epoch, seq: this.#seq };
  }

  #told(entry) {
    if (this.#replay) this.#replay.push(entry);
    else this.#keep(entry);
  }

  #keep(entry) {
    this.#seq = Math.max(this.#seq, entry.seq);
    this.kept.push({ epoch: this.#epoch, ...entry });
  }

  #arrived(r) {
    this.arrivals.push(r);
    if (r.epoch !== this.#epoch) [this.#epoch, this.#seq] = [r.epoch, 0];
    const replay = this.#replay;
    this.#replay = null;
    for (const entry of replay) this.#keep(entry);
    this.#seq = Math.max(this.#seq, r.seq);
  }

  /** Like emit; its own entry's seq is in the ack. */
  async emit(name, ...args) {
    const ack = await super.emit(name, ...args);
    if (ack.seq !== undefined && !ack.duplicate) this.#told({ name: `ack of ${name}`, id: ack.id, seq: ack.seq });
    return ack;
  }
}

/** Makes clients with unique users on one server, and closes them all. */
export class Stage {
  static count = 0;

  constructor(server, transports) {
    this.server = server;
    this.transports = transports;
    this.prefix = `t${process.pid}-${Stage.count++}-`;
    this.clients = [];
    this.links = [];
  }

  user(name) {
    return this.prefix + name;
  }

  start(name, { as = Client, ...options } = {}) {
    const c = new as(this.server, this.user(name), { transports: this.transports, stage: this.prefix, ...options });
    this.clients.push(c);
    return c;
  }

  join(name, options) {
    return this.start(name, options).ready();
  }

  async link(options) {
    const l = await link(this.server.addr, options);
    this.links.push(l);
    return l;
  }

  close() {
    try {
      for (const c of this.clients) c.close();
    } finally {
      for (const c of this.clients) c.socket.disconnect();
      for (const l of this.links) l.close();
    }
  }
}

/** Runs body on a stage of its own. */
export async function on(server, transports, body) {
  const stage = new Stage(server, transports);
  try {
    await body(stage);
  } finally {
    stage.close();
  }
}

/**
 * A TCP link to addr. rate: bytes a second in each direction, over all its
 * connections; delay: ms that every piece takes on top.
 */
export function link(addr, { rate = Infinity, delay = 0 } = {}) {
  const [host, port] = addr.split(":");
  const pairs = new Set();
  let cut = false;
  let deaf = false;
  let moved = Date.now();
  const buckets = [bucket(rate), bucket(rate)];
  const listener = net.createServer({ allowHalfOpen: true }, (near) => {
    near.on("error", () => {});
    if (cut) return near.destroy();
    const far = net.connect({ host, port: Number(port), allowHalfOpen: true });
    far.on("error", () => {});
    const pair = [near, far];
    pairs.add(pair);
    for (const [i, from] of pair.entries()) {
      const to = pair[1 - i];
      carry(from, to, (bytes) => ((moved = Date.now()), buckets[i](bytes) + delay), () => i === 1 && deaf);
      from.on("close", () => {
        to.destroy();
        pairs.delete(pair);
      });
    }
  });
  return new Promise((resolve) => {
    listener.listen(0, "127.0.0.1", () =>
      resolve({
        url: `http://127.0.0.1:${listener.address().port}`,
        /**
         * Waits for the line to be quiet: the client is where it wants to be.
         * Between two polls, or before an upgrade, a server cannot notice that
         * a client is cut off.
         */
        quiet: () => until("the line is quiet", () => pairs.size > 0 && Date.now() - moved > 100),
        /** Breaks every connection, and refuses new ones until mend. */
        cut() {
          cut = true;
          for (const pair of pairs) for (const s of pair) s.destroy();
        },
        mend() {
          cut = deaf = false;
        },
        /** From now on the client hears nothing more, and does not notice. */
        deafen() {
          deaf = true;
        },
        close() {
          listener.close();
          this.cut();
        },
      }),
    );
  });
}

/** The time from which a link is free again, in turn. */
function bucket(rate) {
  let free = 0;
  return (bytes) => {
    const now = Date.now();
    free = Math.max(free, now) + (bytes * 1000) / rate;
    return free - now;
  };
}

async function carry(from, to, wait, lost) {
  try {
    for await (const chunk of from) {
      if (lost()) continue;
      for (let i = 0; i < chunk.length; i += 2048) {
        const piece = chunk.subarray(i, i + 2048);
        const ms = wait(piece.length);
        if (ms >= 1) await new Promise((done) => setTimeout(done, ms));
        if (!to.write(piece)) await new Promise((done) => to.once("drain", done).once("close", done));
      }
    }
    to.end();
  } catch {
    to.destroy(); // the other side has gone
  }
}

/** One HTTP request, with headers that fetch would not let through. */
export function request(url, { method = "GET", headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const r = http.request(url, { method, headers, agent: false }, (res) => {
      let text = "";
      res.setEncoding("utf8").on("data", (part) => (text += part));
      res.on("end", () => resolve({ status: res.statusCode, headers: res.headers, text, json: () => JSON.parse(text) }));
    });
    r.on("error", reject);
    r.setTimeout(DEADLINE, () => r.destroy(new Error(`${method} ${url}: no answer`)));
    r.end(body);
  });
}
