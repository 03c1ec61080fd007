// Somebody in front of a browser with the example in it: what the browser tests
// share. EXAMPLE_BIN is the program; CHROMIUM may name another browser;
// SCREENSHOTS, a directory, keeps pictures of what was seen.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const DEADLINE = 15_000;
const CLIENT = fileURLToPath(new URL("./node_modules/socket.io-client/dist", import.meta.url));
const TYPED = fileURLToPath(new URL("../clients/js/dist", import.meta.url));
const { SCREENSHOTS } = process.env;

/** Resolves to what look() resolves to, once that is truthy. */
export async function until(what, look, ms = DEADLINE) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) assert.fail(`not within ${ms} ms: ${typeof what === "function" ? await what() : what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** The programs that have not ended yet. */
export const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** Starts the program, with its login. */
export async function startServer(flags, { client = ["-client", CLIENT, "-heymanito-client", TYPED], media = ["-no-livekit"], cwd } = {}) {
  const bin = process.env.EXAMPLE_BIN;
  assert.ok(bin, "EXAMPLE_BIN must be the path of the built example: go build -race -o /some/where ./example (make test does it)");
  if (!flags.includes("-addr")) flags = ["-addr", "127.0.0.1:0", ...flags];
  const child = spawn(bin, [...flags, ...client, ...media], { cwd, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (log += text));
  const exited = new Promise((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
  exited.then(() => running.delete(child));
  const lines = [];
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  await until(() => `the server says where it listens; it said: ${lines} ${log}`, () => lines.length > 0 || child.exitCode !== null, 30_000);
  const url = /^listening on (http:\/\/\S+)$/.exec(lines[0])?.[1];
  assert.ok(url, `the first line of the server is ${lines[0]}\n${log}`);
  return {
    url,
    addr: new URL(url).host,
    pid: child.pid,
    lines,
    log: () => log,
    kill: () => child.kill("SIGKILL"),
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

/** Somebody in front of a browser. */
export class Person {
  errors = []; // of the console, and uncaught ones
  forgiven = /(?!)/;

  static async come(browser, url, name, options) {
    const p = new Person();
    p.name = name;
    p.context = await browser.newContext({ viewport: { width: 1100, height: 720 }, ...options });
    p.page = await p.context.newPage();
    p.page.setDefaultTimeout(DEADLINE);
    p.page.on("console", (m) => m.type() === "error" && p.errors.push(`console: ${m.text()} ${m.location().url}`));
    p.page.on("pageerror", (err) => p.errors.push(`uncaught: ${err.stack}`));
    p.page.on("websocket", (ws) => ws.on("framesent", ({ payload }) => payload === "5" && (p.socket = ws))); // the upgrade
    await p.page.goto(url);
    return p;
  }

  async login() {
    await this.page.getByLabel("Tu nombre").fill(this.name);
    await this.page.keyboard.press("Enter");
    return this.connected();
  }

  async connected() {
    await this.page.locator('body[data-connection="online"]').waitFor();
    return this;
  }

  /** A page that goes away has time for a last word on WebSocket only. */
  upgraded() {
    return until(`${this.name} is on WebSocket`, () => this.socket && !this.socket.isClosed());
  }

  $(selector) {
    return this.page.locator(selector);
  }

  line(peer) {
    return this.page.locator("#people li").filter({ has: this.page.locator(".name").getByText(peer, { exact: true }) });
  }

  /** Waits until the list says of peer that he is online, or is not. */
  sees(peer, online = true) {
    const states = online ? ["true"] : ["false", undefined]; // of whom nothing is known, there is no line
    return until(
      async () => `${this.name} sees ${peer} ${online ? "online" : "offline"}; the list: ${await this.$("#people").innerHTML()}`,
      async () => {
        const seen = await this.page.$$eval("#people li", (items) => items.map((li) => [li.dataset.user, li.dataset.online]));
        return states.includes(new Map(seen).get(peer));
      },
    );
  }

  async open(peer) {
    await this.line(peer).getByRole("button").click();
    await this.$("#peer").getByText(peer, { exact: true }).waitFor();
  }

  async write(text) {
    await this.page.getByLabel("Escribe un mensaje").fill(text);
    await this.page.keyboard.press("Enter");
  }

  /** The message with that text, with that status. */
  message(text, status) {
    const message = this.page.locator(status ? `#messages li[data-status="${status}"]` : "#messages li");
    return message.filter({ has: this.page.locator("p").getByText(text, { exact: true }) });
  }

  async gets(text, status) {
    await this.message(text, status).waitFor();
  }

  press(name) {
    return this.page.getByRole("button", { name, exact: true }).click();
  }

  /** Waits for a call in that state, with these words. */
  async call(state, title) {
    await this.$(`#call[data-state="${state}"] .title`).getByText(title, { exact: true }).waitFor();
  }

  async picture(name) {
    if (!SCREENSHOTS) return;
    await mkdir(SCREENSHOTS, { recursive: true });
    await this.page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
  }

  well() {
    assert.deepEqual(this.errors.filter((e) => !this.forgiven.test(e)), [], `what ${this.name}'s browser complains of`);
  }
}

/** Starts the browser; more are flags of Chromium's. */
export function launch(...more) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync", ...more,
    ],
  });
}
