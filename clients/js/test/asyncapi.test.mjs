// docs/asyncapi.yaml is AsyncAPI, and says what real frames look like.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import Ajv from "ajv";
import formats from "ajv-formats";
import { parse } from "yaml";
import { on, startServer, until } from "./lib.mjs";

const doc = parse(readFileSync(new URL("../../../docs/asyncapi.yaml", import.meta.url), "utf8"));
const ours = Object.keys(doc.components.messages);

/** What no example server says: there are no accounts to be deleted, and no LiveKit here. */
const NOT_SEEN = ["entryErased", "getCallTokenAck"];

/** A copy of a schema that takes no field it does not name. */
function closed(schema) {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== "object" || schema === null) return schema;
  const copy = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, closed(value)]));
  return copy.type === "object" && !("additionalProperties" in copy) ? { ...copy, additionalProperties: false } : copy;
}

const ajv = new Ajv({ strict: false, allErrors: true });
ajv.addSchema(closed(doc), "doc");
const compiled = (path) => ajv.compile({ $ref: `doc#/components/messages/${path}` });

/** Hears every packet of a client's, and checks it as it passes. */
class Tap {
  seen = new Set();
  wrong = [];
  #checks = new Map();

  listen(device) {
    const { client } = device;
    const manager = client.socket.io;
    const asked = new Map();
    const { _packet: write } = manager;
    manager._packet = (p) => {
      if (p.type === 0) this.check("CONNECT", "payload", p.data);
      if (p.type === 2) {
        this.check(p.data[0], "payload", p.data[1]);
        if (p.id !== undefined) asked.set(p.id, p.data[0]);
      }
      return write.call(manager, p);
    };
    client.socket.on("connect", () => asked.clear());
    manager.on("packet", ({ type, id, data }) => {
      if (type === 4) this.check("CONNECT_ERROR", "payload", data);
      if (type === 3) this.check(data[0].status === "ok" ? `${asked.get(id)}Ack` : "refused", "payload", data[0]);
      if (type !== 2) return;
      this.check(data[0], "payload", data[1]);
      if (data.length > 2) this.check(data[0], "x-second", data[2]);
      if (data.length > (data[0] === "contact_offline" ? 3 : 2)) this.wrong.push(`${data[0]} has ${data.length - 1} arguments`);
    });
    return device;
  }

  check(name, part, value) {
    this.seen.add(name);
    if (!ours.includes(name)) return void this.wrong.push(`${name} is not in it`);
    const path = `${name}/${part}`;
    let ok = this.#checks.get(path);
    if (!ok) this.#checks.set(path, (ok = compiled(path)));
    if (!ok(value)) this.wrong.push(`${path}: ${ajv.errorsText(ok.errors)}: ${JSON.stringify(value)}`);
  }
}

describe("docs/asyncapi.yaml", { timeout: 60_000 }, () => {
  test("is a document of AsyncAPI 3", () => {
    const schema = createRequire(import.meta.url)("@asyncapi/specs/schemas/3.0.0-without-$id.json");
    const valid = formats(new Ajv({ strict: false, allErrors: true })).compile(schema);
    assert.ok(!valid({ ...doc, operations: { CONNECT: { action: "shout" } } }));
    assert.ok(valid(doc), JSON.stringify(valid.errors?.slice(0, 5), null, 1));
  });

  test("every $ref of it leads somewhere, and every message belongs to an operation", () => {
    const find = (ref) => ref.slice(2).split("/").reduce((at, key) => at?.[key.replaceAll("~1", "/")], doc);
    const used = new Set();
    JSON.stringify(doc, (key, value) => {
      if (key === "$ref") assert.ok(find(value), value);
      return value;
    });
    for (const { messages, reply } of Object.values(doc.operations)) {
      for (const { $ref } of [...messages, ...(reply?.messages ?? [])]) used.add($ref.split("/").at(-1));
    }
    assert.deepEqual([...used].sort(), ours.toSorted());
    assert.deepEqual(Object.keys(doc.channels.root.messages).sort(), ours.toSorted());
  });

  test("says what goes over the wire, and nothing more", async () => {
    const tap = new Tap();
    const server = await startServer("-insecure=false", "-expiry-notice=59m59s", "-ring-timeout=3s");
    try {
      await on(server, async (s) => {
        const token = (name) => async () => {
          const answer = await fetch(`${server.url}/login`, { method: "POST", body: JSON.stringify({ name: s.user(name) }) });
          return (await answer.json()).token;
        };
        const join = (name, more) => tap.listen(s.device(name, { token: token(name), profile: { name }, ...more })).join();
        const [ana, laptop] = [await join("ana"), await join("ana")];
        const ben = await join("ben");
        const [a, b] = [s.user("ana"), s.user("ben")];

        const sent = await ana.client.send({ to: b, content: { text: "hola", photo: Buffer.from("jpg") } });
        await ana.client.send({ to: b, content: null, id: sent.id }); // a duplicate
        await ana.client.send({ to: b, id: 7, content: [1] });
        await laptop.take("sent");
        await ana.take("delivered");
        await laptop.client.markAsRead(b, "nothing").catch(() => {});
        await ben.client.markAsRead(a, 7);
        await ana.take("read");
        const tablet = await join("ben");
        await ben.client.send({ to: a, content: "¿sí?" });
        await ana.client.markAsRead(b, (await ana.take("message")).id);
        await laptop.take("conversationRead");
        const { socket } = tablet.client;
        await socket.timeout(5_000).emitWithAck("markAsDelivered", { senderChatPath: a, recipientChatPath: b });

        const call = (end) => async () => {
          const dial = ana.client.call({ to: b, media: "audio" });
          const rings = await ben.take("call");
          await until("it rings", () => dial.ringing);
          await end(dial, rings);
          await until("it is over", () => dial.state === "ended" && rings.state === "ended");
        };
        await call(async (dial, rings) => {
          rings.accept();
          await until("they talk", () => dial.state === "answered");
          rings.connected();
          await dial.freshTicket().catch((err) => assert.equal(err.code, "not_found"));
          await ana.client.liveCalls();
          dial.hangUp();
        })();
        await call((_, rings) => rings.reject())();
        await call((dial) => dial.cancel())();
        await call(() => {})();
        await ben.take("missedCall", (m) => m.reason === "timeout");

        const nobody = tap.listen(s.device("carl", { token: token("ana") }));
        nobody.client.connect();
        await nobody.state("ended");
        const carl = await join("carl");
        carl.client.close();
        await ana.take("presence", (p) => p.chatPath === s.user("carl") && p.lastSeen !== undefined);
        await until("the tokens were renewed", () => tap.seen.has("refreshAuthAck"));
        const out = await fetch(`${server.url}/logout`, { method: "POST", headers: { Authorization: `Bearer ${await token("ben")()}` } });
        assert.equal(out.status, 200);
        await ben.state("ended");
      });
    } finally {
      await server.stop();
    }
    assert.deepEqual(tap.wrong, []);
    assert.deepEqual(ours.filter((name) => !tap.seen.has(name)).sort(), NOT_SEEN.toSorted(), "what was never seen");
  });
});
