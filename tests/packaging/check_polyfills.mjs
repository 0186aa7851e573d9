// Runs one polyfill bundle inside a realm that has only ECMAScript intrinsics, and prints what became of every case as JSON.
//
// Usage: node check_polyfills.mjs BUNDLE_FILE NAME REALM      REALM is "bare", "hardened", "poor" (hardened, and many globals are gone),
//   "frozen" (as plain Object.freeze leaves it), or "native" (Node's own: the control)
import { readFileSync } from "node:fs";
import vm from "node:vm";

// [polyfill, what is checked, code that returns a value, the value]. The code sees the polyfill's exports as "it".
const CASES = [
  ["base64", "btoa encodes", `it.btoa("hello world")`, "aGVsbG8gd29ybGQ="],
  ["base64", "btoa pads", `["", "f", "fo", "foo", "foob"].map(it.btoa)`, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]],
  ["base64", "btoa encodes all bytes", `it.btoa(String.fromCharCode(...Array(256).keys())).slice(-8)`, "/P3+/w=="],
  ["base64", "btoa converts its argument", `[it.btoa(null), it.btoa(12)]`, ["bnVsbA==", "MTI="]],
  ["base64", "atob decodes", `it.atob("aGVsbG8gd29ybGQ=")`, "hello world"],
  ["base64", "atob forgives white space and padding", `[it.atob(" aGk= "), it.atob("aGk"), it.atob("a G\\nk")]`, ["hi", "hi", "hi"]],
  ["base64", "atob undoes btoa for all bytes", `it.atob(it.btoa(String.fromCharCode(...Array(256).keys()))).length`, 256],
  ["base64", "atob refuses bad length", `failure(() => it.atob("a"))`, ["InvalidCharacterError", 5, true]],
  ["base64", "atob refuses bad characters", `failure(() => it.atob("a$=="))`, ["InvalidCharacterError", 5, true]],
  ["base64", "btoa refuses more than Latin-1", `failure(() => it.btoa("\\u20ac"))`, ["InvalidCharacterError", 5, true]],
  ["base64", "no argument is a TypeError", `failure(() => it.btoa())[0]`, "TypeError"],

  ["encoding", "names", `[it.TextEncoder.name, it.TextDecoder.name, String(new it.TextEncoder())]`, ["TextEncoder", "TextDecoder", "[object TextEncoder]"]],
  ["encoding", "encode gives UTF-8", `[...new it.TextEncoder().encode("aä€😀")]`, [97, 195, 164, 226, 130, 172, 240, 159, 152, 128]],
  ["encoding", "encode replaces lone surrogates", `[...new it.TextEncoder().encode("\\ud800x")]`, [239, 191, 189, 120]],
  ["encoding", "encode gives a real Uint8Array", `new it.TextEncoder().encode("x") instanceof Uint8Array`, true],
  ["encoding", "encode of nothing is empty", `new it.TextEncoder().encode().length`, 0],
  ["encoding", "encodeInto stops at whole characters", `(() => { const room = new Uint8Array(4); const r = new it.TextEncoder().encodeInto("a€€", room); return [r.read, r.written, [...room]]; })()`, [2, 4, [97, 226, 130, 172]]],
  ["encoding", "decode reads UTF-8", `new it.TextDecoder().decode(new Uint8Array([97, 195, 164, 226, 130, 172, 240, 159, 152, 128]))`, "aä€😀"],
  ["encoding", "decode drops a byte order mark", `[new it.TextDecoder().decode(new Uint8Array([239, 187, 191, 65])), new it.TextDecoder("utf-8", { ignoreBOM: true }).decode(new Uint8Array([239, 187, 191, 65]))]`, ["A", "\ufeffA"]],
  ["encoding", "decode replaces bad bytes", `new it.TextDecoder().decode(new Uint8Array([255, 65, 226, 130]))`, "\ufffdA\ufffd"],
  ["encoding", "fatal decode throws a TypeError", `failure(() => new it.TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array([255])))[0]`, "TypeError"],
  ["encoding", "decode streams", `(() => { const d = new it.TextDecoder(); return d.decode(new Uint8Array([226]), { stream: true }) + d.decode(new Uint8Array([130, 172]), { stream: true }) + d.decode(); })()`, "€"],
  ["encoding", "decode takes buffers and views", `[new it.TextDecoder().decode(new Uint8Array([65, 66]).buffer), new it.TextDecoder().decode(new DataView(new Uint8Array([65, 66, 67]).buffer, 1))]`, ["AB", "BC"]],
  ["encoding", "utf-16le", `[new it.TextDecoder("utf-16le").decode(new Uint8Array([0xac, 0x20])), new it.TextDecoder("utf-16le").encoding]`, ["€", "utf-16le"]],
  ["encoding", "labels", `["latin1", "ISO-8859-1", " UTF8 ", "ascii"].map((label) => new it.TextDecoder(label).encoding)`, ["windows-1252", "windows-1252", "utf-8", "windows-1252"]],
  ["encoding", "latin1", `new it.TextDecoder("latin1").decode(new Uint8Array([0xe9, 0x41]))`, "éA"],
  ["encoding", "unknown labels are a RangeError", `failure(() => new it.TextDecoder("klingon"))[0]`, "RangeError"],
  ["encoding", "a long text comes back", `(() => { const text = "aä€😀".repeat(20000); return new it.TextDecoder().decode(new it.TextEncoder().encode(text)) === text; })()`, true],

  ["structured-clone", "copies deeply", `(() => { const a = { b: [1, { c: "x" }], d: undefined, e: null, f: -0 }; const z = it.structuredClone(a); return [z, z !== a, z.b !== a.b, "d" in z, Object.is(z.f, -0)]; })()`, [{ b: [1, { c: "x" }], e: null, f: 0 }, true, true, true, true]],
  ["structured-clone", "keeps cycles", `(() => { const a = { list: [] }; a.self = a; a.list.push(a); const z = it.structuredClone(a); return [z.self === z, z.list[0] === z, z !== a]; })()`, [true, true, true]],
  ["structured-clone", "keeps shared references", `(() => { const s = {}; const z = it.structuredClone([s, s]); return z[0] === z[1]; })()`, true],
  ["structured-clone", "Map and Set", `(() => { const z = it.structuredClone(new Map([[{ k: 1 }, new Set([1, "2"])]])); const [[k, v]] = z; return [z instanceof Map, k, v instanceof Set, [...v]]; })()`, [true, { k: 1 }, true, [1, "2"]]],
  ["structured-clone", "Date", `(() => { const d = new Date(86400000); const z = it.structuredClone(d); return [z instanceof Date, z.toISOString(), z !== d, isNaN(it.structuredClone(new Date(NaN)))]; })()`, [true, "1970-01-02T00:00:00.000Z", true, true]],
  ["structured-clone", "RegExp", `(() => { const r = /a+(?<n>b)/giu; r.lastIndex = 3; const z = it.structuredClone(r); return [z.source, z.flags, z.lastIndex, z !== r]; })()`, ["a+(?<n>b)", "giu", 0, true]],
  ["structured-clone", "BigInt and boxed primitives", `[String(it.structuredClone(2n ** 70n)), typeof it.structuredClone(Object(1n)), it.structuredClone(Object("s")) instanceof String, it.structuredClone(Object(false)).valueOf()]`, ["1180591620717411303424", "object", true, false]],
  ["structured-clone", "errors", `(() => { const e = new RangeError("far", { cause: { n: 1 } }); const z = it.structuredClone(e); return [z instanceof RangeError, z.name, z.message, z.cause, z !== e, typeof z.stack]; })()`, [true, "RangeError", "far", { n: 1 }, true, "string"]],
  ["structured-clone", "subclasses of Error become their base", `(() => { class Mine extends TypeError {} const z = it.structuredClone(new Mine("m")); return [z instanceof Mine, z instanceof TypeError, z.message]; })()`, [false, true, "m"]],
  ["structured-clone", "ArrayBuffer", `(() => { const b = new Uint8Array([1, 2]).buffer; const z = it.structuredClone(b); return [z instanceof ArrayBuffer, z !== b, [...new Uint8Array(z)]]; })()`, [true, true, [1, 2]]],
  ["structured-clone", "typed arrays", `(() => { const z = it.structuredClone(new Float64Array([1.5, NaN])); const u = it.structuredClone(new Uint8Array([1, 2, 3]).subarray(1)); return [z instanceof Float64Array, z[0], u.byteOffset, [...u]]; })()`, [true, 1.5, 1, [2, 3]]],
  ["structured-clone", "two views of one buffer stay so", `(() => { const b = new ArrayBuffer(4); const z = it.structuredClone([new Uint8Array(b), new DataView(b)]); z[0][0] = 7; return [z[1].getUint8(0), z[0].buffer === z[1].buffer]; })()`, [7, true]],
  ["structured-clone", "instances lose their class", `(() => { class P { x = 1; get y() { return 2; } } const z = it.structuredClone(new P()); return [z, Object.getPrototypeOf(z) === Object.prototype]; })()`, [{ x: 1 }, true]],
  ["structured-clone", "an own __proto__ key is data", `(() => { const z = it.structuredClone(JSON.parse('{"__proto__": {"bad": 1}}')); return [z.bad, Object.hasOwn(z, "__proto__")]; })()`, [undefined, true]],
  ["structured-clone", "functions are a DataCloneError", `failure(() => it.structuredClone({ f() {} }))`, ["DataCloneError", 25, true]],
  ["structured-clone", "symbols are a DataCloneError", `failure(() => it.structuredClone([Symbol("s")]))`, ["DataCloneError", 25, true]],
  ["structured-clone", "WeakMap and Promise are a DataCloneError", `[failure(() => it.structuredClone(new WeakMap()))[0], failure(() => it.structuredClone(Promise.resolve()))[0]]`, ["DataCloneError", "DataCloneError"]],
  ["structured-clone", "transfer detaches", `(() => { const b = new ArrayBuffer(3); const z = it.structuredClone(b, { transfer: [b] }); return [b.byteLength, z.byteLength]; })()`, [0, 3]],
  ["structured-clone", "no argument is a TypeError", `failure(() => it.structuredClone())[0]`, "TypeError"],
  ["structured-clone", "DOMException", `(() => { const e = new it.DOMException("m", "AbortError"); return [e instanceof Error, e.name, e.message, e.code, String(e), it.DOMException.ABORT_ERR, Object.prototype.toString.call(e)]; })()`, [true, "AbortError", "m", 20, "AbortError: m", 20, "[object DOMException]"]],

  ["url", "names", `[it.URL.name, it.URLSearchParams.name]`, ["URL", "URLSearchParams"]],
  ["url", "parts", `(() => { const u = new it.URL("https://me:pw@Example.com:8080/a/../b%20c?q=1&r=ä#frag"); return [u.href, u.origin, u.protocol, u.username, u.password, u.host, u.hostname, u.port, u.pathname, u.search, u.hash]; })()`, ["https://me:pw@example.com:8080/b%20c?q=1&r=%C3%A4#frag", "https://example.com:8080", "https:", "me", "pw", "example.com:8080", "example.com", "8080", "/b%20c", "?q=1&r=%C3%A4", "#frag"]],
  ["url", "base", `[new it.URL("../x?y", "http://h/a/b/c").href, new it.URL("//o/p", "https://h").href, new it.URL("?q", "http://h/a#f").href]`, ["http://h/a/x?y", "https://o/p", "http://h/a?q"]],
  ["url", "default ports vanish", `[new it.URL("http://h:80/").port, new it.URL("https://h:443").host, new it.URL("http://h:443").host]`, ["", "h", "h:443"]],
  ["url", "setters", `(() => { const u = new it.URL("http://h/p"); u.hostname = "o.example"; u.port = "99"; u.search = "a=b"; u.hash = "x y"; u.pathname = "/ö"; u.protocol = "https"; return u.href; })()`, "https://o.example:99/%C3%B6?a=b#x%20y"],
  ["url", "invalid addresses are a TypeError", `["nope", "http://", "http://a b/", "http://h:99999/", "http://[::1", "http://a%00b/", "http://xn--a/"].map((text) => failure(() => new it.URL(text))[0])`, Array(7).fill("TypeError")],
  ["url", "canParse and parse", `[it.URL.canParse("http://h"), it.URL.canParse("h"), it.URL.parse("h"), it.URL.parse("x:y").href]`, [true, false, null, "x:y"]],
  ["url", "ASCII domains are lower-cased", `["http://EXAMPLE.Com/", "http://a_b.c/", "http://a..b/", "http://-a-.x/", "http://a%41.B/"].map((text) => new it.URL(text).hostname)`, ["example.com", "a_b.c", "a..b", "-a-.x", "aa.b"]],
  ["url", "IPv4 and IPv6", `["http://0x7f.1/", "http://017700000001/", "http://2130706433/", "http://[0:0::1]/", "http://[::ffff:1.2.3.4]/", "http://1.2.3.4./"].map((text) => new it.URL(text).hostname)`, ["127.0.0.1", "127.0.0.1", "127.0.0.1", "[::1]", "[::ffff:102:304]", "1.2.3.4"]],
  ["url", "international domains", `["http://EXÄMPLE.com/", "http://faß.de/", "http://日本語。jp/", "http://xn--exmple-cua.com/", "http://www.xn--EXMPLE-CUA.com/", "http://ﬁ.example/", "http://עברית.example/"].map((text) => new it.URL(text).hostname)`, ["xn--exmple-cua.com", "xn--fa-hia.de", "xn--wgv71a119e.jp", "xn--exmple-cua.com", "www.xn--exmple-cua.com", "fi.example", "xn--5dbqzzl.example"]],
  ["url", "bad international domains", `["http://xn--ls8h=/", "http://a\\u00adb\\u200d.x/", "http://א1ab/", "http://\\u0301x/"].map((text) => it.URL.canParse(text))`, [false, false, false, false]],
  ["url", "opaque paths and other schemes", `[new it.URL("mailto:a@b").pathname, new it.URL("data:text/plain,hi there").href, new it.URL("blob:https://h/x").origin, new it.URL("foo://h/../p").href]`, ["a@b", "data:text/plain,hi there", "https://h", "foo://h/p"]],
  ["url", "JSON and text", `[JSON.stringify({ u: new it.URL("http://h") }), String(new it.URL("http://h")), Object.prototype.toString.call(new it.URL("http://h"))]`, ['{"u":"http://h/"}', "http://h/", "[object URL]"]],
  ["url", "a call without new is a TypeError", `failure(() => it.URL("http://h"))[0]`, "TypeError"],
  ["url", "searchParams are live", `(() => { const u = new it.URL("http://h/?a=1"); u.searchParams.append("b", "x y&"); u.searchParams.delete("a"); const before = u.href; u.search = "?z=9"; return [before, u.searchParams.get("z"), u.searchParams === u.searchParams]; })()`, ["http://h/?b=x+y%26", "9", true]],
  ["url", "URLSearchParams from all kinds", `["?a=1&b=2&a=%20+", [["k", "v"]], { x: "1", y: "ü" }, new it.URLSearchParams("q"), new Map([["m", 1]])].map((from) => String(new it.URLSearchParams(from)))`, ["a=1&b=2&a=++", "k=v", "x=1&y=%C3%BC", "q=", "m=1"]],
  ["url", "URLSearchParams methods", `(() => { const p = new it.URLSearchParams("b=2&a=1&b=3"); p.sort(); const all = [...p]; p.set("b", "9"); return [all, p.getAll("b"), p.has("a", "1"), p.has("a", "2"), p.size, p.get("none"), [...p.keys()], [...p.values()]]; })()`, [[["a", "1"], ["b", "2"], ["b", "3"]], ["9"], true, false, 2, null, ["a", "b"], ["1", "9"]]],
  ["url", "URLSearchParams forEach", `(() => { const seen = []; new it.URLSearchParams("a=1&b=2").forEach((value, key) => seen.push(key + value)); return seen; })()`, ["a1", "b2"]],
  ["url", "bad percent signs survive", `[new it.URLSearchParams("a=%zz&b=%E4").get("a"), new it.URLSearchParams("a=%E4").get("a"), new it.URL("http://h/%zz").pathname]`, ["%zz", "\ufffd", "/%zz"]],
];

