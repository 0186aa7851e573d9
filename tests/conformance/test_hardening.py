"""The realm holds: no code from text, no way to a constructor of code, frozen builtins that heirs can still override, nothing of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_sandbox import SnippetError, SnippetExecutor

Run = Callable[..., Any]
Fail = Callable[..., SnippetError]

# Every expression tries to turn text into code; in a realm that is not hardened each gives 42 (the control below).
CODE_FROM_TEXT = {
    "eval": "eval('42')",
    "indirect eval": "(0, eval)('42')",
    "eval of the global object": "globalThis.eval('42')",
    "eval in Reflect": "Reflect.apply(eval, null, ['42'])",
    "Function": "Function('return 42')()",
    "new Function": "new Function('return 42')()",
    "Function in Reflect.construct": "Reflect.construct(Function, ['return 42'])()",
    "Function in Reflect.apply": "Reflect.apply(Function, null, ['return 42'])()",
    "Function bound": "Function.bind(null, 'return 42')()()",
    "constructor of a function": "(function () {}).constructor('return 42')()",
    "constructor of an arrow": "(() => {}).constructor('return 42')()",
    "constructor of a method": "[].map.constructor('return 42')()",
    "constructor of a constructor": "Object.constructor('return 42')()",
    "constructor of a class": "(class {}).constructor('return 42')()",
    "constructor of a bound function": "(function () {}).bind().constructor('return 42')()",
    "constructor of a getter": "Object.getOwnPropertyDescriptor(Map.prototype, 'size').get.constructor('return 42')()",
    "constructor of an async function": "await (async function () {}).constructor('return 42')()",
    "constructor of a generator": "(function* () {}).constructor('yield 42')().next().value",
    "constructor of an async generator": "(await (async function* () {}).constructor('yield 42')().next()).value",
    "prototype of an async function's constructor": "Object.getPrototypeOf((async () => {}).constructor)('return 42')()",
    "prototype of a generator's constructor": "Object.getPrototypeOf((function* () {}).constructor)('return 42')()",
    "a class that extends Function": "new (class extends Function {})('return 42')()",
    "a class that extends a found constructor": "new (class extends (function () {}).constructor {})('return 42')()",
    "constructor of console's methods": "console.log.constructor('return 42')()",
    "constructor of a timer": "setTimeout.constructor('return 42')()",
    "constructor of a tool": "codemode.add.constructor('return 42')()",
    "constructor of a promise's method": "codemode.add(1).then.constructor('return 42')()",
    "constructor of a polyfill": "URL.constructor('return 42')()",
    "constructor of a polyfill's method": "new TextEncoder().encode.constructor('return 42')()",
    "constructor of a replacer's argument": "'a'.replace(/a/, (...args) => args.constructor.constructor('return 42')())",
    "species": "Array[Symbol.species].constructor('return 42')()",
    "toString of a function": "(function () {}).toString.constructor('return 42')()",
    "constructor of Proxy's trap": "new Proxy(class {}, {}).constructor('return 42')()",
    "constructor through an error": "(() => { try { null.x } catch (e) { return e.constructor.constructor('return 42')() } })()",
    "constructor through a stack overflow": "(() => { const f = () => f(); try { f() } catch (e) { return e.constructor.constructor('return 42')() } })()",
    "constructor through a rejected tool": "await codemode.fail().catch((e) => e.constructor.constructor('return 42')())",
    "constructor through an unknown tool": "await codemode.nothing().catch((e) => e.constructor.constructor('return 42')())",
    "constructor through a tool's value": "(await codemode.add({ a: [1] })).constructor.constructor('return 42')()",
    "constructor through a tool's bytes": "(await codemode.bytes()).constructor.constructor('return 42')()",
    "constructor through a tool's date": "(await codemode.date()).constructor.constructor('return 42')()",
    "constructor through a refused import": "await import('node:fs').catch((e) => e.constructor.constructor('return 42')())",
    "constructor of a refused import's promise": "(() => { const p = import('node:fs'); p.catch(() => {}); return p.constructor.constructor('return 42')() })()",
    "constructor of an import's argument": "await import({ toString() { return 'node:fs' } }).catch((e) => e.constructor.constructor('return 42')())",
    "constructor through a failed argument": "await codemode.add(() => 1).catch((e) => e.constructor.constructor('return 42')())",
}


def tools() -> dict[str, Callable[..., Any]]:
    from datetime import UTC, datetime

    def fail() -> None:
        raise ValueError("x")

    return {"add": lambda value: value, "fail": fail, "bytes": lambda: b"x", "date": lambda: datetime.now(UTC)}


@pytest.mark.parametrize("expression", CODE_FROM_TEXT.values(), ids=CODE_FROM_TEXT.keys())
def test_text_never_becomes_code(executor: SnippetExecutor, expression: str) -> None:
    code = f"""
        console.log('begun');
        try {{ return ['value', await (async () => {expression})()] }}
        catch (error) {{ return ['error', `${{error}}`] }}
    """
    result = executor.execute(code, tools())
    assert result.output.startswith("begun"), result
    outcome, value = result.check().value
    assert (outcome, value) != ("value", 42), f"{expression} ran code made from text"


def test_the_attempts_to_make_code_would_work_without_a_sandbox(tmp_path: Any) -> None:
    """The control: in plain Node, nearly every attempt above succeeds."""
    import json
    import subprocess

    from pytest_sandbox.snippets.runtimes import find_node

    plain = {
        name: text
        for name, text in CODE_FROM_TEXT.items()
        if "codemode" not in text and "args" not in text and "import(" not in text
    }
    script = tmp_path / "control.mjs"
    script.write_text(
        "const succeeded = [];"
        + "".join(
            f"try {{ if (await (async () => {text})() === 42) succeeded.push({json.dumps(name)}) }} catch {{}}\n"
            for name, text in plain.items()
        )
        + "console.log(JSON.stringify(succeeded))"
    )
    output = subprocess.run([find_node("tests").path, str(script)], check=True, capture_output=True, text=True).stdout
    failed = set(plain) - set(json.loads(output))
    # Its target is no constructor of functions: there to show that this way leads nowhere.
    assert failed <= {"constructor of Proxy's trap"}, failed


WALK = """
    // Walk everything that can be reached, over own properties (accessors' functions, too) and prototypes.
    const seen = new Set();
    const stack = [[globalThis, 'globalThis'], [codemode, 'codemode'], [console, 'console'],
      [(async () => {}), 'async'], [(function* () {}), 'generator'], [(async function* () {}), 'async generator'],
      [[].values(), 'array iterator'], ['a'.matchAll(/a/g), 'matches'], [new Map().keys(), 'map iterator'], [new URL('http://a/'), 'url'],
      [codemode.add(1), 'promise'], [await codemode.add({ a: [1] }), 'tool value'], [await codemode.fail().catch((e) => e), 'tool error'],
      [new Error('x'), 'error'], [(function () { return arguments })(), 'arguments']];
    const found = [];
    while (stack.length > 0) {
      const [value, path] = stack.pop();
      if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value)) continue;
      seen.add(value);
      visit(value, path);
      let keys = [];
      try { keys = Reflect.ownKeys(value) } catch { continue }
      for (const key of keys) {
        let descriptor;
        try { descriptor = Reflect.getOwnPropertyDescriptor(value, key) } catch { continue }
        for (const part of ['value', 'get', 'set']) if (descriptor?.[part] !== undefined) stack.push([descriptor[part], `${path}.${String(key)}`]);
        if (descriptor?.get) try { stack.push([value[key], `${path}.${String(key)}()`]) } catch {}
      }
      try { stack.push([Reflect.getPrototypeOf(value), `${path}.[[Prototype]]`]) } catch {}
    }
    return [seen.size, found];
