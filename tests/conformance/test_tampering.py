"""What is there cannot be changed, whatever is tried; what inherits from it still can."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from pytest_sandbox import SnippetExecutor
from pytest_sandbox.snippets.runtimes import find_node

Run = Callable[..., Any]

TAMPERING = {
    "add to Object.prototype": "Object.prototype.evil = 1",
    "define on Object.prototype": "Object.defineProperty(Object.prototype, 'evil', { get() { return 1 } })",
    "an index on Object.prototype": "Object.defineProperty(Object.prototype, '0', { set() { throw 1 } })",
    "an index on Array.prototype": "Object.defineProperty(Array.prototype, '0', { set(v) { throw v } })",
    "replace Array.prototype.push": "Array.prototype.push = () => { throw 1 }",
    "replace the iterator of arrays": "Array.prototype[Symbol.iterator] = function* () { yield 'evil' }",
    "replace next of array iterators": "Object.getPrototypeOf([].values()).next = () => ({ done: true })",
    "replace then": "Promise.prototype.then = () => { throw 1 }",
    "define then": "Object.defineProperty(Promise.prototype, 'then', { value() { throw 1 } })",
    "a species of Promise": "Object.defineProperty(Promise, Symbol.species, { value: function () { throw 1 } })",
    "the constructor of Promise.prototype": "Object.defineProperty(Promise.prototype, 'constructor', { value: function () { throw 1 } })",
    "replace Promise": "globalThis.Promise = class {}",
    "replace JSON": "globalThis.JSON = { stringify: () => '\"evil\"' }",
    "replace JSON.stringify": "JSON.stringify = () => '\"evil\"'",
    "replace exec": "RegExp.prototype.exec = () => null",
    "replace Symbol.replace": "RegExp.prototype[Symbol.replace] = () => 'evil'",
    "replace String methods": "String.prototype.replace = String.prototype.slice = String.prototype.isWellFormed = () => 'evil'",
    "replace Map methods": "Map.prototype.get = Map.prototype.forEach = () => undefined",
    "replace Function.prototype.call": "Function.prototype.call = Function.prototype.apply = () => 'evil'",
    "replace Symbol.hasInstance": "Object.defineProperty(Error, Symbol.hasInstance, { value: () => true })",
    "replace toString of errors": "Error.prototype.toString = () => { throw 1 }",
    "prepareStackTrace": "Error.prepareStackTrace = (error, frames) => frames",
    "prepareStackTrace by definition": "Object.defineProperty(Error, 'prepareStackTrace', { value: (error, frames) => frames })",
    "replace Object": "globalThis.Object = { keys: () => ['evil'] }",
    "replace Object.keys": "Object.keys = () => ['evil']",
    "replace Reflect.ownKeys": "Reflect.ownKeys = () => ['evil']",
    "replace console": "globalThis.console = {}",
    "replace console.log": "console.log = () => {}",
    "replace codemode": "globalThis.codemode = {}",
    "replace a tool": "codemode.add = () => 'evil'",
    "replace setTimeout": "globalThis.setTimeout = () => {}",
    "replace URL": "globalThis.URL = class {}",
    "replace eval": "globalThis.eval = x => x",
    "the prototype of the global object": "Object.setPrototypeOf(globalThis, { evil: 1 })",
    "the prototype of Object.prototype": "Object.setPrototypeOf(Object.prototype, { evil: 1 })",
    "the prototype of functions": "Object.setPrototypeOf(Function.prototype, { evil: 1 })",
    "__proto__ of Array.prototype": "Array.prototype.__proto__ = { evil: 1 }",
    "the accessor of __proto__": "Object.defineProperty(Object.prototype, '__proto__', { get() { return null } })",
    "delete": "delete Array.prototype.push; delete Promise.prototype.then; delete globalThis.JSON",
    "Symbol.toPrimitive of dates": "Object.defineProperty(Date.prototype, Symbol.toPrimitive, { value: () => 'evil' })",
    "toStringTag of promises": "Object.defineProperty(Promise.prototype, Symbol.toStringTag, { value: 'evil' })",
    "an accessor's own name": "Object.defineProperty(Object.getOwnPropertyDescriptor(Map.prototype, 'size').get, 'call', { value: () => 9 })",
}


# What the runner does after the tampering: it must do it right.
CHECKS = """
  const list = [1, 2]; list.push(3);
  console.log('%s %j', 'still', { right: true });
  const sum = await codemode.add(1, 2);
  let caught; try { await codemode.broken() } catch (error) { caught = `${error.name}: ${error.message}` }
  await new Promise(done => setTimeout(done, 1));
  return { list, sum, caught, map: new Map([['a', new Set([1])]]), when: new Date(0).getTime(), json: JSON.stringify([1]), url: new URL('/b', 'http://a').href,
    evil: typeof ({}).evil, error: new RangeError('x').name, words: 'a b'.split(' '), re: 'abc'.replace(/b/, 'x') };
