"""An error arrives with its kind, name, message, the snippet's own lines, and its causes, whatever was thrown, and wherever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_sandbox import SnippetError, SnippetExecutor, SnippetFailed

Run = Callable[..., Any]
Fail = Callable[..., SnippetError]

ERRORS = {
    # what is thrown, then name and message
    "error": ("throw new Error('a')", "Error", "a"),
    "subclass of the language": ("throw new RangeError('a')", "RangeError", "a"),
    "no message": ("throw new Error()", "Error", ""),
    "two lines": ("throw new Error('a\\nb')", "Error", "a\nb"),
    "name set later": ("const e = new Error('a'); e.name = 'Mine'; throw e", "Mine", "a"),
    "class without name": ("class Mine extends Error {} throw new Mine('a')", "Error", "a"),
    "class that sets its name": (
        "class Mine extends Error { constructor(m) { super(m); this.name = 'Mine' } } throw new Mine('a')",
        "Mine",
        "a",
    ),
    "class that sets its message": (
        "class Mine extends TypeError { constructor(m) { super(); this.message = `<${m}>` } } throw new Mine('a')",
        "TypeError",
        "<a>",
    ),
    "class with a field": ("class Mine extends Error { name = 'Mine' } throw new Mine('a')", "Mine", "a"),
    "class with a getter": ("class Mine extends Error { get name() { return 'Mine' } } throw new Mine('a')", "Mine", "a"),
    "class with a name on its prototype": (
        "class Mine extends Error {} Mine.prototype.name = 'Mine'; throw new Mine('a')",
        "Mine",
        "a",
    ),
    "as ES5 has it": (
        "function Mine(m) { this.name = 'Mine'; this.message = m }"
        "Mine.prototype = Object.create(Error.prototype); Mine.prototype.constructor = Mine; throw new Mine('a')",
        "Mine",
        "a",
    ),
    "as ES3 has it": (
        "function Mine(m) { Error.call(this, m); this.message = m } Mine.prototype = new Error(); Mine.prototype.name = 'Mine';"
        "throw new Mine('a')",
        "Mine",
        "a",
    ),
    "all promises rejected": (
        "await Promise.any([Promise.reject(new Error('a'))])",
        "AggregateError",
        "All promises were rejected",
    ),
    "aggregate": ("throw new AggregateError([new Error('x')], 'a')", "AggregateError", "a"),
    "suppressed": ("throw new SuppressedError(new Error('x'), new Error('y'), 'a')", "SuppressedError", "a"),
    "string": ("throw 'a'", "Error", "a"),
    "empty string": ("throw ''", "Error", ""),
    "number": ("throw 5", "Error", "5"),
    "negative zero": ("throw -0", "Error", "-0"),
    "bigint": ("throw 5n", "Error", "5n"),
    "boolean": ("throw false", "Error", "false"),
    "symbol": ("throw Symbol('a')", "Error", "Symbol(a)"),
    "undefined": ("throw undefined", "Error", "undefined"),
    "null": ("throw null", "Error", "null"),
    "object": ("throw { a: 1 }", "Error", "{ a: 1 }"),
    "empty object": ("throw {}", "Error", "{}"),
    "array": ("throw [1, 2]", "Error", "[ 1, 2 ]"),
    "function": ("throw function f() {}", "Error", "[Function: f]"),
    "object like an error": ("throw { name: 'Mine', message: 'a', stack: 'none' }", "Mine", "a"),
    "object without prototype": ("throw Object.assign(Object.create(null), { message: 'a' })", "Error", "a"),
    "rejected promise": ("await Promise.reject(new TypeError('a'))", "TypeError", "a"),
    "returned rejection": ("return Promise.reject(new TypeError('a'))", "TypeError", "a"),
    "rejection without reason": ("return Promise.reject()", "Error", "undefined"),
    "thenable that rejects": ("return { then(_, reject) { reject(new TypeError('a')) } }", "TypeError", "a"),
    "thenable that throws": ("return { then() { throw new TypeError('a') } }", "TypeError", "a"),
    "in a timer": ("setTimeout(() => { throw new TypeError('a') }, 1); await new Promise(() => {})", "TypeError", "a"),
    "in an interval": ("setInterval(() => { throw new TypeError('a') }, 1); await new Promise(() => {})", "TypeError", "a"),
    "in a microtask": ("queueMicrotask(() => { throw new TypeError('a') }); await new Promise(() => {})", "TypeError", "a"),
    "in a callback": ("[1].map(() => { throw new TypeError('a') })", "TypeError", "a"),
    "in a getter of the result": ("return { get x() { throw new TypeError('a') } }", "TypeError", "a"),
    "in an async generator": (
        "async function* g() { yield 1; throw new TypeError('a') } for await (const x of g()) {}",
        "TypeError",
        "a",
    ),
    "in a static block": ("class A { static { throw new TypeError('a') } }", "TypeError", "a"),
    "in finally": ("try { throw new Error('x') } finally { throw new TypeError('a') }", "TypeError", "a"),
    "syntax error at run time": (
        "JSON.parse('{')",
        "SyntaxError",
        "Expected property name or '}' in JSON at position 1 (line 1 column 2)",
    ),
    "lone surrogate": ("throw new Error('\\ud800')", "Error", "\ufffd"),
    "name that is no string": ("const e = new Error('a'); e.name = 5; throw e", "5", "a"),
    "message that is no string": ("const e = new Error(); e.message = 6; throw e", "Error", "6"),
    "message that is an object": ("const e = new Error('a'); e.message = { toString() { throw 1 } }; throw e", "Error", ""),
    "control characters": ("throw new Error('\\u001b[31m')", "Error", "\x1b[31m"),
}

HOSTILE = {
    "message that throws": "const e = new Error('a'); Object.defineProperty(e, 'message', { get() { throw e } }); throw e",
    "name that throws": "const e = new Error('a'); Object.defineProperty(e, 'name', { get() { throw e } }); throw e",
    "stack that throws": "const e = new Error('a'); Object.defineProperty(e, 'stack', { get() { throw e } }); throw e",
    "cause that throws": "const e = new Error('a'); Object.defineProperty(e, 'cause', { get() { throw e } }); throw e",
    "stack that is no string": "const e = new Error('a'); e.stack = { split() { throw 1 } }; throw e",
    "huge stack": "const e = new Error('a'); e.stack = ' at x\\n'.repeat(1e6); throw e",
    "cause of itself": "const e = new Error('a'); e.cause = e; throw e",
    "object whose getter throws": "throw { get a() { throw 1 } }",
    "object whose tag throws": "throw { get [Symbol.toStringTag]() { throw 1 } }",
    "deep object": "let o = []; for (let i = 0; i < 1e5; i++) o = [o]; throw o",
    "thrown while the result is read": "return { get a() { throw { get message() { throw 1 } } } }",
}

HOSTILE_PROXIES = {
    "wrapped error": "throw new Proxy(new Error('a'), {})",
    "every trap throws": "throw new Proxy(new Error('a'), new Proxy({}, { get() { throw 1 } }))",
    "revoked": "const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); throw proxy",
    "prototype trap while the result is read": "return { get a() { throw new Proxy({}, { getPrototypeOf() { throw 1 } }) } }",
    "prototype trap while arguments are read": (
        "await codemode.tool({ get a() { throw new Proxy({}, { getPrototypeOf() { throw 1 } }) } })"
    ),
    "changes on every read": "let n = 0; throw new Proxy({}, { get: () => (n++ % 2 ? 'text' : Symbol()) })",
}

LOCATED = {
    # code, then the lines of the stack below its head
    "third line": ("\n\n  null.x", ["snippet.js:3:8"]),
    "functions": (
        "function a() { b() }\nfunction b() { throw new Error('x') }\na()",
        ["b (snippet.js:2:22)", "a (snippet.js:1:16)", "snippet.js:3:1"],
    ),
    "async functions": (
        "async function a() { await b() }\nasync function b() { await null; throw new Error('x') }\nawait a()",
        ["b (snippet.js:2:40)", "async a (snippet.js:1:22)", "async snippet.js:3:1"],
    ),
    "arrow as a snippet": ("() => {\n  throw new Error('x')\n}", ["snippet.js:2:9"]),
    "after a comment and a mark": ("\ufeff// comment\nthrow new Error('x')", ["snippet.js:2:7"]),
    "timer": (
        "setTimeout(function late() {\n  throw new Error('x') }, 1);\nawait new Promise(() => {})",
        ["late (snippet.js:2:9)"],
    ),
    "microtask": ("queueMicrotask(() => {\n  throw new Error('x') });\nawait new Promise(() => {})", ["snippet.js:2:9"]),
    "callback of a builtin": (
        "[1].forEach(function each() {\n  throw new Error('x') })",
        ["each (snippet.js:2:9)", "snippet.js:1:5"],
    ),
    "tool that fails": ("const x = 1;\nawait codemode.broken()", ["snippet.js:2:16"]),
    "method": ("class A { f() { throw new Error('x') } }\nnew A().f()", ["A.f (snippet.js:1:23)", "snippet.js:2:9"]),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_is_thrown_arrives_with_name_and_message(fail: Fail, case: str) -> None:
    code, name, message = ERRORS[case]
    error = fail(code)
    assert (error.kind, error.name, error.message) == ("runtime", name, message)
    assert (error.limit, error.line, error.column) == (None, None, None)


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_error_is_an_error_like_any_other(fail: Fail, run: Run, case: str) -> None:
    error = fail(HOSTILE[case], timeout=5)
    assert error.kind == "runtime"
    assert error.name and len(error.message) < 20_000 and len(error.stack) < 20_000
    assert run("return 2") == 2


@pytest.mark.difference("endless-causes")
def test_an_endless_chain_of_causes_is_cut(fail: Fail) -> None:
    error = fail("class E extends Error { get cause() { return new E('more') } } throw new E('a')", timeout=1)
    assert (error.kind, error.message) == ("runtime", "a")
    assert error.cause is not None and error.cause.message == "more"


@pytest.mark.difference("no-proxy")
@pytest.mark.parametrize("case", HOSTILE_PROXIES)
def test_a_proxy_is_an_error_like_any_other(executor: SnippetExecutor, run: Run, case: str) -> None:
    result = executor.execute(f"console.log('ran', new Proxy({{}}, {{}})); {HOSTILE_PROXIES[case]}", {"tool": print}, timeout=5)
    assert result.error is not None and result.error.kind == "runtime", result
    assert [entry.text for entry in result.logs] == ["ran {}"]
    assert run("return 2") == 2


@pytest.mark.difference("error-lines")
@pytest.mark.parametrize("case", LOCATED)
def test_a_stack_has_the_snippets_own_lines_and_no_other(fail: Fail, case: str) -> None:
    code, expected = LOCATED[case]

    def broken() -> None:
        raise ValueError("x")

    error = fail(code, {"broken": broken})
    head, *frames = error.stack.splitlines()
    assert head == f"{error.name}: {error.message}"
    assert [frame.strip().removeprefix("at ") for frame in frames] == expected


def test_an_executor_that_hides_lines_makes_none_up(fail: Fail) -> None:
    stack = fail("function f() { throw new Error('x') }\nf()").stack
    assert stack == "" or "f (snippet.js:1:22)" in stack


@pytest.mark.difference("runtime-frames")
def test_a_stack_never_shows_the_runner(executor: SnippetExecutor) -> None:
    sources = [
        "return new Error('x').stack",
        "await null; return new Error('x').stack",
        "await new Promise(done => setTimeout(done, 1)); return new Error('x').stack",
        "return new Promise(done => setTimeout(() => done(new Error('x').stack), 1))",
        "try { new URL('no url') } catch (error) { return error.stack }",
        "try { await codemode.broken() } catch (error) { return error.stack }",
        "try { codemode.broken(Symbol()).catch(() => {}); return new Error('x').stack } catch (error) { return error.stack }",
        "try { null.x } catch (error) { return error.stack }",
        "try { atob('*') } catch (error) { return error.stack }",
        "try { structuredClone(() => {}) } catch (error) { return error.stack }",
        "try { setTimeout('code') } catch (error) { return error.stack }",
        "try { eval('1') } catch (error) { return error.stack }",
        "function f() { f() } try { f() } catch (error) { return error.stack }",
        "const o = {}; Error.captureStackTrace(o); return o.stack",
        "let stack; const o = { get a() { stack = new Error('x').stack; return 1 } };await codemode.ok(o); return stack",
        "let stack; console.log({ get a() { stack = new Error('x').stack; return 1 } }); return String(stack)",
        "let stack; console.log('%d', { valueOf() { stack = new Error('x').stack; return 1 } }); return String(stack)",
        "try { await import('node:fs') } catch (error) { return error.stack }",
    ]
    tools: dict[str, Callable[..., Any]] = {"broken": lambda: 1 / 0, "ok": lambda value: value}
    script = "\n".join(f"stacks.push(await (async () => {{ {source} }})());" for source in sources)
    stacks = executor.execute(f"const stacks = [];\n{script}\nreturn stacks", tools).check().value
    assert len(stacks) == len(sources)
    for source, stack in zip(sources, stacks, strict=True):
        for word in ("/", "node:", "file:", "ext:", "node_modules", "pytest_sandbox", "runners"):
            assert word not in stack.replace("node:fs", ""), (source, stack)


def test_stack_overflow_is_an_error_that_can_be_caught(run: Run, fail: Fail) -> None:
    error = fail("function f() { f() } f()")
    assert (error.kind, error.name) == ("runtime", "RangeError")
    assert "call stack" in error.message
    assert run("function f() { f() } try { f() } catch (error) { return error instanceof RangeError }") is True
    assert run("let n = 0; function f() { n++; f() } try { f() } catch {} return n > 500") is True


def test_stack_overflow_in_async_functions_and_getters_is_an_error(fail: Fail, run: Run) -> None:
    assert fail("async function f() { await f() } await f()", timeout=10).kind in ("runtime", "memory")
    assert fail("const o = { get a() { return this.a } }; return o").name == "RangeError"
    assert fail("const o = { toString() { return `${this}` } }; `${o}`").name == "RangeError"
    assert run("return 2") == 2


def test_causes_form_a_chain(fail: Fail) -> None:
    error = fail("throw new Error('a', { cause: new TypeError('b', { cause: new RangeError('c', { cause: 'd' }) }) })")
    names = []
    link: SnippetError | None = error
    while link is not None:
        names.append((link.kind, link.name, link.message))
        link = link.cause
    assert names == [
        ("runtime", "Error", "a"),
        ("runtime", "TypeError", "b"),
        ("runtime", "RangeError", "c"),
        ("runtime", "Error", "d"),
    ]


@pytest.mark.parametrize("cause", ["undefined", "null"])
def test_an_empty_cause_is_none(fail: Fail, cause: str) -> None:
    assert fail(f"throw new Error('a', {{ cause: {cause} }})").cause is None


def test_a_long_message_is_cut(fail: Fail) -> None:
    error = fail("throw new Error('x'.repeat(1e7))")
    assert error.name == "Error"
    assert set(error.message[:1000]) == {"x"}
    assert len(error.message) < 20_000


def test_an_error_in_a_timer_ends_a_snippet_that_has_not_returned(executor: SnippetExecutor) -> None:
    result = executor.execute(
        "setTimeout(() => { throw new Error('first') }, 1); setTimeout(() => console.log('second'), 30);"
        "await new Promise(done => setTimeout(done, 60)); return 1"
    )
    assert result.error is not None and result.error.message == "first"
    assert result.logs == ()


def test_a_rejection_that_nobody_handles_does_not_end_a_snippet(run: Run) -> None:
    # On no executor can a snippet listen for these: what nobody awaits is nobody's error.
    assert run("Promise.reject(new Error('x')); return 1") == 1
    assert run("Promise.reject(new Error('x')); await new Promise(done => setTimeout(done, 20)); return 2") == 2
    assert run("(async () => { throw new Error('x') })(); await codemode.tool(); return 3", {"tool": lambda: None}) == 3


def test_a_rejection_that_is_handled_late_does_not_end_a_snippet(run: Run) -> None:
    assert (
        run(
            "const failing = Promise.reject(new Error('x')); await new Promise(done => setTimeout(done, 20));"
            "return failing.catch(error => error.message)"
        )
        == "x"
    )


def test_what_happens_after_the_return_is_nobodys_error(run: Run) -> None:
    for late in (
        "Promise.reject(new Error('x'))",
        "setTimeout(() => { throw new Error('x') }, 0)",
        "setInterval(() => { throw new Error('x') }, 0)",
        "Promise.resolve().then(() => { throw new Error('x') })",
        "(async () => { for (let i = 0; i < 100; i++) await i; throw new Error('x') })()",
    ):
        assert run(f"{late}; return 1") == 1
        assert run("return 2") == 2


def test_a_throw_after_return_in_finally_wins(run: Run) -> None:
    assert run("try { throw new Error('x') } finally { return 1 }") == 1


def test_errors_keep_their_identity_inside_the_snippet(run: Run) -> None:
    assert (
        run("const mine = new Error('x'); try { throw mine } catch (error) { return error === mine && error instanceof Error }")
        is True
    )


def test_check_raises_with_the_whole_result(executor: SnippetExecutor) -> None:
    with pytest.raises(SnippetFailed, match="TypeError: boom") as info:
        executor.execute("console.log('log'); throw new TypeError('boom')").check()
    assert info.value.result.logs[0].text == "log"


def test_a_result_that_failed_has_no_value(executor: SnippetExecutor) -> None:
    result = executor.execute("throw new Error('x')")
    assert (result.ok, result.value, result.is_undefined) == (False, None, False)
    assert result.executor == executor.name


@pytest.mark.difference("error-lines")
def test_capture_stack_trace_works(run: Run) -> None:
    stack = run("\nconst o = {}; Error.captureStackTrace(o); return o.stack")
    assert "snippet.js:2:21" in stack
