// The runner of executor "deno": one process, with every permission denied, for every execution.
//
// The snippet does not run in this program's own realm, where Deno and process are, but in a node:vm context.

import basics from "./realm/basics.js" with { type: "text" };
import consoleText from "./realm/console.js" with { type: "text" };
import errors from "./realm/errors.js" with { type: "text" };
import execution from "./realm/execution.js" with { type: "text" };
import hardening from "./realm/hardening.js" with { type: "text" };
import values from "./realm/values.js" with { type: "text" };
import base64 from "../../_vendor/polyfills/base64.js" with { type: "text" };
import encoding from "../../_vendor/polyfills/encoding.js" with { type: "text" };
import inspect from "../../_vendor/polyfills/inspect.js" with { type: "text" };
import structuredClone from "../../_vendor/polyfills/structured-clone.js" with { type: "text" };
import url from "../../_vendor/polyfills/url.js" with { type: "text" };
import { frameWriter, lineReader, readyMessage } from "./channel.mjs";
import { execute } from "./execution.mjs";
import { composeRealm } from "./realm.mjs";
import { makeVmRealm } from "./vm_realm.mjs";

const REALM = { basics, hardening, values, errors, console: consoleText, execution };
const POLYFILLS = { base64, encoding, inspect, "structured-clone": structuredClone, url };

globalThis.addEventListener("unhandledrejection", (event) => event.preventDefault());

const write = frameWriter((bytes) => Deno.stdout.writeSync(bytes));

const { port1: laterHere, port2: laterThere } = new MessageChannel();
const realm = makeVmRealm(composeRealm((name) => REALM[name]), (name) => POLYFILLS[name]);
const backend = {
  write,
  // Literal imports of our own files need no permission; they are loaded only when a snippet needs them.
  parsers: {
    acorn: () => import("../../_vendor/node_modules/acorn/dist/acorn.mjs"),
    strip: async () => {
      const { load } = await import("../../_vendor/amaro.mjs");
      const { transformSync } = load(await import.source("../../_vendor/amaro.wasm"));
      return (source) => transformSync(source, { mode: "strip-only" }).code;
    },
  },
  realm: () => realm,
  // Not by a timer: a stack that overflows inside of Deno's leaves them all broken.
  later(action) {
    laterHere.onmessage = action;
    laterThere.postMessage(0);
  },
};

let running;
const read = lineReader((kind, text) => {
  if (kind === "R") running = execute(JSON.parse(text), backend);
  else running?.deliver(text);
});
write("-", readyMessage({ deno: Deno.version.deno, v8: Deno.version.v8 }));

const buffer = new Uint8Array(65536);
for (let size = await Deno.stdin.read(buffer); size !== null; size = await Deno.stdin.read(buffer)) read(buffer.subarray(0, size));
Deno.exit(0);
