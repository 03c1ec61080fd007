// Calls, from the ring to the one ending that each has.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { next, on, startServer, until } from "./lib.mjs";

describe("calls", { timeout: 60_000 }, () => {
  let server;
  before(async () => (server = await startServer("-ring-timeout=3s", "-rings-per-pair=3")));
  after(() => server.stop());

  /** Two devices, a call between them that rings, and all endings of both sides. */
  const ring = async (s, options) => {
    const [ana, ben] = [await s.join("ana", options), await s.join("ben")];
    const call = ana.client.call({ to: s.user("ben"), media: "video", info: { name: "Ana" } });
    const endings = [];
    call.on("ended", (e) => endings.push(e));
    const rings = await ben.take("call");
    rings.on("ended", (e) => endings.push(e));
    return { ana, ben, call, rings, endings };
  };
  const ended = (...calls) => until("all have ended", () => calls.every((c) => c.state === "ended"));

  test("ring, answer, hang up: one ending on each side", () =>
    on(server, async (s) => {
      const { ana, ben, call, rings, endings } = await ring(s);
      assert.deepEqual([rings.peer, rings.incoming, rings.media, rings.info, rings.state], [s.user("ana"), true, "video", { name: "Ana" }, "ringing"]);
      await until("she hears it ring", () => call.ringing);
      assert.deepEqual([call.id, call.state, call.incoming], [rings.id, "dialling", false]);
      const answered = [next(call, "answered"), next(rings, "answered")];
      rings.accept();
      rings.accept(); // is nothing
      await Promise.all(answered);
      assert.equal(call.room, rings.room);
      call.connected();
      await until("the server knows", async () => (await ben.client.liveCalls())[0].state === "active");
      assert.deepEqual([ana.client.calls, ben.client.calls], [[call], [rings]]);
      const told = next(rings, "ended");
      call.hangUp();
      assert.equal(call.state, "ended", "at once");
      const over = await told;
      assert.deepEqual([over.reason, over.byUs], ["hangup", false]);
      assert.ok(over.durationMs >= 0);
      await until("she is told how long it was", () => call.ending.durationMs !== undefined);
      assert.deepEqual([call.ending.reason, call.ending.byUs], ["hangup", true]);
      rings.hangUp();
      call.cancel();
      assert.equal(endings.length, 2);
      assert.deepEqual([ana.client.calls, ben.client.calls, await ana.client.liveCalls()], [[], [], []]);
    }));

  test("the callee hangs up", () =>
    on(server, async (s) => {
      const { call, rings, endings } = await ring(s);
      rings.accept();
      await until("they talk", () => call.state === "answered" && rings.state === "answered");
      rings.hangUp();
      await ended(call);
      assert.deepEqual([call.ending.reason, call.ending.byUs, rings.ending.byUs, endings.length], ["hangup", false, true, 2]);
    }));

  test("rejected; the other device of the callee's stops as well", () =>
    on(server, async (s) => {
      const tablet = await s.join("ben");
      const { call, rings, endings } = await ring(s);
      const there = await tablet.take("call");
      rings.reject();
      await ended(call, rings, there);
      assert.deepEqual([call.ending.reason, rings.ending.reason, there.ending.reason], ["declined", "declined", "rejected_elsewhere"]);
      assert.deepEqual([call.ending.byUs, rings.ending.byUs, there.ending.byUs], [false, true, false]);
      assert.equal(endings.length, 2);
    }));

  test("answered on another device", () =>
    on(server, async (s) => {
      const tablet = await s.join("ben");
      const { call, rings } = await ring(s);
      const there = await tablet.take("call");
      there.accept();
      rings.accept(); // one of the two is faster
      await until("one talks", () => [there, rings].some((c) => c.state === "answered") && call.state === "answered");
      const [wins, loses] = there.state === "answered" ? [there, rings] : [rings, there];
      await ended(loses);
      assert.ok(["answered_elsewhere", "over"].includes(loses.ending.reason), loses.ending.reason);
      wins.hangUp();
      await ended(call);
    }));

  test("nobody answers: timeout on both sides, and a missed call", () =>
    on(server, async (s) => {
      const { ben, call, rings, endings } = await ring(s);
      await ended(call, rings);
      assert.deepEqual(endings.map((e) => [e.reason, e.byUs]), [["timeout", false], ["timeout", false]]);
      const missed = await ben.take("missedCall");
      assert.deepEqual([missed.callId, missed.from, missed.reason, missed.info], [call.id, s.user("ana"), "timeout", { name: "Ana" }]);
    }));

  test("cancelled, also before the server has answered", () =>
    on(server, async (s) => {
      const { ana, ben, call, rings } = await ring(s);
      call.cancel();
      await ended(rings);
      assert.deepEqual([call.ending, rings.ending.reason], [{ reason: "caller_cancelled", byUs: true, durationMs: undefined }, "caller_cancelled"]);
      const dial = ana.client.call({ to: s.user("ben") });
      await Promise.resolve(); // it is on its way
      dial.cancel();
      assert.equal(dial.state, "ended");
      const second = await ben.take("call");
      await ended(second);
      assert.equal(second.ending.reason, "caller_cancelled");
    }));

  test("refused: offline, busy, too many", () =>
    on(server, async (s) => {
      const ana = await s.join("ana");
      const dial = async (to) => (await next(ana.client.call({ to: s.user(to) }), "ended")).reason;
      assert.equal(await dial("nobody"), "offline");
      const [ben, carl] = [await s.join("ben"), await s.join("carl")];
      const theirs = carl.client.call({ to: s.user("ben") });
      const rings = await ben.take("call");
      assert.equal(await dial("ben"), "busy");
      rings.accept();
      await next(theirs, "answered");
      theirs.connected();
      await until("the server knows", async () => (await carl.client.liveCalls())[0].state === "active");
      assert.equal(await dial("ben"), "busy");
      assert.equal(await dial("nobody"), "offline");
      assert.equal(await dial("nobody"), "offline");
      assert.equal(await dial("nobody"), "rate_limited");
    }));

  test("a rejection that is faster than the ack of the dial", () =>
    on(server, async (s) => {
      const ana = await s.join("ana");
      const ben = s.device("ben");
      ben.client.on("call", (c) => c.reject("busy"));
      await ben.join();
      for (let i = 0; i < 3; i++) {
        const { reason } = await next(ana.client.call({ to: s.user("ben") }), "ended");
        assert.equal(reason, "busy");
      }
    }));

  test("glare: two who call each other are in one call", () =>
    on(server, async (s) => {
      const [ana, ben] = [await s.join("ana"), await s.join("ben")];
      const calls = [ana.client.call({ to: s.user("ben"), media: "video" }), ben.client.call({ to: s.user("ana"), media: "audio" })];
      await until("they talk", () => calls.every((c) => c.state === "answered"));
      assert.equal(calls[0].id, calls[1].id);
      assert.equal(calls[0].room, calls[1].room);
      assert.notEqual(calls[0].incoming, calls[1].incoming);
      assert.deepEqual([ana.all("call"), ben.all("call")], [[], []]);
      // Who calls somebody that rings here answers him.
      calls[0].hangUp();
      await ended(...calls);
      const again = ana.client.call({ to: s.user("ben") });
      const rings = await ben.take("call");
      assert.equal(ben.client.call({ to: s.user("ana") }), rings);
      await until("they talk", () => again.state === "answered" && rings.state === "answered");
    }));

  test("what the caller missed in a tunnel he finds out when he is back", () =>
    on(server, async (s) => {
      const link = await s.link();
      const { ana, call, rings } = await ring(s, { via: link });
      await until("it rings", () => call.ringing);
      link.cut();
      await ana.state("reconnecting");
      rings.accept();
      await next(rings, "answered");
      assert.equal(call.state, "dialling");
      link.mend();
      await next(call, "answered");
      link.cut();
      await ana.state("reconnecting");
      rings.hangUp();
      link.mend();
      await ended(call);
      assert.deepEqual([call.ending.reason, call.ending.byUs], ["over", false]);
    }));

  test("a hang-up in a tunnel is said when the line is back", () =>
    on(server, async (s) => {
      const link = await s.link();
      const { ana, call, rings } = await ring(s, { via: link });
      rings.accept();
      await next(call, "answered");
      link.cut();
      await ana.state("reconnecting");
      call.hangUp();
      assert.equal(call.state, "ended");
      link.mend();
      await ended(rings);
      assert.equal(rings.ending.reason, "hangup");
    }));

  test("a page that was loaded anew goes back into its call", () =>
    on(server, async (s) => {
      const link = await s.link();
      const { ana, call, rings } = await ring(s, { via: link, deviceId: "phone" });
      rings.accept();
      await next(call, "answered");
      link.cut(); // the page has crashed
      const again = await s.join("ana", { deviceId: "phone" });
      const back = await again.client.rejoin(call.id);
      assert.deepEqual([back.state, back.peer, back.incoming, back.room], ["answered", s.user("ben"), false, call.room]);
      back.hangUp();
      await ended(rings);
      await assert.rejects(again.client.rejoin(call.id), { code: "not_found" });
      ana.client.close();
    }));
});
