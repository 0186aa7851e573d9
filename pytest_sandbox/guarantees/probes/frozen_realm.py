"""Attacks on what the realm freezes: `frozen-builtins` and `sealed-global`."""

from __future__ import annotations

from typing import Final

from pytest_sandbox.guarantees.attacks import attack
from pytest_sandbox.guarantees.probe import BOTH, CodeProbe, Probe, Runtime
from pytest_sandbox.guarantees.scenes import got

__all__ = ["PROBES"]


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
    scene = got("a builtin that does what the attack told it")
    return attack(f"frozen-builtins.{name}", title, code, scene, runtimes=runtimes, mechanism=mechanism)


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
    return attack(f"sealed-global.{name}", title, code, got("a global object that was changed"), mechanism=mechanism)


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

PROBES: tuple[Probe, ...] = (*FREEZE, *SEAL)
