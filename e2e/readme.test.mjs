// The program of the README, pasted into an empty module: a stock client
// connects to it and talks.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { io } from "socket.io-client";
import { DEADLINE, once, scratch, until } from "./lib.mjs";

const root = resolve(import.meta.dirname, "..");

/** A port that nobody listens on. */
function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

for (const name of ["README.md", "README.es.md"]) {
  test(`the program of ${name} serves a stock client, and adds few modules to a host's`, { timeout: 120_000 }, async () => {
    const program = /```go\n(package main[^]*?)```/.exec(readFileSync(join(root, name), "utf8"))[1];
    const dir = scratch();
    const port = await freePort();
    assert.ok(program.includes("127.0.0.1:8080"), "the port is not where it was");
    writeFileSync(join(dir, "main.go"), program.replace("127.0.0.1:8080", `127.0.0.1:${port}`));
    writeFileSync(join(dir, "go.mod"), `module readme\n\ngo 1.26\n\nrequire github.com/heymanito/heymanito v0.0.0\n\nreplace github.com/heymanito/heymanito => ${root}\n`);
    copyFileSync(join(root, "go.sum"), join(dir, "go.sum"));
    const env = { ...process.env, GOFLAGS: "-mod=mod", GOWORK: "off" };
    execFileSync("go", ["build", "-o", "program", "."], { cwd: dir, env });

    const modules = execFileSync("go", ["version", "-m", "program"], { cwd: dir, encoding: "utf8" });
    const added = modules.split("\n").filter((line) => line.startsWith("\tdep\t") && !/heymanito|go-chi/.test(line));
    assert.ok(added.length > 0 && added.length <= 25, `${added.length} modules:\n${added.join("\n")}`);

    const child = spawn(join(dir, "program"), { stdio: "ignore" });
    const gone = new Promise((done) => child.once("exit", done));
    try {
      const connect = (userId) => io(`http://127.0.0.1:${port}`, { query: { userId }, forceNew: true, reconnectionDelay: 50 });
      const ann = connect("ann");
      const bob = connect("bob");
      try {
        await Promise.all([ann, bob].map((one) => until("connected", () => one.connected)));
        const received = once(bob, "receiveMessage");
        const ack = await ann.timeout(DEADLINE).emitWithAck("sendMessage", { id: "1", senderChatPath: "ann", recipientChatPath: "bob", content: "hola" });
        assert.equal(ack.status, "ok");
        assert.equal((await received)[0].content, "hola");
      } finally {
        ann.disconnect();
        bob.disconnect();
      }
    } finally {
      child.kill();
      await gone;
    }
  });
}
