"""Attacks on `host-objects`: what the realm hides of the runtime around it."""

from __future__ import annotations

from typing import Final

from pytest_sandbox.guarantees.attacks import attack
from pytest_sandbox.guarantees.probe import BOTH, CodeProbe, Probe, Runtime
from pytest_sandbox.guarantees.probes.walk import walk
from pytest_sandbox.guarantees.scenes import got

__all__ = ["PROBES"]

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
    return attack(f"host-objects.{name}", title, _PROVE + code, got(what), runtimes=runtimes, mechanism=mechanism)


PROBES: tuple[Probe, ...] = (
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
    _object("walk", "walk over everything in reach, and try every function as a maker of code", walk("TEXT", "gotten(found)")),
)  # fmt: skip
