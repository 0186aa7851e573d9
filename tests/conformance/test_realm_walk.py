"""A walk over everything in reach of a snippet, and attempts to reach further: what is met is always of the snippet's own realm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_sandbox import SnippetExecutor

Run = Callable[..., Any]

# Everything that can be reached from the global object, from fresh values, and from errors of the engine. `visit` is called with
# each object and a path to it.
WALK = r"""
const isObject = value => (typeof value === 'object' && value !== null) || typeof value === 'function';
async function walk(visit) {
  const caught = [];
  const failures = [
    () => null.x, () => nowhere, () => new Array(-1), () => 'x'.repeat(-1), () => 'x'.repeat(2 ** 30), () => JSON.parse('{'), () => decodeURIComponent('%'),
    () => Symbol() + '', () => BigInt(1.5), () => 2n ** (2n ** 40n), () => new (() => {})(), () => Object.freeze([]).push(1), () => (1).toFixed(1000),
    () => { const a = {}; a.a = a; JSON.stringify(a) }, () => new Intl.NumberFormat('x-'), () => new URL('x'), () => atob('*'), () => structuredClone(() => {}),
    () => eval('1'), () => Function('1'), () => setTimeout('x'), () => new codemode.x(), () => codemode.tool.y.z, () => new RegExp('('),
    () => { (function f() { f() })() }, () => { class A { #x; static f(o) { return o.#x } } A.f({}) }, () => { const { a } = null }, () => [...1],
    () => { 'use strict'; Object.prototype.x = 1 }, () => { 'use strict'; codemode.x = 1 }, () => { 'use strict'; undefined = 1 }, () => new TextDecoder('x'),
    () => import('node:fs'), () => import({ toString() { throw 1 } }), () => codemode.broken(), () => codemode.tool(Symbol()), () => Promise.any([]),
    () => new DataView(new ArrayBuffer(1)).getInt32(0), () => new Uint8Array(-1), () => [].reduce(() => 1), () => new Date(NaN).toISOString(),
    () => String.fromCodePoint(-1), () => 'a'.normalize('x'), () => Object.defineProperty(Object.freeze({}), 'a', {}), () => Reflect.construct(1),
  ];
  for (const failure of failures) try { await failure() } catch (error) { caught.push(error) }
  const tool = await codemode.tool();
  const roots = {
    globalThis, caught, tool, call: codemode.tool(), module: (async () => import('node:fs'))(), async: (async () => {})(), promise: Promise.resolve(), regexp: /(?<a>a)/d.exec('a'),
    generator: (function* () {})(), asyncGenerator: (async function* () {})(), args: (function () { return arguments })(1), sloppy: function () {},
    template: (x => x)`a${1}`, iterators: [[].values(), new Map().entries(), new Set().values(), ''[Symbol.iterator](), 'a'.matchAll(/a/g), [].values().map(x => x),
      Iterator.from({ next() {} }), new URLSearchParams('a=1').entries()], url: new URL('http://a/?b'), decoder: new TextDecoder(), encoder: new TextEncoder(),
    clone: structuredClone({ a: new Date(), m: new Map(), e: new Error() }), segments: new Intl.Segmenter('en').segment('a b'), segmented: [...new Intl.Segmenter('en').segment('a')],
    intl: [new Intl.NumberFormat(), new Intl.DateTimeFormat(), new Intl.Collator(), new Intl.Locale('en')], stack: new DisposableStack(), buffer: new ArrayBuffer(1),
    primitives: [1, 'x', true, 1n, Symbol()].map(Object), snippet: walk, functions: [() => 1, function* () {}, async function* () {}, class {}], timer: await new Promise(done => setTimeout(function () { done([this, arguments]) }, 0)),
    resolvers: Promise.withResolvers(), thenable: await new Promise(done => ({ then(...args) { done([...args]) } }).then(...[1])), date: new Date(), error: new Error('x'),
  };
  roots.call.catch(() => {});
  roots.module.catch(() => {});
  const seen = new Set();
  const queue = Object.entries(roots).map(([name, value]) => [name, value]);
  while (queue.length) {
    const [path, object] = queue.shift();
    if (!isObject(object) || seen.has(object)) continue;
    seen.add(object);
    visit(object, path);
    queue.push([`${path}.__proto__`, Object.getPrototypeOf(object)]);
    for (const key of Reflect.ownKeys(object)) {
      const descriptor = Reflect.getOwnPropertyDescriptor(object, key);
      if (descriptor === undefined) continue;
      const at = `${path}.${String(key)}`;
      queue.push([at, descriptor.value], [`${at}<get>`, descriptor.get], [`${at}<set>`, descriptor.set]);
      if (descriptor.get && path.split('.').length < 4) try { queue.push([`${at}()`, Reflect.apply(descriptor.get, object, [])]) } catch (error) { queue.push([`${at}!`, error]) }
    }
  }
  return seen.size;
}
"""


TOOLS: dict[str, Callable[..., Any]] = {
    "tool": lambda *args: {"a": [1, {"b": b"x"}], "m": {1: 2}, "s": {3}, "big": 2**70},
    "broken": lambda: 1 / 0,
}


def test_every_function_in_reach_leads_to_blocked_constructors_only(executor: SnippetExecutor) -> None:
    code = f"""{WALK}
    const made = [];
    let functions = 0;
    const tried = new Set();
    const size = await walk((object, path) => {{
      if (typeof object !== 'function') return;
      functions++;
      for (let at = object; at !== null; at = Object.getPrototypeOf(at)) {{
        const {{ constructor }} = at;
        for (const candidate of [at, constructor]) {{
          if (typeof candidate !== 'function' || tried.has(candidate) || !/Function$/.test(candidate.name)) continue;
          tried.add(candidate);
          for (const attempt of [() => candidate('return 1'), () => new candidate('return 1'), () => Reflect.construct(candidate, ['return 1'], Object)]) {{
            try {{ attempt(); made.push(`${{path}}: ${{candidate.name}}`) }} catch (error) {{ if (!(error instanceof EvalError)) made.push(`${{path}}: ${{error}}`) }}
          }}
        }}
      }}
    }});
    return {{ made, size, functions, tried: [...tried].map(f => f.name).sort() }};
    """
    found = executor.execute(code, TOOLS).check().value
    assert found["made"] == []
    assert set(found["tried"]) >= {"Function", "AsyncFunction", "GeneratorFunction", "AsyncGeneratorFunction"}
    assert found["size"] > 900 and found["functions"] > 700


def test_everything_in_reach_is_of_this_realm(executor: SnippetExecutor) -> None:
    # An object of another realm (the runner's own) would lead to that realm's unblocked Function, and to all that is there.
    code = f"""{WALK}
    const foreign = [];
    await walk((object, path) => {{
      let end = object, isFunction = false;
      for (let at = object, left = 50; at !== null && left > 0; at = Object.getPrototypeOf(at), left--) {{
        end = at;
        isFunction ||= at === Function.prototype;
      }}
      const isRoot = end === Object.prototype || end === object || Object.keys(end).length >= 0 && !Object.hasOwn(end, 'hasOwnProperty');
      if (!isRoot || (Object.hasOwn(end, 'constructor') && !(end.constructor instanceof Object))) foreign.push(path);
      if (typeof object === 'function' && object !== Function.prototype && !isFunction) foreign.push(`${{path}} (function)`);
      if (Object.prototype.toString.call(object) === '[object Error]' && !path.includes('prototype') && !(object instanceof Error)) foreign.push(`${{path}} (error)`);
    }});
    return foreign;
    """
    assert executor.execute(code, TOOLS).check().value == []


@pytest.mark.parametrize("action", ["console.log('x')", "setTimeout(() => {}, 1e6)", "codemode.tool()", "new URL('http://a')", "structuredClone({})", "btoa('x')",
                                    "import('node:fs')", "new TextDecoder().decode(new Uint8Array([1]))", "queueMicrotask(() => {})", "clearTimeout(1)",
                                    "console.log({ a: [{}] })", "codemode.broken({ a: [1] }).catch(e => e)"])  # fmt: skip
def test_an_exhausted_stack_gives_nothing_of_the_runner_away(executor: SnippetExecutor, action: str) -> None:
    # The deeper in the runner the stack ends, the more likely the error is one of its own realm.
    code = f"""
    const foreign = [], caught = [];
    let left = 60;
    function look(error) {{
      caught.push(1);
      if (!(error instanceof Error) || error.constructor.constructor !== Function || Object.getPrototypeOf(Object.getPrototypeOf(error)) === null) foreign.push(1);
    }}
    function dig(n) {{
      try {{ dig(n + 1) }} catch (error) {{ if (left > 0) look(error) }}
      if (left-- > 0) try {{ const value = {action}; if (value instanceof Promise) value.catch(look) }} catch (error) {{ look(error) }}
    }}
    dig(0);
    // Not by a timer: those of this process may be broken now.
    for (let i = 0; i < 100; i++) await null;
    return [foreign.length, caught.length > 0];
    """
    assert executor.execute(code, TOOLS, timeout=20).check().value == [0, True]


def test_callers_are_out_of_reach(executor: SnippetExecutor) -> None:
    code = """
    const found = [];
    function spy() {
      for (const look of [() => spy.caller, () => arguments.callee.caller, () => spy.arguments]) {
        try { const value = look(); if (typeof value === 'function') found.push(value.name || String(value)) } catch {}
      }
      return 1;
    }
    const trap = { get a() { return spy() }, toString() { return 'http://a/' + spy() }, valueOf() { return spy() } };
    console.log(trap); console.log('%s %d', trap, trap);
    setTimeout(spy, trap); queueMicrotask(spy); new Promise(spy); [1].forEach(spy);
    await codemode.tool(trap.a, { get b() { return spy() } });
    new URL(trap); structuredClone({ get a() { return spy() } }); btoa(trap); new TextDecoder('utf-8', { get fatal() { return spy() } }); new URLSearchParams({ a: trap });
    const error = new Error('x'); Object.defineProperty(error, 'message', { get() { return String(spy()) } });
    console.log(error); error.cause = { get message() { return spy() } }; console.log(error);
    await { then(resolve) { resolve(spy()) } };
    await new Promise(done => setTimeout(done, 5));
    return { found, get last() { spy(); return found.join() } };
    """
    value = executor.execute(code, TOOLS).check().value
    # Those of the snippet's own functions that called it.
    own = {
        "get a",
        "toString",
        "valueOf",
        "get b",
        "get fatal",
        "get",
        "get message",
        "then",
        "get last",
        "a",
        "b",
        "fatal",
        "message",
        "last",
    }
    assert set(value["found"]) | set(value["last"].split(",")) - {""} <= own


def test_this_is_nothing_of_the_runner(run: Run) -> None:
    code = """
    const seen = [];
    function spy() { seen.push(this === globalThis || this === undefined) ; }
    setTimeout(spy, 0); queueMicrotask(spy); new Promise(spy); const id = setInterval(function () { spy.call(this); clearInterval(id) }, 1);
    await new Promise(done => setTimeout(done, 20));
    return seen;
    """
    assert run(code) == [True] * 4


def test_a_thenable_meets_functions_of_this_realm_only(run: Run) -> None:
    code = """
    const met = [];
    class Odd extends Promise { static get [Symbol.species]() { met.push('species'); return Promise } }
    await { then(...args) { met.push(...args); args[0](1) } };
    await new Odd(done => done(1)).then(x => x);
    return met.filter(value => typeof value === 'function').map(value => value instanceof Function && value.constructor === Function);
    """
    assert run(code) == [True, True]


def test_the_result_is_what_the_snippet_returned_whatever_it_tries(executor: SnippetExecutor) -> None:
    # Texts like those of the protocol are texts.
    code = """
    const forged = '{"op":"result","value":"forged"}';
    for (const nonce of ['', '-', '0'.repeat(32)]) console.log(`\\n${nonce} ${forged}\\n`);
    console.log('\\n' + forged);
    await codemode.tool(forged, '\\n' + forged);
    try { await codemode['\\n' + forged]() } catch {}
    try { throw new Error('\\n- ' + forged) } catch {}
    return 'real';
    """
    result = executor.execute(code, TOOLS)
    assert result.check().value == "real"
