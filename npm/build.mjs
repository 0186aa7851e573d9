// Bundles every polyfill into one JavaScript function expression that runs in a realm with nothing but ECMAScript intrinsics, and
// the type stripper into one module that Node and Deno can import.
//
// Usage: node build.mjs OUTPUT_FOLDER      (from a folder that holds node_modules, made by "npm ci")
//
// Each file OUTPUT_FOLDER/polyfills/<name>.js is the text of one function; calling it returns an object with the polyfills. Its one optional
// argument, { DOMException }, is the class that another bundle returned, so that a realm has only one.
import { readFile, readdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { build } from "esbuild";

const require = createRequire(import.meta.url);

// What the bundles may see of the global object. They get a private object instead of the real one: what a snippet has put on
// its global object cannot steer them, and what they would put there (core-js keeps a shared store) stays with them.
const INTRINSICS = [
  "Object", "Array", "ArrayBuffer", "SharedArrayBuffer", "DataView", "Date", "RegExp", "Map", "Set", "WeakMap", "WeakSet",
  "WeakRef", "Promise", "Proxy", "Reflect", "Symbol", "String", "Number", "Boolean", "BigInt", "Math", "JSON", "Error",
  "AggregateError", "EvalError", "RangeError", "ReferenceError", "SuppressedError", "SyntaxError", "TypeError", "URIError",
  "Iterator", "Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array", "Uint32Array",
  "BigInt64Array", "BigUint64Array", "Float16Array", "Float32Array", "Float64Array",
];

// "Function" is wanted for its prototype and for instanceof only; the real one refuses to be called in our realms, or is gone.
const PRELUDE = [
  '"use strict";',
  "const realm={__proto__:null};",
  `for(const name of ${JSON.stringify(INTRINSICS)})if(name in globalThis)realm[name]=globalThis[name];`,
  "if(shared&&shared.DOMException)realm.DOMException=shared.DOMException;",
  // What a realm may lack, and a package needs to exist while it is loaded: here, no value is ever an instance of it.
  'const SharedBuffer=realm.SharedArrayBuffer||class{get byteLength(){throw new TypeError("no such object")}get growable(){return this.byteLength}};',
  'const AnyFunction=function(){throw new TypeError("Cannot make a function from text")};',
  "AnyFunction.prototype=Object.getPrototypeOf(AnyFunction);",
].join("");

// Plain properties, and the right names: esbuild calls a class "URL2" where something else in the bundle is called "URL".
const EPILOGUE =
  'for(const name in polyfill)Object.defineProperty(polyfill[name],"name",{value:name,configurable:true});return{...polyfill};';

// Modules with other contents, each with the reason.
const REPLACED_MODULES = [
  // Finds the global object with the Function constructor.
  [/core-js-pure\/internals\/global-this\.js$/, () => "module.exports = realm;"],
  // Wants node:util, to call methods that a value brings along for being shown; ours are never called.
  [/object-inspect\/util\.inspect\.js$/, () => "module.exports = {};"],
  // Reaches for Node's own modules.
  [/core-js-pure\/internals\/get-built-in-node-module\.js$/, () => "module.exports = function () {};"],
  // Legacy multi-byte encodings (150 kB): the URL parser needs them only for pages in a browser.
  [/@exodus\/bytes\/encoding\.js$/, () => ""],
  // The two big tables for non-ASCII domains, in a shape that costs little until the first such domain.
  [/tr46\/lib\/mappingTable\.json$/, tableAsText],
  [/tr46\/lib\/regexes\.js$/, regexesOnDemand],
];

// Text of a module with other text: [file, text, replacement].
const REPLACED_TEXT = [
  [/whatwg-url\/lib\/utils\.js$/, 'globalObject.eval("(async function* () {})")', "(async function* () {})"],
  // V8 has made the stack before this; it would fail where the prototype of Error is frozen.
  [/core-js-pure\/modules\/web\.dom-exception\.constructor\.js$/, "    error.name = DOM_EXCEPTION;\n", ""],
  // These three assignments change nothing, and fail where the prototype of WeakMap is frozen.
  [
    /core-js-pure\/internals\/internal-state\.js$/,
    ["get", "has", "set"].map((name) => `  store.${name} = store.${name};\n`).join(""),
    "",
  ],
  [/whatwg-url\/lib\/url-state-machine\.js$/, 'const tr46 = require("tr46");', ""],
  // "If beStrict is false, domain is an ASCII string, and strictly splitting domain on U+002E (.) does not produce any item that
  // starts with an ASCII case-insensitive match for "xn--", this step is equivalent to ASCII lowercasing domain":
  // https://url.spec.whatwg.org/#concept-domain-to-ascii
  [
    /whatwg-url\/lib\/url-state-machine\.js$/,
    "const result = tr46.toASCII(",
    String.raw`const result = !beStrict && /^[\0-\x7f]*$/.test(domain) && !/(?:^|\.)xn--/i.test(domain) ? domain.toLowerCase() :
      require("tr46").toASCII(`,
  ],
];

const FORBIDDEN_REGEXP = /\b(?:eval|Function|require|importScripts)\s*\(|\bimport\s*[.(]|\bnew\s+Function\b/;

/**
 * @param {string} path a JSON file
 * @returns {string} a module that parses it when it is required: V8 reads text much faster than an array literal
 */
function tableAsText(path) {
  return `module.exports = JSON.parse(${JSON.stringify(JSON.stringify(require(path)))});`;
}

/**
 * @param {string} path a module that exports regular expressions
 * @returns {string} a module that compiles each at its first use: literals are checked by V8 whenever the bundle is parsed
 */
function regexesOnDemand(path) {
  const getters = Object.entries(require(path)).map(
    ([name, regexp]) =>
      `get ${name}() { return cache.${name} ??= new RegExp(${JSON.stringify(regexp.source)}, ${JSON.stringify(regexp.flags)}); }`,
  );
  return `const cache = { __proto__: null }; module.exports = { ${getters.join(", ")} };`;
}

const replaceModules = {
  name: "replace-modules",
  setup(pluginBuild) {
    for (const [filter, contents] of REPLACED_MODULES) {
      pluginBuild.onLoad({ filter }, ({ path }) => ({ contents: contents(path), loader: "js" }));
    }
    for (const filter of new Set(REPLACED_TEXT.map(([file]) => file.source))) {
      pluginBuild.onLoad({ filter: new RegExp(filter) }, async ({ path }) => {
        let contents = await readFile(path, "utf8");
        for (const [, text, replacement] of REPLACED_TEXT.filter(([file]) => file.source === filter)) {
          if (!contents.includes(text)) {
            throw new Error(`Cannot find ${text} in ${path}: adapt REPLACED_TEXT to the version in package-lock.json`);
          }
          contents = contents.replaceAll(text, () => replacement);
        }
        return { contents, loader: "js" };
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
    define: { globalThis: "realm", Function: "AnyFunction", SharedArrayBuffer: "SharedBuffer" },
    inject: name === "url" ? ["polyfills/encoding.js"] : [],
    minifyWhitespace: true,
    legalComments: "none",
    // One byte per character in V8's memory, and no question of encodings for whoever reads the file.
    charset: "ascii",
    plugins: [replaceModules],
    logLevel: "warning",
  });
  if (result.warnings.length > 0) {
    throw new Error(`Cannot bundle polyfill "${name}": esbuild warned, see above`);
  }
  const text = `(function(shared){${PRELUDE}${result.outputFiles[0].text.trim().replace(/^"use strict";/, "")}${EPILOGUE}})`;
  const forbidden = FORBIDDEN_REGEXP.exec(text);
  if (forbidden) {
    const around = text.slice(Math.max(0, forbidden.index - 80), forbidden.index + 80);
    throw new Error(`Cannot use bundle "${name}": it still contains "${forbidden[0]}", in: ${around}`);
  }
  await writeFile(join(folder, `${name}.js`), text);
}

// What amaro requires of Node. Without "node:" modules and CommonJS, Deno loads the result without any permission.
const AMARO_BUILTINS = {
  util: "module.exports = { TextDecoder, TextEncoder };",
  "node:buffer": "let bytes; module.exports = { provide(wasm) { bytes = wasm; }, Buffer: { from: () => bytes } };",
};

// The binary goes into a file of its own: as text in the module (3.7 MB) it would cost Deno 30 ms at each start, as Deno parses every
// module that it could possibly import; import.source("amaro.wasm") costs nothing until it is executed.
const AMARO_ENTRY = `
  /** @param {Uint8Array | WebAssembly.Module} wasm amaro.wasm */
  export function load(wasm) {
    require("node:buffer").provide(wasm);
    return require("amaro");
  }
`;
const BASE64_WASM_REGEXP = /(["'`])(AGFzbQ[A-Za-z0-9+/=]*)\1/g;
const COMPILATION_REGEXP = /new WebAssembly\.Module\((\w+)\)/g;

/** @param {string} folder where "amaro.mjs" and "amaro.wasm" go */
async function bundleAmaro(folder) {
  const separateBinary = {
    name: "separate-binary",
    setup(pluginBuild) {
      pluginBuild.onResolve({ filter: /.*/ }, ({ path }) =>
        Object.hasOwn(AMARO_BUILTINS, path) ? { path, namespace: "builtin" } : null,
      );
      pluginBuild.onLoad({ filter: /.*/, namespace: "builtin" }, ({ path }) => ({ contents: AMARO_BUILTINS[path], loader: "js" }));
      pluginBuild.onLoad({ filter: /amaro\/dist\/internal\.js$/ }, async ({ path }) => {
        const source = await readFile(path, "utf8");
        const found = [...source.matchAll(BASE64_WASM_REGEXP)];
        const compilations = [...source.matchAll(COMPILATION_REGEXP)];
        if (found.length !== 1 || compilations.length !== 1) {
          throw new Error(
            `Cannot take the binary out of ${path}: found ${found.length} binaries and ${compilations.length} uses, expected 1 of each`,
          );
        }
        await writeFile(join(folder, "amaro.wasm"), Buffer.from(found[0][2], "base64"));
        const contents = source
          .replace(BASE64_WASM_REGEXP, '""')
          .replace(COMPILATION_REGEXP, "($1 instanceof WebAssembly.Module ? $1 : new WebAssembly.Module($1))");
        return { contents, loader: "js" };
      });
    },
  };
  const { warnings } = await build({
    stdin: { contents: AMARO_ENTRY, resolveDir: "." },
    outfile: join(folder, "amaro.mjs"),
    bundle: true,
    format: "esm",
    platform: "neutral",
    mainFields: ["main"],
    target: "esnext",
    minifyWhitespace: true,
    legalComments: "none",
    plugins: [separateBinary],
    logLevel: "warning",
  });
  if (warnings.length > 0) {
    throw new Error("Cannot bundle amaro: esbuild warned, see above");
  }
}

const [folder] = process.argv.slice(2);
for (const file of await readdir("polyfills")) {
  await bundle(file.replace(/\.js$/, ""), join(folder, "polyfills"));
}
await bundleAmaro(folder);
