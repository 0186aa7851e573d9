"""What a snippet writes to the console arrives as log entries, and nothing that it logs can hurt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_sandbox import Limits, SnippetExecutor

Run = Callable[..., Any]
MakeExecutor = Callable[..., SnippetExecutor]

TEXTS = {
    "primitives": ("'a', 1, true, null, undefined, 5n, Symbol('s')", "a 1 true null undefined 5n Symbol(s)"),
    "special numbers": ("-0, NaN, Infinity, 1e21", "-0 NaN Infinity 1e+21"),
    "nothing": ("", ""),
    "empty string": ("''", ""),
    "two lines": ("'a\\nb'", "a\nb"),
    "objects": ("{ a: 1, b: 'x', c: [1, { d: null }] }", "{ a: 1, b: 'x', c: [ 1, { d: null } ] }"),
    "empty objects": ("{}, []", "{} []"),
    "cycle": ("(() => { const a = { n: 1 }; a.self = a; return a })()", "{ n: 1, self: [Circular] }"),
    "functions": ("function f() {}, class A {}, () => 1", "[Function: f] [Function: A] [Function (anonymous)]"),
    "instance": ("new (class Point { x = 1 })()", "Point { x: 1 }"),
    "null prototype": ("Object.create(null)", "[Object: null prototype] {}"),
    "date and regexp": ("/x/g", "/x/g"),
    "sparse array": ("[1, , 3]", "[ 1, , 3 ]"),
    "symbol keys": ("{ [Symbol('k')]: 1 }", "{ [Symbol(k)]: 1 }"),
    "%s": ("'%s is %s', 'a', 1", "a is 1"),
    "%d %i %f": ("'%d %i %f', '42.5', '42.5', '1.5'", "42.5 42 1.5"),
    "%d of an object": ("'%d', {}", "NaN"),
    "%j": ("'%j', { a: [1] }", '{"a":[1]}'),
    "%j of a cycle": ("'%j', (() => { const a = {}; a.a = a; return a })()", "[cannot be shown as JSON]"),
    "%o %O": ("'%o %O', { a: 1 }, [2]", "{ a: 1 } [ 2 ]"),
    "%c": ("'a%cb', 'color: red'", "ab"),
    "%%": ("'100%% %s', 'sure'", "100% sure"),
    "a directive without argument": ("'%s %s', 'a'", "a %s"),
    "one argument is no format": ("'%s %%'", "%s %%"),
    "arguments left over": ("'%s', 'a', 'b', { c: 1 }", "a b { c: 1 }"),
    "a percent sign alone": ("'100%', 5", "100% 5"),
    "directives in arguments": ("'%s', '%s', 'x'", "%s x"),
    "replacement patterns": ("'%s|', '$& $1 $`'", "$& $1 $`|"),
    "control characters": ("'\\u001b[31mred\\u0007\\0\\r'", "\x1b[31mred\x07\0\r"),
    "bidi characters": ("'\\u202eabc'", "\u202eabc"),
    "astral characters": ("'😀', { a: '😀' }", "😀 { a: '😀' }"),
    "line separators": ("'a\\u2028b\\u2029c'", "a\u2028b\u2029c"),
    "lone surrogate": ("'\\ud800 lone'", "\ufffd lone"),
    "lone surrogate inside": ("{ a: '\\udc00' }", "{ a: '\ufffd' }"),
    "toString is not called": ("{ toString() { throw 1 } }", "{ toString: [Function: toString] }"),
    "a custom inspector is not called": (
        "{ inspect() { throw 1 }, [Symbol.for('nodejs.util.inspect.custom')]() { throw 1 } }",
        "{ inspect: [Function: inspect], [Symbol(nodejs.util.inspect.custom)]: [Function: [nodejs.util.inspect.custom]] }",
    ),
}

HOSTILE = {
    "a getter that throws": "{ get a() { throw new Error('no') } }",
    "a message that throws": "Object.defineProperty(new Error('x'), 'message', { get() { throw 1 } })",
    "a stack that throws": "Object.defineProperty(new Error('x'), 'stack', { get() { throw 1 } })",
    "a stack that is no string": "Object.assign(new Error('x'), { stack: { toString() { throw 1 } } })",
    "a name that throws": "Object.defineProperty(new Error('x'), 'name', { get() { throw 1 } })",
    "a toStringTag that throws": "{ get [Symbol.toStringTag]() { throw 1 } }",
    "a constructor that throws": "Object.create({ get constructor() { throw 1 } })",
    "a length that throws": "Object.defineProperty([], 'x', { get() { throw 1 }, enumerable: true })",
    "deep nesting": "(() => { let o = []; for (let i = 0; i < 1e5; i++) o = [o]; return o })()",
    "a long chain of prototypes": "(() => { let o = {}; for (let i = 0; i < 1e4; i++) o = Object.create(o); return o })()",
}

PROXIES = {
    "traps that throw": "new Proxy({}, new Proxy({}, { get() { throw new Error('trap') } }))",
    "a revoked proxy": "(() => { const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); return proxy })()",
    "a prototype trap that throws": "new Proxy(new Error('x'), { getPrototypeOf() { throw 1 } })",
    "an endless chain of prototypes": "(() => { const p = new Proxy({}, { getPrototypeOf: () => p }); return p })()",
}


@pytest.mark.parametrize("case", TEXTS)
def test_console_log_formats(executor: SnippetExecutor, case: str) -> None:
    arguments, expected = TEXTS[case]
    result = executor.execute(f"console.log({arguments})").check()
    assert [entry.text for entry in result.logs] == [expected]
    assert result.logs[0].level == "log"


def test_each_method_has_its_level(executor: SnippetExecutor) -> None:
    result = executor.execute("for (const level of ['log', 'info', 'warn', 'error', 'debug']) console[level](level + '!')").check()
    assert [(entry.level, entry.text) for entry in result.logs] == [
        ("log", "log!"),
        ("info", "info!"),
        ("warn", "warn!"),
        ("error", "error!"),
        ("debug", "debug!"),
    ]
    assert result.output == "log!\ninfo!\nwarn!\nerror!\ndebug!\n"


def test_entries_keep_their_order_and_tell_their_time(executor: SnippetExecutor) -> None:
    result = executor.execute(
        "console.log('first'); await new Promise(done => setTimeout(done, 60)); console.log('second'); console.log('third')"
    ).check()
    assert [entry.text for entry in result.logs] == ["first", "second", "third"]
    first, second, third = (entry.time for entry in result.logs)
    # The host may be late to hear of the first one, but never early to hear of the second.
    assert 0 < first < second <= third <= result.duration
    assert second >= 0.055


def test_groups_indent(executor: SnippetExecutor) -> None:
    result = executor.execute(
        "console.group('G'); console.log('in\\nside'); console.groupCollapsed(); console.warn('deep'); console.groupEnd();"
        "console.groupEnd(); console.log('out'); console.groupEnd(); console.log('still out')"
    ).check()
    assert [entry.text for entry in result.logs] == ["G", "  in\n  side", "    deep", "out", "still out"]


def test_counters_count(executor: SnippetExecutor) -> None:
    result = executor.execute(
        "console.count(); console.count(); console.count('x'); console.count('__proto__'); console.countReset(); console.count()"
    ).check()
    assert [entry.text for entry in result.logs] == ["default: 1", "default: 2", "x: 1", "__proto__: 1", "default: 1"]


def test_assertions_speak_only_when_they_fail(executor: SnippetExecutor) -> None:
    result = executor.execute(
        "console.assert(true, 'not this'); console.assert(false); console.assert(0, 'a %s', 1); console.assert('', { a: 1 })"
    ).check()
    assert [entry.level for entry in result.logs] == ["error"] * 3
    assert [entry.text for entry in result.logs] == ["Assertion failed", "Assertion failed: a 1", "Assertion failed { a: 1 }"]


def test_the_other_methods_exist(executor: SnippetExecutor) -> None:
    result = executor.execute(
        "console.dir({ a: 1 }); console.table([1]); console.trace('here'); console.time('t'); console.timeLog('t'); console.timeEnd('t');"
        "console.timeEnd('t')"
    ).check()
    texts = [entry.text for entry in result.logs]
    assert texts[:2] == ["{ a: 1 }", "[ 1 ]"]
    assert texts[2].startswith("here")
    assert texts[3].startswith("t: ") and texts[3].endswith(" ms")
    assert texts[5] == "t: no such timer"


def test_methods_work_detached(executor: SnippetExecutor) -> None:
    result = executor.execute("const { log } = console; log('alone'); ['a'].forEach(console.log)").check()
    assert [entry.text for entry in result.logs] == ["alone", "a 0 [ 'a' ]"]


def test_an_error_is_logged_with_name_and_message(executor: SnippetExecutor) -> None:
    result = executor.execute("console.error(new TypeError('boom')); console.log('%s', new RangeError('bang'))").check()
    first, second = (entry.text for entry in result.logs)
    assert first.splitlines()[0] == "TypeError: boom"
    assert second.splitlines()[0] == "RangeError: bang"


@pytest.mark.difference("error-lines")
def test_a_logged_error_shows_the_snippets_own_lines_only(executor: SnippetExecutor) -> None:
    result = executor.execute("\nfunction f() {\n  return new Error('boom')\n}\nconsole.error(f())").check()
    lines = result.logs[0].text.splitlines()
    assert lines[0] == "Error: boom"
    assert [line.strip() for line in lines[1:]] == ["at f (snippet.js:3:10)", "at snippet.js:5:15"]


@pytest.mark.parametrize("case", HOSTILE)
def test_logging_a_hostile_object_does_no_harm(executor: SnippetExecutor, case: str) -> None:
    result = executor.execute(f"console.log('before'); console.log({HOSTILE[case]}); console.log('after'); return 1")
    assert result.check().value == 1
    texts = [entry.text for entry in result.logs]
    assert len(texts) == 3
    assert (texts[0], texts[2]) == ("before", "after")
    assert texts[1]


@pytest.mark.difference("no-proxy")
@pytest.mark.parametrize("case", PROXIES)
def test_logging_a_hostile_proxy_does_no_harm(executor: SnippetExecutor, case: str) -> None:
    result = executor.execute(f"console.log({PROXIES[case]}); console.log('%s %d', {PROXIES[case]}, {PROXIES[case]}); return 1")
    assert result.check().value == 1
    assert len(result.logs) == 2


def test_an_array_that_changes_while_it_is_logged_does_no_harm(run: Run) -> None:
    assert (
        run(
            "const a = [1]; Object.defineProperty(a, 0, { get() { a.push(1); return 1 }, enumerable: true }); console.log(a); return 1"
        )
        == 1
    )


def test_logs_of_a_snippet_that_fails_are_kept(executor: SnippetExecutor) -> None:
    result = executor.execute("console.log('one'); console.warn('two'); throw new Error('three')")
    assert not result.ok
    assert [entry.text for entry in result.logs] == ["one", "two"]


def test_what_is_logged_after_the_return_is_lost(executor: SnippetExecutor) -> None:
    result = executor.execute("setTimeout(() => console.log('late'), 0); console.log('early'); return 1").check()
    assert [entry.text for entry in result.logs] == ["early"]
    assert executor.execute("return 2").check().logs == ()


def test_text_past_the_limit_is_dropped_and_said_so(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(output=100))
    result = executor.execute("for (let i = 0; i < 50; i++) console.log('0123456789'); return 'done'").check()
    assert result.value == "done"
    assert result.truncated
    assert 90 <= len(result.output.strip()) <= 100
    assert set(result.output.split()) <= {"0123456789", *("0123456789"[:end] for end in range(10))}
    assert result.usage.output == 50 * 11


def test_text_at_the_limit_is_kept_whole(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(output=22))
    result = executor.execute("console.log('0123456789'); console.log('0123456789')").check()
    assert result.output == "0123456789\n0123456789\n"
    assert not result.truncated


def test_the_limit_counts_bytes_and_cuts_between_characters(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(output=10))
    result = executor.execute("console.log('ééééééééé'); return 1").check()
    assert result.truncated
    assert result.output.strip() in ("éééé", "ééééé")
    result = executor.execute("console.log('a😀😀😀'); return 1").check()
    assert result.truncated
    assert result.output.strip() in ("a😀", "a😀😀")


def test_an_output_limit_of_zero_keeps_nothing(make_executor: MakeExecutor) -> None:
    result = make_executor(limits=Limits(output=0)).execute("console.log('x'); return 1").check()
    assert result.output.strip() == ""
    assert result.truncated


def test_sixteen_times_the_limit_ends_the_snippet(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(output=1000))
    result = executor.execute("for (;;) console.log('0123456789')", timeout=10)
    assert result.error is not None
    assert (result.error.kind, result.error.limit) == ("output", "output")
    assert "1000 bytes" in result.error.message
    assert result.truncated
    assert len(result.output.strip()) <= 1000
    assert executor.execute("return 2").check().value == 2


def test_one_entry_larger_than_sixteen_times_the_limit_ends_the_snippet(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(output=1000))
    result = executor.execute("console.log('x'.repeat(1e6)); await new Promise(() => {})", timeout=10)
    assert result.error is not None
    assert (result.error.kind, result.error.limit) == ("output", "output")
    assert executor.execute("return 2").check().value == 2


def test_a_megabyte_of_awkward_text_crosses_whole(run: Run, executor: SnippetExecutor) -> None:
    # Every character here grows sixfold on the wire.
    result = executor.execute("console.log('\\u0001'.repeat(1000000)); return 1").check()
    assert result.logs[0].text == "\x01" * 1_000_000
    assert not result.truncated


def test_ten_thousand_entries_arrive_in_order(executor: SnippetExecutor) -> None:
    result = executor.execute("for (let i = 0; i < 10000; i++) console.log(i)").check()
    assert [entry.text for entry in result.logs] == [str(i) for i in range(10_000)]


def test_a_report_shows_no_control_character_raw(executor: SnippetExecutor) -> None:
    result = executor.execute("console.log('\\u001b]0;owned\\u0007\\u202e'); throw new Error('\\u001b[2J')")
    for text in (repr(result), str(result.error)):
        assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert "\\x1b" in repr(result)