const PREPARE = `
  globalThis.failure = function failure(action) {
    try { action(); } catch (error) { return [error.name, error.code, error instanceof Error]; }
    return ["nothing was thrown"];
  };
`;

/** Freezes all intrinsics; with accessors as SES does: data properties become accessors whose setter defines an own property. */
const harden = (accessors) => `(function () {
  const refuse = function () { throw new TypeError("code generation is off"); };
  const { prototype } = Function;
  refuse.prototype = prototype;
  for (const sample of [function () {}, async function () {}, function* () {}, async function* () {}]) {
    Object.defineProperty(Object.getPrototypeOf(sample), "constructor", { value: refuse });
  }
  globalThis.eval = refuse;
  globalThis.Function = refuse;
  const seen = new Set();
  const pending = [prototype, Object.getPrototypeOf(async function* () {}).prototype, Object.getPrototypeOf(function* () {}).prototype,
    Object.getPrototypeOf([][Symbol.iterator]()), Object.getPrototypeOf(new Map()[Symbol.iterator]()),
    Object.getPrototypeOf(new Set()[Symbol.iterator]()), Object.getPrototypeOf(""[Symbol.iterator]()), Object.getPrototypeOf(/a/[Symbol.matchAll]("")),
    ...Reflect.ownKeys(globalThis).filter((name) => name !== "globalThis").map((name) => globalThis[name])];
  while (pending.length > 0) {
    const object = pending.pop();
    if (object === null || (typeof object !== "object" && typeof object !== "function") || seen.has(object)) continue;
    seen.add(object);
    pending.push(Object.getPrototypeOf(object));
    for (const key of Reflect.ownKeys(object)) {
      const descriptor = Object.getOwnPropertyDescriptor(object, key);
      pending.push(descriptor.value, descriptor.get, descriptor.set);
      if (!("value" in descriptor) || !descriptor.configurable || typeof object === "function" || !${accessors}) continue;
      const { value } = descriptor;
      Object.defineProperty(object, key, {
        enumerable: descriptor.enumerable,
        configurable: false,
        get() { return value; },
        set(next) {
          if (this === object) throw new TypeError("Cannot assign to a frozen property: " + String(key));
          Object.defineProperty(this, key, { value: next, writable: true, enumerable: true, configurable: true });
        },
      });
    }
  }
  for (const object of seen) Object.freeze(object);
})()`;

