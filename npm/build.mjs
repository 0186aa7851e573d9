// Bundles every polyfill into one JavaScript function expression that runs in a realm with nothing but ECMAScript intrinsics.
//
// Usage: node build.mjs OUTPUT_FOLDER      (from a folder that holds node_modules, made by "npm ci")
//
// Each file OUTPUT_FOLDER/<name>.js is the text of one function; calling it returns an object with the polyfills.
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

// What the bundles may see of the global object. They get a private object instead of the real one: what a snippet has put on
// its global object cannot steer them, and what they would put there (core-js keeps a shared store) stays with them.
const INTRINSICS = [
  "Object", "Function", "Array", "ArrayBuffer", "SharedArrayBuffer", "DataView", "Date", "RegExp", "Map", "Set", "WeakMap",
  "WeakSet", "WeakRef", "Promise", "Proxy", "Reflect", "Symbol", "String", "Number", "Boolean", "BigInt", "Math", "JSON",
  "Error", "AggregateError", "EvalError", "RangeError", "ReferenceError", "SuppressedError", "SyntaxError", "TypeError",
  "URIError", "Iterator", "Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array",
  "Uint32Array", "BigInt64Array", "BigUint64Array", "Float16Array", "Float32Array", "Float64Array", "parseInt", "parseFloat",
  "isNaN", "isFinite", "encodeURI", "encodeURIComponent", "decodeURI", "decodeURIComponent", "escape",
];

const PRELUDE = `"use strict";const realm={__proto__:null};for(const name of ${JSON.stringify(INTRINSICS)}){if(name in globalThis)realm[name]=globalThis[name];}`;

// Code that must not reach a bundle, with what takes its place.
const REPLACED_MODULES = new Map([
  // Looks for the global object with the Function constructor.
  [/core-js-pure\/internals\/global-this\.js$/, "module.exports = realm;"],
  // Looks for Node's own modules with the Function constructor.
  [/core-js-pure\/internals\/get-built-in-node-module\.js$/, "module.exports = function () {};"],
  // Legacy multi-byte encodings (150 kB): the URL parser needs them only for the pages of a browser.
  [/@exodus\/bytes\/encoding\.js$/, ""],
]);

// Text of a module to replace: [file, text, replacement].
const REPLACED_TEXT = [
  [/whatwg-url\/lib\/utils\.js$/, 'globalObject.eval("(async function* () {})")', "(async function* () {})"],
];

const FORBIDDEN_REGEXP = /\b(?:eval|Function|require|importScripts)\s*\(|\bimport\s*[.(]|\bnew\s+Function\b/;

const replaceModules = {
  name: "replace-modules",
  setup(pluginBuild) {
    for (const [filter, contents] of REPLACED_MODULES) {
      pluginBuild.onLoad({ filter }, () => ({ contents, loader: "js" }));
    }
    for (const [filter, text, replacement] of REPLACED_TEXT) {
      pluginBuild.onLoad({ filter }, async ({ path }) => {
        const source = await readFile(path, "utf8");
        if (!source.includes(text)) {
          throw new Error(`Cannot replace ${text} in ${path}: it is not there; adapt REPLACED_TEXT to the new version`);
        }
        return { contents: source.replaceAll(text, replacement), loader: "js" };
      });
    }
  },
};

/**
 * @param {string} name the polyfill's name
 * @param {string} folder where its file goes
 */
async function bundle(name, folder) {
  const result = await build({
    entryPoints: [`polyfills/${name}.js`],
    bundle: true,
    write: false,
    format: "iife",
    globalName: "polyfill",
    // Neither "node" nor "browser": both conditions choose files that lean on the host's own TextEncoder.
    platform: "neutral",
    mainFields: ["module", "main"],
    target: "esnext",
    define: { globalThis: "realm" },
    inject: name === "url" ? ["polyfills/encoding.js"] : [],
    minifyWhitespace: true,
    legalComments: "none",
    charset: "ascii",
    plugins: [replaceModules],
    logLevel: "warning",
  });
  if (result.warnings.length > 0) {
    throw new Error(`Cannot bundle polyfill "${name}": esbuild warned, see above`);
  }
  const text = `(function(){${PRELUDE}${result.outputFiles[0].text.trim().replace(/^"use strict";/, "")}return polyfill;})`;
  const forbidden = FORBIDDEN_REGEXP.exec(text);
  if (forbidden) {
    const around = text.slice(Math.max(0, forbidden.index - 80), forbidden.index + 80);
    throw new Error(`Cannot use bundle "${name}": it still contains "${forbidden[0]}", in: ${around}`);
  }
  await writeFile(join(folder, `${name}.js`), text);
}

const [folder] = process.argv.slice(2);
for (const file of await readdir("polyfills")) {
  await bundle(file.replace(/\.js$/, ""), folder);
}
