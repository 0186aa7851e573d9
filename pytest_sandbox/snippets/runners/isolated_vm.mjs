// The runner of executor "isolated-vm": a fresh V8 isolate, made from a hardened snapshot, for every execution.
//
// Everything runs on this thread: an endless loop blocks it, and the host ends the process. Nothing but strings, numbers and the
// callbacks of the realm crosses into an isolate; no Reference and no ExternalCopy is ever handed over.

import { createRequire } from "node:module";
import { execute } from "./execution.mjs";
import { listen, parsers, polyfill, realmText, sayReady, write } from "./node_host.mjs";

const [modulesFolder, heapMegabytes] = process.argv.slice(2);
const require = createRequire(`${modulesFolder}/`);
const ivm = require("isolated-vm");
const memoryLimit = Math.max(8, Number(heapMegabytes));

// The snapshot carries the hardened realm, but not the channels: they come with the first and only call of $attach.
const realm = `(function () {
  const attach = (${realmText()})();
  globalThis.$attach = (...channels) => { delete globalThis.$attach; return attach(...channels); };
})()`;
// What the warm-up runs is in the snapshot as compiled code; what it changes is not.
const warmUp = `{
  const ignore = () => {};
  const enter = $attach(ignore, ignore, ignore, ignore, '{"tools":["add"],"output":100,"result":100}');
  enter(async () => { console.log("x"); setTimeout(ignore, 1); codemode.add(1, { a: [1] }); return { a: [1] }; });
  enter('{"op":"timer","id":1}');
  enter('{"op":"tool","id":1,"ok":true,"value":{"a":[1]}}');
}`;
const snapshot = ivm.Isolate.createSnapshot([{ code: realm, filename: "realm.js" }], warmUp);

function makeRealm() {
  const isolate = new ivm.Isolate({ snapshot, memoryLimit });
  const context = isolate.createContextSync();
  const attach = context.global.getSync("$attach", { reference: true });
  let enter;
  function run(code, filename, lineOffset) {
    return isolate.compileScriptSync(code, { filename, lineOffset }).runSync(context, { reference: true }).derefInto();
  }
  // At the end of a call, isolated-vm throws what a promise was rejected with that nobody handles (yet): the snippet's own affair.
  function call(input) {
    try {
      enter.applySync(undefined, [input]);
    } catch (error) {
      if (isolate.isDisposed) throw error;
    }
  }
  function load(name) {
    enter.applySync(undefined, [run(polyfill(name), `${name}.js`, 0), name]);
  }
  return {
    attach(send, end, timer, configuration) {
      const channels = [send, end, timer, load].map((channel) => new ivm.Callback(channel));
      enter = attach.applySync(undefined, [...channels, configuration], { result: { reference: true } });
    },
    start(code, filename) {
      call(run(code, filename, -1));
    },
    enter(text) {
      call(text);
    },
    errorKind() {
      return isolate.isDisposed ? "memory" : undefined;
    },
    dispose() {
      if (!isolate.isDisposed) isolate.dispose();
    },
  };
}

let spare = makeRealm();
let current;
let running;
const backend = {
  write,
  parsers,
  realm() {
    current = spare ?? makeRealm();
    spare = undefined;
    return current;
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
    const done = current;
    current = undefined;
    // Not inside the isolate's own call: the last message comes from there. The next execution can have begun by then.
    setImmediate(() => {
      done?.dispose();
      spare ??= makeRealm();
    });
  });
});
sayReady({ "isolated-vm": require("isolated-vm/package.json").version });
