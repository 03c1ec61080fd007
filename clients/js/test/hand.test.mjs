// A server whose every word is in this hand: for what the real one says seldom.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Client, MemoryStore } from "heymanito/core";

/** A client of it. on: what the server says; sent: what it was told, with answer; introduce: what the client says in CONNECT. */
function stranger(options, socketIo = {}) {
  const on = {};
  const sent = [];
  let introduce;
  const socket = {
    io: socketIo,
    on: (name, f) => (on[name] = f),
    connect() {},
    disconnect() {},
    timeout: () => ({ emit: (name, m, answer) => sent.push({ name, ...m, answer: (ack) => answer(null, ack) }) }),
  };
  const connect = (url, { auth }) => {
    introduce = () => new Promise(auth);
    return socket;
  };
  const made = new Client(connect, { url: "", chatPath: "ana", ...options });
  made.connect();
  return { client: made, on, sent, introduce };
}

/** A client that is connected to it. */
function client(options, socketIo) {
  const made = stranger(options, socketIo);
  made.on.connect();
  return made;
}

/** Time that this hand moves; timers that are due run. */
function clock(t) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  return (ms) => t.mock.timers.tick(ms);
}

const later = { status: "error", code: "unavailable", message: "", retryable: true };

describe("in this hand", () => {
  test("what the server cannot take now goes again, as the same, when it says; other conversations do not wait", async (t) => {
    const pass = clock(t);
    const { client: ana, sent } = client({ times: { retry: 10 } });
    const first = ana.send({ to: "luis", content: 1 });
    const second = ana.send({ to: "luis", content: 2 });
    const other = ana.send({ to: "eva", content: 3 });
    assert.deepEqual(sent.map((m) => m.content), [1, 3]);
    sent[0].answer({ ...later, retryAfterMs: 500 });
    sent[1].answer({ status: "ok", id: other.id, ts: 1, delivery: "sent" });
    assert.equal((await other).delivery, "sent");
    pass(499);
    assert.equal(sent.length, 2);
    pass(1);
    assert.deepEqual([sent.length, sent[2].id, sent[2].content], [3, first.id, 1]);
    for (let i = 2, wait = 10; i < 20; i++, wait *= 2) {
      sent[i].answer(later); // without a hint it waits longer each time, and never more than half a minute
      pass(Math.min(wait * 2, 30_000));
      assert.equal(sent.length, i + 2);
    }
    sent.at(-1).answer({ status: "ok", id: first.id, ts: 2, delivery: "queued", duplicate: true });
    assert.equal((await first).delivery, "queued");
    assert.equal(sent.at(-1).id, second.id);
    sent.at(-1).answer({ ...later, code: "forbidden", retryable: false });
    await assert.rejects(second, { code: "forbidden" });
    ana.close();
  });

  test("an answer that the connection took with it is asked for on the next one", async () => {
    const { client: ana, on, sent } = client();
    const sending = ana.send({ to: "luis", content: 1 });
    on.disconnect("transport close");
    assert.equal(sent.length, 1);
    on.connect();
    assert.deepEqual(sent.map((m) => m.id), [sending.id, sending.id]);
    sent[0].answer({ status: "ok", id: sending.id, ts: 1, delivery: "sent" }); // nobody waits for this one any more
    sent[1].answer({ status: "ok", id: sending.id, ts: 2, delivery: "queued" });
    assert.equal((await sending).ts, 2);
    ana.close();
  });

  test("what it has sent itself it is told by answers, also where the first was lost and a handler is slow", async () => {
    const { client: ana, on, sent } = client();
    const told = [];
    let done;
    ana.on("message", () => new Promise((resolve) => (done = resolve)));
    ana.on("sent", (m) => told.push(m.id));
    on.inboxReady({ epoch: "e", seq: 0, complete: true, now: 1 });
    const sending = ana.send({ to: "luis", content: 1 });
    on.disconnect("transport close");
    on.connect();
    on.receiveMessage({ id: 7, senderChatPath: "luis", recipientChatPath: "ana", ts: 1, seq: 1 });
    on.messageSent({ id: sending.id, senderChatPath: "ana", recipientChatPath: "luis", content: 1, ts: 2, seq: 2 });
    on.messageSent({ id: 8, senderChatPath: "ana", recipientChatPath: "luis", content: 1, ts: 3, seq: 3 }); // of her laptop
    on.inboxReady({ epoch: "e", seq: 3, complete: true, now: 1 });
    sent[1].answer({ status: "ok", id: sending.id, ts: 2, seq: 2, delivery: "sent", duplicate: true });
    await sending;
    done();
    await new Promise(setImmediate);
    assert.deepEqual(told, [8]);
    ana.close();
  });

  test("nor is it told by others of what it has sent before the page was loaded anew", async () => {
    const kept = new MemoryStore();
    kept.setItem("heymanito:ana:outbox", JSON.stringify([{ id: "m1", to: "luis", content: 1 }]));
    const store = {
      getItem: async (key) => (await new Promise(setImmediate), kept.getItem(key)),
      setItem: async (key, value) => kept.setItem(key, value),
      removeItem: async (key) => kept.removeItem(key),
    };
    const { client: ana, on, sent, introduce } = stranger({ store, keepOutbox: true });
    const told = [];
    ana.on("sent", (m) => told.push(m.id));
    ana.on("accepted", (m) => told.push(`${m.id} accepted`));
    assert.deepEqual((await introduce()).since, {});
    on.connect();
    on.messageSent({ id: "m1", senderChatPath: "ana", recipientChatPath: "luis", content: 1, ts: 2, seq: 1 });
    on.inboxReady({ epoch: "e", seq: 1, complete: true, now: 1 });
    assert.deepEqual(sent.map((m) => m.id), ["m1"]);
    sent[0].answer({ status: "ok", id: "m1", ts: 2, seq: 1, delivery: "sent", duplicate: true });
    assert.deepEqual(told, ["m1 accepted"]);
    ana.close();
  });

  test("what is too big for polling waits for a WebSocket, and not for ever", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
    const engine = { maxPayload: 1000, transport: { name: "polling" } };
    const { client: ana, sent } = client({ times: { retry: 500 } }, { engine, opts: { transports: ["polling", "websocket"] } });
    const photo = new Uint8Array(700); // 936 in base64
    const first = ana.send({ to: "luis", content: photo });
    for (let s = 0; s < 15; s++) t.mock.timers.tick(1000);
    assert.equal(sent.length, 0);
    engine.transport.name = "websocket";
    t.mock.timers.tick(1000);
    assert.equal(sent.length, 1);
    sent[0].answer({ status: "ok", id: first.id, ts: 1, delivery: "sent" });
    await first;
    engine.transport.name = "polling"; // as if it had never become one
    const second = ana.send({ to: "luis", content: photo });
    t.mock.timers.setTime(Date.now() + 3_600_000); // the laptop was closed: that is no waiting
    t.mock.timers.tick(1000);
    let waiting = true;
    second.catch(() => (waiting = false));
    await Promise.resolve();
    assert.ok(waiting);
    for (let s = 0; s < 6; s++) t.mock.timers.tick(1000);
    await assert.rejects(second, { code: "too_large" });
    assert.equal(sent.length, 1);
    ana.close();
  });

  test("an erased entry counts; a place that goes back is kept", () => {
    const store = new MemoryStore();
    const place = () => JSON.parse(store.getItem("heymanito:ana:position"));
    const { client: ana, on } = client({ store });
    const told = [];
    ana.on("erased", (e) => told.push(e));
    on.inboxReady({ epoch: "e", seq: 5, complete: true, now: 1 });
    on.entryErased({ erased: true, seq: 6 });
    assert.deepEqual([told, place()], [[{ seq: 6 }], { epoch: "e", seq: 6 }]);
    // The server has lost its end, and says so.
    on.disconnect("transport close");
    on.connect();
    on.inboxReady({ epoch: "e", seq: 2, complete: false, now: 1 });
    assert.deepEqual(place(), { epoch: "e", seq: 2 });
    ana.close();
  });

  test("a call's ticket is renewed before it ends, and as long as the call lives", async (t) => {
    const pass = clock(t);
    const { client: ana, on, sent } = client({ times: { ticket: 10_000 } });
    ana.on("call", (call) => call.accept());
    on.incomingCall({ callId: "c", callerId: "luis", roomName: "r", ts: 1, expiresAt: 2, expiresInMs: 45_000 });
    const [call] = ana.calls;
    assert.deepEqual(sent.map((m) => [m.name, m.callId]), [["acceptCall", "c"]]);
    sent[0].answer({ status: "ok", callId: "c", roomName: "r", token: "t1", url: "u" });
    assert.deepEqual(call.ticket, { token: "t1", url: "u" });
    pass(7_999);
    assert.equal(sent.length, 1);
    pass(1);
    assert.equal(sent[1].name, "getCallToken");
    sent[1].answer(later);
    await new Promise(setImmediate);
    pass(10_000);
    sent[2].answer({ status: "ok", token: "t2", url: "u" });
    assert.deepEqual([sent[2].name, call.ticket], ["getCallToken", { token: "t2", url: "u" }]);
    pass(8_000);
    assert.equal(sent[3].name, "getCallToken");
    on.callEnded({ callId: "c", reason: "left", durationMs: 5 });
    assert.deepEqual(call.ending, { reason: "left", byUs: false, durationMs: 5 });
    pass(100_000);
    assert.equal(sent.length, 4);
    ana.close();
  });

  test("an end that is faster than the ack of the dial counts; one of another call does not", async () => {
    const { client: ana, on, sent } = client();
    const dial = async () => {
      const call = ana.call({ to: "luis" });
      await new Promise(setImmediate);
      return [call, sent.at(-1).answer];
    };
    const ok = { status: "ok", callId: "c", roomName: "r", expiresAt: 1, expiresInMs: 45_000 };
    const [first, answer] = await dial();
    on.callRejected({ callId: "older", recipientId: "luis", reason: "timeout" });
    on.callRejected({ callId: "c", recipientId: "luis", reason: "busy" });
    assert.equal(first.state, "dialling", "it may be another one's");
    answer(ok);
    assert.equal(first.ending.reason, "busy");
    const [second, refuse] = await dial();
    on.callRejected({ recipientId: "luis", reason: "failed" }); // for clients that read no acks
    refuse({ ...later, code: "rate_limited" });
    assert.equal(second.ending.reason, "rate_limited");
    const [third, accept] = await dial();
    on.callAccepted({ callId: "c", recipientId: "luis", roomName: "r" });
    accept(ok);
    assert.equal(third.state, "answered");
    on.callEnded({ callId: "c", reason: "hangup", durationMs: 1 });
    assert.deepEqual(third.ending, { reason: "hangup", byUs: false, durationMs: 1 });
    ana.close();
  });

  test("a call whose end nobody says ends by itself, once", (t) => {
    const pass = clock(t);
    const { client: ana, on } = client({ times: { grace: 3_000 } });
    const endings = [];
    ana.on("call", (call) => call.on("ended", (e) => endings.push(e.reason)));
    on.incomingCall({ callId: "c", callerId: "luis", roomName: "r", ts: 1, expiresAt: 2, expiresInMs: 45_000 });
    pass(47_999);
    assert.deepEqual(endings, []);
    pass(1);
    on.callCancelled({ callId: "c", reason: "caller_cancelled" });
    assert.deepEqual(endings, ["timeout"]);
    ana.close();
  });

  test("sessionEnded is the end, however the connection breaks then", () => {
    const { client: ana, on } = client();
    const states = [];
    ana.on("state", (c) => states.push([c.state, c.error?.code]));
    on.sessionEnded({ code: "account_deleted" });
    on.disconnect("transport close");
    assert.deepEqual(states, [["ended", "account_deleted"]]);
  });
});
