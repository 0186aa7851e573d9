"""Attacks on `state`: one execution leaves something, the next looks for it."""

from __future__ import annotations

from pytest_sandbox.guarantees.probe import BOTH, Probe, Runtime, TraceProbe

__all__ = ["PROBES"]


def _trace(
    name: str, title: str, leave: str, look: str, *, runtimes: tuple[Runtime, ...] = BOTH, mechanism: str = ""
) -> TraceProbe:
    return TraceProbe(
        id=f"state.{name}",
        guarantee="state",
        title=title,
        leave=leave,
        look=look,
        runtimes=runtimes,
        mechanism=mechanism and f"state.{mechanism}",
    )


PROBES: tuple[Probe, ...] = (
    _trace("global", "leave a global", "globalThis.left = P.mark;", "return globalThis.left;"),
    _trace(
        "undeclared",
        "leave a name that nobody has declared",
        "leftUndeclared = P.mark;",
        "return leftUndeclared;",
        mechanism="global",
    ),
    _trace(
        "symbol",
        "leave a property named by a registered symbol",
        "globalThis[Symbol.for('left')] = P.mark;",
        "return globalThis[Symbol.for('left')];",
        mechanism="global",
    ),
    _trace("prototype", "leave a property on all arrays", "Array.prototype.left = P.mark;", "return [].left;"),
    _trace(
        "builtin", "leave a property on a builtin", "Object.left = P.mark; Math.left = P.mark;", "return Object.left ?? Math.left;"
    ),
    _trace("console", "leave a property on the console", "globalThis.console.left = P.mark;", "return globalThis.console.left;"),
    _trace(
        "regexp", "leave a match that RegExp remembers", "/(.+)/.exec(P.mark);", "return RegExp.$1 || RegExp.input || RegExp['$&'];"
    ),
    _trace(
        "web-api",
        "leave a property on a web API",
        "URL.left = P.mark; URL.prototype.left = P.mark; TextEncoder.left = P.mark;",
        "return URL.left ?? new URL('http://a/').left ?? TextEncoder.left;",
    ),
    _trace(
        "module", "leave a property on a builtin module", "(await need('fs')).left = P.mark;", "return (await need('fs')).left;"
    ),
    _trace("variable", "leave a variable in the environment", "needProcess().env.LEFT = P.mark;", "return needProcess().env.LEFT;"),
    _trace("process", "leave a property on process", "needProcess().left = P.mark;", "return needProcess().left;"),
    _trace(
        "file",
        "leave a file in /tmp",
        "(await need('fs')).writeFileSync(`/tmp/left-by-audit-${P.name}`, P.mark);",
        "const fs = await need('fs'); const path = `/tmp/left-by-audit-${P.name}`; try { return fs.readFileSync(path, 'utf8'); } finally { fs.rmSync(path, { force: true }); }",
    ),
    _trace(
        "storage",
        "leave an entry in localStorage",
        "localStorage.setItem(P.name, P.mark);",
        "return localStorage.getItem(P.name);",
        runtimes=("deno",),
    ),
    _trace(
        "found-storage",
        "leave an entry in the localStorage that is conjured up from the runtime's own realm",
        "conjure('localStorage').setItem(P.name, P.mark);",
        "return conjure('localStorage').getItem(P.name);",
        runtimes=("deno",),
        mechanism="storage",
    ),
    _trace(
        "caches",
        "leave an answer in a cache",
        "await (await caches.open(P.name)).put('http://left.test/', new Response(P.mark));",
        "return await (await (await caches.open(P.name)).match('http://left.test/')).text();",
        runtimes=("deno",),
    ),
    _trace(
        "title",
        "leave a title of the process",
        "needProcess().title = P.mark.slice(0, 12);",
        "return needProcess().title;",
        runtimes=("node",),
    ),
    _trace(
        "listener",
        "leave a listener, and wake it",
        "needProcess().on('left', (tell) => tell(P.mark));",
        "let told; needProcess().emit('left', (mark) => { told = mark; }); return told;",
    ),
    _trace(
        "template",
        "leave a property on an object that the engine keeps for a piece of code",
        "const make = (strings) => strings; globalThis.template = () => make`left`; template().raw.left = P.mark; globalThis.template().leftMark = P.mark; globalThis.kept = P.mark;",
        "return globalThis.template?.().leftMark ?? globalThis.kept;",
        mechanism="global",
    ),
)
