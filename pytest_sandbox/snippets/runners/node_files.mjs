// What the Node runners read from disk, at first use.

import { readFileSync } from "node:fs";

const VENDOR = new URL("../../_vendor/", import.meta.url);

const texts = new Map();

/** Return the source text of one function expression, see npm/build.mjs. */
export function polyfill(name) {
  if (!texts.has(name)) texts.set(name, readFileSync(new URL(`polyfills/${name}.js`, VENDOR), "utf8"));
  return texts.get(name);
}

export const nodeParsers = {
  acorn: () => import("../../_vendor/node_modules/acorn/dist/acorn.mjs"),
  strip: async () => {
    const { load } = await import("../../_vendor/amaro.mjs");
    const { transformSync } = load(readFileSync(new URL("amaro.wasm", VENDOR)));
    return (source) => transformSync(source, { mode: "strip-only" }).code;
  },
};
