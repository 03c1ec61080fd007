// Socket.IO's own API under the same connections: bridge/example, with stock
// clients.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { io } from "socket.io-client";
import { DEADLINE, TRANSPORTS, once, scratch, startProgram, until } from "./lib.mjs";

describe("a bridge", { timeout: 120_000 }, () => {
  let server;
  before(async () => {
    const bin = join(scratch(), "bridge-example");
    execFileSync("go", ["build", "-race", "-o", bin, "./example"], { cwd: resolve(import.meta.dirname, "../bridge") });
    server = await startProgram(bin, process.env, "-addr", "127.0.0.1:0");
  });
  after(async () => {
    open.forEach((socket) => socket.disconnect());
    await server.stop();
  });

  const open = [];
  const connect = (transports, user, nsp = "", options = {}) => {
    const socket = io(server.url + nsp, { transports, query: { userId: user }, reconnectionDelay: 10, forceNew: true, ...options });
    open.push(socket);
    return socket;
  };
  for (const transports of TRANSPORTS) {
    test(`on ${transports}: a namespace beside "/" on the same connection`, async () => {
      const agent = connect(transports, `agent-${transports}`, "/support");
      const asked = [];
      agent.on("question", (who, what, answer) => {
        asked.push([who, what]);
        answer("it works for me");
      });
      const ann = connect(transports, "ann");
      const desk = ann.io.socket("/support");
      open.push(desk);
      await Promise.all([agent, ann, desk].map((one) => until("connected", () => one.connected)));
      if (transports.length > 1) await until("upgraded", () => ann.io.engine.transport.name === "websocket");

      assert.equal(await ann.timeout(DEADLINE).emitWithAck("whoami"), "ann");
      assert.equal(await desk.timeout(DEADLINE).emitWithAck("ask", { why: "ñ" }), "it works for me");
      assert.deepEqual(asked, [["ann", { why: "ñ" }]]);
      const ack = await ann.timeout(DEADLINE).emitWithAck("sendMessage", { id: "1", senderChatPath: "ann", recipientChatPath: "ann", content: "note" });
      assert.equal(ack.status, "ok");

      const photo = once(agent, "photo");
      desk.emit("photo", Buffer.from([1, 2, 3]));
      assert.deepEqual((await photo).map((x) => (Buffer.isBuffer(x) ? [...x] : x)), ["ann", [1, 2, 3]]);

      // Leaves "/", and stays at the desk; and comes back.
      ann.disconnect();
      assert.equal(await desk.timeout(DEADLINE).emitWithAck("ask", "still here?"), "it works for me");
      ann.connect();
      await until("back", () => ann.connected && desk.connected);
      assert.equal(await ann.timeout(DEADLINE).emitWithAck("whoami"), "ann");
      assert.equal(await desk.timeout(DEADLINE).emitWithAck("ask", "and now?"), "it works for me");
      agent.disconnect();
    });
  }

  test("a middleware refuses in words, an event that nobody hears is answered", async () => {
    const banned = connect(["websocket"], "banned-bob", "/support", { reconnection: false });
    const [refused] = await once(banned, "connect_error");
    assert.equal(refused.message, "you have asked enough");
    assert.deepEqual(refused.data, { until: "tomorrow" });
    const nowhere = connect(["websocket"], "bob", "/nowhere", { reconnection: false });
    assert.equal((await once(nowhere, "connect_error"))[0].message, "Invalid namespace");
    const bob = connect(["websocket"], "bob");
    assert.equal((await bob.timeout(DEADLINE).emitWithAck("nothing")).code, "invalid");
  });
});
