// Values as they cross to the host and back; values.py is the other half.

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