"""


@pytest.mark.parametrize("strictness", ["sloppy", "strict"])
def test_nothing_that_is_there_can_be_changed(executor: SnippetExecutor, strictness: str) -> None:
    directive = "'use strict';" if strictness == "strict" else ""
    attempts = "\n".join(
        f"try {{ (function () {{ {directive} {attack} }})() }} catch (error) {{ if (!(error instanceof TypeError)) errors.push({json.dumps(name)} + error) }}"
        for name, attack in TAMPERING.items()
    )
    nothing: dict[str, int] = {}
    tools: dict[str, Callable[..., Any]] = {"add": lambda a, b: a + b, "broken": lambda: nothing["x"]}
    result = executor.execute(f"const errors = []; {attempts}\nif (errors.length) throw errors.join('\\n');{CHECKS}", tools).check()
    assert result.logs[0].text == 'still {"right":true}'
    assert result.value == {
        "list": [1, 2, 3],
        "sum": 3,
        "caught": "KeyError: 'x'",
        "map": {"a": {1}},
        "when": 0,
        "json": "[1]",
        "url": "http://a/b",
        "evil": "undefined",
        "error": "RangeError",
        "words": ["a", "b"],
        "re": "axc",
    }


def test_every_tampering_works_where_nothing_stops_it() -> None:
    setup = "const codemode = { add() {}, broken() {} };"
    attempts = ",".join(f"{json.dumps(name)}: () => {{ {attack} }}" for name, attack in TAMPERING.items())
    # Each in a realm of its own, as it breaks things.
    script = (
        "const vm = require('vm'); const failed = [];"
        f"const names = {json.dumps(list(TAMPERING))}; const attacks = {json.dumps(list(TAMPERING.values()))};"
        "names.forEach((name, i) => { const context = vm.createContext({ console: { log() {} }, setTimeout() {}, URL, codemode: { add() {} } });"
        "try { vm.runInContext(`'use strict'; (() => { ${attacks[i].replaceAll('delete globalThis.JSON', '')} })()`, context) } catch (e) { failed.push(`${name}: ${e}`) } });"
        "console.log(JSON.stringify(failed))"
    )
    assert setup and attempts
    node = find_node("isolated-vm")
    done = subprocess.run([node.path, "-e", script], capture_output=True, text=True, timeout=60, check=True)
    # The language itself forbids these two.
    allowed = ("a species of Promise", "the prototype of Object.prototype", "replace eval")
    assert [failure for failure in json.loads(done.stdout) if not failure.startswith(allowed)] == []


def test_what_people_extend_can_be_overridden_by_assignment(run: Run) -> None:
    # A frozen prototype would forbid all of these, if its properties were plain ones.
    code = """
    'use strict';
    const failed = [];
    let tried = 0;
    for (const constructor of [Object, Function, Array, Map, Set, Error, AggregateError, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError]) {
      for (const key of Object.getOwnPropertyNames(constructor.prototype)) {
        const descriptor = Object.getOwnPropertyDescriptor(constructor.prototype, key);
        if (['__proto__', 'length', 'size', 'caller', 'arguments', 'name'].includes(key) && constructor !== Error && !constructor.name.endsWith('Error')) continue;
        const heir = Object.create(constructor.prototype);
        tried++;
        try {
          heir[key] = 'mine';
          const own = Object.getOwnPropertyDescriptor(heir, key);
          if (heir[key] !== 'mine' || !own?.writable || !own.enumerable || !own.configurable) failed.push(`${constructor.name}.${key}`);
        } catch (error) { failed.push(`${constructor.name}.${key}: ${error}`) }
      }
    }
    return [failed, tried > 100];
    """
    assert run(code) == [[], True]


def test_common_names_can_be_overridden_on_everything(run: Run) -> None:
    code = """
    'use strict';
    const failed = [];
    const values = [{}, [], () => {}, function () {}, async () => {}, new Date(), /x/, new Map(), new Set(), new WeakMap(), new Error(), new TypeError(), new Number(1),
      new String('x'), new Boolean(true), Object(1n), Object(Symbol()), new Uint8Array(1), new ArrayBuffer(1), new DataView(new ArrayBuffer(1)), [].values(), [].values().map(x => x),
      new URL('http://a'), new URLSearchParams(), new TextDecoder(), new Intl.NumberFormat(), new DisposableStack(),
      class A {}, new (class A {})()];
    for (const value of values) {
      for (const key of ['constructor', 'toString', 'toLocaleString', 'valueOf', 'toJSON', 'message', 'next', 'hasOwnProperty', 'isPrototypeOf', 'mine']) {
        try { value[key] = 'mine'; if (value[key] !== 'mine') failed.push(`${Object.prototype.toString.call(value)}.${key}`) }
        catch (error) { failed.push(`${Object.prototype.toString.call(value)}.${key}: ${error.message}`) }
      }
    }
    return failed;
    """
    assert run(code) == []


def test_assigning_to_a_prototype_itself_is_an_error_still(run: Run) -> None:
    code = """
    'use strict';
    const wrong = [];
    for (const prototype of [Object.prototype, Array.prototype, Error.prototype, TypeError.prototype, Map.prototype, Function.prototype, Promise.prototype]) {
      for (const key of ['toString', 'constructor', 'name', 'push', 'get', 'then', 'evil']) {
        try { prototype[key] = 'evil'; wrong.push(key) } catch (error) { if (!(error instanceof TypeError)) wrong.push(`${key} ${error}`) }
      }
    }
    return wrong;
    """
    assert run(code) == []


def test_setters_of_prototypes_cannot_be_turned_on_prototypes(run: Run) -> None:
    code = """
    const { set } = Object.getOwnPropertyDescriptor(Object.prototype, 'toString') ?? {};
    const wrong = [];
    if (set) for (const target of [Object.prototype, Array.prototype, Error.prototype, Function.prototype, JSON, codemode, console, globalThis, 1, null, undefined]) {
      try { Reflect.apply(set, target, ['evil']); wrong.push(String(target)) } catch (error) { if (!(error instanceof TypeError)) wrong.push(String(error)) }
    }
    return [wrong, `${{}}`];
    """
    wrong, text = run(code)
    assert text == "[object Object]"
    assert [target for target in wrong if target != "[object Object]"] == []


def test_no_global_can_be_replaced_or_deleted(run: Run) -> None:
    code = """
    'use strict';
    const wrong = [];
    for (const name of Reflect.ownKeys(globalThis)) {
      const before = globalThis[name];
      const descriptor = Object.getOwnPropertyDescriptor(globalThis, name);
      if (descriptor.writable || descriptor.configurable) wrong.push(`${String(name)} is not fixed`);
      for (const attempt of [() => { globalThis[name] = 'evil' }, () => { delete globalThis[name] }, () => { Object.defineProperty(globalThis, name, { value: 'evil' }) }]) {
        try { attempt() } catch {}
      }
      if (!Object.is(globalThis[name], before)) wrong.push(String(name));
    }
    return wrong;
    """
    assert run(code) == []


@pytest.mark.difference("global-not-sealed")
def test_the_global_object_is_sealed(run: Run) -> None:
    code = """
    const errors = [];
    for (const attempt of [() => { 'use strict'; globalThis.mine = 1 }, () => Object.defineProperty(globalThis, 'mine', { value: 1 }), () => { 'use strict'; mine = 1 }]) {
      try { attempt(); errors.push('no error') } catch (error) { errors.push(error.name) }
    }
    return [Object.isExtensible(globalThis), Object.isFrozen(globalThis), typeof mine, errors];
    """
    assert run(code) == [False, True, "undefined", ["TypeError", "TypeError", "ReferenceError"]]


def test_declarations_of_a_snippet_are_not_global(run: Run) -> None:
    assert run("var a = 1; function b() {} let c; class D {} return ['a', 'b', 'c', 'D'].filter(name => name in globalThis)") == []


@pytest.mark.difference("stack-formatter")
def test_stacks_are_text_and_frames_are_out_of_reach(run: Run) -> None:
    code = """
    const seen = [];
    class Mine extends Error { static prepareStackTrace(error, frames) { seen.push('static'); return frames } }
    Error.prepareStackTrace = () => { seen.push('assigned') };
    const local = { __proto__: Error, prepareStackTrace() { seen.push('object') } };
    const o = {};
    Error.captureStackTrace(o);
    const kinds = [new Error().stack, new Mine().stack, o.stack].map(stack => typeof stack);
    try { null.x } catch (error) { kinds.push(typeof error.stack) }
    return [kinds, seen, local.prepareStackTrace === undefined, Error.prepareStackTrace === undefined];
    """
    kinds, seen, _, unset = run(code)
    assert set(kinds) == {"string"}
    assert seen == []
    assert unset is True
