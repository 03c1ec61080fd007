// The host ends a user's connections for good: the stock client is told, and
// stays away, at whatever moment of its connecting and upgrading that happens.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { io } from "socket.io-client";
import { DEADLINE, TRANSPORTS, once, request, startServer } from "./lib.mjs";

describe("kicked", { timeout: 120_000 }, () => {
  let server;
  before(async () => (server = await startServer()));
  after(() => server.stop());

  for (const transports of TRANSPORTS) {
    test(`on ${transports}: sessionEnded, then the end, for good`, async () => {
      const kick = async (user) => (await request(`${server.url}/logout?userId=${user}`, { method: "POST" })).json().devices;
      await Promise.all(
        Array.from({ length: 40 }, async (_, i) => {
          const user = `kicked-${transports}-${i}`;
          const socket = io(server.url, { transports, query: { userId: user }, forceNew: true, reconnectionDelay: 10 });
          try {
            const told = [];
            socket.on("sessionEnded", (e) => told.push(e));
            socket.on("disconnect", (reason) => told.push(reason));
            socket.on("connect", () => told.push("connect"));
            await once(socket, "connect");
            await new Promise((done) => setTimeout(done, i)); // 0 to 39 ms later: before, in and after the upgrade
            const ended = once(socket, "disconnect", DEADLINE);
            assert.equal(await kick(user), 1);
            await ended;
            assert.deepEqual(told, ["connect", { code: "logged_out" }, "io server disconnect"]);
            assert.equal(socket.active, false, "it does not come back");
          } finally {
            socket.disconnect();
          }
        }),
      );
    });
  }
});
