// What users miss, and what they are told twice: nothing. Stock clients, and
// clients that say what they have.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Keeper, TRANSPORTS, on, restart, scratch, startServer, until } from "./lib.mjs";

const SERVERS = [
  ...TRANSPORTS.map((transports) => ({ transports, durable: false })),
  { transports: ["websocket"], durable: true },
];

/** Runs body on a stage with a server that it may replace. */
async function alone(flags, body) {
  const box = { server: await startServer(...flags) };
  try {
    await on(box.server, ["websocket"], (s) => body(s, async (signal) => (box.server = await restart(box.server, signal))));
  } finally {
    await box.server.stop();
  }
}

const ids = (events) => events.map((e) => e.args[0].id);
const upTo = (n) => Array.from({ length: n }, (_, i) => i);

/** The names of what a client was told that has a seq, and where the replay ended. */
const story = (client) => client.events.filter((e) => e.name === "inboxReady" || e.args[0]?.seq).map((e) => e.name);

for (const { transports, durable } of SERVERS) {
  describe(`the inbox on ${transports}${durable ? ", -data" : ""}`, { timeout: 180_000 }, () => {
    let server;
    before(async () => {
      server = await startServer("-offline-grace", "1h", ...(durable ? ["-data", scratch()] : []));
    });
    after(() => server.stop());

    const play = (body) => () => on(server, transports, body);

    /** Cuts a client off. One that is about to upgrade would not notice. */
    const cut = async (c, wire, n = c.disconnects.length) => {
      if (transports.length === 2 && c.disconnects.length === n) await c.upgraded();
      wire.cut();
      await until(`${c.user} noticed`, () => c.disconnects.length > n);
    };

    /** Waits until a stock client of that user has nothing to catch up with. */
    const given = (s, name) =>
      until(`${name} has been given all`, async () => {
        const c = await s.join(name);
        c.close();
        return story(c).length === 1;
      });

    test("who was away gets all of it, in order, as if he had been there, and then inboxReady", play(async (s) => {
      const [ana, cid] = [await s.join("ana"), await s.join("cid")];
      const ben = s.user("ben");
      const sent = [];
      for (let i = 0; i < 250; i++) { // three pages of the inbox
        const from = i % 5 ? ana : cid;
        const m = from.message(ben, i, i % 50 ? { text: `${i} ¡hola! 😀` } : { photo: Buffer.alloc(20_000, i), list: [Buffer.from("x"), i] });
        const ack = await from.emit("sendMessage", m);
        assert.equal(ack.delivery, "queued");
        sent.push({ ...m, ts: ack.ts, seq: i + 1 });
      }
      const back = await s.join("ben");
      assert.deepEqual(back.named("receiveMessage").map((e) => e.args[0]), sent);
      assert.deepEqual(story(back), [...sent.map(() => "receiveMessage"), "inboxReady"]);
      const [ready] = back.named("inboxReady")[0].args;
      assert.equal(ready.seq, 250);
      assert.equal(ready.complete, true);
      assert.ok(Math.abs(ready.now - Date.now()) < 60_000);
      // To the byte: what a device that was there has been told.
      await given(s, "ben");
      const late = await s.join("ben", { as: Keeper });
      assert.deepEqual(late.named("receiveMessage").map((e) => e.raw), back.named("receiveMessage").map((e) => e.raw));
      const live = await ana.send(ben, "live", { z: 1, a: [2, "\ud800"] });
      assert.equal(live.delivery, "sent");
      for (const c of [back, late]) assert.equal((await c.take("receiveMessage", (m) => m.id === "live")).seq, 251);
      const kept = await s.join("ben", { as: Keeper });
      const of = (c) => c.events.find((e) => e.args[0].id === "live").raw;
      assert.equal(of(kept), of(back));
    }));

    test("what is sent during a replay waits for its turn, and a replay that breaks off goes on", play(async (s) => {
      const [ana, cid] = [await s.join("ana"), await s.join("cid")];
      const N = 200;
      for (let i = 0; i < N; i++) await ana.send(s.user("ben"), i, "x".repeat(5_000));
      const narrow = await s.link({ rate: 300_000 });
      const ben = s.start("ben", { via: narrow });
      await until("some has come", () => ben.named("receiveMessage").length > 5);
      for (let i = 0; i < 10; i++) await cid.send(ben.user, `live ${i}`, i);
      const n = ben.named("receiveMessage").length;
      await until("more has come than was on its way", () => ben.named("receiveMessage").length > n + 30);
      await cut(ben, narrow);
      assert.equal(ben.named("inboxReady").length, 0, "the replay was cut");
      for (let i = 10; i < 20; i++) await cid.send(ben.user, `live ${i}`, i);
      narrow.mend();
      await until("ben has all", () => ben.named("inboxReady").length > 0, 30_000);
      const all = [...upTo(N), ...upTo(20).map((i) => `live ${i}`)];
      assert.deepEqual([...new Set(ids(ben.named("receiveMessage")))], all); // each connection is in order: Client.close
    }));

    test("whose ack got lost sends again: it is handled once, and answered as before", play(async (s) => {
      const wire = await s.link();
      const [ana, ana2, ben] = [await s.join("ana", { via: wire }), await s.join("ana"), await s.join("ben")];
      const m = ana.message(ben.user, "m", "the first");
      if (transports.length === 2) await ana.upgraded();
      await wire.quiet();
      wire.deafen();
      ana.socket.emit("sendMessage", m, () => {});
      const got = await ben.take("receiveMessage");
      const copy = await ana2.take("messageSent");
      assert.equal(ana.acks.length, 0, "the ack is lost");
      await cut(ana, wire, 0); // on polling she may have noticed before
      wire.mend();
      const ack = await ana.send(ben.user, "m", "again, with other words"); // as soon as she is back
      assert.deepEqual(ack, { status: "ok", id: "m", seq: copy.seq, ts: got.ts, delivery: "sent", duplicate: true });
      for (const c of [ana, ana2]) assert.deepEqual(await c.emit("sendMessage", m), ack);
      // An id is one sender's, towards one recipient; 1 and "1" are two.
      for (const [from, to, id] of [[ana, ben, "1"], [ana, ben, 1], [ben, ana, "m"], [ana, { user: s.user("else") }, "m"]]) {
        assert.equal((await from.send(to.user, id, "another")).duplicate, undefined);
      }
      await ben.take("receiveMessage", (x) => x.id === 1);
      await ana2.take("messageSent", (x) => x.recipientChatPath === s.user("else"));
      assert.deepEqual(ben.named("receiveMessage").map((e) => e.args[0].content), ["the first", "another", "another"]);
      assert.equal(ana2.named("messageSent").length, 4);
      // Queued stays queued, whoever is there meanwhile.
      const queued = await ana.send(s.user("dan"), "q", 1);
      assert.equal(queued.delivery, "queued");
      const dan = await s.join("dan");
      await dan.take("receiveMessage");
      assert.deepEqual(await ana.send(dan.user, "q", 1), { ...queued, duplicate: true });
    }));

    test("the same message from two devices at once is one", play(async (s) => {
      const [ana, ana2, ben] = [await s.join("ana"), await s.join("ana"), await s.join("ben")];
      for (let i = 0; i < 30; i++) {
        const acks = await Promise.all([ana, ana2, ana, ana2].map((c) => c.send(ben.user, i, i)));
        assert.equal(acks.filter((a) => a.duplicate).length, 3);
        for (const a of acks) assert.deepEqual({ ...a, duplicate: true }, { ...acks[0], duplicate: true });
      }
      await ana.send(ben.user, "fence", 1);
      await ben.take("receiveMessage", (m) => m.id === "fence");
      assert.deepEqual(ids(ben.named("receiveMessage")), [...upTo(30), "fence"]);
    }));

    test("ticks come by themselves, to every device of the sender, and never go back", play(async (s) => {
      const [ana, ana2] = [await s.join("ana"), await s.join("ana")];
      const ben = await s.join("ben");
      const both = { senderChatPath: ana.user, recipientChatPath: ben.user };
      const { ts } = await ana.send(ben.user, "there", 1);
      const tick = await ana.take("messagesDelivered");
      assert.deepEqual(tick, { senderChatPath: ben.user, upToId: "there", ts: tick.ts, seq: tick.seq });
      assert.ok(tick.ts >= ts);
      assert.deepEqual(await ana2.take("messagesDelivered"), tick);
      assert.equal((await ben.emit("markAsDelivered", { ...both, upToId: "there" })).status, "ok"); // says nothing new
      await ben.leave(ana);
      assert.equal((await ana.send(ben.user, "away 1", 1)).delivery, "queued");
      assert.equal((await ana2.send(ben.user, "away 2", 1)).delivery, "queued");
      const back = await s.join("ben");
      for (const c of [ana, ana2]) await c.take("messagesDelivered", (r) => r.upToId === "away 2");
      await back.emit("markAsRead", both);
      for (const c of [ana, ana2]) assert.equal((await c.take("messagesRead")).upToId, "away 2");
      await back.emit("markAsRead", { ...both, upToId: "there" });
      await back.emit("markAsDelivered", both);
      await back.send(ana.user, "fence", 1);
      for (const c of [ana, ana2]) {
        await c.take("receiveMessage");
        const ticks = c.events.filter((e) => e.name.startsWith("messages") && e.name !== "messageSent").map((e) => [e.name, e.args[0].upToId]);
        assert.deepEqual(ticks, [["messagesDelivered", "there"], ["messagesDelivered", "away 2"], ["messagesRead", "away 2"]]);
      }
    }));

    test("ticks wait for a sender who has left", play(async (s) => {
      const ana = await s.join("ana");
      await ana.send(s.user("ben"), "m", 1);
      await ana.send(s.user("cid"), "m", 1);
      ana.socket.disconnect();
      const watch = await s.join("ana", { as: Keeper }); // to know when
      const [ben, cid] = [await s.join("ben"), await s.join("cid")];
      for (const c of [ben, cid]) await watch.take("messagesDelivered", (r) => r.senderChatPath === c.user);
      await ben.emit("markAsRead", { senderChatPath: ana.user, recipientChatPath: ben.user });
      await watch.take("messagesRead");
      watch.socket.disconnect();
      await cid.emit("markAsRead", { senderChatPath: ana.user, recipientChatPath: cid.user, upToId: "m" });
      const back = await s.join("ana");
      assert.deepEqual(back.named("messagesRead").at(-1).args[0].senderChatPath, cid.user);
      assert.equal(story(back).at(-1), "inboxReady");
    }));

    test("a client that asks for acks has a message when it says so, and not before", play(async (s) => {
      const ana = await s.join("ana");
      const ben = s.start("ben", { auth: { features: ["acks"] } });
      const calls = new Map();
      ben.socket.on("receiveMessage", (m, done) => calls.set(m.id, done));
      await ben.ready();
      const both = { senderChatPath: ana.user, recipientChatPath: ben.user };
      const ticks = (name) => ana.named(name).map((e) => e.args[0].upToId);
      for (const id of ["m1", "m2", "m3", "m4"]) await ana.send(ben.user, id, 1);
      await ben.take("receiveMessage", (m) => m.id === "m4");
      for (let i = 0; i < 3; i++) { // pings are answered, polls come: they say nothing
        await ben.send(ana.user, `fence ${i}`, 1);
        await ana.take("receiveMessage", (m) => m.id === `fence ${i}`);
      }
      assert.deepEqual(ticks("messagesDelivered"), []);
      calls.get("m1")();
      await ana.take("messagesDelivered", (r) => r.upToId === "m1");
      assert.equal((await ben.emit("markAsDelivered", { ...both, upToId: "m2" })).status, "ok"); // in words, too
      await ana.take("messagesDelivered", (r) => r.upToId === "m2");
      await ben.emit("markAsRead", { ...both, upToId: "m3" }); // read implies delivered
      await ana.take("messagesRead", (r) => r.upToId === "m3");
      calls.get("m2")();
      calls.get("m3")();
      calls.get("m4")();
      await ana.take("messagesDelivered", (r) => r.upToId === "m4");
      assert.deepEqual(ticks("messagesDelivered"), ["m1", "m2", "m4"]);
      // What it never said it has comes again, to whichever client comes next.
      await ana.send(ben.user, "m5", 1);
      await ben.take("receiveMessage", (m) => m.id === "m5");
      await ben.leave(ana);
      const back = await s.join("ben");
      assert.deepEqual(ids(back.named("receiveMessage")), ["m5"]);
      await ana.take("messagesDelivered", (r) => r.upToId === "m5");
    }));

    test("a client that keeps its position gets everything exactly once, however often it is cut", play(async (s) => {
      const wire = await s.link();
      const ben = await s.join("ben", { as: Keeper, via: wire });
      const [ana, cid] = [await s.join("ana"), await s.join("cid")];
      const ben2 = await s.join("ben");
      const said = [];
      let cuts = 0;
      const traffic = [ana, cid].map(async (from, n) => {
        for (let i = 0; cuts < 8; i++) {
          said.push((await from.send(ben.user, `${n} ${i}`, "x".repeat(300))).id);
          if (i % 10 === 0) await ben2.send(from.user, `back ${i}`, 1);
          if (i % 25 === 0) await ben2.emit("markAsRead", { senderChatPath: from.user, recipientChatPath: ben.user });
        }
      });
      for (; cuts < 8; cuts++) {
        const n = ben.kept.length;
        await until("something has come", () => ben.kept.length > n + 5);
        await cut(ben, wire);
        wire.mend();
      }
      await Promise.all(traffic);
      await ana.send(ben.user, "fence", 1);
      await until("ben has all", () => ben.kept.some((e) => e.id === "fence"), 30_000);
      const got = ben.kept.filter((e) => e.name === "receiveMessage").map((e) => e.id);
      for (const n of [0, 1]) {
        const from = (id) => id.startsWith(`${n} `);
        assert.deepEqual(got.filter(from), said.filter(from));
      }
      assert.equal(got.length, said.length + 1);
      const seqs = ben.kept.map((e) => e.seq);
      assert.deepEqual(seqs, upTo(seqs.length).map((i) => i + 1), "each seq once, and none is missing");
      for (const name of ["messageSent", "conversationRead"]) assert.ok(ben.kept.some((e) => e.name === name), `${name} of the other device`);
      assert.deepEqual(new Set(ben.arrivals.map((r) => r.epoch)).size, 1);
      assert.ok(ben.arrivals.every((r) => r.complete));
    }));

    test("a user's devices are in step: what one does, the others learn, now or later", play(async (s) => {
      const [phone, laptop] = [await s.join("ana", { as: Keeper }), await s.join("ana", { as: Keeper })];
      const ben = await s.join("ben");
      laptop.socket.disconnect();
      await phone.send(ben.user, "from the phone", 1);
      await ben.take("receiveMessage");
      await ben.send(phone.user, "to ana", 1);
      await phone.take("receiveMessage");
      await phone.emit("markAsRead", { senderChatPath: ben.user, recipientChatPath: phone.user });
      await ben.take("messagesRead");
      laptop.socket.connect();
      await laptop.take("conversationRead");
      await until("the replay is over", () => laptop.arrivals.length === 2);
      const told = laptop.kept.map((e) => [e.name, e.id ?? e.upToId]);
      for (const e of [["messageSent", "from the phone"], ["receiveMessage", "to ana"], ["conversationRead", "to ana"]]) {
        assert.deepEqual(told.filter((t) => t.join() === e.join()).length, 1, `${e} in ${JSON.stringify(told)}`);
      }
      assert.deepEqual(laptop.kept.map((e) => e.seq), upTo(laptop.kept.length).map((i) => i + 1));
      // The phone has its own in its acks: together with them nothing is missing.
      await until("the phone has as much", () => phone.kept.length === laptop.kept.length);
      assert.deepEqual(phone.kept.map((e) => e.seq).toSorted((a, b) => a - b), laptop.kept.map((e) => e.seq));
      assert.ok(phone.kept.some((e) => e.name === "ack of sendMessage") && phone.kept.some((e) => e.name === "ack of markAsRead"));
      // A stock device of hers has nothing to catch up with: a device of hers has it.
      await given(s, "ana");
    }));

    test("a position of another inbox, or beyond the end: everything, and it says so", play(async (s) => {
      const ana = await s.join("ana");
      for (let i = 0; i < 5; i++) await ana.send(s.user("ben"), i, 1);
      const [{ epoch }] = ana.named("inboxReady")[0].args;
      for (const [since, first, complete] of [
        [{}, 0, true], [{ epoch, seq: 0 }, 0, true], [{ epoch, seq: 3 }, 3, true], [{ epoch, seq: 5 }, 5, true],
        [{ epoch, seq: 6 }, 0, false], [{ epoch: epoch + "x", seq: 3 }, 0, false], [{ epoch: "x", seq: 0 }, 0, false],
      ]) {
        const ben = await s.join("ben", { auth: { since } });
        assert.deepEqual(ids(ben.named("receiveMessage")), upTo(5).slice(first), JSON.stringify(since));
        const [ready] = ben.named("inboxReady")[0].args;
        assert.deepEqual([ready.epoch, ready.seq, ready.complete], [epoch, 5, complete], JSON.stringify(since));
        ben.socket.disconnect();
      }
    }));
  });
}

