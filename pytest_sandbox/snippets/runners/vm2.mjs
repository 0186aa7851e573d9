// The runner of executor "vm2": a fresh vm2 sandbox for every execution.
//
// vm2's wall has been climbed many times: it is treated as breached. Only strings and numbers are meant to cross it, this process
// has no add-ons and nothing of value, and what really confines a snippet is around the process.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { listen, ready, write } from "./channel.mjs";
import { execute } from "./execution.mjs";
import { nodeParsers, polyfill } from "./node_files.mjs";

const [modulesFolder] = process.argv.slice(2);
const require = createRequire(`${modulesFolder}/`);
const { VM, VMScript } = require("vm2");
const OPTIONS = { eval: false, wasm: false, allowAsync: true, bufferAllocLimit: 32 << 20 };

// A snippet's rejections are its own affair; an exception here would be ours, and ends the process.
process.on("unhandledRejection", () => {});

const realmScript = new VMScript(readFileSync(new URL("./realm.js", import.meta.url), "utf8"), { filename: "realm.js" });
const chunks = new Map();

function chunkScript(name) {
  if (!chunks.has(name)) chunks.set(name, new VMScript(polyfill(name), { filename: `${name}.js` }));
  return chunks.get(name);
}

/** Let nothing but primitives through, whatever the sandbox hands over. */
function primitivesOnly(channel) {
  return (...values) => {
    if (values.every((value) => typeof value === "string" || typeof value === "number")) channel(...values);
  };
}

function makeRealm() {
  const vm = new VM(OPTIONS);
  const attach = vm.run(realmScript)();
  let enter;
  return {
    attach(send, end, timer, configuration) {
      const load = (name) => enter(vm.run(chunkScript(name)), name);
      enter = attach(...[send, end, timer, load].map(primitivesOnly), configuration);
    },
    start(code, filename) {
      enter(vm.run(new VMScript(code, { filename, lineOffset: -1 })));
    },
    enter(text) {
      enter(text);
    },
    errorKind() {
      return undefined; // a full heap ends the whole process
    },
  };
}

let spare = makeRealm();
let running;
const backend = {
  write,
  parsers: nodeParsers,
  realm() {
    const realm = spare ?? makeRealm();
    spare = undefined;
    return realm;
  },
};

listen((kind, text) => {
  if (kind !== "R") {
    running?.deliver(text);
    return;
  }
  running = execute(JSON.parse(text), backend);
  running.ended.then(() => {
    running = undefined;
    setImmediate(() => {
      spare ??= makeRealm();
    });
  });
});
ready({ node: process.versions.node, v8: process.versions.v8, vm2: require("vm2/package.json").version });
