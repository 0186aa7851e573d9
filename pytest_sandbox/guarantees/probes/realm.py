"""Attacks on what the realm hides and freezes: `host-objects`, `code-generation`, `frozen-builtins`, `sealed-global`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pytest_sandbox.guarantees.probe import BOTH, CodeProbe, Probe, Runtime
from pytest_sandbox.guarantees.scenes import got, product

__all__ = ["PROBES"]

_WALK: Final = Path(__file__).with_name("walk.js").read_text("utf-8")

# What a function constructor of the runtime's own realm sees, and one of a realm that has nothing does not.
_PROVE: Final = """
const TEXT = "return typeof process === 'object' && process.version || typeof Deno === 'object' && Deno.version.deno";
const gotten = (value) => typeof value === "string" && { token: P.token, got: value };
const prove = (Maker) => gotten(Maker(TEXT)());
"""


def _object(
    name: str,
    title: str,
    code: str,
    what: str = "the runtime's own version",
    *,
    runtimes: tuple[Runtime, ...] = BOTH,
    mechanism: str = "",
) -> CodeProbe:
    return CodeProbe(
        id=f"host-objects.{name}",
        guarantee="host-objects",
        title=title,
        code=_PROVE + code,
        scene=got(what),
        runtimes=runtimes,
        mechanism=mechanism and f"host-objects.{mechanism}",
    )


OBJECTS: tuple[CodeProbe, ...] = (
    _object(
        "require",
        "use require",
        "const { sep } = require('path'); return { token: P.token, got: `path.sep is ${sep}` };",
        "a module",
    ),
    _object("process", "use process", "return gotten(process.version);"),
    _object("deno", "use Deno", "return gotten(Deno.version.deno);", runtimes=("deno",)),
    _object("buffer", "use Buffer", "return { token: P.token, got: Buffer.from('ab').toString('hex') };", "a Buffer"),
    _object(
        "web-apis",
        "use what browsers and runtimes have, and the language has not",
        """
        const names = ["fetch", "WebSocket", "Worker", "BroadcastChannel", "MessageChannel", "EventSource", "caches", "localStorage", "indexedDB",
          "performance", "crypto", "navigator", "Response", "CompressionStream", "WebAssembly", "SharedArrayBuffer", "Atomics"];
        const found = names.filter((name) => { try { return globalThis[name] !== undefined; } catch { return false; } });
        return found.length > 0 && { token: P.token, got: found.join() };
        """,
        "APIs of the runtime",
    ),
    _object("global-names", "use the runtime's own names on the global object",
        """
        const known = new Set(["codemode", "console", "setTimeout", "setInterval", "clearTimeout", "clearInterval", "queueMicrotask", "URL", "URLSearchParams", "TextEncoder", "TextDecoder", "atob", "btoa", "structuredClone"]);
        const found = ["global", "process", "require", "module", "exports", "Deno", "Bun", "GLOBAL", "root", "primordials", "internalBinding", "ivm", "VMError", "gc", "__bootstrap", "window", "self"]
          .filter((name) => !known.has(name) && name in globalThis);
        return found.length > 0 && { token: P.token, got: found.join() };
        """,
        "names of the runtime",
    ),
    _object("import", "import a builtin module", "return gotten((await import('node:process')).default.version);"),
    _object("import-computed", "import a builtin module by a name that is computed by an object",
        "return gotten((await import({ toString() { return 'node:process' } })).default.version);", mechanism="import"),
    _object("function-constructor", "take the constructor of a function", "return prove((() => {}).constructor);"),
    _object("async-constructor", "take the constructor of an async function", "return gotten(await (async () => {}).constructor(TEXT)());"),
    _object("generator-constructor", "take the constructor of a generator function", "return gotten((function* () {}).constructor(TEXT)().next().value);"),
    _object("global-constructor", "take the constructor of the global object's constructor", "return prove(globalThis.constructor.constructor);"),
    _object("this", "take the global object of a function without one", "return gotten((function () { return this; })().process.version);"),
    _object("console", "take the constructor of console's methods", "return prove(console.log.constructor);"),
    _object("timer", "take the constructor of what a timer returns",
        "const handle = setTimeout(() => {}, 1); clearTimeout(handle); return prove(handle.constructor.constructor);", runtimes=("node",)),
    _object("timer-this", "take what a timer's callback is called on and with",
        """
        const [self, ...args] = await new Promise((resolve) => setTimeout(function (...given) { resolve([this, ...given]); }, 1));
        for (const one of [self, ...args]) if (one != null && one !== globalThis) { const found = prove(one.constructor.constructor); if (found) return found; }
        return gotten(self.process.version);
        """, runtimes=("node",)),
    _object("engine-error", "take the constructor of an error of the engine",
        "try { null.x; } catch (error) { return prove(error.constructor.constructor); }"),
    _object("stack-overflow", "take the constructor of the error that a full stack gives, at every depth",
        """
        let found;
        let step = 0;
        const dig = () => {
          try { dig(); } catch (error) { step += 1; if (!found && (step < 50 || step % 200 === 0)) { try { found = prove(error.constructor.constructor); } catch {} } throw error; }
        };
        try { dig(); } catch {}
        return found;
        """),
    _object("tool", "take the constructor of a tool", "return prove(codemode.echo.constructor);"),
    _object("tool-promise", "take the constructor of the promise of a tool call, and of what it calls",
        """
        const call = codemode.echo(1);
        let found = prove(call.then.constructor);
        await call.then((...args) => { found ||= args.map((one) => one.constructor.constructor).map((Maker) => { try { return prove(Maker); } catch {} }).find(Boolean); });
        return found || prove(call.constructor.constructor);
        """),
    _object("tool-value", "take the constructor of what a tool returned",
        "return prove((await codemode.echo({ a: [1] })).constructor.constructor);"),
    _object("tool-error", "take the constructor of the error of a tool call that failed",
        """
        const failed = async () => { await codemode.echo(Symbol()); await codemode.echo(() => 1); await codemode.nowhere(); throw new Error("no tool call failed"); };
        try { await failed(); } catch (error) { return prove(error.constructor.constructor); }
        """),
    _object("import-error", "take the constructor of the error of an import that was refused",
        "try { await import('node:does-not-exist'); } catch (error) { return prove(error.constructor.constructor); }"),
    _object("import-promise", "take the constructor of the promise of an import",
        "const call = import('node:does-not-exist'); call.catch(() => {}); return prove(call.constructor.constructor);"),
    _object("call-sites", "take functions and receivers out of the frames of a stack",
        """
        const before = Object.getOwnPropertyDescriptor(Error, "prepareStackTrace");
        let sites = [];
        try {
          Error.prepareStackTrace = (_error, all) => { sites = all; return "x"; };
          const look = () => new Error("x").stack;
          void look();
          await codemode.echo({ get a() { look(); return 1; } });
        } finally {
          try { if (before) Object.defineProperty(Error, "prepareStackTrace", before); else delete Error.prepareStackTrace; } catch {}
        }
        for (const site of sites) for (const one of [site.getFunction?.(), site.getThis?.(), site]) {
          if (one == null) continue;
          try { const found = prove(one.constructor.constructor ?? one.constructor); if (found) return found; } catch {}
          try { const found = prove(one.constructor); if (found) return found; } catch {}
        }
        """, runtimes=("node",)),
    _object("callers", "climb from a function of its own to whoever calls it",
        """
        const seen = [];
        function spy() { let at = spy; for (let step = 0; step < 20 && at; step++) { try { at = at.caller; } catch { at = null; } if (at) seen.push(at); } return 1; }
        await codemode.echo({ get a() { return spy(); } });
        console.log({ get a() { return spy(); }, toString() { return String(spy()); } });
        [1].forEach(function run() { spy(); });
        for (const one of seen) { const found = prove(one.constructor); if (found) return found; }
        """),
    _object("inspector", "be called back by whoever formats what is logged",
        """
        let found;
        const grab = (...args) => { for (const one of args) { try { found ||= prove(one.constructor.constructor); } catch {} try { found ||= prove(one.constructor); } catch {} } return "x"; };
        console.log({ [Symbol.for("nodejs.util.inspect.custom")]: grab, [Symbol.for("Deno.customInspect")]: grab, toString: () => grab(console.log), toJSON: grab });
        return found || grab(console.log) && found;
        """),
    _object("proxy-traps", "be called back as a proxy by whoever reads what is handed out",
        """
        let found;
        let left = 60;
        const grab = (args) => { if (left-- > 0) for (const one of args) { try { found ||= prove(one.constructor.constructor); } catch {} } };
        const trap = new Proxy({}, { get: (_target, trap) => (...args) => { grab(args); return Reflect[trap]?.(...args); } });
        const spy = new Proxy({ a: 1 }, trap);
        try { console.log(spy); } catch {}
        try { await codemode.echo(spy); } catch {}
        try { new URL(spy); } catch {}
        try { structuredClone(spy); } catch {}
        return found;
        """),
    _object("thenable", "be resolved as a thenable, and take the functions that it is given",
        """
        let found;
        await { then(...args) { for (const one of args) { try { found ||= prove(one.constructor); } catch {} } args[0](1); } };
        return found;
        """),
    _object("species", "take part in the making of promises and arrays as a species",
        """
        let found;
        const taken = (executor) => { try { found ||= prove(executor.constructor); } catch {} };
        class Odd extends Promise { constructor(executor) { super(executor); taken(executor); } static get [Symbol.species]() { return Odd; } }
        await new Odd((resolve) => resolve(1)).then((x) => x).finally(() => {});
        await Promise.prototype.then.call(codemode.echo(1), (x) => x);
        return found;
        """),
    _object("polyfills", "take the constructors of web APIs that are there",
        """
        let found;
        for (const make of [() => new URL("http://a/"), () => new TextEncoder(), () => new TextDecoder(), () => new URLSearchParams("a=1"), () => structuredClone({ a: new Date() }), () => new URLSearchParams("a=1").entries(), () => new TextEncoder().encode("a")]) {
          try { const one = make(); found ||= prove(one.constructor.constructor); found ||= prove(Object.getPrototypeOf(one).constructor.constructor); } catch {}
        }
        try { new URL("x"); } catch (error) { found ||= prove(error.constructor.constructor); }
        return found;
        """),
    _object("bindings", "reach the runtime's internal bindings", "return { token: P.token, got: Object.keys(needProcess().binding('natives')).length };", "the runtime's internal bindings", runtimes=("node",)),
    _object("walk", "walk over everything in reach, and try every function as a maker of code", _WALK.replace("TEXT_OF_CODE", "TEXT").replace("/*DONE*/", "return gotten(found);")),
)  # fmt: skip


def _generate(name: str, title: str, code: str, *, runtimes: tuple[Runtime, ...] = BOTH, mechanism: str = "") -> CodeProbe:
    return CodeProbe(
        id=f"code-generation.{name}",
        guarantee="code-generation",
        title=title,
        code=code,
        scene=product(),
        runtimes=runtimes,
        mechanism=mechanism and f"code-generation.{mechanism}",
    )


GENERATE: tuple[CodeProbe, ...] = (
    _generate("eval", "call eval", "return eval(P.expression);"),
    _generate("indirect-eval", "call eval indirectly", "return (0, eval)(P.expression);", mechanism="eval"),
    _generate("eval-by-reflect", "call eval by Reflect", "return Reflect.apply(globalThis.eval, null, [P.expression]);", mechanism="eval"),
    _generate("function", "call Function", "return Function(P.text)();"),
    _generate("function-by-construct", "construct Function by Reflect", "return Reflect.construct(Function, [P.text])();", mechanism="function"),
    _generate("function-bound", "bind Function", "return Function.bind(null, P.text)()();", mechanism="function"),
    _generate("constructor", "call the constructor of a function", "return (() => {}).constructor(P.text)();"),
    _generate("method-constructor", "call the constructor of a builtin's method", "return [].map.constructor(P.text)();"),
    _generate("accessor-constructor", "call the constructor of an accessor", "return Object.getOwnPropertyDescriptor(Map.prototype, 'size').get.constructor(P.text)();"),
    _generate("bound-constructor", "call the constructor of a bound function", "return (function () {}).bind().constructor(P.text)();"),
    _generate("async-function", "call the constructor of an async function", "return await (async () => {}).constructor(P.text)();"),
    _generate("generator", "call the constructor of a generator function", "return (function* () {}).constructor(P.text)().next().value;"),
    _generate("async-generator", "call the constructor of an async generator function",
        "return (await (async function* () {}).constructor(P.text)().next()).value;"),
    _generate("subclass", "extend Function", "return new (class extends Function {})(P.text)();"),
    _generate("found-subclass", "extend the constructor of a function", "return new (class extends (function () {}).constructor {})(P.text)();"),
    _generate("prototype-of-constructor", "call the prototype of an async function's constructor",
        "return Object.getPrototypeOf((async () => {}).constructor)(P.text)();"),
    _generate("import-data", "import a data: URL", "return (await import(`data:text/javascript,export default ${P.expression}`)).default;"),
    _generate("import-blob", "import a blob: URL",
        "const url = URL.createObjectURL(new Blob([`export default ${P.expression}`], { type: 'text/javascript' })); return (await import(url)).default;", runtimes=("deno",)),
    _generate("webassembly", "compile WebAssembly",
        """
        const bytes = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 9, 1, 7, 0, 32, 0, 32, 1, 108, 11]);
        return (await WebAssembly.instantiate(bytes)).instance.exports.f(P.a, P.b);
        """),
    _generate("vm-module", "run a script of the module vm", "return (await need('vm')).runInThisContext(P.expression);"),
    _generate("vm-new-context", "run a script in a new context of the module vm", "return (await need('vm')).runInNewContext(P.expression);", mechanism="vm-module"),
    _generate("worker", "run text in a worker",
        """
        const { Worker } = await need("worker_threads");
        const worker = new Worker(`require("node:worker_threads").parentPort.postMessage(${P.expression})`, { eval: true });
        return await new Promise((resolve, reject) => { worker.on("message", resolve); worker.on("error", reject); });
        """, runtimes=("node",)),
    _generate("module-compile", "have a module compiled",
        "const Module = await need('module'); const made = new Module('made'); made._compile(`module.exports = ${P.expression}`, '/made.js'); return made.exports;", runtimes=("node",)),
    _generate("walk", "walk over everything in reach, and try every function as a maker of code",
        _WALK.replace("TEXT_OF_CODE", "P.text").replace("/*DONE*/", "return found;")),
)  # fmt: skip


# -- freezing ---------------------------------------------------------------------------------------------------------------------


def _freeze(
    name: str,
    title: str,
    target: str,
    key: str,
    value: str,
    check: str,
    *,
    how: str = "target[key] = value;",
    mechanism: str = "",
    runtimes: tuple[Runtime, ...] = BOTH,
) -> CodeProbe:
    code = f"""
    const target = {target};
    const key = {key};
    const value = {value};
    const before = Object.getOwnPropertyDescriptor(target, key);
    let seen = false;
    try {{ {how} }} catch (error) {{ lastError = error; }}
    try {{ seen = {check}; }} catch (error) {{ lastError = error; }}
    finally {{
      try {{ if (before) Object.defineProperty(target, key, before); else delete target[key]; }} catch {{}}
    }}
    if (seen) return {{ token: P.token, got: {title!r} }};
    throw lastError;
    """
    return CodeProbe(
        id=f"frozen-builtins.{name}",
        guarantee="frozen-builtins",
        title=title,
        code=code,
        scene=got("a builtin that does what the attack told it"),
        runtimes=runtimes,
        mechanism=mechanism and f"frozen-builtins.{mechanism}",
    )


_DEFINE: Final = "Object.defineProperty(target, key, { value, configurable: true, writable: true });"
FREEZE: tuple[CodeProbe, ...] = (
    _freeze("object-prototype", "add a property to all objects", "Object.prototype", "'polluted'", "7", "({}).polluted === 7"),
    _freeze("object-prototype-defined", "define a property on all objects", "Object.prototype", "'polluted'", "7", "({}).polluted === 7", how=_DEFINE),
    _freeze("dunder-proto", "add a property to all objects through __proto__", "Object.prototype", "'polluted'", "7", "({}).polluted === 7",
        how="({}).__proto__.polluted = 7;", mechanism="object-prototype", runtimes=("node",)),
    _freeze("reflect-set", "add a property to all objects by Reflect", "Object.prototype", "'polluted'", "7", "({}).polluted === 7",
        how="Reflect.set(target, key, value);", mechanism="object-prototype"),
    _freeze("array-method", "replace a method of arrays", "Array.prototype", "'join'", "() => 'mine'", "[1, 2].join() === 'mine'"),
    _freeze("array-iterator", "replace how arrays are iterated over", "Array.prototype", "Symbol.iterator", "function* () { yield 7; }", "[...[1, 2]].length === 1"),
    _freeze("hidden-prototype", "replace a method of a prototype without a name", "Object.getPrototypeOf([].values())", "'next'", "() => ({ done: true })", "[...[1, 2].values()].length === 0"),
    _freeze("function-prototype", "replace a method of functions", "Function.prototype", "'toString'", "() => 'mine'", "(() => 1).toString() === 'mine'"),
    _freeze("promise-then", "replace the method by which promises go on", "Promise.prototype", "'finally'", "() => 'mine'", "Promise.resolve().finally(() => {}) === 'mine'"),
    _freeze("json", "replace how JSON is written", "JSON", "'stringify'", "() => 'mine'", "JSON.stringify({}) === 'mine'"),
    _freeze("math", "replace the source of chance", "Math", "'random'", "() => 7", "Math.random() === 7"),
    _freeze("date", "replace the clock", "Date", "'now'", "() => 7", "Date.now() === 7"),
    _freeze("map", "replace a method of maps", "Map.prototype", "'get'", "() => 'mine'", "new Map().get(1) === 'mine'"),
    _freeze("regexp", "replace how patterns match", "RegExp.prototype", "'test'", "() => 'mine'", "/a/.test('b') === 'mine'"),
    _freeze("string", "replace a method of texts", "String.prototype", "'slice'", "() => 'mine'", "'ab'.slice(1) === 'mine'"),
    _freeze("typed-array", "replace a method of typed arrays", "Object.getPrototypeOf(Uint8Array.prototype)", "'fill'", "() => 'mine'", "new Uint8Array(1).fill(1) === 'mine'"),
    _freeze("reflect", "replace a function of Reflect", "Reflect", "'ownKeys'", "() => ['mine']", "Reflect.ownKeys({})[0] === 'mine'"),
    _freeze("error", "replace how errors read", "Error.prototype", "'toString'", "() => 'mine'", "String(new Error('x')) === 'mine'"),
    _freeze("intl", "replace how numbers are formatted", "Intl.NumberFormat.prototype", "'resolvedOptions'", "() => 'mine'", "new Intl.NumberFormat().resolvedOptions() === 'mine'"),
    _freeze("constructor-property", "add a property to a constructor", "Array", "'polluted'", "7", "Array.polluted === 7"),
    _freeze("set-prototype", "give all arrays another prototype", "Array.prototype", "'polluted'", "7", "[].polluted === 7",
        how="const own = Object.getPrototypeOf(target); Object.setPrototypeOf(target, { polluted: 7 }); var hit = [].polluted === 7; Object.setPrototypeOf(target, own); if (hit) target.polluted = 7;"),
)  # fmt: skip


def _seal(name: str, title: str, code: str, *, mechanism: str = "") -> CodeProbe:
    return CodeProbe(
        id=f"sealed-global.{name}",
        guarantee="sealed-global",
        title=title,
        code=code,
        scene=got("a global object that was changed"),
        mechanism=mechanism and f"sealed-global.{mechanism}",
    )


SEAL: tuple[CodeProbe, ...] = (
    _seal("assign", "add a global by assignment",
        "globalThis[P.token] = 7; try { return globalThis[P.token] === 7 && { token: P.token, got: `globalThis.${P.token}` }; } finally { delete globalThis[P.token]; }"),
    _seal("undeclared", "add a global by assigning to a name that nobody has declared",
        "undeclaredByAttack = 7; try { return undeclaredByAttack === 7 && { token: P.token, got: 'undeclaredByAttack' }; } finally { delete globalThis.undeclaredByAttack; }"),
    _seal("define", "define a global",
        "Object.defineProperty(globalThis, P.token, { value: 7, configurable: true }); try { return globalThis[P.token] === 7 && { token: P.token, got: P.token }; } finally { delete globalThis[P.token]; }"),
    _seal("replace", "replace a builtin on the global object",
        "const before = JSON; try { globalThis.JSON = { mine: 7 }; return JSON.mine === 7 && { token: P.token, got: 'JSON' }; } finally { globalThis.JSON = before; }"),
    _seal("redefine", "redefine a builtin on the global object by an accessor",
        "const before = Object.getOwnPropertyDescriptor(globalThis, 'Map'); try { Object.defineProperty(globalThis, 'Map', { get: () => 7, configurable: true }); return Map === 7 && { token: P.token, got: 'Map' }; } finally { Object.defineProperty(globalThis, 'Map', before); }"),
    _seal("delete", "remove a builtin from the global object",
        "const before = Object.getOwnPropertyDescriptor(globalThis, 'Set'); try { delete globalThis.Set; return !('Set' in globalThis) && { token: P.token, got: 'Set' }; } finally { Object.defineProperty(globalThis, 'Set', before); }"),
    _seal("console", "replace what logs",
        "const before = Object.getOwnPropertyDescriptor(globalThis, 'console'); try { globalThis.console = { mine: 7 }; return globalThis.console.mine === 7 && { token: P.token, got: 'console' }; } finally { Object.defineProperty(globalThis, 'console', before); }", mechanism="replace"),
    _seal("enumerate", "find names of the runtime by going through the global object",
        "const names = Object.keys(globalThis); for (const name in globalThis) names.push(name); return names.length > 0 && { token: P.token, got: names.slice(0, 5).join() };"),
)  # fmt: skip

PROBES: tuple[Probe, ...] = (*OBJECTS, *GENERATE, *FREEZE, *SEAL)
