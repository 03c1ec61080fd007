// Which pages may connect: the server's own host's, and those on its list.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { once, request, startServer } from "./lib.mjs";

const LISTED = "https://app.example.com";
const WRAPPED = "capacitor://localhost";

describe("origins", { timeout: 60_000 }, () => {
  let server;
  let handshake;
  before(async () => {
    server = await startServer("-origins", `${LISTED},${WRAPPED}`);
    handshake = `${server.url}/socket.io/?EIO=4&transport=polling&userId=ana`;
  });
  after(() => server.stop());

  const open = async (origin) => {
    const r = await request(handshake, { headers: origin ? { origin } : {} });
    assert.equal(r.status, 200);
    return { r, url: `${handshake}&sid=${JSON.parse(r.text.slice(1)).sid}` };
  };
  const allowed = (r, origin) => {
    assert.equal(r.headers["access-control-allow-origin"], origin);
    assert.equal(r.headers["access-control-allow-credentials"], "true");
    assert.match(r.headers.vary, /\bOrigin\b/i);
  };
  const refused = (r) => {
    assert.equal(r.status, 403);
    assert.equal(r.json().code, 4);
    assert.equal(r.headers["access-control-allow-origin"], undefined);
  };

  test("no Origin: a native client", async () => {
    const { r, url } = await open();
    assert.equal(r.headers["access-control-allow-origin"], undefined);
    assert.equal((await request(url, { method: "POST", body: "40" })).status, 200);
  });

  for (const kind of ["same host", LISTED, WRAPPED, LISTED.toUpperCase()]) {
    test(`allowed on handshake, poll and POST: ${kind}`, async () => {
      const origin = kind === "same host" ? server.url : kind;
      const { r, url } = await open(origin);
      allowed(r, origin);
      const post = await request(url, { method: "POST", body: "40", headers: { origin } });
      assert.equal(post.text, "ok");
      allowed(post, origin);
      const poll = await request(url, { headers: { origin } });
      assert.equal(poll.status, 200);
      allowed(poll, origin);
      const ws = new WebSocket(handshake.replace("http", "ws").replace("polling", "websocket"), { origin });
      await once(ws, "open");
      ws.close();
    });
  }

  const foreign = ["https://evil.example.com", "null", "https://app.example.com.evil.com", "http://app.example.com", "https://app.example.com:444", "not an origin", "file://"];
  for (const origin of foreign) {
    test(`refused everywhere: ${origin}`, async () => {
      refused(await request(handshake, { headers: { origin } }));
      const { url } = await open();
      refused(await request(url, { method: "POST", body: "40", headers: { origin } }));
      refused(await request(url, { headers: { origin } }));
      refused(await request(handshake, { method: "OPTIONS", headers: { origin, "access-control-request-method": "POST" } }));
      assert.equal((await request(url, { method: "POST", body: "40" })).text, "ok", "the session is unharmed");
      const ws = new WebSocket(handshake.replace("http", "ws").replace("polling", "websocket"), { origin });
      ws.on("error", () => {});
      const [, res] = await once(ws, "unexpected-response");
      assert.equal(res.statusCode, 403);
      res.resume();
    });
  }

  test("the same host on another port is foreign", async () => {
    refused(await request(handshake, { headers: { origin: "http://127.0.0.1:1" } }));
    refused(await request(handshake, { headers: { origin: "http://127.0.0.1" } }));
  });

  test("an OPTIONS preflight", async () => {
    const r = await request(handshake, {
      method: "OPTIONS",
      headers: { origin: LISTED, "access-control-request-method": "POST", "access-control-request-headers": "content-type,x-token" },
    });
    assert.equal(r.status, 204);
    allowed(r, LISTED);
    assert.match(r.headers["access-control-allow-methods"], /GET.*POST/);
    assert.equal(r.headers["access-control-allow-headers"], "content-type,x-token");
  });

  test("cross-site with a cookie and no Origin is refused", async () => {
    refused(await request(handshake, { headers: { cookie: "session=1", "sec-fetch-site": "cross-site" } }));
    assert.equal((await request(handshake, { headers: { "sec-fetch-site": "cross-site" } })).status, 200);
    assert.equal((await request(handshake, { headers: { cookie: "session=1", "sec-fetch-site": "same-origin" } })).status, 200);
  });

  test("refusals of other kinds can be read by an allowed page", async () => {
    const r = await request(`${server.url}/socket.io/?EIO=3&transport=polling`, { headers: { origin: LISTED } });
    assert.equal(r.status, 400);
    allowed(r, LISTED);
  });
});
