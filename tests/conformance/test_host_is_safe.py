"""What a snippet must not do to whoever runs it: wedge the host, flood its memory, or break what comes after."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_sandbox import Limits, SnippetExecutor

Run = Callable[..., Any]
Fail = Callable[..., Any]
MakeExecutor = Callable[..., SnippetExecutor]

# After `a?.of`, the parser acorn takes a slash for the beginning of a regular expression, and V8 takes it for a division.
HIDDEN_CODE = """
    let raw, q, g = 1; const a = { of: 4 };
    const z = a?.of
    /(q=(async function(){try{await(import("node:fs"))}catch(e){raw=e}})())/g
    await q; return raw.constructor.constructor("return process")().version
"""
OVERFLOW = """
    let found;
    function deep() {
      try { deep(); } catch {}
      if (!found) try { return new Error("x").stack; } catch (error) { if (!(error instanceof RangeError)) found = error; }
    }
    deep();
    return found === undefined ? "nothing" : found.constructor.constructor("return process")().version;
"""


def test_code_that_a_parser_takes_for_a_literal_leads_nowhere(fail: Fail) -> None:
    assert fail(HIDDEN_CODE).name in ("SyntaxError", "EvalError", "TypeError")


def test_a_stack_that_overflows_while_it_is_written_down_leads_nowhere(executor: SnippetExecutor) -> None:
    result = executor.execute(OVERFLOW)
    assert result.value == "nothing" if result.ok else result.error is not None and result.error.name in ("EvalError", "TypeError")


def test_keywords_in_literals_and_comments_mean_what_they_say(run: Run) -> None:
    code = r"""
        // with import(x) in a comment, catch (e)
        const s = "tea with milk, import('x'), \\with"; const t = `catch (${"async"}) with`;
        try { null.x } catch (e) { /* catch( */ }
        const o = { with: 1, catch: 2, "import": 3, async: 4 };
        return [s, /tea with milk/.source, t, String.raw`with \import(`, /with\s*\(x/.test("with (x"), await (async () => 5)(), Object.keys(o)];
    """
    assert run(code) == [
        "tea with milk, import('x'), \\with",
        "tea with milk",
        "catch (async) with",
        "with \\import(",
        True,
        5,
        ["with", "catch", "import", "async"],
    ]


def test_a_snippet_that_goes_on_after_its_result_has_not_finished(narrow_executor: SnippetExecutor) -> None:
    result = narrow_executor.execute("(async () => { for (;;) await null; })(); return 1", timeout=0.5)
    assert result.error is not None and result.error.kind == "timeout"
    after = narrow_executor.execute("return 2").check()
    assert after.value == 2 and after.duration < 5


@pytest.mark.parametrize(
    "code",
    [
        "return new Set(Array.from({ length: 20000 }, (_, i) => BigInt(i) * (2n ** 61n - 1n)))",
        "return new Map(Array.from({ length: 20000 }, (_, i) => [BigInt(i) * (2n ** 61n - 1n), 1]))",
        "return { ['a'.repeat(4e6)]: Array.from({ length: 4000 }, () => []) }",
    ],
    ids=["set of numbers with one hash", "map of numbers with one hash", "long key"],
)
def test_a_value_that_is_made_to_be_slow_to_read_is_read_or_refused_quickly(narrow_executor: SnippetExecutor, code: str) -> None:
    started = time.monotonic()
    result = narrow_executor.execute(code, timeout=60)
    # Seconds on a busy machine; without a guard, minutes on an idle one.
    assert time.monotonic() - started < 20
    assert result.ok or (result.error is not None and "hash" in result.error.message)


def test_types_that_the_stripper_breaks_on_break_no_later_ones(narrow_executor: SnippetExecutor) -> None:
    assert not narrow_executor.execute("(" * 1000, language="ts").ok
    assert narrow_executor.execute("const x: number = 3; return x", language="ts").check().value == 3


def test_a_tool_that_ends_as_its_time_is_up_has_one_outcome(executor: SnippetExecutor) -> None:
    code = """
        const ended = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => codemode.nap(i)));
        return ended.map(({ status, reason }) => status === "fulfilled" || reason.name);
    """
    for _ in range(5):
        outcomes = executor.execute(code, {"nap": lambda i: time.sleep(0.02 + i * 0.0002)}, tool_timeout=0.022).check().value
        assert len(outcomes) == 20 and set(outcomes) <= {True, "ToolTimeout"}


class _Iterates(dict[Any, Any]):
    def items(self) -> Any:
        raise RuntimeError("it does not iterate")


class _Text(str):
    def __str__(self) -> str:
        raise RuntimeError("it has no text")


class _Exits(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


@pytest.mark.parametrize("value", [_Iterates(a=1), _Text("x"), _Exits()], ids=["mapping", "text", "exception"])
def test_an_object_that_fails_while_it_is_read_fails_the_call_alone(run: Run, value: Any) -> None:
    def tool() -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    told = run(
        "try { await codemode.tool(); return 'nothing' } catch (error) { return `${error.name}: ${error.message}` }", {"tool": tool}
    )
    assert "cannot be" in told


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_what_calls_hold_in_the_hosts_memory_is_limited(make_executor: MakeExecutor, gate: threading.Event) -> None:
    executor = make_executor(limits=Limits(result=2**20))
    code = "const s = 'x'.repeat(1e6); for (let i = 0; i < 300; i++) { codemode.slow(s); await null; } await new Promise(() => {})"
    result = executor.execute(code, {"slow": lambda _text: gate.wait(60)}, timeout=30)
    assert result.error is not None and (result.error.kind, result.error.limit) == ("limit", "result")
    assert "its tool calls hold" in result.error.message


def test_abandoned_tools_count_as_running(executor: SnippetExecutor, gate: threading.Event) -> None:
    before = threading.active_count()
    code = "await Promise.allSettled(Array.from({ length: 600 }, () => codemode.hang()))"
    executor.execute(code, {"hang": lambda: gate.wait(60)}, tool_timeout=0.05, timeout=1.5)
    assert threading.active_count() - before < 200