describe("bounds of the inbox", { timeout: 60_000 }, () => {
  for (const flags of [[], ["-data", scratch()]]) {
    test(`the oldest go first, and clients are told; ${flags[0] ?? "in memory"}`, () =>
      alone(["-inbox-entries", "10", ...flags], async (s) => {
        const ana = await s.join("ana");
        for (let i = 0; i < 30; i++) await ana.send(s.user("ben"), i, i);
        for (const since of [undefined, {}]) {
          const ben = await s.join("ben", { auth: { since } });
          assert.deepEqual(ids(ben.named("receiveMessage")), upTo(30).slice(20));
          const [ready] = ben.named("inboxReady")[0].args;
          assert.deepEqual([ready.seq, ready.complete], [30, false]);
          if (since) continue;
          await ana.take("messagesDelivered", (r) => r.upToId === 29);
        }
      }));
  }
});

describe("the inbox and the end of the server", { timeout: 180_000 }, () => {
  /** Sends until it is acked, as an app does that was told nothing: with the same id. */
  async function insist(client, to, id) {
    for (;;) {
      const ack = await client.socket.timeout(3_000).emitWithAck("sendMessage", client.message(to, id, { text: id })).catch(() => null);
      if (ack) return ack;
    }
  }

  test("in memory: a restart loses it, and clients that have a position are told", () =>
    alone([], async (s, restart) => {
      const [ana, ben] = [await s.join("ana"), await s.join("ben", { as: Keeper })];
      for (let i = 0; i < 5; i++) await ana.send(ben.user, i, i);
      await ana.send(s.user("dan"), "lost", 1);
      await until("ben has them", () => ben.kept.length === 5);
      await restart("SIGKILL");
      await until("both are back", () => [ana, ben].every((c) => c.named("inboxReady").length === 2), 30_000);
      assert.notEqual(ben.arrivals[1].epoch, ben.arrivals[0].epoch);
      assert.deepEqual(ben.arrivals.map((r) => [r.seq, r.complete]), [[0, true], [0, false]]);
      assert.equal((await ana.send(ben.user, 0, "the id is forgotten, too")).duplicate, undefined);
      await until("ben has it", () => ben.kept.length === 6);
      assert.deepEqual(ben.kept.at(-1).seq, 1);
      const dan = await s.join("dan");
      assert.deepEqual(story(dan), ["inboxReady"]);
    }));

  test("-data: killed in the middle of traffic, again and again, what was acked is there, exactly once", () =>
    alone(["-data", scratch()], async (s, restart) => {
      const senders = [await s.join("ana"), await s.join("cid", { transports: ["polling"] }), await s.join("eve", { transports: ["polling", "websocket"] })];
      const ben = await s.join("ben", { as: Keeper });
      const old = await s.join("old", { transports: ["polling"] });
      const dan = s.user("dan"); // away all the time
      const acked = [];
      let over = false;
      const traffic = senders.map(async (from) => {
        for (let i = 0; !over; i++) {
          for (const to of [ben.user, old.user, dan]) {
            const id = `${from.user} ${i}`;
            acked.push({ to, from: from.user, id, ...(await insist(from, to, id)) });
          }
        }
      });
      for (const signal of ["SIGKILL", "SIGKILL", "SIGTERM", "SIGKILL"]) {
        const n = acked.length;
        await until("there is traffic", () => acked.length > n + 60, 60_000);
        await senders[2].upgraded(); // else it would not notice
        await restart(signal);
        for (const c of [...senders, ben, old]) await until(`${c.user} is back`, () => c.socket.connected, 30_000);
      }
      over = true;
      await Promise.all(traffic);
      for (const a of acked) assert.equal(a.status, "ok", JSON.stringify(a));
      const has = (c, id) => c.named("receiveMessage").some((e) => e.args[0].id === id);
      for (const from of senders) {
        for (const c of [ben, old]) {
          await insist(from, c.user, `${from.user} fence`);
          await until("the end is there", () => has(c, `${from.user} fence`));
        }
      }

      const check = (client, epoch) => {
        const got = client.kept.filter((e) => e.name === "receiveMessage");
        const unique = new Set(got.map((e) => e.id));
        assert.equal(unique.size, got.length, "nothing twice");
        for (const a of acked) if (a.to === client.user) assert.ok(unique.has(a.id), `${a.id} was acked, and ${client.user} never had it`);
        for (const from of senders) {
          const n = got.filter((e) => e.senderChatPath === from.user && !e.id.endsWith("fence")).map((e) => Number(e.id.split(" ")[1]));
          assert.deepEqual(n, upTo(n.length), "in the order in which they were sent");
        }
        assert.deepEqual(client.kept.map((e) => e.seq), upTo(client.kept.length).map((i) => i + 1));
        for (const r of client.arrivals) assert.deepEqual([r.epoch, r.complete], [epoch, true]);
      };
      const [{ epoch }] = ben.arrivals;
      check(ben, epoch);
      assert.ok(ben.arrivals.length >= 5, `connections: ${ben.arrivals.length}`);
      const firsts = [...new Set(ids(old.named("receiveMessage")))];
      for (const a of acked) if (a.to === old.user) assert.ok(firsts.includes(a.id), `${a.id} was acked, and the stock client never had it`);
      for (const from of senders) {
        const n = firsts.filter((id) => id.startsWith(`${from.user} `) && !id.endsWith("fence")).map((id) => Number(id.split(" ")[1]));
        assert.deepEqual(n, upTo(n.length), "in the order in which they were sent");
      }
      check(await s.join("dan", { as: Keeper }), epoch);
    }));

  test("-data: what waits for somebody, and his position, outlive the server", () =>
    alone(["-data", scratch()], async (s, restart) => {
      const [ana, ben] = [await s.join("ana"), await s.join("ben", { as: Keeper })];
      const first = await ana.send(ben.user, "first", { photo: Buffer.from("a photo") });
      await until("ben has it", () => ben.kept.length === 1);
      await ben.emit("markAsRead", { senderChatPath: ana.user, recipientChatPath: ben.user });
      await ana.take("messagesRead");
      await ben.leave(ana);
      await ana.send(ben.user, "second", { photo: Buffer.from("another") });
      await ana.emit("markAsRead", { senderChatPath: ben.user, recipientChatPath: ana.user });
      await restart("SIGKILL");
      await until("ana is back", () => ana.named("inboxReady").length === 2, 30_000);
      assert.deepEqual(await ana.send(ben.user, "first", 1), { ...first, duplicate: true });
      ben.socket.connect();
      await until("ben is back", () => ben.arrivals.length === 2, 30_000);
      assert.deepEqual(ben.arrivals[1].epoch, ben.arrivals[0].epoch);
      assert.deepEqual(ben.kept.filter((e) => e.name === "receiveMessage").map((e) => String(e.content.photo)), ["a photo", "another"]);
      await ana.take("messagesDelivered", (r) => r.upToId === "second");
      await ben.emit("markAsRead", { senderChatPath: ana.user, recipientChatPath: ben.user, upToId: "first" }); // read before the server ended
      await ben.send(ana.user, "fence", 1);
      await ana.take("receiveMessage");
      const ticks = new Map(ana.named("messagesRead").map((e) => [e.args[0].seq, e.args[0].upToId])); // at least once
      assert.deepEqual([...ticks.values()], ["first"]);
    }));
});
