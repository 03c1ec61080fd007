// A login ends: the stock client is told in time, and proves anew who it is.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { io } from "socket.io-client";
import { DEADLINE, TRANSPORTS, once, startServer } from "./lib.mjs";

describe("a login that ends", { timeout: 60_000 }, () => {
  let server;
  // Tokens are good for an hour: a second after it has come every client is told.
  before(async () => (server = await startServer("-insecure=false", "-expiry-notice=59m59s")));
  after(() => server.stop());

  const login = async (name) => {
    const answer = await fetch(`${server.url}/login`, { method: "POST", body: JSON.stringify({ name }) });
    assert.equal(answer.status, 200);
    return (await answer.json()).token;
  };

  for (const transports of TRANSPORTS) {
    test(`on ${transports}: authExpiring, refreshAuth`, async () => {
      const user = `expiring-${transports}`;
      const token = await login(user);
      const socket = io(server.url, { transports, query: { userId: user }, auth: { token }, forceNew: true });
      try {
        const [{ expiresAt, expiresInMs }] = await once(socket, "authExpiring", DEADLINE);
        assert.ok(Math.abs(expiresAt - Date.now() - expiresInMs) < 5_000 && expiresInMs <= 3_599_000, `${expiresAt}, ${expiresInMs}`);
        const ask = (payload) => socket.timeout(DEADLINE).emitWithAck("refreshAuth", payload);
        assert.equal((await ask({ token: "nonsense" })).code, "unauthorized");
        assert.equal((await ask({ token: await login("somebody-else") })).code, "identity_mismatch");
        assert.equal((await ask("not an object")).code, "invalid");
        const ack = await ask({ token: await login(user) });
        assert.equal(ack.status, "ok");
        assert.ok(ack.expiresAt >= expiresAt && ack.expiresInMs > 3_500_000, JSON.stringify(ack));
        assert.ok(socket.connected);
      } finally {
        socket.disconnect();
      }
    });
  }
});
