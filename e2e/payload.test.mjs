// What users say to each other arrives byte for byte, on every transport.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Keeper, TRANSPORTS, on, scratch, startServer, until } from "./lib.mjs";

const ESCAPES = Array.from({ length: 0x21 }, (_, i) => String.fromCharCode(i)).join("") + "\x7f\x80\u2028\u2029\ufeff\u001e\"\\/";

/** name → content, as stock clients send it. */
const CONTENTS = {
  "1 B": 1,
  "900 B": "a".repeat(898),
  "1,025 B": "a".repeat(1023),
  "64 KB": "a".repeat(64 << 10),
  "65,535 B of a frame and one more": ["a".repeat(65_400), "b"],
  "900 KB": "ä".repeat(449_000),
  emoji: "👩‍👩‍👧‍👦 ¡Hola! 😀 日本語 \u{10ffff}",
  "lone surrogates": ["\ud800", "\udfff x \ud83d", "\ude00\ud83d"],
  "control characters": ESCAPES,
  "keys that are control characters": { [ESCAPES]: 1, "": 2 },
  "key order": { z: 1, a: 2, 10: 3, 9: 4, m: { y: 1, x: 2 } },
  __proto__: JSON.parse('{"__proto__":{"polluted":true},"constructor":{"prototype":1},"toString":2}'),
  null: null,
  false: false,
  zero: 0,
  "empty string": "",
  "empty object": {},
  "empty array": [],
  "numbers of doubles": [5e-324, 1.7976931348623157e308, -0.1, 9007199254740991],
  "a placeholder that is none": { _placeholder: true, num: 0 },
  "depth 98": JSON.parse("[".repeat(98) + "]".repeat(98)),
  "what looks like a packet": '451-["x",{"_placeholder":true,"num":0}]',
};

/** JSON that JavaScript would not write. */
const RAW = {
  "big numbers": "[12345678901234567890,1e400,0.1000000000000000055511151231257827,1E+2,-0,1.0]",
  "spaces everywhere": ' { "b" : 1 ,\t"a"\n: [ 1 , 2 ] } ',
  "a key twice": '{"a":1,"a":2}',
  "escapes that need none": '"\\u0041\\/\\u00e9\\ud83d\\ude00"',
  "a lone surrogate, written in capitals": '"\\uD800"',
  "__proto__ twice": '{"__proto__":1,"__proto__":{"x":2}}',
  "depth 99": "[".repeat(99) + "]".repeat(99),
};

const bytes = (n, seed = 7) => Buffer.from(Array.from({ length: n }, (_, i) => (i * seed + (i >> 8)) & 0xff));

/** v with placeholders for its binary, numbered as they come. */
function numbered(v, next = { num: 0 }) {
  if (v === null || typeof v !== "object") return v;
  if (v instanceof ArrayBuffer || ArrayBuffer.isView(v)) return { _placeholder: true, num: next.num++ };
  if (Array.isArray(v)) return v.map((x) => numbered(x, next));
  return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, numbered(x, next)]));
}

const SERVERS = [...TRANSPORTS.map((transports) => ({ transports, flags: [] })),
  { transports: ["websocket"], flags: ["-data"] },
  { transports: ["polling"], flags: ["-no-inbox"] },
];

