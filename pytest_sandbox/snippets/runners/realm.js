// The realm: what a snippet finds around it. The same text runs first in every bare V8 realm (an isolate, a vm2 sandbox, a
// node:vm context), so that all executors offer one environment.
//
// It is one function expression. The call hardens the realm (unless told that something else is the wall: then the engine's own
// globals stay) and returns `attach`, which the runner calls once per execution with its channels. Only strings and numbers cross
// them:
//
//   send(text)      one message to the host, as JSON without a newline
//   end(text)       the last message of this execution
//   timer(id, ms)   ask for enter('{"op":"timer","id":…}') after that many milliseconds
//   load(name)      ask for enter(function, name) of a polyfill, before load returns
//
// `attach` returns `enter`: called with a string it takes a message in, called with a function it starts the snippet.
//
// Freezing every prototype makes the builtins below safe to use by name; what touches a snippet's own objects goes through the
// functions captured here, and every such touch may run the snippet's code (getters, proxies), inside the limits.
(function realm(isOpen) {
  "use strict";

  const isHardened = isOpen !== true;

  const MAX_DEPTH = 100; // as in values.py
  const OUTPUT_FACTOR = 16; // past this many times the output limit, the execution ends
  const TEXT_MOST = 16384; // characters of a name, message or stack that cross
  const PIECES_MOST = 4096; // pieces of text that are collected before they are joined
  const CAUSES_MOST = 5; // links of a chain of causes that cross

  const { apply, defineProperty, deleteProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys } = Reflect;
  const { create, freeze, getOwnPropertyNames, is, keys } = Object;
  const { isArray } = Array;
  const { isSafeInteger, isInteger } = Number;
  const { parse, stringify } = JSON;
  const { fromCharCode } = String;
  const TheProxy = typeof Proxy === "function" ? Proxy : undefined;
  const ThePromise = Promise;
  const TheError = Error;
  const global = globalThis;

  function uncurry(method) {
    return (self, ...args) => apply(method, self, args);
  }
  const isWellFormed = uncurry(String.prototype.isWellFormed);
  const toWellFormed = uncurry(String.prototype.toWellFormed);
  const bigintToString = uncurry(BigInt.prototype.toString);
  const dateGetTime = uncurry(Date.prototype.getTime);
  const mapForEach = uncurry(Map.prototype.forEach);
  const setForEach = uncurry(Set.prototype.forEach);
  const typedArrayPrototype = getPrototypeOf(Uint8Array.prototype);
  const typedArrayTag = uncurry(getOwnPropertyDescriptor(typedArrayPrototype, Symbol.toStringTag).get);
  const typedArrayLength = uncurry(getOwnPropertyDescriptor(typedArrayPrototype, "length").get);

  // -- hardening ------------------------------------------------------------------------------------------

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
    const segments = new Intl.Segmenter("en").segment("");
    const samples = [
      function () {}, async function () {}, generator, generator(), generator.prototype, asyncGenerator, asyncGenerator(),
      asyncGenerator.prototype, [].values(), new Map().entries(), new Set().values(), ""[Symbol.iterator](), "".matchAll(/x/g),
      [].values().map((x) => x), Iterator.from({ next() {} }), segments, segments[Symbol.iterator](),
    ];
    const isLate = (prototype) => LATE.has(prototype);
    return [typedArrayPrototype, ...samples.map(getPrototypeOf).filter((prototype) => !isLate(prototype))];
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

  // -- values (values.py is the other half) -------------------------------------------------------------------

  const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const UNBASE64 = new Uint8Array(128);
  const BASE64_CODES = new Uint8Array(64);
  const PADDING = "=".charCodeAt(0);
  for (let i = 0; i < 64; i++) {
    BASE64_CODES[i] = BASE64.charCodeAt(i);
    UNBASE64[BASE64_CODES[i]] = i;
  }

  // In pieces that become flat strings: one character after the other would make millions of little ones.
  function toBase64(bytes, length) {
    const PIECE = 6144;
    const pieces = [];
    const codes = new Uint8Array((PIECE / 3) * 4);
    for (let start = 0; start < length; start += PIECE) {
      const end = start + PIECE < length ? start + PIECE : length;
      let at = 0;
      for (let i = start; i < end; i += 3) {
        const left = end - i;
        const bits = (bytes[i] << 16) | ((left > 1 ? bytes[i + 1] : 0) << 8) | (left > 2 ? bytes[i + 2] : 0);
        codes[at++] = BASE64_CODES[bits >> 18];
        codes[at++] = BASE64_CODES[(bits >> 12) & 63];
        codes[at++] = left > 1 ? BASE64_CODES[(bits >> 6) & 63] : PADDING;
        codes[at++] = left > 2 ? BASE64_CODES[bits & 63] : PADDING;
      }
      pieces.push(apply(fromCharCode, undefined, at === codes.length ? codes : codes.subarray(0, at)));
    }
    return pieces.join("");
  }

  function fromBase64(text) {
    const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
    const bytes = new Uint8Array((text.length / 4) * 3 - padding);
    for (let i = 0, at = 0; i < text.length; i += 4) {
      let bits = 0;
      for (let j = 0; j < 4; j++) bits = (bits << 6) | UNBASE64[text.charCodeAt(i + j)];
      bytes[at++] = bits >> 16;
      bytes[at++] = bits >> 8; // what lies past the end of a typed array is dropped
      bytes[at++] = bits;
    }
    return bytes;
  }

  class CannotCross {
    #isOurs;

    constructor(path, reason, limit) {
      this.message = `${path}: ${reason}`;
      this.limit = limit;
    }

    // Unlike instanceof, this asks nothing of a Proxy that a snippet threw.
    static is(error) {
      return isObject(error) && #isOurs in error;
    }
  }

  // What has no counterpart in Python, with what to do instead.
  const FOREIGN = [
    [ThePromise, "a Promise cannot cross; await it first"],
    [RegExp, "a RegExp cannot cross; pass its source"],
    [ArrayBuffer, "an ArrayBuffer cannot cross; wrap it in a Uint8Array"],
    [DataView, "a DataView cannot cross; pass a Uint8Array"],
    [WeakMap, "a WeakMap cannot cross"],
    [WeakSet, "a WeakSet cannot cross"],
    [Iterator, "an iterator cannot cross; spread it into an array"],
    [{ prototype: asyncIteratorPrototype }, "an async iterator cannot cross; collect its values in an array"],
    [Number, "a Number object cannot cross; pass the number itself"],
    [String, "a String object cannot cross; pass the string itself"],
    [Boolean, "a Boolean object cannot cross; pass the boolean itself"],
    [BigInt, "a BigInt object cannot cross; pass the bigint itself"],
    [Symbol, "a Symbol object cannot cross"],
  ].map(([constructor, reason]) => [constructor.prototype, reason]);
  const known = { Object: Object.prototype, Date: Date.prototype, Map: Map.prototype, Set: Set.prototype, Error: TheError.prototype };

  function inherits(value, prototype) {
    for (let at = getPrototypeOf(value), left = 1000; at !== null && left > 0; at = getPrototypeOf(at), left--) {
      if (at === prototype) return true;
    }
    return false;
  }

  // The steps from a value to its parts, in the words of a path.
  const STEPS = {
    index: (path, index) => `${path}[${index}]`,
    key: (path, key) =>
      /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key) ? `${path}.${key}` : `${path}[${stringify(key.slice(0, 40))}]`,
    mapKey: (path, index) => `${path} key ${index}`,
    mapValue: (path, key) => `${path}.get(${typeof key === "string" ? stringify(key.slice(0, 40)) : typeof key})`,
    member: (path, index) => `${path} member ${index}`,
    cause: (path) => `${path}.cause`,
  };

  // Write values as JSON text. `most` bounds the length of all of it, so that a small object with shared parts cannot grow without
  // end. The text is collected in pieces (put together one by one, they would need several times its size), and the way to the part
  // at hand is put into words only when it is refused.
  function encoder(most) {
    const parents = [];
    const steps = [];
    const names = [];
    let size = 0;
    let root, depth, level, pieces, chunks;

    function refusal(reason, limit) {
      let path = root;
      for (let i = 0; i < level; i++) path = steps[i](path, names[i]);
      return new CannotCross(path, reason, limit);
    }

    function tooLarge() {
      return refusal(`it is larger than the limit result of ${most} bytes`, "result");
    }

    function put(text) {
      size += text.length;
      if (size > most) throw tooLarge();
      pieces[pieces.length] = text;
      if (pieces.length === PIECES_MOST) flush();
    }

    function flush() {
      chunks[chunks.length] = pieces.join("");
      pieces = [];
    }

    // JSON of a string; what is far too large, or no text, is refused first.
    function quoted(text) {
      if (text.length > most) throw tooLarge();
      if (!isWellFormed(text)) throw refusal("a string with a lone surrogate cannot cross");
      return stringify(text);
    }

    function number(value) {
      if (isSafeInteger(value) && !is(value, -0)) return `${value}`;
      if (is(value, -0)) return '{"$":"f","v":"-0"}';
      if (value !== value || value === Infinity || value === -Infinity || isInteger(value)) return `{"$":"f","v":"${value}"}`;
      return `${value}`;
    }

    function part(step, name, value, lead) {
      steps[level] = step;
      names[level++] = name;
      encode(value, lead);
      level--;
    }

    function list(items, step, lead) {
      put(`${lead}[`);
      for (let i = 0; i < items.length; i++) part(step, i, items[i], i === 0 ? "" : ",");
      put("]");
    }

    function pairs(entries, keyStep, valueStep, tag, lead) {
      put(`${lead}{"$":"${tag}","v":[`);
      for (let i = 0; i < entries.length; i++) {
        const [key, value] = entries[i];
        part(keyStep, keyStep === STEPS.key ? key : i, key, i === 0 ? "[" : ",[");
        part(valueStep, key, value, ",");
        put("]");
      }
      put("]}");
    }

    function plain(value, lead) {
      const own = keys(value);
      if (own.includes("$")) {
        const entries = own.map((name) => [name, value[name]]).filter(([, item]) => item !== undefined);
        pairs(entries, STEPS.key, STEPS.key, "o", lead);
        return;
      }
      let opening = `${lead}{`;
      for (let i = 0; i < own.length; i++) {
        const name = own[i];
        const item = value[name];
        if (item === undefined) continue;
        steps[level] = STEPS.key;
        names[level++] = name;
        encode(item, `${opening}${quoted(name)}:`);
        level--;
        opening = ",";
      }
      put(opening === "," ? "}" : `${opening}}`);
    }

    function error(value, lead) {
      const { cause } = value;
      const described = describe(value);
      put(`${lead}{"$":"e","v":${stringify({ ...described, stack: ownStack(described.stack) }).slice(0, -1)}`);
      if (cause !== undefined) part(STEPS.cause, "", cause, ',"cause":');
      put("}}");
    }

    function bytes(value, lead) {
      const length = typedArrayLength(value);
      // Before it is encoded: what is far too large would fill the memory first.
      if ((length * 4) / 3 > most) throw tooLarge();
      put(`${lead}{"$":"b","v":"`);
      put(toBase64(value, length));
      put('"}');
    }

    // Only a constructor makes the real thing; whatever else inherits from its prototype has nothing inside.
    function inside(read, value, name) {
      try {
        return read(value);
      } catch {
        throw refusal(`what only inherits from ${name}.prototype cannot cross; make it with new ${name}()`);
      }
    }

    function object(value, lead) {
      if (isArray(value)) return list(value, STEPS.index, lead);
      const prototype = getPrototypeOf(value);
      if (prototype === null || prototype === known.Object) return plain(value, lead);
      const tag = typedArrayTag(value);
      if (tag === "Uint8Array") return bytes(value, lead);
      if (tag !== undefined) throw refusal(`a ${tag} cannot cross; use an array or a Uint8Array`);
      if (inherits(value, known.Date)) {
        const time = inside(dateGetTime, value, "Date");
        if (time !== time) throw refusal("an invalid Date cannot cross");
        return put(`${lead}{"$":"d","v":${time}}`);
      }
      if (inherits(value, known.Map)) {
        const entries = [];
        inside((map) => mapForEach(map, (item, key) => entries.push([key, item])), value, "Map");
        return pairs(entries, STEPS.mapKey, STEPS.mapValue, "m", lead);
      }
      if (inherits(value, known.Set)) {
        const members = [];
        inside((set) => setForEach(set, (member) => members.push(member)), value, "Set");
        list(members, STEPS.member, `${lead}{"$":"s","v":`);
        return put("}");
      }
      if (inherits(value, known.Error)) return error(value, lead);
      for (const [foreign, reason] of FOREIGN) if (inherits(value, foreign)) throw refusal(reason);
      for (const name in lazy) {
        if (lazy[name].prototype !== undefined && inherits(value, lazy[name].prototype)) {
          throw refusal(`a ${name} cannot cross; turn it into a string first`);
        }
      }
      return plain(value, lead);
    }

    function encode(value, lead) {
      switch (typeof value) {
        case "string":
          return put(lead + quoted(value));
        case "number":
          return put(lead + number(value));
        case "boolean":
          return put(lead + (value ? "true" : "false"));
        case "bigint":
          return put(`${lead}{"$":"n","v":"${bigintToString(value, 16)}"}`);
        case "undefined":
          return put(lead + (depth === 0 ? '{"$":"u"}' : "null"));
        case "function":
          throw refusal("a function cannot cross");
        case "symbol":
          throw refusal("a symbol cannot cross");
      }
      if (value === null) return put(`${lead}null`);
      if (depth >= MAX_DEPTH) throw refusal(`it is nested deeper than ${MAX_DEPTH} levels`);
      for (let i = 0; i < depth; i++) if (parents[i] === value) throw refusal("it contains itself; a cycle cannot cross");
      parents[depth++] = value;
      object(value, lead);
      depth--;
    }

    // `outer` is the number of levels around the value.
    return (value, path, outer) => {
      root = path;
      depth = outer;
      level = 0;
      pieces = [];
      chunks = [];
      encode(value, "");
      if (pieces.length === 1 && chunks.length === 0) return pieces[0];
      flush();
      return chunks.length === 1 ? chunks[0] : chunks.join("");
    };
  }

  function revive(wire) {
    if (typeof wire !== "object" || wire === null) return wire;
    if (isArray(wire)) {
      for (let i = 0; i < wire.length; i++) wire[i] = revive(wire[i]);
      return wire;
    }
    const { $: tag, v: body } = wire;
    switch (tag) {
      case undefined:
        for (const name of keys(wire)) {
          const value = wire[name];
          if (typeof value === "object") defineProperty(wire, name, { value: revive(value) });
        }
        return wire;
      case "f":
        return Number(body);
      case "n":
        return body[0] === "-" ? -BigInt(`0x${body.slice(1)}`) : BigInt(`0x${body}`);
      case "d":
        return new Date(body);
      case "b":
        return fromBase64(body);
      case "m":
        return new Map(body.map(([key, value]) => [revive(key), revive(value)]));
      case "s":
        return new Set(body.map(revive));
      case "e":
        return makeError(new TheError(), body);
      case "o": {
        const object = {};
        for (const [key, value] of body) {
          defineProperty(object, key, { value: revive(value), writable: true, enumerable: true, configurable: true });
        }
        return object;
      }
    }
  }

  // -- errors -------------------------------------------------------------------------------------------------

  // Dress an Error that was made where it should point to as the error that came from the host.
  function makeError(error, { name, message, stack, cause }) {
    const hidden = { writable: true, enumerable: false, configurable: true };
    const frames = stack ?? `${error.stack}`.split("\n").slice(1).join("\n");
    defineProperty(error, "name", { ...hidden, value: name });
    defineProperty(error, "message", { ...hidden, value: message });
    defineProperty(error, "stack", { ...hidden, value: stack === undefined ? `${name}: ${message}\n${frames}` : stack });
    if (cause !== undefined) defineProperty(error, "cause", { ...hidden, value: revive(cause) });
    return error;
  }

  // Read one property of something that was thrown: a getter may throw, lie or loop.
  function readText(error, key, fallback) {
    try {
      const value = error[key];
      if (typeof value === "string") return toWellFormed(value.slice(0, TEXT_MOST));
      return value === undefined || isObject(value) ? fallback : toWellFormed(String(value).slice(0, TEXT_MOST));
    } catch {
      return fallback;
    }
  }

  // Say of anything that was thrown what an Error says of itself.
  function describe(error) {
    if (typeof error !== "object" || error === null) return { name: "Error", message: shown(error), stack: "" };
    const message = readText(error, "message", undefined) ?? (isErrorLike(error) ? "" : shown(error));
    return { name: readText(error, "name", "Error"), message, stack: readText(error, "stack", "") };
  }

  function describeWithCauses(error) {
    const described = describe(error);
    for (let at = error, last = described, depth = 0; depth < CAUSES_MOST; depth++) {
      try {
        at = at.cause;
      } catch {
        break;
      }
      if (at === undefined || at === null) break;
      last = last.cause = describe(at);
    }
    return described;
  }

  function isErrorLike(value) {
    try {
      return inherits(value, known.Error);
    } catch {
      return false;
    }
  }

  // Cut a stack to the lines that are the snippet's own.
  function snippetFrames(stack) {
    const isForeign = (line) => /^ +at /.test(line) && !/\bsnippet\.[jt]s:\d/.test(line);
    return stack.split("\n").filter((line) => !isForeign(line)).join("\n");
  }

  // The same, but empty when no line is the snippet's own, as the host has it for what was thrown.
  function ownStack(stack) {
    const cut = snippetFrames(stack);
    return /^ +at /m.test(cut) ? cut : "";
  }

  // -- console --------------------------------------------------------------------------------------------------

  function shown(value) {
    if (typeof value === "string") return toWellFormed(value);
    if (typeof value === "bigint") return `${value}n`;
    if (!isObject(value)) return is(value, -0) ? "-0" : String(value);
    if (isErrorLike(value)) {
      const { name, message, stack } = describe(value);
      return stack !== "" && stack.includes(message) ? snippetFrames(stack) : `${name}: ${message}`;
    }
    try {
      return toWellFormed(chunk("inspect").inspect(value, { customInspect: false, depth: 6 }));
    } catch {
      return "[cannot be shown: looking at it threw an error]";
    }
  }

  // The printf-like first argument of console.log, as the Console Standard has it.
  function format(args) {
    const rest = [...args];
    let out = "";
    if (typeof rest[0] === "string" && rest.length > 1) {
      out = rest.shift().replace(/%[sdifjoOc%]/g, (directive) => {
        if (directive === "%%") return "%";
        if (rest.length === 0) return directive;
        const value = rest.shift();
        switch (directive) {
          case "%d":
          case "%i":
          case "%f":
            if (isObject(value) || typeof value === "symbol") return "NaN";
            return String(directive === "%f" ? parseFloat(value) : directive === "%i" ? parseInt(value, 10) : Number(value));
          case "%j":
            try {
              return String(stringify(value));
            } catch {
              return "[cannot be shown as JSON]";
            }
          case "%c":
            return "";
          default:
            return shown(value);
        }
      });
      if (rest.length > 0) out += " ";
    }
    return out + rest.map(shown).join(" ");
  }

  function makeConsole(log) {
    let indent = "";
    const counts = create(null);
    const timers = create(null);
    const write = (level, args) => {
      const text = format(args);
      log(level, indent === "" ? text : indent + text.replaceAll("\n", `\n${indent}`));
    };
    const elapsed = (label) => (label in timers ? `${label}: ${Date.now() - timers[label]} ms` : `${label}: no such timer`);
    const methods = {
      log: (...args) => write("log", args),
      info: (...args) => write("info", args),
      warn: (...args) => write("warn", args),
      error: (...args) => write("error", args),
      debug: (...args) => write("debug", args),
      trace: (...args) => write("debug", args),
      dir: (value) => write("log", [value]),
      table: (value) => write("log", [value]),
      assert: (condition, ...args) => {
        if (condition) return;
        const [first, ...rest] = args;
        write("error", typeof first === "string" ? [`Assertion failed: ${first}`, ...rest] : ["Assertion failed", ...args]);
      },
      group: (...args) => {
        if (args.length > 0) write("log", args);
        indent += "  ";
      },
      groupEnd: () => {
        indent = indent.slice(2);
      },
      count: (label = "default") => write("log", [`${label}: ${(counts[label] = (counts[label] ?? 0) + 1)}`]),
      countReset: (label = "default") => {
        counts[label] = 0;
      },
      time: (label = "default") => {
        timers[label] = Date.now();
      },
      timeLog: (label = "default", ...args) => write("log", [elapsed(label), ...args]),
      timeEnd: (label = "default") => {
        write("log", [elapsed(label)]);
        delete timers[label];
      },
    };
    methods.groupCollapsed = methods.group;
    for (const name of keys(methods)) freeze(methods[name]);
    return freeze(methods);
  }

  // -- globals from polyfills, loaded at first use ----------------------------------------------------------------

  const LAZY = {
    URL: "url",
    URLSearchParams: "url",
    TextEncoder: "encoding",
    TextDecoder: "encoding",
    structuredClone: "structured-clone",
    atob: "base64",
    btoa: "base64",
  };
  const loaded = create(null);
  const lazy = create(null);
  let loadChunk;

  function chunk(name) {
    if (!(name in loaded)) loadChunk(name); // enter puts it there
    return loaded[name];
  }

  function defineLazyGlobals() {
    for (const name of keys(LAZY)) {
      const load = () => {
        if (!(name in lazy)) {
          lazy[name] = chunk(LAZY[name])[name];
          const { prototype } = lazy[name];
          if (isObject(prototype)) hardenPrototype(prototype);
          freeze(lazy[name]);
        }
        return lazy[name];
      };
      defineProperty(global, name, { get: load, enumerable: false, configurable: false });
    }
  }

  // -- one execution ------------------------------------------------------------------------------------------------

  const REFUSED_NAMES = new Set(["__proto__", "constructor", "then", "toJSON"]);

  // What a channel throws (a snippet can call one with next to no stack left) is an object of the runner's own realm, and would
  // lead a snippet there: an error of this realm takes its place.
  function shielded(channel) {
    return (...values) => {
      try {
        channel(...values);
      } catch {
        throw new RangeError("Cannot reach the host: the call stack or the memory is used up");
      }
    };
  }

  function attach(...channels) {
    const configuration = channels.pop();
    const [send, end, timer, load] = channels.map(shielded);
    const { tools, output, result } = parse(configuration);
    const mostOutput = output ?? Infinity; // characters, which are never more than bytes: the host counts exactly
    const mostResult = result ?? Infinity;
    let done = false;
    let written = 0;
    let isCut = false;

    // The last message; `body` is the inside of a JSON object.
    function finish(body) {
      if (done) return;
      done = true;
      end(`{${body},"written":${written}}`);
    }

    function failWith(error) {
      finish(`"op":"error","error":${stringify(error)}`);
    }

    function fail(error) {
      failWith({ kind: "runtime", ...describeWithCauses(error) });
    }

    // What is past the limit is counted, not sent; the first loss is told with `cut`.
    function log(level, text) {
      if (done) return;
      const room = mostOutput - written;
      written += text.length + 1;
      if (room > 0 || !isCut) {
        isCut = text.length > room;
        send(`{"op":"log","level":"${level}","text":${stringify(toWellFormed(text.slice(0, room)))},"cut":${isCut}}`);
      }
      if (written > (mostOutput + 1) * OUTPUT_FACTOR) {
        const message = `it wrote more than ${OUTPUT_FACTOR} times the limit output of ${output} bytes`;
        failWith({ kind: "output", limit: "output", name: "LimitExceeded", message });
      }
    }

    // Tools.
    const calls = new Map();
    let lastCall = 0;

    function call(name, args) {
      return new ThePromise((resolve, reject) => {
        if (done) return;
        const encode = encoder(mostResult);
        let message;
        try {
          const texts = args.map((value, index) => (value === undefined ? "null" : encode(value, `args[${index}]`, 1)));
          message = `"name":${stringify(toWellFormed(name))},"args":[${texts.join(",")}]}`;
        } catch (error) {
          if (!CannotCross.is(error)) throw error;
          throw new (error.limit ? RangeError : TypeError)(`Cannot call tool ${stringify(name)}: ${error.message}`);
        }
        const id = ++lastCall;
        calls.set(id, { resolve, reject, site: new TheError() });
        send(`{"op":"call","id":${id},${message}`);
      });
    }

    function makeTool(name) {
      const tool = (...args) => call(name, args);
      defineProperty(tool, "name", { value: name });
      return freeze(tool);
    }

    function makeCodemode() {
      const known = create(null);
      for (const name of tools) defineProperty(known, name, { value: makeTool(name), enumerable: true });
      freeze(known);
      if (TheProxy === undefined) return known;
      const unknown = new Map();
      return new TheProxy(known, {
        get(target, name) {
          if (typeof name !== "string" || name === "" || REFUSED_NAMES.has(name)) return undefined;
          if (name in target) return target[name];
          // The host answers a call of an unknown tool with the list of the known ones.
          if (!unknown.has(name)) unknown.set(name, makeTool(name));
          return unknown.get(name);
        },
      });
    }

    // Timers.
    const timers = new Map();
    let lastTimer = 0;

    function arm(callback, delay, args, repeat) {
      if (typeof callback !== "function") {
        throw new TypeError(`Cannot set a timer: the callback must be a function, it is ${callback === null ? "null" : typeof callback}`);
      }
      const wait = Number(delay);
      const milliseconds = wait >= 1 && wait <= 2147483647 ? wait : 1; // as every browser and Node have it
      const id = ++lastTimer;
      timers.set(id, { callback, args, milliseconds, repeat });
      timer(id, milliseconds);
      return id;
    }

    const disarm = (id) => {
      timers.delete(id);
    };

    function guarded(callback, args) {
      try {
        callback(...args);
      } catch (error) {
        fail(error);
      }
    }

    function fire(id) {
      const entry = timers.get(id);
      if (done || entry === undefined) return;
      if (!entry.repeat) timers.delete(id);
      guarded(entry.callback, entry.args);
      if (entry.repeat && timers.has(id)) timer(id, entry.milliseconds);
    }

    loadChunk = load;
    defineGlobals({ codemode: makeCodemode(), console: makeConsole(log) });
    if (isHardened) {
      hardenLate();
      defineGlobals({
        setTimeout: (callback, delay = 0, ...args) => arm(callback, delay, args, false),
        setInterval: (callback, delay = 0, ...args) => arm(callback, delay, args, true),
        clearTimeout: disarm,
        clearInterval: disarm,
        queueMicrotask: (callback) => {
          if (typeof callback !== "function") throw new TypeError("Cannot queue a microtask: the callback must be a function");
          ThePromise.resolve().then(() => guarded(callback, []));
        },
      });
      sealGlobal();
    }

    async function start(snippet) {
      let value;
      try {
        value = await snippet();
      } catch (error) {
        fail(error);
        return;
      }
      if (done) return;
      try {
        finish(`"op":"result","value":${encoder(mostResult)(value, "value", 0)}`);
      } catch (error) {
        if (!CannotCross.is(error)) fail(error);
        else {
          const message = `Cannot return ${error.message}`;
          failWith(error.limit ? { kind: "limit", limit: error.limit, name: "LimitExceeded", message } : { kind: "runtime", name: "TypeError", message });
        }
      }
    }

    function receive(message) {
      if (message.op === "timer") {
        ThePromise.resolve(message.id).then(fire);
        return;
      }
      const waiting = calls.get(message.id);
      if (waiting === undefined) return;
      calls.delete(message.id);
      if (message.ok) waiting.resolve(revive(message.value));
      else waiting.reject(makeError(waiting.site, message.error));
    }

    return function enter(input, name) {
      if (typeof input === "function") {
        // From a microtask, so that a stack trace shows nothing of the runner.
        if (name === undefined) ThePromise.resolve(input).then(start);
        else loaded[name] = input();
        return;
      }
      try {
        receive(parse(input));
      } catch (error) {
        failWith({ kind: "crash", name: "RunnerError", message: `the runner failed: ${error.message}` });
      }
    };
  }

  function defineGlobals(globals) {
    for (const name of keys(globals)) {
      if (typeof globals[name] === "function") defineProperty(globals[name], "name", { value: name });
      freeze(globals[name]);
      defineProperty(global, name, { value: globals[name], writable: false, enumerable: false, configurable: false });
    }
  }

  function sealGlobal() {
    try {
      freeze(global);
    } catch {
      // vm2 and contextified globals refuse to be frozen: at least nothing that is there can be replaced.
      for (const name of ownKeys(global)) {
        const descriptor = getOwnPropertyDescriptor(global, name);
        // With its value: a contextified global takes a definition without one for undefined.
        if (descriptor?.writable) defineProperty(global, name, { ...descriptor, writable: false, configurable: false });
      }
    }
  }

  if (isHardened) {
    hardenEarly();
    defineLazyGlobals();
  }
  return attach;
})
