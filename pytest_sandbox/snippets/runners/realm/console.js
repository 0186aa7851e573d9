// The console, and the globals that come from polyfills, which are loaded at first use.

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
