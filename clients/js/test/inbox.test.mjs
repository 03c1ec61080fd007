// What was missed comes once, whatever breaks: the line, the page, the server.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { MemoryStore } from "heymanito";
import { on, restart, scratch, startServer, until } from "./lib.mjs";

describe("inbox", { timeout: 120_000 }, () => {
  /** Runs body with a server that it can have restarted. */
  const withServer = async (flags, body) => {
    let server = await startServer(...flags);
    try {
      await on(server, (s) => body(s, async (signal, flags) => (server = await restart(server, signal, flags))));
    } finally {
      await server.stop();
    }
  };

  test("every message once, in order, over a server that is killed and pages that are loaded anew", () =>
    withServer(["-data", scratch()], async (s, restart) => {
      const stores = { ana: new MemoryStore(), ben: new MemoryStore() };
      const to = s.user("ben");
      let ana = await s.join("ana", { store: stores.ana });
      let ben = await s.join("ben", { store: stores.ben });
      const heard = [];
      const listen = () => ben.client.on("message", (m) => void heard.push(m.content));
      listen();
      let n = 0;
      const expected = [];
      const say = () => {
        expected.push(++n);
        return ana.client.send({ to, content: n });
      };
      for (const signal of ["SIGKILL", "SIGTERM", "SIGKILL"]) {
        await say();
        const unsent = Promise.all([restart(signal), ...Array.from({ length: 5 }, say)]); // while there may be no server
        await unsent;
        await until("ben has all", () => heard.length === expected.length);
        ben.client.close(); // he loads his page anew, and misses some
        await say();
        await say();
        await restart("SIGKILL");
        ben = s.device("ben", { store: stores.ben });
        listen();
        await ben.join();
        await until("ben has what he missed", () => heard.length === expected.length);
        assert.equal(ben.all("ready")[0].complete, true);
        await ben.client.markAsRead(s.user("ana"), ben.all("message").at(-1).id); // its own seq counts as well
        const last = ana.all("accepted").at(-1).id;
        await until("ana knows", () => ana.all("read").some((r) => r.upToId === last));
        ana.client.close();
        ana = await s.join("ana", { store: stores.ana });
        assert.deepEqual(["read", "delivered", "sent", "message"].flatMap((name) => ana.all(name)), [], "she had been told all of it");
      }
      assert.deepEqual(heard, expected);
      ben.client.close();
      ben = await s.join("ben", { store: stores.ben });
      assert.deepEqual(ben.contents, []);
    }));

  test("what was sent over a line that breaks arrives once, in order", () =>
    withServer([], async (s) => {
      const link = await s.link();
      const ana = await s.join("ana", { via: link });
      const ben = await s.join("ben", { via: link });
      const to = s.user("ben");
      const contents = Array.from({ length: 60 }, (_, i) => i);
      const sendings = [];
      for (const content of contents) {
        sendings.push(ana.client.send({ to, content }));
        if (content % 10 === 5) {
          // Some have no answer yet, or it is on its way.
          await until("some are there", () => ana.all("accepted").length > content - 5);
          link.cut();
          await until("she has noticed", () => ana.client.state !== "connected");
          link.mend();
        }
      }
      const sent = await Promise.all(sendings);
      await until("all are there", () => ben.contents.length >= contents.length);
      await ana.client.send({ to, content: "end" });
      await ben.take("message", (m) => m.content === "end");
      assert.deepEqual(ben.contents, [...contents, "end"]);
      assert.deepEqual(ben.all("message").slice(0, -1).map((m) => m.id), sent.map((m) => m.id));
      assert.deepEqual(ana.all("sent"), [], "her own are not told her in a replay");
    }));

  test("a message in a handler when the line breaks is not told again", () =>
    withServer([], async (s) => {
      const link = await s.link();
      const ana = await s.join("ana");
      const ben = s.device("ben", { via: link });
      const stored = [];
      ben.client.on("message", () => new Promise((done) => stored.push(done)));
      await ben.join();
      for (const content of [1, 2, 3]) await ana.client.send({ to: s.user("ben"), content });
      await ben.take("message");
      link.cut();
      await ben.state("reconnecting");
      link.mend();
      await ben.state("connected");
      for (let i = 0; i < 3; i++) await until("the next is told", () => stored[i]).then((done) => done());
      await ben.take("ready");
      assert.deepEqual(ben.contents, [1, 2, 3]);
      await ana.take("delivered", (r) => r.upToId === ana.all("accepted").at(-1).id);
    }));

  test("an inbox that begins anew, and one that has dropped something: complete is false", () =>
    withServer(["-inbox-entries=4"], async (s, restart) => {
      const store = new MemoryStore();
      const ana = await s.join("ana");
      const to = s.user("ben");
      let ben = await s.join("ben", { store });
      assert.equal(ben.all("ready")[0].complete, true);
      await ana.client.send({ to, content: "before" });
      await ben.take("message");
      await restart("SIGTERM"); // it kept everything in memory
      await ana.client.send({ to, content: "after" });
      await ben.take("message", (m) => m.content === "after");
      assert.deepEqual(ben.all("ready").map((r) => r.complete), [true, false]);
      ben.client.close();
      for (let i = 0; i < 6; i++) await ana.client.send({ to, content: i });
      ben = await s.join("ben", { store });
      assert.equal(ben.all("ready")[0].complete, false);
      assert.deepEqual(ben.contents, [2, 3, 4, 5]);
      ben.client.close();
      ben = await s.join("ben", { store });
      assert.deepEqual([ben.contents, ben.all("ready")[0].complete], [[], true]);
    }));

  test("the outbox outlives the page, if it is asked to", () =>
    withServer([], async (s) => {
      const store = new MemoryStore();
      const to = s.user("ben");
      const before = s.device("ana", { store, keepOutbox: true });
      const waiting = [1, 2].map((content) => before.client.send({ to, content }));
      await until("they are kept", () => JSON.parse(store.getItem(`heymanito:${s.user("ana")}:outbox`) ?? "[]").length === 2);
      before.client.close();
      for (const sending of waiting) await assert.rejects(sending, { code: "closed" });
      const ben = await s.join("ben");
      const ana = s.device("ana", { store, keepOutbox: true });
      const next = ana.client.send({ to, content: 3 });
      await ana.join();
      await next;
      await until("all are there", () => ben.contents.length === 3);
      assert.deepEqual(ben.contents, [1, 2, 3]);
      await until("the store is empty", () => store.getItem(`heymanito:${s.user("ana")}:outbox`) === null);
    }));

  test("a store that fails is told of, and the client works on", () =>
    withServer([], async (s) => {
      const broken = () => {
        throw new Error("disk full");
      };
      const ben = await s.join("ben", { store: { getItem: broken, setItem: broken, removeItem: broken } });
      assert.equal((await ben.take("error")).code, "store");
      const ana = await s.join("ana");
      await ana.client.send({ to: s.user("ben"), content: 1 });
      await ben.take("message");
    }));
});
