// What the Node runners have of Node: the pipes, and the files that they read at first use.

import { readFileSync, writeSync } from "node:fs";
import { frameWriter, lineReader, readyMessage } from "./channel.mjs";
import { composeRealm } from "./realm.mjs";

const VENDOR = new URL("../../_vendor/", import.meta.url);

export const write = frameWriter((bytes) => writeSync(1, bytes));

/** Take lines from the host, by one of the readers of channel.mjs, until it is gone, which ends the process. */
export function listen(onLine, reader = lineReader) {
  process.stdin.on("data", reader(onLine));
  process.stdin.on("end", () => process.exit(0));
}

export function sayReady(versions, settings = undefined) {
  write("-", readyMessage({ node: process.versions.node, v8: process.versions.v8, ...versions }, settings));
}

/** Return the text of the realm, see realm.mjs. */
export function realmText() {
  return composeRealm((name) => readFileSync(new URL(`./realm/${name}.js`, import.meta.url), "utf8"));
}

const texts = new Map();

/** Return the source text of one function expression, see npm/build.mjs. */
export function polyfill(name) {
  if (!texts.has(name)) texts.set(name, readFileSync(new URL(`polyfills/${name}.js`, VENDOR), "utf8"));
  return texts.get(name);
}

export const parsers = {
  acorn: () => import("../../_vendor/node_modules/acorn/dist/acorn.mjs"),
  strip: async () => {
    const { load } = await import("../../_vendor/amaro.mjs");
    const { transformSync } = load(readFileSync(new URL("amaro.wasm", VENDOR)));
    return (source) => transformSync(source, { mode: "strip-only" }).code;
  },
};
