// A link of 20 KB/s: what is big takes three quarters of a minute, longer than
// a ping interval and its timeout together, and arrives all the same.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { TRANSPORTS, on, startServer } from "./lib.mjs";

const RATE = 20_000;
const SIZE = 900_000;
const LONG = 150_000;

describe("a slow link", { timeout: 200_000, concurrency: true }, () => {
  let server;
  before(async () => {
    server = await startServer();
  });
  after(() => server.stop());

  for (const transports of TRANSPORTS) {
    for (const [name, up, down] of [["up", 1, 0], ["down", 0, 1], ["both ways at once", 1, 1]]) {
      test(`900 KB ${name} on ${transports}`, () =>
        on(server, ["websocket"], async (s) => {
          const slow = await s.link({ rate: RATE });
          const ana = await s.join("ana", { via: slow, transports, reconnection: false, timeout: 60_000 });
          const ben = await s.join("ben");
          if (transports.length === 2) await ana.upgraded();
          const began = Date.now();
          const carry = async (from, to, text) => {
            const ack = from.socket.timeout(LONG).emitWithAck("sendMessage", from.message(to.user, text[0], text));
            assert.equal((await to.take("receiveMessage", (m) => m.id === text[0], LONG)).content, text);
            assert.equal((await ack).status, "ok");
          };
          await Promise.all([up && carry(ana, ben, "u".repeat(SIZE)), down && carry(ben, ana, "d".repeat(SIZE))]);
          assert.ok(Date.now() - began > 0.9 * (SIZE / RATE) * 1000, "the link was slow");
          assert.equal((await ana.send(ben.user, "after", 1)).delivery, "sent");
          assert.deepEqual(ana.disconnects, []);
        }));
    }
  }
});