for (const { transports, flags } of SERVERS) {
  describe(`payloads on ${[transports, ...flags].join(" ")}`, { timeout: 120_000 }, () => {
    let server;
    before(async () => {
      server = await startServer(...flags, ...(flags.includes("-data") ? [scratch()] : []));
    });
    after(() => server.stop());

    /** ana sends with device one, ben has two devices, ana a second one. */
    const cast = (body) => () =>
      on(server, transports, async (s) => {
        const c = {};
        for (const [name, user] of [["ana", "ana"], ["ana2", "ana"], ["ben", "ben"], ["ben2", "ben"]]) c[name] = await s.join(user);
        await body(c, s);
        if (server.keeps) { // and a device that comes later gets the same, to the byte
          const late = await s.join("ben", { as: Keeper });
          const [then, now] = [c.ben, late].map((x) => x.named("receiveMessage"));
          assert.deepEqual(now.map((e) => e.raw), then.map((e) => e.raw));
          assert.deepEqual(now.map((e) => e.args), then.map((e) => e.args));
        }
        for (const x of Object.values(c)) assert.deepEqual(x.disconnects, [], "nobody lost the connection");
      });

    const recipients = ({ ana2, ben, ben2 }) => [[ben, "receiveMessage"], [ben2, "receiveMessage"], [ana2, "messageSent"]];

    /** Compares the text of the packets that came with the text of what was sent. */
    async function arrived(c, id, fields) {
      const want = JSON.stringify(id);
      for (const [client, event] of recipients(c)) {
        const e = await until(`${id} at ${event}`, () => client.named(event).find((x) => x.args[0].id === id));
        const head = `2["${event}",{"id":${want},${fields},"ts":`;
        assert.ok(e.raw.startsWith(head), `${e.raw.slice(0, 300)}\n≠\n${head.slice(0, 300)}`);
        assert.match(e.raw.slice(head.length), server.keeps ? /^\d+,"seq":\d+\}\]$/ : /^\d+\}\]$/);
        client.taken.add(e);
      }
    }

    for (const [name, content] of Object.entries(CONTENTS)) {
      test(`content: ${name}`, cast(async (c) => {
        const m = c.ana.message(c.ben.user, name, content);
        assert.equal((await c.ana.emit("sendMessage", m)).status, "ok");
        const { id: _, ...rest } = m;
        await arrived(c, name, JSON.stringify(rest).slice(1, -1));
      }));
    }

    test("JSON that JavaScript would not write", cast(async (c) => {
      let ack = 1000;
      for (const [id, json] of Object.entries(RAW)) {
        const fields =
          `"senderChatPath":"${c.ana.user}","recipientChatPath":"${c.ben.user}","content":${json.trim()},"senderProfile":[${json}]`.replaceAll(
            `[${RAW["depth 99"]}]`, RAW["depth 99"], // the bound holds for it too
          );
        const answer = await c.ana.writeEvent(++ack, `["sendMessage" , {"dropped":${json},"id":${JSON.stringify(id)},${fields}} ] `);
        assert.equal(answer.status, "ok", `${id}: ${JSON.stringify(answer)}`);
        await arrived(c, id, fields);
      }
    }));

    test("ids and names that are written unusually", cast(async (c) => {
      const path = `"\\u${c.ben.user.charCodeAt(0).toString(16).padStart(4, "0")}${c.ben.user.slice(1)}"`;
      for (const [i, id] of ["12345678901234567890", "1.0", '"\\u0031"', "-0"].entries()) {
        const ack = await c.ana.writeEvent(2000 + i, `["sendMessage",{"id":${id},"senderChatPath":"${c.ana.user}","recipientChatPath":${path}}]`);
        assert.equal(ack.status, "ok", JSON.stringify(ack));
        const { raw } = await until("the message", () => c.ben.named("receiveMessage")[i]);
        const start = `2["receiveMessage",{"id":${id},"senderChatPath":"${c.ana.user}","recipientChatPath":${path},"ts":`;
        assert.equal(raw.slice(0, start.length), start);
      }
    }));

    test("absent stays absent, null stays null", cast(async (c) => {
      await c.ana.emit("sendMessage", { id: "bare", senderChatPath: c.ana.user, recipientChatPath: c.ben.user });
      await arrived(c, "bare", `"senderChatPath":"${c.ana.user}","recipientChatPath":"${c.ben.user}"`);
      await c.ana.emit("sendMessage", { id: "null", senderChatPath: c.ana.user, recipientChatPath: c.ben.user, content: null, senderProfile: null });
      await arrived(c, "null", `"senderChatPath":"${c.ana.user}","recipientChatPath":"${c.ben.user}","content":null,"senderProfile":null`);
    }));

    test("the order of the fields is the server's, further fields and arguments are dropped", cast(async (c) => {
      const m = { zeta: 1, senderProfile: 2, content: 1, recipientChatPath: c.ben.user, senderChatPath: c.ana.user, id: "o", ts: 1, seq: 5, __proto: 1 };
      assert.equal((await c.ana.emit("sendMessage", m, "a second argument", { x: 1 })).status, "ok");
      await arrived(c, "o", `"senderChatPath":"${c.ana.user}","recipientChatPath":"${c.ben.user}","content":1,"senderProfile":2`);
    }));

    test("binary attachments, beside every other content", cast(async (c) => {
      const photo = bytes(2000);
      const view = new Uint8Array(bytes(64).buffer, 0, 64).subarray(8, 40);
      const buffer = Uint8Array.from(bytes(300, 3)).buffer;
      for (const [name, other] of Object.entries(CONTENTS)) {
        if (["depth 98", "__proto__", "a placeholder that is none"].includes(name)) continue; // below, or not a stock client's
        const content = { other, photo, list: [1, view, { deep: buffer }], empty: Buffer.alloc(0), after: name === "900 KB" ? 1 : other };
        const m = c.ana.message(c.ben.user, name, content, { dropped: [bytes(9), { x: bytes(3) }], senderProfile: { face: photo } });
        const keys = ["dropped", "id", "senderChatPath", "recipientChatPath", "content", "senderProfile"]; // so that 0 and 1 are dropped
        assert.equal((await c.ana.emit("sendMessage", Object.fromEntries(keys.map((k) => [k, m[k]])))).status, "ok");
        const text = JSON.stringify(numbered(Object.fromEntries(keys.slice(1).map((k) => [k, m[k]])))).slice(0, -1);
        for (const [client, event] of recipients(c)) {
          const { args: [got], raw } = await until(`${name} at ${event}`, () => client.named(event).find((e) => e.args[0].id === name));
          const head = `55-["${event}",${text},"ts":`;
          assert.ok(raw.startsWith(head), `${raw.slice(0, 300)}\n≠\n${head.slice(0, 300)}`);
          for (const [a, b] of [
            [got.content.photo, photo], [got.content.list[1], view], [got.content.list[2].deep, Buffer.from(buffer)],
            [got.content.empty, Buffer.alloc(0)], [got.senderProfile.face, photo],
          ]) assert.ok(Buffer.isBuffer(a) && Buffer.compare(a, b) === 0, `${name}: ${a}`);
        }
      }
    }));

    test("binary attachments: placeholders are numbered anew, everything else stays as it is", cast(async (c) => {
      const p = (num) => `{"_placeholder":true,"num":${num}}`;
      const people = `"senderChatPath":"${c.ana.user}","recipientChatPath":"${c.ben.user}"`;
      const big = "[12345678901234567890, 1e400,\t\"\\ud800\"]";
      const proto = '{"__proto__":{"x":1},"a":1,"a":2}';
      const ack = await c.ana.writeEvent(
        3000,
        `["sendMessage",{"dropped":${p(1)},"content":[${p(3)},${big},${proto},${p(0)}],"id":"b",${people},"senderProfile":{ "x" : ${p(2)} }},${p(4)}]`,
        { kind: "55-", attachments: [Buffer.from("zero"), Buffer.from("one"), Buffer.from("two"), Buffer.from("three"), Buffer.from("four")] },
      );
      assert.equal(ack.status, "ok", JSON.stringify(ack));
      for (const [client, event] of recipients(c)) {
        const got = await client.take(event);
        const text = client.raw.find((r) => r.includes(event));
        const head = `53-["${event}",{"id":"b",${people},"content":[${p(0)},${big},${proto},${p(1)}],"senderProfile":{ "x" : ${p(2)} },"ts":`;
        assert.equal(text.slice(0, head.length), head);
        assert.deepEqual([got.content[0], got.content[3], got.senderProfile.x].map(String), ["three", "zero", "two"]);
      }
    }));

    test("a message all of whose attachments are dropped is a plain one", cast(async (c) => {
      const m = { ...c.ana.message(c.ben.user, "plain", "text"), photo: bytes(100) };
      assert.equal((await c.ana.emit("sendMessage", m)).status, "ok");
      await arrived(c, "plain", `"senderChatPath":"${c.ana.user}","recipientChatPath":"${c.ben.user}","content":"text","senderProfile":${JSON.stringify(m.senderProfile)}`);
    }));

    test("a photo from a client that is told to write binary as base64", cast(async (c, s) => {
      const photo = bytes(70_000);
      const base64 = await s.join("ana", { forceBase64: true });
      await base64.send(c.ben.user, "base64", { photo });
      for (const [client, event] of [...recipients(c), [c.ana, "messageSent"]]) {
        assert.equal(Buffer.compare((await client.take(event)).content.photo, photo), 0);
      }
      assert.deepEqual(base64.disconnects, []);
    }));

    test("a photo of 600 KB, and ten small ones", cast(async (c) => {
      const photo = bytes(600_000);
      await c.ana.send(c.ben.user, "photo", { photo });
      for (const [client, event] of recipients(c)) {
        assert.equal(Buffer.compare((await client.take(event)).content.photo, photo), 0);
      }
      const many = Array.from({ length: 10 }, (_, i) => bytes(i + 1));
      await c.ana.send(c.ben.user, "many", many);
      for (const [client, event] of recipients(c)) {
        const got = await client.take(event);
        assert.ok(got.content.every((b, i) => Buffer.compare(b, many[i]) === 0));
      }
    }));

    test("more attachments than a stock parser takes are refused, they would cost the recipient the connection", cast(async (c) => {
      const ack = await c.ana.send(c.ben.user, "eleven", Array.from({ length: 11 }, () => bytes(3)));
      await c.ana.send(c.ben.user, "fence", 1);
      await c.ben.take("receiveMessage", (m) => m.id === "fence");
      assert.equal(ack.code, "invalid", JSON.stringify(ack));
      assert.equal(c.ben.named("receiveMessage").length, 1);
    }));

    test("binary and plain messages in one burst keep their order", cast(async (c) => {
      for (let i = 0; i < 100; i++) c.ana.socket.emit("sendMessage", c.ana.message(c.ben.user, i, i % 3 ? i : { b: bytes(i), c: [bytes(2)] }));
      const ids = () => c.ben.named("receiveMessage").map((e) => e.args[0].id);
      await until("100 messages", () => ids().length >= 100);
      assert.deepEqual(ids(), Array.from({ length: 100 }, (_, i) => i));
      for (const e of c.ben.named("receiveMessage")) {
        const { id, content } = e.args[0];
        if (id % 3) assert.equal(content, id);
        else assert.equal(Buffer.compare(content.b, bytes(id)), 0);
      }
    }));

    test("callerInfo is carried as it is, a picture in it too", cast(async (c) => {
      const face = bytes(2000);
      const callerInfo = { z: "\ud800", a: [face], 1: 2 };
      const call = { dropped: bytes(4), recipientId: c.ben.user, callerId: c.ana.user, callerInfo, roomName: "sala \u2028 \"1\" 😀" };
      assert.equal((await c.ana.emit("initiateCall", call)).roomName, call.roomName);
      for (const client of [c.ben, c.ben2]) {
        const got = await client.take("incomingCall");
        assert.equal(got.roomName, call.roomName);
        assert.equal(JSON.stringify(got.callerInfo), JSON.stringify(callerInfo));
        assert.equal(Buffer.compare(got.callerInfo.a[0], face), 0);
      }
    }));

    test("user names of all kinds", () =>
      on(server, transports, async (s) => {
        const ana = await s.join("ana");
        for (const name of ["a b", "ñandú/😀", '"quotes"\\', "a&userId=b", "__proto__", "100%", "+34 600", "\u2028", "<script>", "constructor", "{}"]) {
          const c = await s.join(name);
          assert.equal(await ana.take("contact_online", (u) => u === c.user), c.user);
          assert.equal(c.events[0].args[0][c.user], c.socket.id);
          assert.equal((await ana.send(c.user, 1, "hola")).delivery, "sent");
          assert.equal((await c.take("receiveMessage")).recipientChatPath, c.user);
          c.close();
        }
        const proto = await s.join("x", { query: { userId: "__proto__" } });
        assert.equal((await ana.send("__proto__", 1, "hola")).delivery, "sent");
        await proto.take("receiveMessage");
      }));
  });
}
