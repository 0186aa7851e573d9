"""Hostile snippets end within their limits, for the right reason, and leave an executor that works."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from pytest_sandbox import Limits, SnippetExecutor

MakeExecutor = Callable[..., SnippetExecutor]
Runners = Callable[[], dict[int, psutil.Process]]

TIMEOUT = 0.4
"""Seconds that an endless snippet gets here."""

PUNCTUAL = 2.0
"""Seconds past its deadline that an execution may take on a busy machine; on a quiet one it is a quarter of a second."""

RECOVERY = 2.0
"""Seconds in which the next execution after an attack has its result, on a quiet machine."""

MIB = 1024 * 1024

ENDLESS = {
    "busy loop": "for (;;) {}",
    "busy loop after an await": "await 0; for (;;) {}",
    "busy loop in a timer": "setTimeout(() => { for (;;) {} }, 1); await new Promise(() => {})",
    "busy loop in a tool's continuation": "await codemode.now(); for (;;) {}",
    "microtask storm": "const storm = () => Promise.resolve().then(storm); await storm()",
    "queueMicrotask storm": "const storm = () => queueMicrotask(storm); storm(); await new Promise(() => {})",
    "timer storm": "const storm = () => { setTimeout(storm, 0); setTimeout(storm, 0) }; storm(); await new Promise(() => {})",
    "promise that never settles": "await new Promise(() => {})",
    "tool that never returns": "await codemode.never()",
    "catastrophic regular expression": "return /^(a+)+$/.test('a'.repeat(60) + 'b')",
    "getter that loops": "return { get a() { for (;;) {} } }",
    "proxy trap that loops": "return { a: new Date(0), get b() { while (true) {} } }",
    "thenable that loops": "return { then() { for (;;) {} } }",
    "error message that loops": "throw { get message() { for (;;) {} } }",
    "iterator that never ends": "for (const x of (function* () { for (;;) yield 1 })()) {}",
    "generator in an argument": "await codemode.now({ get a() { for (;;) {} } })",
    "console argument that loops": "console.log({ get a() { for (;;) {} } }); for (;;) {}",
    "toString that loops": "return `${{ toString() { for (;;) {} } }}`",
    "sorting with a comparator that lies": "const a = Array.from({ length: 3e5 }, Math.random); for (;;) a.sort(() => Math.random() - 0.5)",
    "one BigInt to text": "const n = 7n ** 30000000n; return n.toString().length",
    "storm of promises that are rejected": "for (;;) await Promise.reject(1).catch(() => {})",
    "async generator that never ends": "for await (const x of (async function* () { for (;;) yield 1 })()) {}",
    "url of many parts": "for (;;) new URL('http://a/' + 'x/../'.repeat(1e4))",
    "BigInt to text": "let n = 3n ** 2000000n; for (;;) n.toString()",
    "stringify again and again": "const a = Array.from({ length: 2e5 }, (_, i) => ({ i })); for (;;) JSON.stringify(a)",
}

GREEDY = {
    "arrays": "const a = []; for (;;) a.push(new Array(1e4).fill(1.5))",
    "one large array": "const a = []; for (let i = 0; i < 64; i++) a.push(new Array(4e6).fill(i + 0.5)); return a.length",
    "strings that double": "let s = 'ab'; const a = []; for (;;) { s = (s + s).slice(0, 2e7); a.push(s + a.length) ; a.at(-1).charCodeAt(9) }",
    "objects": "const a = []; for (;;) a.push({ a: a.length, b: [a.length] })",
    "closures": "const a = []; for (let i = 0; ; i++) a.push(() => i)",
    "map": "const m = new Map(); for (let i = 0; ; i++) m.set(i, { i })",
    "array buffers": "const a = []; for (;;) { const b = new Uint8Array(4e6); b.fill(1); a.push(b) }",
    "resizable array buffers": "const a = []; for (;;) { const b = new ArrayBuffer(8, { maxByteLength: 8e6 }); b.resize(8e6);"
    " new Uint8Array(b).fill(1); a.push(b) }",
    "one huge array": "return new Array(1e8).fill(0).length",
    "spread that never ends": "return [...(function* () { for (;;) yield 1 })()].length",
    "promises that never settle": "const a = []; for (;;) a.push(new Promise(() => {}))",
    "timers": "for (;;) setTimeout(() => {}, 1e9)",
    "one huge text in parts": "const a = []; for (let i = 0; ; i++) a.push('x'.repeat(1e6) + i, JSON.stringify(a.at(-1)))",
    "giant JSON": "const a = Array.from({ length: 3e6 }, (_, i) => 'item ' + i); for (let i = 0; ; i++) a.push(JSON.stringify(a))",
    "floats": "const a = []; for (;;) a.push(new Float64Array(5e5).fill(a.length))",
}


def goes_on(executor: SnippetExecutor) -> None:
    """Check that an executor works, within a time that grows with what else the machine has to do."""
    started = time.monotonic()
    assert executor.execute("return 1+1").check().value == 2
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert time.monotonic() - started < RECOVERY * busy


def attack(executor: SnippetExecutor, code: str, tools: dict[str, Callable[..., object]]) -> None:
    """Execute an endless snippet whose first act is a witness; it must end at its timeout, and the executor must go on."""
    # Where the machine is too busy to come to the witness in time, once more with more time.
    for timeout in (TIMEOUT, 8 * TIMEOUT):
        result = executor.execute("console.log('begun');\n" + code, tools, timeout=timeout)
        if result.logs:
            break
    assert [entry.text for entry in result.logs][:1] == ["begun"], "the attack did not run"
    assert result.error is not None, result
    assert (result.error.kind, result.error.limit) == ("timeout", "timeout"), result
    assert f"within {timeout:g} s" in result.error.message
    assert timeout <= result.duration < timeout + PUNCTUAL
    goes_on(executor)


@pytest.mark.parametrize("code", ENDLESS.values(), ids=ENDLESS.keys())
def test_an_endless_snippet_is_ended_at_its_timeout_and_the_executor_goes_on(executor: SnippetExecutor, code: str) -> None:
    over = threading.Event()
    try:
        attack(executor, code, {"never": lambda: over.wait(60), "now": lambda *_: None})
    finally:
        over.set()


@pytest.mark.parametrize("code", GREEDY.values(), ids=GREEDY.keys())
def test_a_greedy_snippet_is_ended_at_its_memory_limit_and_the_executor_goes_on(small_executor: SnippetExecutor, code: str) -> None:
    result = small_executor.execute("console.log('begun');\n" + code)
    assert result.error is not None, result
    refused_by_the_engine = result.error.kind == "runtime" and result.error.name == "RangeError"
    assert (result.error.kind, result.error.limit) == ("memory", "memory") or refused_by_the_engine, result
    assert [entry.text for entry in result.logs][:1] == ["begun"], "the attack did not run"
    if result.usage.memory is not None:
        # Sampled every 20 ms; a machine that is busy looks late.
        assert result.usage.memory < 1024 * MIB
    goes_on(small_executor)


def test_a_snippet_within_its_memory_limit_is_left_alone(make_executor: MakeExecutor) -> None:
    """The control: what is ended above is ended for its size."""
    executor = make_executor(limits=Limits(memory=256 * MIB))
    code = "const a = []; for (let i = 0; i < 40; i++) a.push(new Uint8Array(1e6).fill(1)); return a.length"
    assert executor.execute(code).check().value == 40


def test_a_log_flood_is_ended_and_what_fits_is_kept(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(output=10_000))
    result = executor.execute("for (;;) console.log('x'.repeat(99))")
    assert result.error is not None
    assert (result.error.kind, result.error.limit) == ("output", "output")
    assert "10000" in result.error.message
    assert result.truncated
    assert 9_000 <= len(result.output) <= 10_000
    assert result.usage.output > 16 * 10_000
    assert executor.execute("return 1+1").check().value == 2


def test_logs_past_the_limit_are_dropped_and_the_snippet_goes_on(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(output=100))
    result = executor.execute("console.log('a'.repeat(60)); console.log('b'.repeat(60)); console.log('c'); return 'done'")
    assert result.check().value == "done"
    assert result.truncated
    assert len(result.output) <= 101
    assert result.logs[0].text == "a" * 60


def test_logs_within_the_limit_are_not_called_truncated(make_executor: MakeExecutor) -> None:
    result = make_executor(limits=Limits(output=100)).execute("console.log('a'.repeat(99)); return 1")
    assert (result.truncated, result.output) == (False, "a" * 99 + "\n")


def test_a_result_past_its_limit_names_the_limit(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(result=10_000))
    result = executor.execute("return 'x'.repeat(20000)")
    assert result.error is not None
    assert (result.error.kind, result.error.limit) == ("limit", "result")
    assert "10000" in result.error.message
    assert executor.execute("return 'x'.repeat(9000)").check().value == "x" * 9000


def test_a_small_value_with_shared_parts_cannot_grow_without_end(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(result=100_000))
    result = executor.execute("let a = ['lol']; for (let i = 0; i < 60; i++) a = [a, a]; return a")
    assert result.error is not None
    assert (result.error.kind, result.error.limit) == ("limit", "result")


def test_a_flood_of_tool_calls_is_ended(make_executor: MakeExecutor) -> None:
    calls = []
    executor = make_executor(limits=Limits(tool_calls=50))
    result = executor.execute("for (;;) await codemode.count()", {"count": lambda: calls.append(1)})
    assert result.error is not None
    assert (result.error.kind, result.error.limit) == ("limit", "tool_calls")
    assert "50" in result.error.message
    assert len(calls) == 50
    assert executor.execute("return 1+1").check().value == 2


def test_a_budget_of_no_tool_calls_allows_none(make_executor: MakeExecutor) -> None:
    calls = []
    result = make_executor(limits=Limits(tool_calls=0)).execute("await codemode.count()", {"count": lambda: calls.append(1)})
    assert result.error is not None
    assert result.error.limit == "tool_calls"
    assert calls == []


def test_a_flood_of_tool_calls_that_nobody_awaits_is_ended(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(tool_calls=200, timeout=20))
    result = executor.execute("for (;;) codemode.count('x')", {"count": lambda value: value})
    assert result.error is not None
    assert (result.error.kind, result.error.limit) in (("limit", "tool_calls"), ("memory", "memory")), result
    assert executor.execute("return 1+1").check().value == 2


def test_an_execution_ends_within_a_quarter_of_a_second_of_its_deadline(executor: SnippetExecutor) -> None:
    slack = 1.0 if executor.name == "container" else 0.25
    executor.execute("return 1").check()
    # The best of several: this is about what the executor can do, not about what else the machine has to do.
    late = min(executor.execute("for (;;) {}", timeout=0.3).duration - 0.3 for _ in range(4))
    assert 0 <= late < slack


@pytest.mark.difference("no-proxy")
@pytest.mark.parametrize(
    "code",
    [
        "return new Proxy({}, { ownKeys() { for (;;) {} } })",
        "return new Proxy({}, { getPrototypeOf() { for (;;) {} } })",
        "throw new Proxy({}, { get() { for (;;) {} } })",
        "console.log(new Proxy({}, { get() { for (;;) {} }, ownKeys() { for (;;) {} } }))",
        "await codemode.now(new Proxy([], { get() { for (;;) {} } }))",
    ],
)
def test_a_trap_that_hangs_is_ended_like_any_loop(executor: SnippetExecutor, code: str) -> None:
    attack(executor, code, {"now": lambda *_: None})


def test_cpu_time_has_a_limit_of_its_own(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(cpu_time=0.3, timeout=20))
    result = executor.execute("for (;;) {}")
    assert result.error is not None
    assert (result.error.kind, result.error.limit) == ("limit", "cpu_time")
    assert executor.execute("await new Promise((done) => setTimeout(done, 500)); return 1").check().value == 1


def test_after_a_timeout_no_runner_goes_on(make_executor: MakeExecutor, runners: Runners, subject: Any) -> None:
    if subject.executor == "container":
        pytest.skip("its runner is in a container; tests/engines looks for it there")
    before = set(runners())
    executor = make_executor(max_runners=1)
    executor.execute("return 1").check()
    deadline = time.monotonic() + 30
    while not (busy := [process for pid, process in runners().items() if pid not in before]):
        assert time.monotonic() < deadline, "there is no runner to be ended"
        time.sleep(0.01)  # one for each execution is started in the background
    assert executor.execute("for (;;) {}", timeout=TIMEOUT).error is not None
    executor.close()
    _gone, alive = psutil.wait_procs([process for pid, process in runners().items() if pid not in before] + busy, timeout=10)
    assert alive == []


def test_throwing_traps_are_the_snippets_own_errors(executor: SnippetExecutor) -> None:
    for code in (
        "return { get a() { throw new Error('trap') } }",
        "return [new (class { get a() { throw new Error('trap') } })()].map((x) => x.a)",
        "await codemode.take({ get a() { throw new Error('trap') } })",
    ):
        error = executor.execute(code, {"take": lambda value: value}).error
        assert error is not None
        assert error.kind == "runtime"
        assert "trap" in error.message


def test_a_rejection_after_the_return_hurts_nobody(executor: SnippetExecutor) -> None:
    result = executor.execute(
        "setTimeout(() => Promise.reject(new Error('late')), 5); Promise.reject(new Error('lost')); return 'fine'"
    )
    assert result.check().value == "fine"
    assert executor.execute("await new Promise((done) => setTimeout(done, 20)); return 1").check().value == 1


def test_usage_says_what_was_used(executor: SnippetExecutor) -> None:
    code = "console.log('abc'); await codemode.add(1); const end = Date.now() + 300; while (Date.now() < end); return 1"
    result = executor.execute(code, {"add": lambda a: a})
    assert result.check().usage.wall == result.duration >= 0.3
    assert result.usage.tool_calls == 1
    assert result.usage.output == 4
    assert result.usage.cpu is not None
    assert result.usage.cpu > 0  # in steps of 10 ms; on a busy machine, most of the time is not ours
    assert result.usage.memory is not None
    assert 10 * MIB < result.usage.memory < 512 * MIB
