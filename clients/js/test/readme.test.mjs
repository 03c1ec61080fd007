// The programs of the README: they have the types that they should, and the first one runs.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { after, describe, test } from "node:test";
import { on, startServer, until } from "./lib.mjs";

const run = promisify(execFile);
const root = fileURLToPath(new URL("..", import.meta.url));
const scratch = `${root}dist/readme-${process.pid}`; // in the package: "heymanito" is found there
const programs = [...readFileSync(`${root}README.md`, "utf8").matchAll(/```ts\n(.*?)```/gs)].map((m) => m[1]);

describe("README.md", { timeout: 60_000 }, () => {
  after(() => rmSync(scratch, { recursive: true, force: true }));

  test("its programs compile, strictly; the first one talks", async () => {
    assert.ok(programs.length >= 4);
    mkdirSync(scratch, { recursive: true });
    const server = await startServer("-insecure=false");
    try {
      await on(server, async (s) => {
        const [ana, luis] = [s.user("ana"), s.user("luis")];
        const login = async () => (await fetch(`${server.url}/login`, { method: "POST", body: JSON.stringify({ name: luis }) }).then((r) => r.json())).token;
        const files = programs.map((text, i) => {
          const here = text.replaceAll("https://chat.example.com", server.url).replaceAll(/"ana"/g, `"${ana}"`).replaceAll(/"luis"/g, `"${luis}"`);
          writeFileSync(`${scratch}/p${i}.ts`, i ? text : here);
          return `${scratch}/p${i}.ts`;
        });
        const compilerOptions = { noEmitOnError: true, outDir: "out", rootDir: ".", skipLibCheck: false };
        writeFileSync(`${scratch}/tsconfig.json`, JSON.stringify({ extends: "../../tsconfig.json", compilerOptions, include: [], files }));
        const said = await run("node_modules/.bin/tsc", ["-p", scratch], { cwd: root }).catch((err) => err);
        assert.equal(said.stdout, "");
        const other = await s.join("luis", { token: login });
        const program = run(process.execPath, [`${scratch}/out/p0.js`], { timeout: 20_000 });
        program.catch(() => {}); // it is ended below
        let out = "";
        program.child.stdout.on("data", (text) => (out += text));
        try {
          const m = await other.take("message");
          assert.deepEqual([m.from, m.content], [ana, { text: "¿Vienes?" }]);
          await other.client.markAsRead(ana, m.id);
          await other.client.send({ to: ana, content: { text: "¡Sí!" } });
          await other.take("read");
          for (const line of ["sent", `${luis}: ¡Sí!`, `${luis} has read it`, `${luis} is here`]) {
            await until(() => `${line} in ${out}`, () => out.split("\n").includes(line));
          }
        } finally {
          program.child.kill();
        }
      });
    } finally {
      await server.stop();
    }
  });
});
