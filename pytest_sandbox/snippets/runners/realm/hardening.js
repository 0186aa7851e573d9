// Hardening: takes away code generation and whatever is not common to all engines, and freezes what stays.

// What stays of the engine's own globals; everything else goes, so that all executors agree.
const KEPT = new Set([
  "Object", "Function", "Array", "Number", "parseFloat", "parseInt", "Infinity", "NaN", "undefined", "Boolean", "String",
  "Symbol", "Date", "Promise", "RegExp", "Error", "AggregateError", "EvalError", "RangeError", "ReferenceError",
  "SyntaxError", "TypeError", "URIError", "globalThis", "JSON", "Math", "Intl", "ArrayBuffer", "Uint8Array", "Int8Array",
  "Uint16Array", "Int16Array", "Uint32Array", "Int32Array", "BigUint64Array", "BigInt64Array", "Uint8ClampedArray",
  "Float32Array", "Float64Array", "Float16Array", "DataView", "Map", "BigInt", "Set", "Iterator", "WeakMap", "WeakSet",
  "WeakRef", "FinalizationRegistry", "Proxy", "Reflect", "decodeURI", "decodeURIComponent", "encodeURI",
  "encodeURIComponent", "escape", "unescape", "eval", "isFinite", "isNaN", "SuppressedError", "DisposableStack",
  "AsyncDisposableStack",
]);

const OURS = new Set(["codemode", "console"]);

function isObject(value) {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}

function blockCodeGeneration() {
  const samples = [function () {}, async function () {}, function* () {}, async function* () {}];
  for (const sample of samples) {
    const prototype = getPrototypeOf(sample);
    const name = prototype.constructor.name;
    const blocked = function () {
      throw new EvalError(`Cannot generate code: ${name} is blocked in the sandbox`);
    };
    defineProperty(blocked, "name", { value: name });
    defineProperty(blocked, "prototype", { value: prototype, writable: false });
    defineProperty(prototype, "constructor", { value: blocked, writable: true, configurable: true });
    if (name === "Function") defineProperty(global, "Function", { value: blocked, enumerable: false });
  }
  const blockedEval = {
    eval() {
      throw new EvalError("Cannot generate code: eval is blocked in the sandbox");
    },
  }.eval;
  defineProperty(global, "eval", { value: blockedEval, enumerable: false });
}

// Every accessor costs a microsecond in every fresh realm: what people extend gets one for each property, the rest for these.
const OFTEN_EXTENDED = [
  Object, Function, Array, Map, Set, Promise, Error, AggregateError, EvalError, RangeError, ReferenceError, SyntaxError,
  TypeError, URIError,
].map(({ prototype }) => prototype);
const OFTEN_OVERRIDDEN = ["constructor", "toString", "toLocaleString", "valueOf", "toJSON", "name", "message", "next"];

// A frozen data property forbids assignment on everything that inherits it (the "override mistake"), which breaks
// `this.name = …` in any class that extends Error. An accessor in its place reads the same and lets heirs have their own.
function letHeirsOverride(object) {
  for (const key of OFTEN_EXTENDED.includes(object) ? getOwnPropertyNames(object) : OFTEN_OVERRIDDEN) {
    const descriptor = getOwnPropertyDescriptor(object, key);
    if (!descriptor?.writable || !descriptor.configurable) continue;
    const { value, enumerable } = descriptor;
    defineProperty(object, key, {
      get() {
        return value;
      },
      set(replacement) {
        const own = { value: replacement, writable: true, enumerable: true, configurable: true };
        if (this === object || !isObject(this) || !defineProperty(this, key, own)) {
          throw new TypeError(`Cannot assign to read only property '${key}'`);
        }
      },
      enumerable,
      configurable: false,
    });
  }
}

function hardenPrototype(prototype) {
  letHeirsOverride(prototype);
  freeze(prototype);
}

// V8 adds to these in every context that it makes from a snapshot, and gives up if it cannot.
const asyncIteratorPrototype = getPrototypeOf(getPrototypeOf((async function* () {}).prototype));
const LATE = new Set([Math, RegExp, TheError, ThePromise, DataView.prototype, Iterator.prototype, asyncIteratorPrototype]);

// Prototypes that no constructor among the globals leads to.
function hiddenPrototypes() {
  const generator = function* () {};
  const asyncGenerator = async function* () {};
  const samples = [
    function () {}, async function () {}, generator, generator(), generator.prototype, asyncGenerator, asyncGenerator(),
    asyncGenerator.prototype, [].values(), new Map().entries(), new Set().values(), ""[Symbol.iterator](), "".matchAll(/x/g),
    [].values().map((x) => x), Iterator.from({ next() {} }),
  ];
  const isLate = (prototype) => LATE.has(prototype);
  return [typedArrayPrototype, ...samples.map(getPrototypeOf).filter((prototype) => !isLate(prototype))];
}

// Two more are reached by this method alone. The first segmenter of a process costs more than all the rest of the realm, so they
// are hardened when a snippet has the first one, before it gets to see what the method returns.
function hardenSegmentsAtFirstUse() {
  const { prototype } = Intl.Segmenter;
  const original = prototype.segment;
  let isDone = false;
  const { segment } = {
    segment(input) {
      const segments = apply(original, this, [input]);
      if (!isDone) {
        hardenPrototype(getPrototypeOf(segments[Symbol.iterator]()));
        hardenPrototype(getPrototypeOf(segments));
        isDone = true;
      }
      return segments;
    },
  };
  defineProperty(prototype, "segment", { value: segment });
}

const hardened = new Set();

function hardenNew(holder) {
  for (const name of ownKeys(holder)) {
    if (hardened.has(name) || (holder === global && !KEPT.has(name))) continue;
    hardened.add(name);
    const { value } = getOwnPropertyDescriptor(holder, name);
    if (!isObject(value) || value === global) continue;
    const { prototype } = value;
    if (isObject(prototype) && !LATE.has(prototype)) hardenPrototype(prototype);
    if (!LATE.has(value)) freeze(value);
  }
}

// The first half can be kept in a snapshot.
function hardenEarly() {
  blockCodeGeneration();
  hardenSegmentsAtFirstUse();
  hiddenPrototypes().forEach(hardenPrototype);
  freeze(typedArrayPrototype.constructor);
  hardenNew(global);
  hardenNew(Intl);
}

// The second half cannot: into a context made from a snapshot, V8 puts some of its globals, and parts of them, anew.
function hardenLate() {
  for (const key of ownKeys(global)) {
    if (KEPT.has(key) || key in LAZY || OURS.has(key) || key === Symbol.toStringTag) continue;
    if (!deleteProperty(global, key)) throw new TheError(`Cannot harden the realm: global ${String(key)} cannot be deleted`);
  }
  for (const object of LATE) {
    if (typeof object === "object") letHeirsOverride(object);
    freeze(object);
  }
  LATE.clear();
  hardenNew(global);
}