"""


def test_no_function_that_can_be_reached_makes_code(executor: SnippetExecutor) -> None:
    code = (
        """
        const visit = (value, path) => {
          if (typeof value !== 'function') return;
          for (const make of [() => value('return 42'), () => new value('return 42'), () => value('yield 42')]) {
            let made;
            try { made = make() } catch { continue }
            if (typeof made !== 'function') continue;
            let result;
            try { result = made() } catch { continue }
            if (result === 42 || result?.next?.().value === 42) found.push(path);
            if (typeof result?.then === 'function') result.then((x) => x === 42 && found.push(path), () => {});
          }
        };
        """
        + WALK
    )
    # Functions that would end or block the walk itself are none of its business: it calls everything.
    quiet = {**tools(), "add": lambda value=None, *_: value}
    result = executor.execute(code, quiet, timeout=30)
    count, found = result.check().value
    assert count > 800, "the walk did not get far"
    assert found == []


@pytest.mark.difference("global-not-sealed")
def test_the_global_object_is_frozen(run: Run) -> None:
    assert run("return [Object.isFrozen(globalThis), Object.isExtensible(globalThis)]") == [True, False]
    assert run("'use strict'; try { globalThis.added = 1; return 'added' } catch (e) { return e.name }") == "TypeError"


def test_what_is_there_cannot_be_replaced(run: Run) -> None:
    names = "['Object', 'Array', 'Promise', 'JSON', 'console', 'codemode', 'setTimeout', 'URL', 'eval', 'Function', 'globalThis', 'Map']"
    code = f"""
        'use strict';
        const changed = [];
        for (const name of {names}) {{
          const before = globalThis[name];
          for (const change of [
            () => {{ globalThis[name] = 1 }},
            () => {{ delete globalThis[name] }},
            () => {{ Object.defineProperty(globalThis, name, {{ value: 1 }}) }},
            () => {{ Object.defineProperty(globalThis, name, {{ get: () => 1 }}) }},
          ]) {{
            try {{ change() }} catch {{}}
            if (globalThis[name] !== before) changed.push(name);
          }}
        }}
        return changed;
    """
    assert run(code) == []


def test_prototypes_and_constructors_are_frozen(run: Run) -> None:
    code = """
        const generator = (function* () {}).prototype, asyncGenerator = (async function* () {}).prototype;
        const loose = [];
        const check = (object, path) => { if (!Object.isFrozen(object)) loose.push(path) };
        for (const name of Reflect.ownKeys(globalThis)) {
          const value = globalThis[name];
          if ((typeof value !== 'function' && typeof value !== 'object') || value === null || value === globalThis) continue;
          check(value, String(name));
          if (typeof value === 'function' && typeof value.prototype === 'object' && value.prototype !== null) check(value.prototype, `${String(name)}.prototype`);
        }
        for (const sample of [function () {}, async () => {}, function* () {}, async function* () {}, [].values(), new Map().keys(), new Set().keys(),
            'a'[Symbol.iterator](), 'a'.matchAll(/a/g), [].values().map((x) => x),
            new Intl.Segmenter('en').segment('a'), new Intl.Segmenter('en').segment('a')[Symbol.iterator](), generator, asyncGenerator]) {
          check(Object.getPrototypeOf(sample), Object.prototype.toString.call(sample));
          check(Object.getPrototypeOf(Object.getPrototypeOf(sample)), `${Object.prototype.toString.call(sample)} twice`);
        }
        for (const name of Object.getOwnPropertyNames(Intl)) if (typeof Intl[name] === 'function') { check(Intl[name], name); check(Intl[name].prototype, name) }
        return loose;
    """
    assert run(code) == []


@pytest.mark.parametrize(
    "change",
    [
        "Object.prototype.polluted = 1; return ({}).polluted",
        "Array.prototype.polluted = 1; return [].polluted",
        "Object.defineProperty(Object.prototype, 'polluted', { value: 1 }); return ({}).polluted",
        "Object.setPrototypeOf(Object.prototype, { polluted: 1 }); return ({}).polluted",
        "({}).__proto__.polluted = 1; return ({}).polluted",
        'JSON.parse(\'{"__proto__": {"polluted": 1}}\'); return ({}).polluted',
        "Function.prototype.polluted = 1; return (() => {}).polluted",
        "Promise.prototype.then = () => 1; return Promise.resolve().then() === 1 ? 1 : undefined",
        "Array.prototype[Symbol.iterator] = function* () { yield 1 }; return [...[]][0]",
        "JSON.stringify = () => '1'; return JSON.stringify([]) === '1' ? 1 : undefined",
        "Map.prototype.get = () => 1; return new Map().get(0)",
        "RegExp.prototype.exec = () => 1; return /a/.exec('b') ?? undefined",
        "String.prototype.slice = () => 1; return 'ab'.slice(1) === 1 ? 1 : undefined",
        "Object.assign(Object.prototype, { polluted: 1 }); return ({}).polluted",
        "Reflect.set(Object.prototype, 'polluted', 1); return ({}).polluted",
        "const segments = () => Object.getPrototypeOf(new Intl.Segmenter().segment('a')); segments().polluted = 1; return segments().polluted",
    ],
)
def test_builtins_cannot_be_changed(executor: SnippetExecutor, change: str) -> None:
    result = executor.execute(f"console.log('begun'); {change}")
    assert result.output == "begun\n"
    assert result.value is None, "the change took effect"
    assert result.ok or (result.error is not None and result.error.name == "TypeError"), result


def test_a_segmenter_is_as_usual(run: Run) -> None:
    code = """
        const { segment } = Intl.Segmenter.prototype;
        const refused = [];
        for (const self of [undefined, {}, new Intl.Locale('en')]) {
          try { Reflect.apply(segment, self, ['a']); refused.push('nothing') } catch (error) { refused.push(error instanceof TypeError) }
        }
        try { new segment('a'); refused.push('nothing') } catch (error) { refused.push(error instanceof TypeError) }
        const words = new Intl.Segmenter('en', { granularity: 'word' }).segment('to be');
        const first = words[Symbol.iterator]().next().value;
        return [segment.name, segment.length, refused, [...words].map(each => each.segment), words.containing(3).segment, first.index, first.isWordLike];
    """
    assert run(code) == ["segment", 1, [True] * 4, ["to", " ", "be"], "be", 0, True]


@pytest.mark.difference("stack-formatter")
def test_the_format_of_stacks_cannot_be_changed(executor: SnippetExecutor) -> None:
    result = executor.execute("Error.prepareStackTrace = () => 1; return new Error().stack === 1 ? 1 : undefined")
    assert result.value is None


HEIRS = {
    "name in a constructor": "class E extends Error { constructor(m) { super(m); this.name = 'E' } } return new E('m').name === 'E'",
    "message in a constructor": "class E extends Error { constructor() { super(); this.message = 'M' } } return new E().message === 'M'",
    "toString on an instance": "const o = {}; o.toString = () => 'mine'; return `${o}` === 'mine'",
    "valueOf on an instance": "const o = {}; o.valueOf = () => 7; return o + 1 === 8",
    "constructor in the style of ES5": "function A() {} A.prototype = Object.create(Error.prototype); A.prototype.constructor = A;"
    " return new A().constructor === A && new A() instanceof Error",
    "toString on a prototype": "function A() {} A.prototype.toString = function () { return 'mine' }; return `${new A()}` === 'mine'",
    "push on a subclass of Array": "class A extends Array { constructor() { super(); this.push = () => 'mine' } } return new A().push(1) === 'mine'",
    "get on a subclass of Map": "class M extends Map { constructor() { super(); this.get = () => 'mine' } } return new M().get() === 'mine'",
    "add on an instance of Set": "const s = new Set(); s.add = () => 'mine'; return s.add() === 'mine'",
    "then on an object": "const o = { then: undefined }; o.then = 1; return o.then === 1",
    "call on a function": "const f = () => 1; f.call = () => 'mine'; return f.call() === 'mine'",
    "hasOwnProperty on a plain object": "const o = {}; o.hasOwnProperty = 1; return o.hasOwnProperty === 1 && Object.keys(o).length === 1",
    "toJSON on a date": "const d = new Date(0); d.toJSON = () => 'mine'; return JSON.stringify(d) === '\"mine\"'",
    "constructor by Object.assign": "const o = Object.assign({}, { constructor: 1, toString: 2 }); return o.constructor === 1 && o.toString === 2",
    "name as a class field": "class E extends Error { name = 'E' } return new E().name === 'E'",
    "name on a prototype": "class E extends Error {} E.prototype.name = 'E'; return new E().name === 'E' && String(new E('m')) === 'E: m'",
    "in strict code": "'use strict'; const e = new TypeError('a'); e.message = 'b'; e.name = 'C'; return String(e) === 'C: b'",
    "next on an iterator": "const i = [1].values(); i.next = () => ({ done: true }); return i.next().done",
}


@pytest.mark.parametrize("code", HEIRS.values(), ids=HEIRS.keys())
def test_frozen_builtins_can_still_be_overridden_by_heirs(run: Run, code: str) -> None:
    assert run(code) is True


@pytest.mark.difference("frozen-promises")
def test_promises_can_still_override_their_methods(run: Run) -> None:
    assert run("const p = Promise.resolve(); p.catch = () => 'mine'; return p.catch()") == "mine"


def test_codemode_and_its_tools_cannot_be_changed(run: Run) -> None:
    code = """
        'use strict';
        const descriptor = Object.getOwnPropertyDescriptor(globalThis, 'codemode');
        const attempts = [];
        for (const change of [
          () => { codemode.add = () => 'mine' },
          () => { delete codemode.add },
          () => { Object.defineProperty(codemode, 'add', { value: () => 'mine' }) },
          () => { codemode.add.call = () => 'mine' },
          () => { Object.setPrototypeOf(codemode, { added: 1 }) },
        ]) { try { change(); attempts.push('no error') } catch (e) { attempts.push(e.name) } }
        return [descriptor.writable, descriptor.configurable, descriptor.enumerable, Object.isFrozen(codemode.add), attempts, await codemode.add(1), Object.keys(codemode)];
    """
    value = run(code, {"add": lambda a: a + 1})
    assert value == [False, False, False, True, ["TypeError"] * 5, 2, ["add"]]


def test_nothing_of_ours_is_enumerable_or_reachable(run: Run) -> None:
    assert run("return Object.keys(globalThis)") == []
    assert run("const found = []; for (const name in globalThis) found.push(name); return found") == []
    assert (
        run("return [typeof $attach, typeof realm, typeof host, typeof send, typeof ivm, typeof VM, typeof vm]")
        == ["undefined"] * 7
    )


@pytest.mark.parametrize(
    "code",
    [
        "return (function f() { return f.caller })()",
        "return (function () { return arguments.callee.caller })()",
        "let seen; const o = { get a() { seen = (function f() { return f.caller })(); return 1 } }; await codemode.add(o); return seen ?? null",
        "let seen; const o = { toString() { seen = (function f() { return f.caller })(); return 'x' } }; console.log('%s', o); return seen ?? null",
    ],
)
def test_no_caller_is_told(executor: SnippetExecutor, code: str) -> None:
    result = executor.execute(code, {"add": lambda value: value})
    assert result.value is None or not callable(result.value)
    assert result.ok or (result.error is not None and result.error.name == "TypeError"), result


@pytest.mark.difference("runtime-frames")
def test_a_stack_shows_no_path_of_the_host(run: Run) -> None:
    code = """
        const stacks = [new Error('a').stack];
        try { null.x } catch (e) { stacks.push(e.stack) }
        await codemode.fail().catch((e) => stacks.push(e.stack));
        await codemode.add(() => 1).catch((e) => stacks.push(e.stack));
        await new Promise((done) => setTimeout(() => { stacks.push(new Error('timer').stack); done() }, 1));
        const deep = () => { try { return deep() } catch (e) { stacks.push(e.stack); throw e } };
        try { deep() } catch {}
        try { new URL('nonsense') } catch (e) { stacks.push(e.stack) }
        return stacks.slice(0, 50).join('\\n');
    """
    text = run(code, tools())
    assert "Error: a" in text
    for trace in ("/home", "/root", "/usr", "/work", "site-packages", "file:", "pytest", ".mjs", "node:", "ext:"):
        assert trace not in text, text


def test_getters_that_run_while_our_code_works_see_nothing_of_it(run: Run) -> None:
    code = """
        const seen = [];
        const spy = { get a() { seen.push(typeof this, Object.keys(this).join(), new Error().stack.includes('.mjs')); return 1 } };
        await codemode.add(spy);
        return seen;
    """
    assert run(code, {"add": lambda value: value}) == ["object", "a", False]


def test_a_timer_takes_no_text(executor: SnippetExecutor) -> None:
    for name in ("setTimeout", "setInterval", "queueMicrotask"):
        error = executor.execute(f"{name}('globalThis.hit = 1')").error
        assert error is not None
        assert error.name == "TypeError"


IMPORTS = ["node:fs", "fs", "node:process", "node:vm", "node:worker_threads", "data:text/javascript,export default 1", "blob:null/x", "file:///etc/passwd",
           "https://localhost:1/x.js", "./realm.mjs", "npm:left-pad", "jsr:@std/fs", "bun:ffi", "isolated-vm", "ext:core/mod.js", ""]  # fmt: skip


@pytest.mark.parametrize("specifier", IMPORTS)
def test_nothing_can_be_imported(executor: SnippetExecutor, specifier: str) -> None:
    code = f"""
        console.log('begun');
        try {{ await import({specifier!r}); return 'imported' }} catch (error) {{ return `refused: ${{error}}` }}
    """
    result = executor.execute(code)
    assert result.output == "begun\n"
    assert str(result.check().value).startswith("refused: ")


def test_nothing_can_be_imported_with_attributes_or_by_phase(executor: SnippetExecutor) -> None:
    for code in (
        "await import('node:fs', { with: { type: 'json' } })",
        "await import.source('x')",
        "await import.defer('node:fs')",
    ):
        result = executor.execute(f"{code}; return 'imported'")
        assert not result.ok, result


@pytest.mark.parametrize(
    "name",
    ["require", "process", "Deno", "Bun", "Buffer", "fetch", "WebSocket", "Worker", "XMLHttpRequest", "WebAssembly", "SharedArrayBuffer",
     "Atomics", "module", "exports", "global", "root", "GLOBAL", "VMError", "localStorage", "caches", "gc", "__dirname", "import_meta"],
)  # fmt: skip
def test_the_hosts_own_objects_are_absent(run: Run, name: str) -> None:
    assert run(f"return [typeof {name}, {name!r} in globalThis, typeof globalThis[{name!r}]]") == ["undefined", False, "undefined"]
