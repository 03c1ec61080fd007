// Logging in, proving it anew, and being shown the door.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { HeyManitoError } from "heymanito";
import { on, startServer, until } from "./lib.mjs";

const post = (server, path, body) => fetch(server.url + path, { method: "POST", body: JSON.stringify(body) });

describe("a login", { timeout: 60_000 }, () => {
  let server;
  // Tokens are good for an hour: two seconds after it has come every client is told.
  before(async () => (server = await startServer("-insecure=false", "-expiry-notice=59m58s")));
  after(() => server.stop());

  const login = async (name) => (await (await post(server, "/login", { name })).json()).token;

  test("is proven anew in time", () =>
    on(server, async (s) => {
      const asked = [];
      const ana = await s.join("ana", {
        token: (why) => {
          asked.push(why);
          return login(s.user("ana"));
        },
      });
      const answers = [];
      ana.client.socket.onAnyOutgoing((name, payload, answer) => name === "refreshAuth" && answers.push(payload));
      await until("it was asked again", () => answers.length >= 2); // each token is told of its end two seconds later
      assert.deepEqual(asked.slice(0, 3), ["connect", "expiring", "expiring"]);
      assert.ok(answers.every(({ token }) => typeof token === "string"));
      assert.deepEqual(ana.all("state").map((c) => c.state), ["connecting", "connected"]);
      assert.deepEqual(ana.all("error"), []);
    }));

  test("that is not renewed is told of: the connection goes on until its end", () =>
    on(server, async (s) => {
      const ana = await s.join("ana", { token: (why) => (why === "expiring" ? "nonsense" : login(s.user("ana"))) });
      const err = await ana.take("error");
      assert.deepEqual([err.code, ana.client.state], ["unauthorized", "connected"]);
    }));

  test("that failed is asked for again, as refused; a good one is let in", () =>
    on(server, async (s) => {
      const asked = [];
      const ana = s.device("ana", {
        token: async (why) => {
          asked.push(why);
          if (asked.length === 1) throw new Error("the login is out of reach");
          return why === "connect" ? "a stale one" : login(s.user("ana"));
        },
      });
      await ana.join();
      assert.deepEqual(asked.slice(0, 3), ["connect", "connect", "refused"]);
      assert.deepEqual(ana.all("error").map((err) => err.code), ["token"]);
      assert.deepEqual(new Set(ana.all("state").map((c) => c.state)), new Set(["connecting", "connected"]));
    }));

  test("that is refused ends: a typed error, and no more tries until connect()", () =>
    on(server, async (s) => {
      let good = false;
      const ana = s.device("ana", { token: () => (good ? login(s.user("ana")) : "nonsense") });
      const sending = ana.client.send({ to: s.user("ben"), content: 1 });
      ana.client.connect();
      const { error } = await ana.take("state", (c) => c.state === "ended");
      assert.ok(error instanceof HeyManitoError);
      assert.deepEqual([error.code, error.retryable], ["unauthorized", false]);
      await assert.rejects(sending, { code: "ended" });
      assert.ok(!ana.client.socket.active);
      good = true;
      await ana.join();

      const other = s.device("ana", { token: () => login(s.user("somebody-else")) });
      other.client.connect();
      assert.equal((await other.take("state", (c) => c.state === "ended")).error.code, "identity_mismatch");
    }));
});

describe("a session", { timeout: 60_000 }, () => {
  let server;
  before(async () => (server = await startServer()));
  after(() => server.stop());

  test("that the host ends is over: the code says why, and nobody reconnects", () =>
    on(server, async (s) => {
      const ana = await s.join("ana");
      const sending = ana.client.send({ to: s.user("ben"), content: 1 });
      await sending;
      await post(server, `/logout?userId=${s.user("ana")}`);
      const { error } = await ana.take("state", (c) => c.state === "ended");
      assert.ok(error instanceof HeyManitoError);
      assert.equal(error.code, "logged_out");
      assert.ok(!ana.client.socket.active);
      assert.deepEqual(ana.all("state").map((c) => c.state), ["connecting", "connected", "ended"]);
      await ana.join(); // when it is asked to
    }));

  test("names nobody: it ends at once", () =>
    on(server, async (s) => {
      const nobody = s.device("nobody", { io: { query: {} } });
      nobody.client.socket.io.opts.query.userId = "";
      nobody.client.connect();
      assert.equal((await nobody.take("state", (c) => c.state === "ended")).error.code, "missing_user");
    }));

  test("of which the server goes away reconnects by itself", () =>
    on(server, async (s) => {
      const link = await s.link();
      const ana = await s.join("ana", { via: link });
      link.cut();
      await ana.take("state", (c) => c.state === "reconnecting" && c.error?.code === "unavailable");
      link.mend();
      await ana.state("connected");
      ana.client.close();
      assert.equal(ana.client.state, "closed");
    }));
});