/** Removes what one of our realms may lack. */
const IMPOVERISH = `
  for (const name of ["Atomics", "FinalizationRegistry", "Function", "Intl", "Proxy", "SharedArrayBuffer", "WeakRef", "WebAssembly",
    "escape", "eval", "unescape"]) {
    if (!(delete globalThis[name])) throw new Error("Cannot delete " + name);
  }
`;

/** @returns {string[]} names on the global object of a realm */
function globalNames(context) {
  return vm.runInContext("Reflect.ownKeys(globalThis).map(String)", context);
}

const [file, name, realm] = process.argv.slice(2);
const context = vm.createContext(vm.constants.DONT_CONTEXTIFY, { codeGeneration: { strings: false, wasm: false } });
vm.runInContext(PREPARE, context);
let evaluate;
let leaked = [];
if (realm === "native") {
  globalThis.it = globalThis;
  vm.runInThisContext(PREPARE);
  evaluate = (code) => vm.runInThisContext(code);
} else {
  if (realm !== "bare") {
    vm.runInContext(harden(realm !== "frozen"), context);
  }
  if (realm === "poor") {
    vm.runInContext(IMPOVERISH, context);
  }
  const before = globalNames(context);
  const exports = vm.runInContext(readFileSync(file, "utf8"), context)();
  leaked = globalNames(context).filter((key) => !before.includes(key));
  vm.runInContext("(function (value) { Object.defineProperty(globalThis, 'it', { value }); })", context)(exports);
  evaluate = (code) => vm.runInContext(code, context);
}
const results = CASES.filter(([polyfill]) => polyfill === name).map(([, title, code, expected]) => {
  let actual;
  try {
    actual = evaluate(code);
  } catch (error) {
    actual = `threw ${error.stack}`;
  }
  const [got, wanted] = [JSON.stringify(actual), JSON.stringify(expected)];
  return { title, ok: got === wanted, got, wanted };
});
process.stdout.write(JSON.stringify({ results, leaked }));
