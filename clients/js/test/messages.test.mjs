// Messages, receipts and presence, between clients of one server.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { HeyManitoError } from "heymanito";
import { on, startServer, until } from "./lib.mjs";

describe("messages", { timeout: 60_000 }, () => {
  let server;
  before(async () => (server = await startServer("-offline-grace=200ms", "-device-rate=50", "-device-burst=20", "-max-payload=100000")));
  after(() => server.stop());

  for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
    test(`on ${transports}: sent, delivered, read; the other device of each knows`, () =>
      on(server, async (s) => {
        const io = { transports };
        const ana = await s.join("ana", { io, profile: { name: "Ana" } });
        const [ben, tablet, laptop] = [await s.join("ben", { io }), await s.join("ben", { io }), await s.join("ana", { io })];
        const photo = Uint8Array.from([1, 2, 3]);
        const sending = ana.client.send({ to: s.user("ben"), content: { text: "hola", photo } });
        const sent = await sending;
        assert.equal(sent.id, sending.id);
        assert.equal(sent.to, s.user("ben"));
        assert.equal(sent.delivery, "sent");
        assert.ok(Math.abs(sent.ts - Date.now()) < 60_000);
        for (const device of [ben, tablet]) {
          const m = await device.take("message");
          assert.deepEqual(Buffer.from(m.content.photo), Buffer.from(photo));
          assert.deepEqual({ ...m, content: m.content.text }, { id: sent.id, from: s.user("ana"), to: s.user("ben"), content: "hola", profile: { name: "Ana" }, ts: sent.ts });
        }
        assert.equal((await laptop.take("sent")).id, sent.id);
        const delivered = await ana.take("delivered");
        assert.deepEqual([delivered.by, delivered.upToId], [s.user("ben"), sent.id]);
        await ben.client.markAsRead(s.user("ana"), sent.id);
        const read = await ana.take("read");
        assert.deepEqual([read.by, read.upToId], [s.user("ben"), sent.id]);
        const elsewhere = await tablet.take("conversationRead");
        assert.deepEqual([elsewhere.with, elsewhere.upToId], [s.user("ana"), sent.id]);
        assert.deepEqual(ben.all("conversationRead"), []);
        assert.deepEqual(ana.all("sent"), []);
        assert.deepEqual(ana.all("accepted"), [sent]);
      }));
  }

  test("a message is delivered once its handlers have run, and not before", () =>
    on(server, async (s) => {
      const ana = await s.join("ana");
      const ben = s.device("ben");
      let stored;
      ben.client.on("message", () => new Promise((done) => (stored = done)));
      await ben.join();
      await ana.client.send({ to: s.user("ben"), content: 1 });
      await ana.client.send({ to: s.user("ben"), content: 2 });
      await ben.take("message");
      // What ben writes now comes behind any receipt of what he has.
      await ben.client.send({ to: s.user("ana"), content: "still storing" });
      await ana.take("message");
      assert.deepEqual(ana.all("delivered"), []);
      assert.equal(ben.all("message").length, 1, "the second waits for the first");
      stored();
      await ben.take("message");
      stored();
      await ana.take("delivered");
    }));

  test("more than the server takes at once arrives, in order", () =>
    on(server, async (s) => {
      const ana = await s.join("ana");
      const ben = await s.join("ben");
      const contents = Array.from({ length: 40 }, (_, i) => i);
      await Promise.all(contents.map((content) => ana.client.send({ to: s.user("ben"), content })));
      await until("all are there", () => ben.contents.length === contents.length);
      assert.deepEqual(ben.contents, contents);
      assert.deepEqual(ana.all("error"), []);
    }));

  test("refused for good: what is behind goes on", () =>
    on(server, async (s) => {
      const ana = await s.join("ana");
      const ben = await s.join("ben");
      const to = s.user("ben");
      const big = ana.client.send({ to, content: "x".repeat(200_000) });
      const cyclic = {};
      cyclic.self = cyclic;
      const noJson = ana.client.send({ to, content: cyclic });
      const noUser = ana.client.send({ to: "", content: 1 });
      const behind = ana.client.send({ to, content: "behind" });
      const code = (code) => (err) => err instanceof HeyManitoError && err.code === code && !err.retryable;
      await assert.rejects(big, code("too_large"));
      await assert.rejects(noJson, code("invalid"));
      await assert.rejects(noUser, code("invalid"));
      await assert.rejects(ana.client.markAsRead(to, "never sent"), code("not_found"));
      await behind;
      await ben.take("message");
      assert.deepEqual(ben.contents, ["behind"]);
      assert.deepEqual(ana.all("refused").map((r) => r.error.code).sort(), ["invalid", "invalid", "too_large"]);
    }));

  test("an AbortSignal gives up what waits, and nothing else", () =>
    on(server, async (s) => {
      const ben = await s.join("ben");
      const ana = s.device("ana");
      const giveUp = new AbortController();
      const to = s.user("ben");
      const first = ana.client.send({ to, content: 1, signal: giveUp.signal });
      const second = ana.client.send({ to, content: 2 });
      giveUp.abort("no more");
      await assert.rejects(first, (err) => err.code === "aborted" && err.cause === "no more");
      await assert.rejects(ana.client.send({ to, content: 3, signal: giveUp.signal }), { code: "aborted" });
      await ana.join();
      await second;
      giveUp.abort();
      await ben.take("message");
      assert.deepEqual(ben.contents, [2]);
      const waits = s.device("ana").client;
      const closed = waits.send({ to, content: 4 });
      waits.close();
      await assert.rejects(closed, { code: "closed" });
    }));

  test("presence is kept up to date", () =>
    on(server, async (s) => {
      const ana = await s.join("ana");
      const [me, other] = [s.user("ana"), s.user("ben")];
      assert.ok(ana.client.isOnline(me) && !ana.client.isOnline(other));
      const ben = await s.join("ben");
      await ana.take("presence", (p) => p.chatPath === other && p.online);
      assert.ok(ana.client.isOnline(other) && ben.client.isOnline(me));
      ben.client.close();
      const gone = await ana.take("presence", (p) => p.chatPath === other && !p.online);
      assert.ok(Math.abs(gone.lastSeen - Date.now()) < 60_000);
      assert.deepEqual(ana.client.presence.get(other), gone);
      // He comes and goes while she is not there.
      const link = await s.link();
      const carl = await s.join("carl", { via: link });
      const again = await s.join("ben");
      await carl.take("presence", (p) => p.chatPath === other && p.online);
      link.cut();
      await carl.state("reconnecting");
      assert.ok(carl.client.isOnline(other), "as far as he knows");
      again.client.close();
      await ana.take("presence", (p) => p.chatPath === other && p.online);
      await ana.take("presence", (p) => p.chatPath === other && !p.online);
      link.mend();
      await carl.take("presence", (p) => p.chatPath === other && !p.online);
    }));

  test("a handler that throws is told of, and stops nothing", () =>
    on(server, async (s) => {
      const ana = await s.join("ana");
      const ben = s.device("ben");
      const broken = new Error("broken");
      ben.client.once("message", () => {
        throw broken;
      });
      ben.client.on("message", async () => {
        throw broken;
      });
      await ben.join();
      await ana.client.send({ to: s.user("ben"), content: 1 });
      await ana.client.send({ to: s.user("ben"), content: 2 });
      for (let i = 0; i < 3; i++) {
        const err = await ben.take("error");
        assert.deepEqual([err.code, err.cause], ["handler", broken]);
      }
      assert.deepEqual(ben.contents, [1, 2]);
    }));
});
