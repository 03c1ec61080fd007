// What clients do wrong: every ack comes exactly once, and nobody else notices.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { Client, TRANSPORTS, on, once, request, startServer, until } from "./lib.mjs";

const EIO = "/socket.io/?EIO=4";

for (const transports of TRANSPORTS) {
  describe(`mistakes on ${transports}`, { timeout: 120_000 }, () => {
    let server;
    before(async () => {
      server = await startServer();
    });
    after(() => server.stop());

    test("every bad event is acked once with its code, and nobody else notices", () =>
      on(server, transports, async (s) => {
        const [ana, ana2, ben] = [await s.join("ana"), await s.join("ana"), await s.join("ben")];
        const A = JSON.stringify(ana.user);
        const B = JSON.stringify(ben.user);
        const long = JSON.stringify("x".repeat(257));
        const deep = (n) => "[".repeat(n) + "]".repeat(n);
        const message = (fields = {}) =>
          JSON.stringify(["sendMessage", { ...ana.message(ben.user, "bad", 1), ...fields }]);
        const object = (name, members) => `["${name}",{${members}}]`;
        const bad = [
          // no payload, or none that is an object
          ...["sendMessage", "markAsRead", "markAsDelivered", "initiateCall", "acceptCall", "rejectCall"].flatMap((name) => [
            ["invalid", `["${name}"]`],
            ...["null", "true", "1", '"x"', "[]", "{}", '[{"id":1}]'].map((payload) => ["invalid", `["${name}",${payload}]`]),
          ]),
          // unknown events, and names that are none
          ["invalid", '["nonsense",{}]'], ["invalid", '["receiveMessage",{}]'], ["invalid", '["message"]'], ["invalid", '["connect",{}]'],
          ["invalid", '["disconnect"]'], ["invalid", '[""]'], ["invalid", "[1]"], ["invalid", "[null,{}]"], ["invalid", '[{"a":1}]'],
          ["invalid", '[["sendMessage"],{}]'], ["invalid", '["__proto__",{}]'], ["invalid", '["toString",{}]'],
          // ids
          ...["null", "true", "{}", "[1]", '""', long].map((id) => ["invalid", `["sendMessage",{"id":${id},"senderChatPath":${A},"recipientChatPath":${B}}]`]),
          ["invalid", object("sendMessage", `"senderChatPath":${A},"recipientChatPath":${B}`)],
          // the recipient
          ...["null", "1", '""', "[]", "{}", long, '"a\\u0000b"', '"a\\nb"', '"\\ud800"'].map((to) => ["invalid", `["sendMessage",{"id":1,"senderChatPath":${A},"recipientChatPath":${to}}]`]),
          ["invalid", object("sendMessage", `"id":1,"senderChatPath":${A}`)],
          // the sender
          ...["null", "1", '""', `[${A}]`].map((from) => ["invalid", `["sendMessage",{"id":1,"senderChatPath":${from},"recipientChatPath":${B}}]`]),
          ["identity_mismatch", message({ senderChatPath: ben.user })],
          ["identity_mismatch", message({ senderChatPath: ana.user + " " })],
          ["identity_mismatch", message({ senderChatPath: s.user("ANA") })],
          ["identity_mismatch", object("sendMessage", `"senderChatPath":${A},"id":1,"recipientChatPath":${B},"senderChatPath":${B}`)],
          // not JSON, or too deep
          ...['["sendMessage",{"id":1', '["sendMessage",{"id":1}', '["sendMessage",{"id":1,}]', '["sendMessage",{id:1}]', `["sendMessage",{"id":1}]x`,
            '["sendMessage",{"id":1}]]', '["sendMessage",{"id":01}]', '["sendMessage" {}]', '["sendMessage",{"id":"\t"}]', '["sendMessage",{"id":1},]',
            '["sendMessage",{"id":1},undefined]', '["sendMessage",{"id":NaN}]', '["sendMessage",{"id":"\\x"}]'].map((text) => ["invalid", text]),
          ["invalid", object("sendMessage", `"id":1,"senderChatPath":${A},"recipientChatPath":${B},"content":${deep(101)}`)],
          ["invalid", object("sendMessage", `"id":1,"senderChatPath":${A},"recipientChatPath":${B},"dropped":${deep(101)}`)],
          ["invalid", object("sendMessage", `"id":1,"senderChatPath":${A},"recipientChatPath":${B},"content":${deep(100_000)}`)],
          ["invalid", object("sendMessage", `"id":1,"senderChatPath":${A},"recipientChatPath":${B}`).slice(0, -1) + "," + deep(200) + "]"],
          // receipts
          ["identity_mismatch", object("markAsRead", `"senderChatPath":${A},"recipientChatPath":${B}`)],
          ["identity_mismatch", object("markAsDelivered", `"senderChatPath":${A},"recipientChatPath":${B}`)],
          ["invalid", object("markAsRead", `"recipientChatPath":${A}`)], ["invalid", object("markAsRead", `"senderChatPath":${B}`)],
          ["invalid", object("markAsRead", `"senderChatPath":${B},"recipientChatPath":${A},"upToId":{}`)],
          ["invalid", object("markAsRead", `"senderChatPath":[${B}],"recipientChatPath":${A}`)],
          ...["markAsRead", "markAsDelivered"].map((name) => ["not_found", object(name, `"senderChatPath":${B},"recipientChatPath":${A},"upToId":"made up"`)]),
          // calls
          ["identity_mismatch", object("initiateCall", `"recipientId":${A},"callerId":${B},"roomName":"r"`)],
          ["invalid", object("initiateCall", `"recipientId":${A},"callerId":${A},"roomName":"r"`)],
          ["invalid", object("initiateCall", `"recipientId":${B},"callerId":${A},"roomName":5`)],
          ["invalid", object("initiateCall", `"recipientId":${B},"callerId":${A},"roomName":""`)],
          ["invalid", object("initiateCall", `"recipientId":${B},"callerId":${A},"roomName":"r","callerInfo":${deep(101)}`)],
          ["not_found", object("acceptCall", `"callerId":${B},"roomName":"r"`)],
          ["not_found", object("acceptCall", `"callerId":${B},"callId":"made up"`)],
          ["invalid", object("acceptCall", `"roomName":"r"`)], ["invalid", object("acceptCall", `"callerId":7,"roomName":"r"`)],
          ["identity_mismatch", object("rejectCall", `"callerId":${A},"recipientId":${B}`)],
          ["not_found", object("rejectCall", `"callerId":${B},"recipientId":${A}`)],
        ];
        const code = { invalid: false, identity_mismatch: false, not_found: false };
        for (const [i, [want, text]] of bad.entries()) {
          const ack = await ana.writeEvent(5000 + i, text);
          const label = `${text.slice(0, 150)} → ${JSON.stringify(ack)}`;
          assert.equal(ack.status, "error", label);
          assert.equal(ack.code, want, label);
          assert.ok(typeof ack.message === "string" && ack.message, label);
          assert.equal(ack.retryable, code[want], label);
          ana.write(`2${text}`); // without a callback: dropped
        }
        // placeholders that do not add up
        const p = (num) => `{"_placeholder":true,"num":${num}}`;
        const with1 = (content) => object("sendMessage", `"id":1,"senderChatPath":${A},"recipientChatPath":${B},"content":${content}`);
        const one = [Buffer.from("x")];
        const broken = [
          ["51-", with1(p(7)), one], ["51-", with1(p(1)), one], ["51-", with1(p(-1)), one], ["51-", with1(p("0.5")), one], ["51-", with1(p("1e0")), one],
          ["51-", with1(p('"0"')), one], ["51-", with1(`[${p(0)},${p(0)}]`), one], ["50-", with1(p(0)), []],
          ["51-", `["sendMessage",${p(0)}]`, one], ["51-", `[${p(0)}]`, one], ["51-", '["nonsense",{}]', one],
          ["511-", with1(JSON.stringify(Array.from({ length: 11 }, (_, num) => ({ _placeholder: true, num })))), Array(11).fill(one[0])], ["5257-", with1("1"), Array(257).fill(one[0])],
        ];
        for (const [i, [kind, text, attachments]] of broken.entries()) {
          const ack = await ana.writeEvent(6000 + i, text, { kind, attachments });
          assert.equal(ack.code, "invalid", `${kind}${text} → ${JSON.stringify(ack)}`);
        }
        // and life goes on
        for (const c of [ana, ana2]) {
          assert.equal((await c.send(ben.user, `fence ${c.socket.id}`, 1)).delivery, "sent");
          await ben.take("receiveMessage", (m) => m.id === `fence ${c.socket.id}`);
          assert.equal((await ben.send(c.user, `back ${c.socket.id}`, 1)).delivery, "sent");
          for (const x of [ana, ana2]) await x.take("receiveMessage", (m) => m.id === `back ${c.socket.id}`);
        }
        for (let id = 5000; id < 5000 + bad.length; id++) assert.equal(ana.acks.filter((a) => a.id === id).length, 1, bad[id - 5000][1]);
        for (let id = 6000; id < 6000 + broken.length; id++) assert.equal(ana.acks.filter((a) => a.id === id).length, 1, broken[id - 6000][1]);
        const names = (c) => c.events.map((e) => e.name).filter((n) => !/^contact_|^messagesDelivered$/.test(n)).sort().join();
        assert.equal(names(ben), "inboxReady,online_users,receiveMessage,receiveMessage");
        assert.equal(names(ana), "inboxReady,messageSent,online_users,receiveMessage,receiveMessage");
        assert.equal(names(ana2), "inboxReady,messageSent,online_users,receiveMessage,receiveMessage");
        for (const c of [ana, ana2, ben]) assert.deepEqual(c.disconnects, []);
      }));

    test("acks nobody asked for are ignored; the biggest ack id comes back as it was", () =>
      on(server, transports, async (s) => {
        const [ana, ben] = [await s.join("ana"), await s.join("ben")];
        ana.write('3999["x"]');
        ana.write("31[]");
        ana.write('61-2[{"_placeholder":true,"num":0}]', Buffer.from("x"));
        const id = "18446744073709551615"; // more than the stock parser can read
        ana.write(`2${id}${JSON.stringify(["sendMessage", ana.message(ben.user, 2, 1)])}`);
        assert.equal((await ana.send(ben.user, 1, 1)).status, "ok");
        assert.equal(ana.raw.filter((r) => r.startsWith(`3${id}[{"status":"ok"`)).length, 1);
      }));

    test("too large", () =>
      on(server, transports, async (s) => {
        const [ana, ben] = [await s.join("ana"), await s.join("ben")];
        if (transports.includes("websocket")) {
          await ana.upgraded();
          const big = "x".repeat(2_000_000);
          const acks = await Promise.all([
            ana.send(ben.user, "before", 1), ana.send(ben.user, "big", big), ana.send(ben.user, "big2", { photo: Buffer.alloc(2_000_000) }),
            ana.send(ben.user, "big3", { photos: [Buffer.alloc(600_000), Buffer.alloc(600_000), Buffer.alloc(10)] }), ana.send(ben.user, "after", 1),
          ]);
          assert.deepEqual(acks.map((a) => a.code), [undefined, "too_large", "too_large", "too_large", undefined]);
          assert.ok(acks.filter((a) => a.code).every((a) => a.status === "error" && a.retryable === false && a.message));
          await ben.take("receiveMessage", (m) => m.id === "after");
          assert.deepEqual(ana.disconnects, []);
        } else {
          ana.socket.emit("sendMessage", ana.message(ben.user, "big", "x".repeat(2_000_000)));
          await until("the request was refused", () => ana.disconnects.length > 0); // 413: polling has no other way
          await until("and the client is back", () => ana.socket.connected);
          assert.equal((await ana.send(ben.user, "after", 1)).delivery, "sent");
        }
        assert.deepEqual(ben.named("receiveMessage").map((e) => e.args[0].id).filter((id) => /^big/.test(id)), []);
        assert.deepEqual(ben.disconnects, []);
      }));

    test("packets that are no Socket.IO close the connection, not the server", () =>
      on(server, transports, async (s) => {
        const ben = await s.join("ben");
        for (const text of ["9", "", "2", "2{}", "2[]", "0{", "4", "x", "5-[]", "51", '2/other,["sendMessage",{}]']) {
          const eve = await s.join("eve", { reconnection: false });
          if (transports.length === 2) await eve.upgraded();
          eve.write(text);
          await until(`${JSON.stringify(text)} ends the connection`, () => eve.disconnects.length > 0);
          eve.close();
        }
        assert.equal((await ben.send(ben.user, 1, 1)).status, "ok");
        assert.deepEqual(ben.disconnects, []);
      }));

    test("no user: connect_error in words, and no second try", () =>
      on(server, transports, async (s) => {
        for (const userId of [undefined, "", "undefined", "null", "[object Object]"]) {
          const c = s.start("nobody", { query: userId === undefined ? {} : { userId } });
          const [err] = await once(c.socket, "connect_error");
          assert.equal(err.message, "missing_user");
          assert.deepEqual(Object.keys(err.data).sort(), ["code", "message"]);
          assert.equal(err.data.code, "missing_user");
          assert.ok(err.data.message);
          assert.equal(c.socket.active, false, "the client does not try again");
          assert.equal(c.socket.connected, false);
        }
        for (const userId of ["a\nb", "x".repeat(257), "\u0085"]) {
          const c = s.start("nobody", { query: { userId } });
          const [err] = await once(c.socket, "connect_error");
          assert.equal(err.data.code, "invalid");
          assert.equal(c.socket.active, false);
        }
        for (const auth of [
          { deviceId: 7 }, { deviceId: "x".repeat(257) }, { features: "acks" }, { features: [1] },
          ...[7, "x", [], { epoch: "x" }, { seq: 1 }, { epoch: "", seq: 1 }, { epoch: 1, seq: 1 }, ...[-1, 0.5, "1"].map((seq) => ({ epoch: "x", seq }))].map((since) => ({ since })),
        ]) {
          const c = s.start("ana", { auth });
          const [err] = await once(c.socket, "connect_error");
          assert.equal(err.data.code, "invalid", JSON.stringify(auth));
        }
      }));

    test("other namespaces are refused in words, the main one lives on", () =>
      on(server, transports, async (s) => {
        const ana = await s.join("ana");
        const admin = ana.manager.socket("/admin", {});
        const refused = once(admin, "connect_error");
        admin.connect();
        const [err] = await refused;
        assert.equal(err.message, "Invalid namespace");
        assert.equal(admin.active, false);
        assert.equal((await ana.send(ana.user, 1, 1)).status, "ok");
        const alone = s.start("ben", { nsp: "/chat" });
        assert.equal((await once(alone.socket, "connect_error"))[0].message, "Invalid namespace");
        assert.deepEqual(ana.disconnects, []);
      }));
  });
}

