// The server ends, politely or not: clients come back by themselves.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { TRANSPORTS, on, request, startServer, until } from "./lib.mjs";

describe("restart", { timeout: 120_000, concurrency: true }, () => {
  for (const transports of TRANSPORTS) {
    for (const signal of ["SIGTERM", "SIGKILL"]) {
      test(`${signal} on ${transports}: the client sees its transport close and is back at the next server`, async () => {
        let server = await startServer();
        const flags = ["-addr", server.addr];
        try {
          await on(server, transports, async (s) => {
            const [ana, ben] = [await s.join("ana"), await s.join("ben")];
            for (const c of [ana, ben]) if (transports.length === 2) await c.upgraded();
            const ids = [ana.socket.id, ben.socket.id];
            await server.stop(signal);
            for (const c of [ana, ben]) {
              await until("the client noticed", () => c.disconnects.length > 0);
              const polling = transports.length === 1 && transports[0] === "polling";
              const reasons = signal === "SIGKILL" && polling ? ["transport error", "transport close"] : ["transport close"];
              assert.ok(reasons.includes(c.disconnects[0]), c.disconnects[0]);
              assert.ok(c.socket.active, "and will try again");
            }
            ana.socket.emit("sendMessage", ana.message(ben.user, "said while away", 1)); // the client keeps it
            server = await startServer(...flags);
            for (const [i, c] of [ana, ben].entries()) {
              await until("the client is back", () => c.socket.connected, 30_000);
              assert.notEqual(c.socket.id, ids[i]);
              assert.ok(!c.socket.recovered);
              await until("with its list, and all it missed", () => c.named("online_users").length === 2 && c.named("inboxReady").length === 2);
            }
            assert.equal((await ana.send(ben.user, "after", 1)).delivery, "sent");
            await ben.take("receiveMessage", (m) => m.id === "after");
          });
        } finally {
          await server.stop();
        }
      });
    }
  }

  test("SIGTERM answers the polls that wait", async () => {
    const server = await startServer();
    await on(server, ["polling"], async (s) => {
      const all = await Promise.all(Array.from({ length: 20 }, (_, i) => s.join(`u${i}`, { reconnection: false })));
      await server.stop();
      for (const c of all) {
        await until("noticed", () => c.disconnects.length > 0);
        assert.equal(c.disconnects[0], "transport close");
      }
    });
  });

  test("SIGTERM between two polls: what was queued is there for the next one, and the end for the one after that", async () => {
    const server = await startServer();
    const url = `${server.url}/socket.io/?EIO=4&transport=polling&userId=ana`;
    const sid = JSON.parse((await request(url)).text.slice(1)).sid;
    await request(`${url}&sid=${sid}`, { method: "POST", body: "40" });
    await until("let in", async () => (await request(`${url}&sid=${sid}`)).text.includes("online_users"));
    const m = { id: 1, senderChatPath: "ana", recipientChatPath: "ana", content: 1 };
    await request(`${url}&sid=${sid}`, { method: "POST", body: `427${JSON.stringify(["sendMessage", m])}` });
    const stopped = server.stop();
    await until("new clients are refused", async () => (await request(url).catch(() => ({ status: 503 }))).status === 503);
    assert.match((await request(`${url}&sid=${sid}`)).text, /^437\[.*\]$/);
    assert.equal((await request(`${url}&sid=${sid}`)).text, "1");
    await stopped;
  });
});
