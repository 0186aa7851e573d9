// The runner of executor "vm2": a fresh vm2 sandbox for every execution.
//
// vm2's wall has been climbed many times: it is treated as breached. Only strings and numbers are meant to cross it, this process
// has no add-ons and nothing of value, and what really confines a snippet is around the process.

import { createRequire } from "node:module";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { execute } from "./execution.mjs";
import { listen, parsers, polyfill, realmText, sayReady, write } from "./node_host.mjs";

const [modulesFolder] = process.argv.slice(2);
const require = createRequire(`${modulesFolder}/`);
const { VM, VMScript } = require("vm2");
const OPTIONS = { eval: false, wasm: false, allowAsync: true, bufferAllocLimit: 32 << 20 };

// Used sandboxes are garbage that V8 is in no hurry to collect (0.6 MB each), and a runner's memory is what its execution is
// judged by: it is collected when this much has come together, or when nothing has been asked for a while.
const GARBAGE_MOST = 48 << 20; // bytes
const REST = 100; // milliseconds
setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc");
setFlagsFromString("--no-expose-gc");
let rest;
let afterCollection = process.memoryUsage.rss();

function tidy() {
  collectGarbage({ type: "major", flavor: "last-resort" }); // any weaker one keeps the memory
  afterCollection = process.memoryUsage.rss();
}

// A snippet's rejections are its own affair; an exception here would be ours, and ends the process.
process.on("unhandledRejection", () => {});

const realmScript = new VMScript(realmText(), { filename: "realm.js" });
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
  parsers: { ...parsers, isRewritten: true },
  realm() {
    const realm = spare ?? makeRealm();
    spare = undefined;
    return realm;
  },
};

listen((kind, text) => {
  clearTimeout(rest);
  if (kind !== "R") {
    running?.deliver(text);
    return;
  }
  running = execute(JSON.parse(text), backend);
  running.ended.then(() => {
    running = undefined;
    setImmediate(() => {
      spare ??= makeRealm();
      if (process.memoryUsage.rss() > afterCollection + GARBAGE_MOST) tidy();
      else rest = setTimeout(tidy, REST);
    });
  });
});
sayReady({ vm2: require("vm2/package.json").version });
