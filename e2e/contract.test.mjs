// The contract of the app that exists today, on every transport.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { TRANSPORTS, on, startServer, until } from "./lib.mjs";

const isSeq = (n) => assert.ok(Number.isSafeInteger(n) && n > 0, `a seq: ${n}`);
const isTime = (ms) => assert.ok(Number.isInteger(ms) && Math.abs(ms - Date.now()) < 60_000, `a time in ms: ${ms}`);
// What is left of a ring's 45 s when it is told: all of it, but for a moment.
const ringsFor = ({ expiresInMs: ms }) => assert.ok(Number.isInteger(ms) && ms > 40_000 && ms <= 45_000, `expiresInMs: ${ms}`);

for (const transports of TRANSPORTS) {
  describe(`contract on ${transports}`, { timeout: 120_000 }, () => {
    let patient; // whoever breaks off is online for an hour
    let hasty; // for 3 s
    let bare; // keeps nothing
    const GRACE = 3_000;
    before(async () => {
      [patient, hasty, bare] = await Promise.all([
        startServer("-offline-grace", "1h"), startServer("-offline-grace", `${GRACE}ms`), startServer("-no-inbox"),
      ]);
    });
    after(async () => {
      await patient.stop();
      await hasty.stop();
      await bare.stop();
    });

    test("the CONNECT answer has a sid and no pid; nothing is recovered", () =>
      on(patient, transports, async (s) => {
        const ana = await s.join("ana");
        assert.ok(!ana.socket.recovered);
        assert.match(ana.raw[0], /^0\{"sid":"[^"]+"\}$/);
        assert.equal(ana.raw[0], `0${JSON.stringify({ sid: ana.socket.id })}`);
      }));

    test("online_users comes first and lists everyone by the newest socket id", () =>
      on(patient, transports, async (s) => {
        const ana = await s.join("ana");
        const ana2 = await s.join("ana");
        const ben = await s.join("ben");
        for (const c of [ana, ana2, ben]) assert.equal(c.events[0].name, "online_users");
        assert.equal(ana.events[0].args[0][ana.user], ana.socket.id);
        assert.equal(ana2.events[0].args[0][ana.user], ana2.socket.id);
        const list = ben.events[0].args[0];
        assert.equal(list[ana.user], ana2.socket.id);
        assert.equal(list[ben.user], ben.socket.id);
        ana2.socket.disconnect();
        const eve = await s.join("eve");
        const again = eve.events[0].args[0];
        assert.ok([ana.socket.id, ana2.socket.id].includes(again[ana.user]));
      }));

    test("contact_online for the first device, contact_offline at once after the last goodbye", () =>
      on(patient, transports, async (s) => {
        const ana = await s.join("ana");
        const ben1 = await s.join("ben");
        assert.equal(await ana.take("contact_online"), ben1.user);
        const ben2 = await s.join("ben");
        ben1.socket.disconnect();
        const cid = await s.join("cid"); // what came of ben's second device came before
        assert.equal(await ana.take("contact_online"), cid.user);
        ben2.socket.disconnect();
        assert.equal(await ana.take("contact_offline"), ben1.user);
        cid.socket.disconnect();
        assert.equal(await ana.take("contact_offline"), cid.user);
        assert.deepEqual(
          ana.events.filter((e) => e.name.startsWith("contact_")).map((e) => [e.name, ...e.args]),
          [["contact_online", ben1.user], ["contact_online", cid.user], ["contact_offline", ben1.user], ["contact_offline", cid.user]],
        );
        for (const c of [ben1, ben2, cid]) {
          assert.ok(!c.events.some((e) => e.name.startsWith("contact_") && e.args[0] === c.user), "nobody is told of himself");
        }
      }));

    test("a client that asks for lastSeen gets it, others do not", () =>
      on(patient, transports, async (s) => {
        const ana = await s.join("ana", { auth: { features: ["lastSeen"] }, lastSeen: true });
        const old = await s.join("old");
        const ben = await s.join("ben");
        await ana.take("contact_online", (u) => u === ben.user);
        ben.socket.disconnect();
        await ana.take("contact_offline");
        isTime(ana.named("contact_offline")[0].args[1].lastSeen);
        await old.take("contact_offline");
        assert.equal(old.named("contact_offline")[0].args.length, 1);
      }));

    test("a broken connection is offline after the grace; back within it, nothing happened", () =>
      on(hasty, transports, async (s) => {
        const ana = await s.join("ana");
        const [there, gone] = await Promise.all([s.link(), s.link()]);
        const ben = await s.join("ben", { via: there });
        const cid = await s.join("cid", { via: gone });
        await ana.take("contact_online", (u) => u === cid.user);
        const sid = ben.socket.id;

        await there.quiet();
        there.cut();
        await until("ben noticed", () => !ben.socket.connected);
        const newcomer = await s.join("newcomer");
        assert.ok(newcomer.events[0].args[0][ben.user], "during the grace he counts as online");
        there.mend();
        await until("ben is back", () => ben.socket.connected);
        assert.notEqual(ben.socket.id, sid);
        assert.ok(!ben.socket.recovered);

        await gone.quiet();
        const began = Date.now();
        gone.cut();
        await ana.take("contact_offline", (u) => u === cid.user); // ben's grace would be over too
        assert.ok(Date.now() - began >= GRACE - 50, `offline after ${Date.now() - began} ms`);
        const last = await s.join("last");
        await ana.take("contact_online", (u) => u === last.user);
        assert.deepEqual(
          ana.events.filter((e) => e.args[0] === ben.user).map((e) => e.name),
          ["contact_online"],
        );
      }));

    test("during the grace the last socket id is listed, and a goodbye of another device is none of the user's", () =>
      on(patient, transports, async (s) => {
        const cable = await s.link();
        const ana = await s.join("ana");
        const ben1 = await s.join("ben", { via: cable, reconnection: false });
        const id = ben1.socket.id;
        await cable.quiet();
        cable.cut();
        await until("ben noticed", () => !ben1.socket.connected);
        const cid = await s.join("cid");
        assert.equal(cid.events[0].args[0][ben1.user], id);
        const ben2 = await s.join("ben");
        ben2.socket.disconnect(); // goodbye: at once, though the other one broke
        await ana.take("contact_offline", (u) => u === ben1.user);
      }));

    test("sendMessage reaches every device of both, with an ack", () =>
      on(patient, transports, async (s) => {
        const [ana, ana2, ben, ben2, eve] = [
          await s.join("ana"), await s.join("ana"), await s.join("ben"), await s.join("ben"), await s.join("eve"),
        ];
        const m = ana.message(ben.user, "m1", { text: "hola" }, { dropped: "field" });
        const ack = await ana.emit("sendMessage", m);
        isTime(ack.ts);
        isSeq(ack.seq);
        assert.deepEqual(ack, { status: "ok", id: "m1", seq: ack.seq, ts: ack.ts, delivery: "sent" });
        delete m.dropped;
        const got = await ben.take("receiveMessage");
        isSeq(got.seq);
        assert.deepEqual(got, { ...m, ts: ack.ts, seq: got.seq });
        assert.deepEqual(await ben2.take("receiveMessage"), got);
        assert.deepEqual(await ana2.take("messageSent"), { ...m, ts: ack.ts, seq: ack.seq });
        await eve.send(ana.user, "fence", 0);
        await ana.take("receiveMessage", (x) => x.id === "fence");
        assert.deepEqual([...ana.named("messageSent"), ...ana.named("receiveMessage")].length, 1);
        assert.equal(eve.named("receiveMessage").length + eve.named("messageSent").length, 0);
      }));

    test("an id may be a number, 1 and \"1\" differ", () =>
      on(patient, transports, async (s) => {
        const [ana, ben] = [await s.join("ana"), await s.join("ben")];
        for (const id of [1, "1", 0, -1.5, 1e21, "x".repeat(256), "ñ".repeat(128)]) {
          assert.strictEqual((await ana.send(ben.user, id, "a")).id, id);
          assert.strictEqual((await ben.take("receiveMessage")).id, id);
        }
      }));

    test("to nobody: queued; to oneself: the other devices", () =>
      on(patient, transports, async (s) => {
        const [ana, ana2] = [await s.join("ana"), await s.join("ana")];
        assert.equal((await ana.send(s.user("nobody"), "m", 1)).delivery, "queued");
        assert.equal((await ana.send(ana.user, "self", 1)).delivery, "sent");
        assert.equal((await ana2.take("receiveMessage")).id, "self");
        assert.equal((await ana2.send(ana.user, "fence", 1)).delivery, "sent");
        await ana.take("receiveMessage", (m) => m.id === "fence");
        assert.equal(ana.named("receiveMessage").length, 1);
        assert.equal(ana.named("messageSent").length, 0);
        assert.deepEqual(ana2.named("messageSent").map((e) => e.args[0].id), ["m"]);
        ana2.socket.disconnect();
        let n = 0;
        await until("alone", async () => (await ana.send(ana.user, `alone ${n++}`, 1)).delivery === "queued");
        assert.equal(ana.named("receiveMessage").length, 1);
      }));

    test("a socket id is no address", () =>
      on(patient, transports, async (s) => {
        const [ana, ben] = [await s.join("ana"), await s.join("ben")];
        assert.equal((await ana.send(ben.socket.id, "m", 1)).delivery, "queued");
        const impostor = await s.join("x", { query: { userId: ben.socket.id } });
        assert.equal((await ana.send(ben.socket.id, "m2", 1)).delivery, "sent");
        for (const id of ["m", "m2"]) assert.equal((await impostor.take("receiveMessage")).id, id);
        await ana.send(ben.user, "fence", 1);
        assert.equal((await ben.take("receiveMessage")).id, "fence");
      }));

    test("markAsRead tells the sender and the reader's other devices", () =>
      on(patient, transports, async (s) => {
        const [ana, ana2, ben, ben2] = [await s.join("ana"), await s.join("ana"), await s.join("ben"), await s.join("ben")];
        const both = { senderChatPath: ana.user, recipientChatPath: ben.user };
        for (const id of ["m7", 7, "m8"]) await ana.send(ben.user, id, 1);
        await ben.take("receiveMessage", (m) => m.id === "m8");
        const steps = [["m7", { upToId: "m7" }], [7, { upToId: 7 }], ["m8", {}]]; // without upToId: all so far
        for (const [upToId, payload] of steps) {
          const ack = await ben.emit("markAsRead", { ...both, ...payload });
          isSeq(ack.seq);
          assert.deepEqual(ack, { status: "ok", seq: ack.seq });
          const read = await ana.take("messagesRead");
          isTime(read.ts);
          assert.deepEqual(read, { senderChatPath: ben.user, upToId, ts: read.ts, seq: read.seq });
          assert.deepEqual(await ana2.take("messagesRead"), read);
          assert.deepEqual(await ben2.take("conversationRead"), { chatPath: ana.user, upToId, ts: read.ts, seq: ack.seq });
        }
        assert.equal((await ben.emit("markAsRead", { ...both, upToId: "m9" })).code, "not_found");
        for (const payload of [{ upToId: "m7" }, {}]) assert.equal((await ben.emit("markAsRead", { ...both, ...payload })).status, "ok"); // no step back, and none twice
        await ana.send(ben.user, "fence", 1);
        for (const c of [ben, ben2]) await c.take("receiveMessage", (m) => m.id === "fence");
        await ben.send(ana.user, "fence", 1);
        for (const c of [ana, ana2]) {
          await c.take("receiveMessage", (m) => m.id === "fence");
          assert.equal(c.named("messagesRead").length, 3);
        }
        assert.equal(ben2.named("conversationRead").length, 3);
        assert.equal(ben.named("conversationRead").length, 0);
      }));

    test("without an inbox: what reaches nobody is offline, and receipts go on as they come", () =>
      on(bare, transports, async (s) => {
        const [ana, ana2, ben, ben2] = [await s.join("ana"), await s.join("ana"), await s.join("ben"), await s.join("ben")];
        const nobody = await ana.send(s.user("nobody"), "m", 1);
        assert.deepEqual(nobody, { status: "ok", id: "m", ts: nobody.ts, delivery: "offline" });
        assert.deepEqual(await ana.send(s.user("nobody"), "m", 2), { ...nobody, duplicate: true });
        const m = ana.message(ben.user, "m", 1);
        const ack = await ana.emit("sendMessage", m);
        assert.deepEqual(ack, { status: "ok", id: "m", ts: ack.ts, delivery: "sent" });
        assert.deepEqual(await ana2.send(ben.user, "m", 2), { ...ack, duplicate: true });
        for (const c of [ben, ben2]) assert.deepEqual(await c.take("receiveMessage"), { ...m, ts: ack.ts });
        assert.deepEqual(await ana2.take("messageSent", (x) => x.recipientChatPath === ben.user), { ...m, ts: ack.ts });

        const both = { senderChatPath: ana.user, recipientChatPath: ben.user };
        for (const payload of [{}, { upToId: "m7" }, { upToId: 7 }, {}]) {
          assert.deepEqual(await ben.emit("markAsRead", { ...both, ...payload }), { status: "ok" });
          for (const c of [ana, ana2]) {
            const read = await c.take("messagesRead");
            isTime(read.ts);
            assert.deepEqual(read, { senderChatPath: ben.user, ...payload, ts: read.ts });
          }
          const conversation = await ben2.take("conversationRead");
          assert.deepEqual(conversation, { chatPath: ana.user, ...payload, ts: conversation.ts });
          assert.deepEqual(await ben.emit("markAsDelivered", { ...both, ...payload }), { status: "ok" });
          const delivered = await ana2.take("messagesDelivered");
          assert.deepEqual(delivered, { senderChatPath: ben.user, ...payload, ts: delivered.ts });
        }
        await ana.send(ben.user, "fence", 1);
        for (const c of [ben, ben2]) {
          await c.take("receiveMessage", (x) => x.id === "fence");
          assert.equal(c.named("receiveMessage").length, 2);
        }
        assert.equal(ben.named("conversationRead").length, 0);
      }));

    test("a call is offered, accepted by one device, and hung up", () =>
      on(patient, transports, async (s) => {
        const [ana, ana2, ben, ben2] = [await s.join("ana"), await s.join("ana"), await s.join("ben"), await s.join("ben")];
        const callerInfo = { name: "Ana", photo: "😀" };
        const ack = await ana.emit("initiateCall", { recipientId: ben.user, callerId: ana.user, callerInfo, roomName: "room 1" });
        isTime(ack.expiresAt);
        assert.deepEqual(ack, { status: "ok", callId: ack.callId, roomName: "room 1", expiresAt: ack.expiresAt, expiresInMs: ack.expiresInMs });
        ringsFor(ack);
        assert.ok(ack.callId);
        for (const c of [ben, ben2]) {
          const call = await c.take("incomingCall");
          assert.deepEqual(call, {
            roomName: "room 1", callerId: ana.user, callerInfo, callId: ack.callId,
            ts: call.ts, expiresAt: ack.expiresAt, expiresInMs: call.expiresInMs,
          });
          ringsFor(call);
        }
        const accept = { callerId: ana.user, roomName: "room 1" };
        assert.deepEqual(await ben.emit("acceptCall", accept), { status: "ok", callId: ack.callId, roomName: "room 1" });
        for (const c of [ana, ana2]) {
          assert.deepEqual(await c.take("callAccepted"), { roomName: "room 1", callId: ack.callId, recipientId: ben.user });
        }
        assert.deepEqual(await ben2.take("callCancelled"), { callId: ack.callId, reason: "answered_elsewhere" });
        assert.equal((await ben2.emit("acceptCall", accept)).code, "conflict");
        assert.equal((await ben2.emit("rejectCall", { callerId: ana.user, recipientId: ben.user })).code, "conflict");
        assert.equal((await ben.emit("acceptCall", { ...accept, callId: ack.callId })).duplicate, true);

        assert.equal((await ben.emit("rejectCall", { callerId: ana.user, recipientId: ben.user })).status, "ok");
        for (const c of [ana, ana2]) {
          const r = await c.take("callRejected");
          assert.equal(r.recipientId, ben.user);
          assert.equal(r.callId, ack.callId);
        }
      }));

    test("a call is rejected", () =>
      on(patient, transports, async (s) => {
        const [ana, ana2, ben, ben2] = [await s.join("ana"), await s.join("ana"), await s.join("ben"), await s.join("ben")];
        for (const reason of [undefined, "busy"]) {
          const { callId } = await ana.emit("initiateCall", { recipientId: ben.user, callerId: ana.user, callerInfo: null, roomName: "r" });
          assert.strictEqual((await ben.take("incomingCall")).callerInfo, null);
          assert.equal((await ben.emit("rejectCall", { callerId: ana.user, recipientId: ben.user, reason })).status, "ok");
          for (const c of [ana, ana2]) {
            assert.deepEqual(await c.take("callRejected"), { recipientId: ben.user, callId, reason: reason ?? "declined" });
          }
          assert.deepEqual(await ben2.take("callCancelled"), { callId, reason: "rejected_elsewhere" });
        }
      }));

    test("a call that cannot be ends in one callRejected, at the device that dialled", () =>
      on(patient, transports, async (s) => {
        const [ana, ana2, ben] = [await s.join("ana"), await s.join("ana"), await s.join("ben")];
        const nobody = s.user("nobody");
        assert.equal((await ana.emit("initiateCall", { recipientId: nobody, callerId: ana.user, callerInfo: {}, roomName: "r" })).code, "offline");
        assert.deepEqual(await ana.take("callRejected"), { recipientId: nobody, reason: "offline" });
        assert.equal((await ana.emit("initiateCall", { recipientId: ben.user, callerId: ben.user, callerInfo: {}, roomName: "r" })).code, "identity_mismatch");
        assert.equal((await ana.emit("initiateCall", { recipientId: ana.user, callerId: ana.user, callerInfo: {}, roomName: "r" })).code, "invalid");
        assert.equal((await ben.emit("acceptCall", { callerId: ana.user, roomName: "r" })).code, "not_found");
        assert.equal((await ben.emit("rejectCall", { callerId: ana.user, recipientId: ben.user })).code, "not_found");
        for (const c of [ana, ana2]) {
          await ben.send(c.user, "fence", 1);
          await c.take("receiveMessage");
        }
        assert.equal(ana.named("callRejected").length, 1);
        assert.equal(ana2.named("callRejected").length + ana2.named("callAccepted").length, 0);
        assert.equal(ben.named("incomingCall").length, 0);
      }));

    test("without a roomName one is made; callerInfo stays absent", () =>
      on(patient, transports, async (s) => {
        const [ana, ben] = [await s.join("ana"), await s.join("ben")];
        const { roomName } = await ana.emit("initiateCall", { recipientId: ben.user, callerId: ana.user });
        assert.match(roomName, /^hm_.{20,}/);
        const call = await ben.take("incomingCall");
        assert.equal(call.roomName, roomName);
        assert.ok(!("callerInfo" in call));
      }));

    test("events emitted in the same instant as connect are handled, in order", () =>
      on(patient, transports, async (s) => {
        const ben = await s.join("ben");
        const ana = s.start("ana");
        for (let i = 0; i < 5; i++) ana.socket.emit("sendMessage", ana.message(ben.user, `buffered ${i}`, i));
        const acks = [];
        ana.manager.on("open", () => {
          // Behind the CONNECT packet, before its answer: stock clients of other languages do.
          for (let i = 0; i < 10; i++) ana.write(`2${700 + i}["sendMessage",${JSON.stringify(ana.message(ben.user, `early ${i}`, i))}]`);
        });
        ana.socket.on("connect", () => {
          for (let i = 0; i < 5; i++) ana.socket.emit("sendMessage", ana.message(ben.user, `connect ${i}`, i), (a) => acks.push(a.id));
        });
        await until("all acks", () => acks.length === 5);
        await until("all messages", () => ben.named("receiveMessage").length === 20);
        const ids = ben.named("receiveMessage").map((e) => e.args[0].id);
        const of = (kind, n) => Array.from({ length: n }, (_, i) => `${kind} ${i}`);
        assert.deepEqual(ids.slice(0, 10), of("early", 10));
        for (const kind of ["buffered", "connect"]) assert.deepEqual(ids.filter((id) => id.startsWith(kind)), of(kind, 5));
        assert.deepEqual(ana.acks.filter((a) => a.id >= 700).map((a) => [a.id, a.args[0].status]), of("", 10).map((_, i) => [700 + i, "ok"]));
        assert.equal(ana.events[0].name, "online_users");
      }));

    test("200 messages in a burst arrive once and in order", () =>
      on(patient, transports, async (s) => {
        const [ana, ana2, ben, ben2] = [await s.join("ana"), await s.join("ana"), await s.join("ben"), await s.join("ben")];
        const acks = [];
        for (let i = 0; i < 200; i++) ana.socket.emit("sendMessage", ana.message(ben.user, i, `message ${i}`), (a) => acks.push(a.id));
        await until("200 acks", () => acks.length === 200);
        const ids = (c, name) => c.named(name).map((e) => e.args[0].id);
        const all = Array.from({ length: 200 }, (_, i) => i);
        await until("200 messages", () => ids(ben, "receiveMessage").length >= 200 && ids(ben2, "receiveMessage").length >= 200 && ids(ana2, "messageSent").length >= 200);
        await ana.send(ben.user, "fence", 1);
        for (const c of [ben, ben2]) await c.take("receiveMessage", (m) => m.id === "fence");
        assert.deepEqual(acks, all);
        assert.deepEqual(ids(ben, "receiveMessage"), [...all, "fence"]);
        assert.deepEqual(ids(ben2, "receiveMessage"), [...all, "fence"]);
        assert.deepEqual(ids(ana2, "messageSent").slice(0, 200), all);
      }));

    if (transports.length === 2) {
      test("nothing is lost, doubled or reordered by the upgrade, 30 times", { timeout: 120_000 }, () =>
        on(patient, transports, async (s) => {
          const N = 200;
          const all = Array.from({ length: N }, (_, i) => i);
          const random = (n) => Math.floor(Math.random() * n);
          const far = await s.link({ delay: 3 }); // the upgrade takes a while
          let polled = 0;
          for (let round = 0; round < 30; round++) {
            const ben = await s.join(`ben${round}`, { transports: [round % 2 ? "websocket" : "polling"] });
            const ana = s.start(`ana${round}`, { via: far });
            const acks = { [ana.user]: [], [ben.user]: [] };
            let early = false;
            const send = (from, to) => {
              let i = 0;
              const burst = () => {
                early ||= ana.manager.engine.transport.name === "polling";
                for (let n = 1 + random(40); n > 0 && i < N; n--, i++) {
                  from.socket.emit("sendMessage", from.message(to.user, i, "x".repeat(random(i % 20 ? 300 : 5000))), (a) => acks[from.user].push(a.id));
                }
                if (i < N) setTimeout(burst, random(12));
              };
              setTimeout(burst, round % 3 ? random(30) : 0); // every third begins at once, on polling
            };
            await new Promise((connected) => ana.socket.once("connect", connected));
            send(ana, ben);
            send(ben, ana);
            for (const c of [ana, ben]) {
              const at = () => `${acks[c.user].length} acks of ${c.user}, on ${c.manager.engine?.transport.name}, disconnected by [${c.disconnects}] (${c.details?.description ?? "no details"})`;
              await until(() => `round ${round}: all acks; there are ${at()}`, () => acks[c.user].length >= N);
            }
            const ids = (c) => c.named("receiveMessage").map((e) => e.args[0].id);
            for (const c of [ana, ben]) await until(() => `round ${round}: ${ids(c).length} messages`, () => ids(c).length >= N);
            await ana.upgraded();
            await ana.send(ben.user, "fence", 1);
            await ben.send(ana.user, "fence", 1);
            for (const c of [ana, ben]) await c.take("receiveMessage", (m) => m.id === "fence");
            for (const c of [ana, ben]) {
              assert.deepEqual(acks[c.user], all, `round ${round}`);
              assert.deepEqual(ids(c), [...all, "fence"], `round ${round}`);
              assert.deepEqual(c.disconnects, []);
            }
            polled += early;
            ana.close();
            ben.close();
          }
          assert.ok(polled >= 10, `rounds in which messages were sent on polling: ${polled}`);
        }));
    }
  });
}
