"""Nothing survives from one execution to the next."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from pytest_sandbox import Limits, SnippetExecutor, create_executor

Run = Callable[..., Any]
MakeExecutor = Callable[..., SnippetExecutor]

# What one execution leaves, and how the next would notice; the look must find it within the same execution (the control).
TRACES = {
    "global variable": ("globalThis.leak = 1; leaky = 1", "typeof leak !== 'undefined' || typeof leaky !== 'undefined'"),
    "property of a builtin": ("Object.leak = 1; Array.prototype.leak = 1", "Object.leak !== undefined || [].leak !== undefined"),
    "property of the console": ("console.leak = 1", "console.leak !== undefined"),
    "property of codemode": ("codemode.leak = 1", "Object.keys(codemode).includes('leak')"),
    "registered symbol's description": ("globalThis[Symbol.for('leak')] = 1", "globalThis[Symbol.for('leak')] !== undefined"),
    "what RegExp remembers": ("/(leak)/.exec('leak')", "RegExp.$1 === 'leak'"),
    "lastIndex of a literal": ("const look = () => /a/g.lastIndex; /a/g.exec('a')", "/a/g.lastIndex !== 0"),
    "polyfill's class": (
        "URL.leak = 1; URL.prototype.leak = 1",
        "URL.leak !== undefined || new URL('http://a/').leak !== undefined",
    ),
    "label of console.count": ("console.count('leak')", "false"),
}


@pytest.mark.parametrize(("leave", "look"), TRACES.values(), ids=TRACES.keys())
def test_an_execution_leaves_no_trace(narrow_executor: SnippetExecutor, leave: str, look: str) -> None:
    narrow_executor.execute(f"{leave}; return 1")
    for _ in range(2):
        assert narrow_executor.execute(f"return {look}").check().value is False


def test_what_is_looked_for_above_can_be_seen_within_an_execution(run: Run) -> None:
    """The control: a trace that can be left at all is seen by the same look."""
    assert run("/(leak)/.exec('leak'); return RegExp.$1 === 'leak'") is True
    assert run("const local = {}; local.leak = 1; return local.leak !== undefined") is True


def test_console_counters_begin_anew(executor: SnippetExecutor) -> None:
    for _ in range(2):
        assert executor.execute("console.count('x')").output == "x: 1\n"


def test_handles_of_timers_begin_anew(executor: SnippetExecutor) -> None:
    first = executor.execute("return [setTimeout(() => {}, 1), setTimeout(() => {}, 1)]").check().value
    assert first[0] != first[1]
    assert executor.execute("return [setTimeout(() => {}, 1), setTimeout(() => {}, 1)]").check().value == first


@pytest.mark.parametrize(
    "ending",
    [
        "throw new Error('x')",
        "return 1",
        "for (;;) {}",
        "return () => 1",
        "return ((",
        "codemode.nope()",
        "console.group('G'); return 2",
    ],
)
def test_the_way_in_which_an_execution_ends_leaves_no_trace_either(narrow_executor: SnippetExecutor, ending: str) -> None:
    narrow_executor.execute(
        f"globalThis.leak = 1; console.group('leak'); console.time('leak'); /(leak)/.test('leak'); {ending}", timeout=0.5
    )
    result = narrow_executor.execute(
        "console.log('flat'); console.timeEnd('leak'); return [typeof leak, RegExp.$1 === 'leak']"
    ).check()
    assert result.value == ["undefined", False]
    assert result.output == "flat\nleak: no such timer\n"


def test_timers_and_promises_of_an_execution_end_with_it(make_executor: Callable[..., SnippetExecutor]) -> None:
    executor = make_executor(max_runners=1)
    calls: list[str] = []
    tools = {"call": calls.append}
    executor.execute("setInterval(() => codemode.call('late'), 1); setTimeout(() => console.log('late'), 5); return 1", tools)
    later = executor.execute("await new Promise((done) => setTimeout(done, 100)); return 2", tools)
    assert later.check().value == 2
    assert later.output == ""
    assert "late" not in calls[1:], "a timer of the first execution called a tool of the second"


def test_a_tool_call_that_is_late_reaches_nobody(make_executor: Callable[..., SnippetExecutor]) -> None:
    import threading

    executor = make_executor(max_runners=1)
    release = threading.Event()

    def slow() -> str:
        release.wait(20)
        return "late"

    assert executor.execute("codemode.slow(); return 1", {"slow": slow}).check().value == 1
    release.set()
    assert executor.execute("return await codemode.quick()", {"quick": lambda: "quick"}).check().value == "quick"


def test_the_tools_of_one_execution_are_not_those_of_the_next(executor: SnippetExecutor) -> None:
    assert executor.execute("return await codemode.first()", {"first": lambda: 1}).check().value == 1
    result = executor.execute("return Object.keys(codemode)", {"second": lambda: 2})
    assert result.check().value == ["second"]
    error = executor.execute("await codemode.first()", {"second": lambda: 2}).error
    assert error is not None
    assert "second" in error.message


def test_what_big_executions_leave_behind_does_not_end_a_later_one(subject: Any, make_executor: MakeExecutor) -> None:
    # Each is well inside the limit; on one runner that is used again for ever, what they leave adds up beyond it.
    memory = 256 if subject.executor == "container" else 128  # a container has two processes
    executor = make_executor(limits=Limits(memory=memory * 2**20), max_runners=1)
    for _ in range(16):
        assert len(executor.execute("return 'x'.repeat(15e6)").check().value) == 15e6


@pytest.mark.parametrize("name", ["isolated-vm", "vm2"])
def test_a_process_of_its_own_for_each_execution_is_an_option(runners: Callable[[], Any], name: str) -> None:
    for fresh in ("realm", "process"):
        others = set(runners())
        with create_executor(name, fresh=fresh, max_runners=1) as executor:
            assert executor.info.fresh == fresh
            executor.execute("return 1").check()
            first = set(runners()) - others
            executor.execute("return 2").check()
            if fresh == "realm":
                assert first and first <= set(runners())
                continue
            executor.execute("return 3").check()
            deadline = time.monotonic() + 10
            while first & set(runners()):  # what has run is reaped in another thread
                assert time.monotonic() < deadline
                time.sleep(0.01)