describe("handshakes", { timeout: 60_000 }, () => {
  let server;
  before(async () => {
    server = await startServer();
  });
  after(() => server.stop());

  /** The packets a bare WebSocket gets after its open packet. */
  async function bare(query, ...send) {
    const ws = new WebSocket(`${server.url.replace("http", "ws")}${EIO}&transport=websocket&${query}`);
    const got = [];
    ws.on("message", (m) => got.push(String(m)));
    await once(ws, "open");
    for (const text of send) ws.send(text);
    return { ws, got };
  }

  test("a userId given twice is invalid", async () => {
    const { ws, got } = await bare("userId=a&userId=b", "40");
    await until("the refusal", () => got.length > 1);
    assert.match(got[1], /^44\{/);
    const { message, data } = JSON.parse(got[1].slice(2));
    assert.equal(message, "invalid");
    assert.equal(data.code, "invalid");
    ws.close();
  });

  test("everything sent in one instant with the handshake is handled in order", async () => {
    const m = (id) => `42${id}${JSON.stringify(["sendMessage", { id, senderChatPath: "solo", recipientChatPath: "solo", content: 1 }])}`;
    const { ws, got } = await bare("userId=solo", "40", m(1), m(2), m(3));
    await until("three acks", () => got.filter((t) => t.startsWith("43")).length === 3);
    assert.match(got[1], /^40\{"sid":"[^"]+"\}$/);
    assert.match(got[2], /^42\["online_users",/);
    assert.deepEqual(got.filter((t) => t.startsWith("43")).map((t) => t.slice(0, 3)), ["431", "432", "433"]);
    ws.close();
  });

  test("an event before CONNECT closes the connection", async () => {
    const { ws } = await bare("userId=solo", '42["sendMessage",{}]');
    const [code] = await once(ws, "close");
    assert.equal(code, 1002);
  });

  test("Engine.IO 3 is refused with 400 and code 5, on both transports, with one line in the log", async () => {
    for (const eio of ["EIO=3&", "", "EIO=5&"]) {
      const r = await request(`${server.url}/socket.io/?${eio}transport=polling&userId=old`);
      assert.equal(r.status, 400);
      assert.equal(r.json().code, 5);
    }
    const ws = new WebSocket(`${server.url.replace("http", "ws")}/socket.io/?EIO=3&transport=websocket&userId=old`);
    ws.on("error", () => {});
    const [, res] = await once(ws, "unexpected-response");
    assert.equal(res.statusCode, 400);
    res.resume();
    assert.equal(server.log().split("Engine.IO 3").length - 1, 1);
  });

  test("malformed handshakes get the Engine.IO error body", async () => {
    const cases = [
      [`${EIO}&transport=carrier-pigeon`, {}, 0], [EIO, {}, 0], [`${EIO}&transport=polling&sid=made-up`, {}, 1],
      [`${EIO}&transport=polling&sid=made-up`, { method: "POST", body: "40" }, 1], [`${EIO}&transport=polling`, { method: "POST", body: "40" }, 2],
      [`${EIO}&transport=websocket`, {}, 3], [`${EIO}&transport=websocket`, { method: "POST" }, 2],
    ];
    for (const [path, options, code] of cases) {
      const r = await request(server.url + path, options);
      assert.equal(r.status, 400, path);
      assert.equal(r.json().code, code, path);
      assert.ok(r.json().message);
    }
  });

  test("a second poll, a poll that is cut, a malformed POST: the session ends and its client with it", async () => {
    const open = async (user) => {
      const r = await request(`${server.url}${EIO}&transport=polling&userId=${user}`);
      return `${server.url}${EIO}&transport=polling&sid=${JSON.parse(r.text.slice(1)).sid}`;
    };
    const ana = new Client(server, "watcher", { transports: ["websocket"] });
    await ana.ready();
    for (const [name, misbehave] of [
      ["second poll", (url) => Promise.allSettled([request(url), request(url)])],
      ["malformed", async (url) => assert.equal((await request(url, { method: "POST", body: "4" + "\x1e" })).status, 400)],
      ["octets", async (url) => assert.equal((await request(url, { method: "POST", body: "\x01", headers: { "content-type": "application/octet-stream" } })).status, 400)],
    ]) {
      const url = await open(encodeURIComponent(name));
      assert.equal((await request(url, { method: "POST", body: "40" })).text, "ok");
      await ana.take("contact_online", (u) => u === name);
      await until("the answer to CONNECT", async () => (await request(url)).text.includes("online_users"));
      await misbehave(url);
      await until("the session is unknown", async () => (await request(url)).status === 400);
      await ana.take("contact_offline", (u) => u === name, 10_000);
    }
    ana.close();
  });
});
