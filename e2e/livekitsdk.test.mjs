// LiveKit's own npm package and this server understand each other: the tokens
// that the server makes, and the webhooks that LiveKit signs.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { AccessToken, TokenVerifier, WebhookReceiver } from "livekit-server-sdk";
import { Client, request, startServerIn, until } from "./lib.mjs";

const KEY = "key";
const SECRET = "a secret of at least thirty-two characters";
const URL = "wss://livekit.test";

describe("livekit-server-sdk", { timeout: 60_000 }, () => {
  let server;
  before(async () => {
    server = await startServerIn({ ...process.env, LIVEKIT_URL: URL, LIVEKIT_API_KEY: KEY, LIVEKIT_API_SECRET: SECRET });
  });
  after(() => server.stop());

  /** A call that ben has answered. */
  async function call(media) {
    const clients = ["ana", "ben", "eve"].map((name) => new Client(server, `${name}-${media}`, { transports: ["websocket"] }));
    const [ana, ben, eve] = await Promise.all(clients.map((c) => c.ready()));
    const dial = { recipientId: ben.user, callerId: ana.user, callerInfo: { name: "Ana" }, roomName: "mine", media };
    const { callId, roomName } = await ana.emit("initiateCall", dial);
    assert.equal(roomName, `hm_${callId}`);
    const accepted = await ben.emit("acceptCall", { callerId: ana.user, roomName: "another" });
    return { ana, ben, eve, callId, roomName, accepted, told: await ana.take("callAccepted") };
  }

  for (const [media, sources] of [["audio", ["microphone"]], ["video", ["camera", "microphone", "screen_share", "screen_share_audio"]]]) {
    test(`its verifier takes our tokens: ${media}`, async () => {
      const { ana, ben, eve, callId, roomName, accepted, told } = await call(media);
      assert.equal((await eve.emit("getCallToken", { callId })).code, "not_found");
      const again = await ana.emit("getCallToken", { callId });
      for (const [who, { token, url }] of [[ana, told], [ana, again], [ben, accepted]]) {
        assert.equal(url, URL);
        const { video, sub, metadata, exp } = await new TokenVerifier(KEY, SECRET).verify(token);
        assert.deepEqual(video, { room: roomName, roomJoin: true, canPublish: true, canSubscribe: true, canPublishData: true, canPublishSources: sources });
        assert.equal(Buffer.from(sub.split(".")[0], "base64url").toString(), who.user);
        assert.equal(metadata, who === ana ? JSON.stringify({ name: "Ana" }) : undefined);
        assert.ok(Math.abs(exp - Date.now() / 1000 - 600) < 60, "it is valid for ten minutes");
        await assert.rejects(new TokenVerifier(KEY, SECRET + "x").verify(token));
        const [head, payload, signature] = token.split(".");
        const forged = Buffer.from(payload, "base64url").toString().replace(roomName, "hm_another");
        await assert.rejects(new TokenVerifier(KEY, SECRET).verify([head, Buffer.from(forged).toString("base64url"), signature].join(".")));
      }
      for (const c of [ana, ben, eve]) c.close();
    });
  }

  /** A webhook as LiveKit signs it. */
  async function hook(body, { key = KEY, secret = SECRET, signs = body, ttl = "5m" } = {}) {
    const token = new AccessToken(key, secret, { ttl });
    token.sha256 = createHash("sha256").update(signs).digest("base64");
    return token.toJwt();
  }

  const post = async (body, authorization) =>
    (await request(`${server.url}/livekit/webhook`, { method: "POST", body, headers: { "content-type": "application/webhook+json", authorization } })).status;

  test("we take the webhooks that it signs, and no others", async () => {
    const { ana, ben, eve, callId, roomName } = await call("webhooks");
    const finished = JSON.stringify({ event: "room_finished", room: { name: roomName }, id: "EV_1", createdAt: String(Math.floor(Date.now() / 1000)) });
    for (const [what, authorization] of Object.entries({
      "another secret": await hook(finished, { secret: SECRET + "x" }),
      "another key": await hook(finished, { key: "another" }),
      "another body": await hook(finished, { signs: finished + " " }),
      "too old": await hook(finished, { ttl: "-10m" }),
      "nothing": "",
    })) {
      assert.equal(await post(finished, authorization), 401, what);
    }
    assert.deepEqual((await ana.emit("getCalls", {})).calls.map((c) => c.state), ["connecting"]);
    const good = await hook(finished);
    const receiver = new WebhookReceiver(KEY, SECRET); // it is one for LiveKit itself
    assert.equal((await receiver.receive(finished, good)).event, "room_finished");
    assert.equal(await post(finished, good), 200);
    for (const c of [ana, ben]) {
      const { callId: id, reason } = await c.take("callEnded");
      assert.deepEqual({ id, reason }, { id: callId, reason: "room_finished" });
    }
    assert.equal(await post(finished, good), 200, "again");
    await until("nobody is in a call", async () => (await ana.emit("getCalls", {})).calls.length === 0);
    assert.equal(ana.named("callEnded").length, 1);
    for (const c of [ana, ben, eve]) c.close();
  });
});
