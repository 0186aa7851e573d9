// One execution: tools, timers, the snippet's start and its one last message.

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
