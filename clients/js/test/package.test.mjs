// The package as others install it.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import * as heymanito from "heymanito";
import * as core from "heymanito/core";

const root = new URL("..", import.meta.url);

test("it has no dependency but its peer, and each export has its types", () => {
  const said = JSON.parse(readFileSync(new URL("package.json", root)));
  assert.equal(said.dependencies, undefined);
  assert.deepEqual(said.peerDependencies, { "socket.io-client": "^4.7" });
  for (const { types } of Object.values(said.exports)) assert.ok(readFileSync(new URL(types, root), "utf8").includes("export"));
  assert.deepEqual(Object.keys(core).sort(), ["Client", "Emitter", "HeyManitoError", "MemoryStore", "newId"]);
  assert.deepEqual(Object.keys(heymanito).sort(), [...Object.keys(core), "HeyManito"].sort());
});

test("only index.js needs socket.io-client; nothing that it says is any", () => {
  const dist = new URL("dist/", root);
  for (const name of readdirSync(dist)) {
    const text = () => readFileSync(new URL(name, dist), "utf8");
    if (name.endsWith(".js") && name !== "index.js") assert.doesNotMatch(text(), /from "socket\.io-client"/, name);
    if (name.endsWith(".d.ts")) assert.doesNotMatch(text(), /[:<|&,(=] *any\b/, name);
  }
});
