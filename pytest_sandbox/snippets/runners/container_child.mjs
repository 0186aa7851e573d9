// The process inside a container that runs one snippet. It holds nothing that matters outside: its parent, process 1, speaks with
// the host and takes nothing from here on trust.
//
// Descriptor 3 brings lines from the parent, descriptor 4 takes lines to it. Standard output and error are the snippet's own.

import { writeSync } from "node:fs";
import { createRequire } from "node:module";
import { Socket } from "node:net";
import { runInNewContext } from "node:vm";
import { frameWriter, lineReader } from "./channel.mjs";
import { execute } from "./execution.mjs";
import { parsers, polyfill, realmText } from "./node_host.mjs";
import { prepare } from "./prepare.mjs";
import { makeOpenRealm, makeVmRealm } from "./vm_realm.mjs";

const isHardened = process.argv[2] === "hardened";
const makeRealm = isHardened ? makeVmRealm : makeOpenRealm;
const pause = new Int32Array(new SharedArrayBuffer(4));

const write = frameWriter((bytes) => {
  try {
    return writeSync(4, bytes);
  } catch (error) {
    if (error.code !== "EAGAIN") throw error;
    Atomics.wait(pause, 0, 0, 1); // milliseconds
    return 0;
  }
});

// A snippet's rejections are its own affair; what it throws outside of any promise ends it, as on every executor.
process.on("unhandledRejection", () => {});

const realm = makeRealm(realmText(), polyfill);
if (!isHardened) {
  // As in a script of its own at the root of the container's filesystem.
  globalThis.require = createRequire("/");
}

let running;
// Where strings do not become code, the parser is that of a realm where they do.
const AsyncFunction = runInNewContext("(async () => {}).constructor");
// Node answers import() in a context with a promise and an error of its main realm.
const ownParsers = { ...parsers, AsyncFunction, refuseImports: isHardened, isRewritten: isHardened };
const backend = { write, parsers: ownParsers, realm: () => realm };
const read = lineReader((kind, text) => {
  if (kind === "R") {
    running = execute(JSON.parse(text), backend);
    process.on("uncaughtException", running.uncaught);
  } else if (kind === "H") {
    const { source, language } = JSON.parse(text);
    prepare(source, language, ownParsers).then(() => write("booted", ""));
  } else {
    running?.deliver(text);
  }
});
const channel = new Socket({ fd: 3, readable: true, writable: false });
channel.on("data", read);
channel.on("end", () => process.exit(0));
