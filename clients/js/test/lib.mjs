// A client that remembers what it was told, on the server of the end-to-end tests.
import { HeyManito } from "heymanito";
import { DEADLINE, link, until } from "../../../e2e/lib.mjs";

export { DEADLINE, link, restart, scratch, startServer, until } from "../../../e2e/lib.mjs";

const EVENTS = ["message", "sent", "accepted", "refused", "delivered", "read", "conversationRead", "missedCall", "erased", "ready", "presence", "call", "state", "error"];

/** How fast everything is that need not be slow. */
const io = { transports: ["websocket"], reconnectionDelay: 50, reconnectionDelayMax: 200 };

/** A device of somebody's: a client, and what it was told, in order. */
export class Device {
  told = []; // {name, event}
  #taken = new Set();

  constructor(server, chatPath, options = {}) {
    this.client = new HeyManito({ url: server.url, chatPath, times: { retry: 20 }, ...options, io: { ...io, ...options.io } });
    for (const name of EVENTS) this.client.on(name, (event) => void this.told.push({ name, event }));
  }

  /** Connects, and has had what was kept. */
  async join() {
    this.client.connect();
    await this.take("ready");
    return this;
  }

  all(name) {
    return this.told.filter((t) => t.name === name).map((t) => t.event);
  }

  /** The contents of all messages, in order. */
  get contents() {
    return this.all("message").map((m) => m.content);
  }

  /** The first event of that name that matches and was not taken before. */
  async take(name, match = () => true, ms = DEADLINE) {
    const found = await until(
      () => `${this.client.chatPath}: ${name}; told: ${JSON.stringify(this.told.map((t) => t.name)).slice(-500)}`,
      () => this.told.find((t) => t.name === name && !this.#taken.has(t) && match(t.event)),
      ms,
    );
    this.#taken.add(found);
    return found.event;
  }

  state(state) {
    return until(() => `${this.client.chatPath} is ${state}, it is ${this.client.state}`, () => this.client.state === state);
  }
}

let count = 0;

/** Makes devices of users whom no other test has, and closes them all. */
export async function on(server, body) {
  const prefix = `js${process.pid}-${count++}-`;
  const devices = [];
  const links = [];
  const stage = {
    user: (name) => prefix + name,
    device(name, { via = server, ...options } = {}) {
      const device = new Device(via, prefix + name, options);
      devices.push(device);
      return device;
    },
    join: (name, options) => stage.device(name, options).join(),
    async link() {
      const l = await link(server.addr);
      links.push(l);
      return l;
    },
  };
  try {
    await body(stage);
  } finally {
    for (const d of devices) d.client.close();
    for (const l of links) l.close();
  }
}

/** Resolves to the next such event of a call's. */
export function next(call, name) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`a call that is ${call.state} said no "${name}"`)), DEADLINE);
    call.once(name, (event) => {
      clearTimeout(timer);
      resolve(event);
    });
  });
}
