"""Tools: host callables that a snippet calls, several at a time, with values and errors crossing both ways."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import pytest

from pytest_sandbox import InvalidArgument, Limits, SnippetError, SnippetExecutor
from pytest_sandbox.snippets.tools import abandoned_tools

Run = Callable[..., Any]
Fail = Callable[..., SnippetError]
MakeExecutor = Callable[..., SnippetExecutor]

PATIENCE = 20.0
"""Seconds after which a wait in a tool gives up, so that a failure is no hang."""

EXECUTION_TIMEOUT = 30.0


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """An event that tools wait for, and that is set at the end, so that no thread is left behind."""
    gate = threading.Event()
    yield gate
    gate.set()


# -- calling ------------------------------------------------------------------------------------------------


class Counter:
    """Callables of several kinds."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def method(self, *args: Any) -> str:
        self.calls.append(args)
        return "method"

    def __call__(self, *args: Any) -> str:
        self.calls.append(args)
        return "instance"


class AsyncCallable:
    """An instance whose call is a coroutine function."""

    async def __call__(self, value: int) -> int:
        await asyncio.sleep(0)
        return value + 1


async def plus_one(value: int) -> int:
    await asyncio.sleep(0)
    return value + 1


def awaitable_plus_one(value: int) -> Any:
    return plus_one(value)


CALLABLES: dict[str, Callable[[int], Any]] = {
    "function": lambda value: value + 1,
    "bound method": (1).__add__,
    "partial": functools.partial(lambda other, value: value + other, 1),
    "coroutine function": plus_one,
    "partial of a coroutine function": functools.partial(plus_one),
    "instance with an async call": AsyncCallable(),
    "function that returns a coroutine": awaitable_plus_one,
}


@pytest.mark.parametrize("kind", CALLABLES)
def test_every_kind_of_callable_is_a_tool(run: Run, kind: str) -> None:
    assert run("return await codemode.tool(41)", {"tool": CALLABLES[kind]}) == 42


def test_arguments_are_positional_and_as_many_as_given(run: Run) -> None:
    counter = Counter()
    run(
        "await codemode.call(); await codemode.call(1); await codemode.method(1, undefined, null, 'x')",
        {"call": counter, "method": counter.method},
    )
    assert counter.calls == [(), (1,), (1, None, None, "x")]


def test_a_tool_that_returns_nothing_gives_null(run: Run) -> None:
    assert run("return (await codemode.tool()) === null", {"tool": lambda: None}) is True


def test_a_call_is_a_promise(run: Run) -> None:
    assert run("const call = codemode.tool(); return [call instanceof Promise, await call]", {"tool": lambda: 5}) == [True, 5]


def test_calls_in_a_row_keep_their_order(run: Run) -> None:
    seen: list[int] = []
    assert run("for (let i = 0; i < 50; i++) await codemode.tool(i); return 'done'", {"tool": seen.append}) == "done"
    assert seen == list(range(50))


def test_promise_all_keeps_the_order_of_results(run: Run) -> None:
    assert run("return Promise.all([3, 1, 2].map(n => codemode.square(n)))", {"square": lambda n: n * n}) == [9, 1, 4]


def test_sync_tools_overlap_under_promise_all(run: Run) -> None:
    # Each call waits until all three are inside: one after the other they would never get out.
    barrier = threading.Barrier(3)

    def meet(name: str) -> str:
        barrier.wait(PATIENCE)
        return name

    assert run("return Promise.all(['a', 'b', 'c'].map(codemode.meet))", {"meet": lambda name, *rest: meet(name)}) == [
        "a",
        "b",
        "c",
    ]


def test_async_tools_overlap_under_promise_all(run: Run) -> None:
    arrived: list[str] = []
    everybody: list[asyncio.Event] = []

    async def meet(name: str) -> str:
        if not everybody:
            everybody.append(asyncio.Event())
        arrived.append(name)
        if len(arrived) == 3:
            everybody[0].set()
        await asyncio.wait_for(everybody[0].wait(), PATIENCE)
        return name

    assert run("return Promise.all(['a', 'b', 'c'].map(name => codemode.meet(name)))", {"meet": meet}) == ["a", "b", "c"]


def test_sync_and_async_tools_overlap(run: Run) -> None:
    opened = threading.Event()

    def wait() -> bool:
        return opened.wait(PATIENCE)

    async def let_go() -> None:
        opened.set()

    assert run("const waiting = codemode.wait(); await codemode.letGo(); return waiting", {"wait": wait, "letGo": let_go}) is True


def test_the_snippet_runs_on_while_a_tool_is_busy(run: Run, gate: threading.Event) -> None:
    # The second tool opens the gate after timers have fired.
    code = """
    const slow = codemode.slow();
    let ticks = 0;
    while (ticks < 3) { await new Promise(done => setTimeout(done, 1)); ticks++ }
    await codemode.open();
    return [ticks, await slow]
    """
    assert run(code, {"slow": lambda: gate.wait(PATIENCE), "open": gate.set}) == [3, True]


def test_hundreds_of_calls_at_once_all_return(run: Run) -> None:
    code = "return (await Promise.all(Array.from({ length: 500 }, (_, i) => codemode.add(i, 1)))).reduce((a, b) => a + b)"
    assert run(code, {"add": lambda a, b: a + b}) == sum(range(501))


def test_three_megabytes_ten_times_both_ways(run: Run) -> None:
    blob = bytes(range(256)) * 12_000  # 3 MB

    def echo(value: bytes) -> bytes:
        assert value == blob
        return value

    code = """
    const blob = await codemode.get();
    const echoes = await Promise.all(Array.from({ length: 10 }, () => codemode.echo(blob)));
    return echoes.map(echo => echo.length).join() + echoes.every(echo => echo[0] === 0 && echo[255] === 255 && echo[2999999 % 256] === 2999999 % 256)
    """
    assert run(code, {"get": lambda: blob, "echo": echo}) == ",".join(["3072000"] * 10) + "true"


def test_a_three_megabyte_text_ten_times_both_ways(run: Run) -> None:
    text = "zehn Straßen \u2028 \0 😀 " * 100_000
    code = "const text = await codemode.get(); const all = await Promise.all([...Array(10)].map(() => codemode.echo(text)));"
    assert run(f"{code} return all.every(echo => echo === text)", {"get": lambda: text, "echo": lambda value: value}) is True


def test_tools_can_be_called_from_timers_and_microtasks(run: Run) -> None:
    code = """
    return new Promise(done => setTimeout(() => queueMicrotask(async () => done(await codemode.tool(1))), 1))
    """
    assert run(code, {"tool": lambda value: value + 1}) == 2


def test_a_call_that_nobody_awaits_is_made(executor: SnippetExecutor) -> None:
    called = threading.Event()
    executor.execute("codemode.tool(); return 1", {"tool": called.set}).check()
    assert called.wait(PATIENCE)


def test_a_snippet_that_returns_leaves_no_call_pending(executor: SnippetExecutor, gate: threading.Event) -> None:
    result = executor.execute("codemode.slow(); return 1", {"slow": lambda: gate.wait(PATIENCE)})
    assert result.check().value == 1
    assert executor.execute("return 2").check().value == 2


def test_the_number_of_calls_is_counted(executor: SnippetExecutor) -> None:
    result = executor.execute("for (let i = 0; i < 7; i++) await codemode.tool()", {"tool": lambda: None}).check()
    assert result.usage.tool_calls == 7


def test_calls_past_the_limit_end_the_snippet(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(tool_calls=5))
    calls: list[int] = []
    assert (
        executor.execute("for (let i = 0; i < 5; i++) await codemode.tool(i); return 1", {"tool": calls.append}).check().value == 1
    )
    result = executor.execute(
        "try { for (;;) await codemode.tool(1) } catch {} return 'escaped'", {"tool": calls.append}, timeout=10
    )
    assert result.error is not None
    assert (result.error.kind, result.error.limit) == ("limit", "tool_calls")
    assert "5 times" in result.error.message
    assert len(calls) == 10
    assert executor.execute("return 2").check().value == 2


def test_a_limit_of_zero_forbids_every_call(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(tool_calls=0))
    called: list[int] = []
    result = executor.execute("await codemode.tool()", {"tool": lambda: called.append(1)})
    assert result.error is not None and result.error.limit == "tool_calls"
    assert called == []


def test_tools_may_be_any_mapping(run: Run) -> None:
    assert run("return codemode.a()", MappingProxyType({"a": lambda: 1})) == 1


def test_the_tools_of_one_execution_are_not_those_of_the_next(run: Run, fail: Fail) -> None:
    assert run("return codemode.first()", {"first": lambda: 1}) == 1
    assert "Unknown tool" in fail("return codemode.first()", {"second": lambda: 2}).message


def test_context_variables_of_the_caller_are_seen(run: Run) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("seen")

    async def async_get() -> str:
        return variable.get()

    assert run("return [await codemode.a(), await codemode.b()]", {"a": variable.get, "b": async_get}) == ["seen", "seen"]


def test_what_a_tool_sets_stays_in_its_own_context(run: Run) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    run("await codemode.tool()", {"tool": lambda: variable.set("changed") and None})
    assert variable.get() == "unset"


# -- names --------------------------------------------------------------------------------------------------

NAMES = [
    "add",
    "a-b",
    "with space",
    "dotted.name",
    "π",
    "😀",
    "0",
    "$",
    "toString",
    "valueOf",
    "hasOwnProperty",
    "isPrototypeOf",
    "__defineGetter__",
    "__lookupGetter__",
    "length",
    "name",
    "prototype",
    "catch",
    "finally",
    "default",
    "class",
    "execute",
    'quote"s',
    "line\nbreak",
    "\0",
    "\u2028",
]


def test_any_other_name_works(run: Run) -> None:
    def make(name: str) -> Callable[[], str]:
        return lambda: name

    tools = {name: make(name) for name in NAMES}
    answers = run(
        "const out = []; for (const name of await codemode.names()) out.push(await codemode[name]()); return out",
        tools | {"names": lambda: NAMES},
    )
    assert answers == NAMES


@pytest.mark.parametrize("name", ["__proto__", "constructor", "then", "toJSON", ""])
def test_a_refused_name_is_an_error_of_the_caller(executor: SnippetExecutor, name: str) -> None:
    with pytest.raises(InvalidArgument, match="tools"):
        executor.execute("return 1", {name: lambda: 1})


def test_refused_names_and_symbols_read_as_undefined(run: Run) -> None:
    code = """
    return [codemode.__proto__, codemode.constructor, codemode.then, codemode.toJSON, codemode[Symbol.iterator],
      codemode[Symbol.toPrimitive], codemode[Symbol.toStringTag], codemode['']].map(value => typeof value)
    """
    assert run(code, {"tool": lambda: 1}) == ["undefined"] * 8


def test_codemode_can_be_awaited_and_shown(run: Run, executor: SnippetExecutor) -> None:
    assert run("return (await codemode) === codemode", {"tool": lambda: 1}) is True
    result = executor.execute("console.log(codemode); return JSON.stringify(codemode)", {"tool": lambda: 1}).check()
    assert result.value == "{}"
    assert "tool" in result.logs[0].text


def test_the_known_tools_can_be_listed(run: Run) -> None:
    code = "return [Object.keys(codemode), 'b-c' in codemode, 'd' in codemode, typeof codemode.a, codemode.a.name, codemode.a === codemode.a]"
    assert run(code, {"a": lambda: 1, "b-c": lambda: 2}) == [["a", "b-c"], True, False, "function", "a", True]


def test_an_unknown_tool_is_an_error_that_lists_the_known_ones(fail: Fail) -> None:
    error = fail("await codemode.ad(1)", {"add": lambda: 1, "b-c": lambda: 2})
    assert (error.kind, error.name) == ("runtime", "TypeError")
    assert 'Unknown tool "ad" (did you mean "add"?): known tools are add, b-c' in error.message


def test_without_tools_the_error_says_so(fail: Fail) -> None:
    assert "known tools are none; pass tools={...} to execute()" in fail("await codemode.add(1)").message


def test_an_unknown_name_in_brackets_is_told_like_any_other(fail: Fail) -> None:
    assert 'Unknown tool "no such" (did you mean "nosuch"?)' in fail("await codemode['no such']()", {"nosuch": lambda: 1}).message


@pytest.mark.difference("unknown-tool")
def test_the_error_of_an_unknown_tool_can_be_caught(run: Run) -> None:
    code = "try { await codemode.nope() } catch (error) { return [error.name, error.message] }"
    name, message = run(code, {"add": lambda: 1})
    assert name == "TypeError"
    assert message == 'Unknown tool "nope": known tools are add'


# -- errors -------------------------------------------------------------------------------------------------


class ToolBroken(Exception):
    """An exception of this suite's own."""


class Unprintable(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")


EXCEPTIONS: dict[str, tuple[BaseException, str, str]] = {
    "own class": (ToolBroken("it broke"), "ToolBroken", "it broke"),
    "no message": (ValueError(), "ValueError", ""),
    "key error": (KeyError("key"), "KeyError", "'key'"),
    "unicode": (ValueError("für 😀 \u2028"), "ValueError", "für 😀 \u2028"),
    "lone surrogate": (ValueError("\ud800"), "ValueError", "?"),
    "unprintable": (Unprintable(), "Unprintable", "(its message cannot be shown)"),
    "keyboard interrupt": (KeyboardInterrupt("stop"), "KeyboardInterrupt", "stop"),
    "system exit": (SystemExit(3), "SystemExit", "3"),
    "generator exit": (GeneratorExit("gone"), "GeneratorExit", "gone"),
    "stop iteration": (StopIteration("end"), "StopIteration", "end"),
    "recursion": (RecursionError("too deep"), "RecursionError", "too deep"),
    "outcome of pytest": (pytest.fail.Exception("failed inside"), "Failed", "failed inside"),
}


def throwing(error: BaseException) -> Callable[[], None]:
    def tool() -> None:
        raise error

    return tool


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_an_exception_crosses_with_name_and_message(run: Run, kind: str) -> None:
    exception, name, message = EXCEPTIONS[kind]
    code = "try { await codemode.tool() } catch (e) { return [e instanceof Error, e.name, e.message, Object.keys(e)] }"
    assert run(code, {"tool": throwing(exception)}) == [True, name, message, []]


@pytest.mark.parametrize("kind", ["own class", "keyboard interrupt", "system exit", "generator exit"])
def test_an_exception_of_an_async_tool_crosses_likewise(run: Run, kind: str) -> None:
    exception, name, message = EXCEPTIONS[kind]

    async def tool() -> None:
        await asyncio.sleep(0)
        raise exception

    code = "try { await codemode.tool() } catch (e) { return [e.name, e.message] }"
    assert run(code, {"tool": tool}) == [name, message]
    assert run("return codemode.next()", {"next": plus_one_of_one}) == 2


async def plus_one_of_one() -> int:
    return await plus_one(1)


def test_an_exception_that_is_not_caught_is_the_snippets_error(fail: Fail) -> None:
    error = fail("await codemode.tool()", {"tool": throwing(ToolBroken("it broke"))})
    assert (error.kind, error.name, error.message) == ("runtime", "ToolBroken", "it broke")


def test_a_tool_fails_when_the_arguments_do_not_fit(fail: Fail) -> None:
    error = fail("await codemode.tool(1, 2, 3)", {"tool": lambda only: only})
    assert error.name == "TypeError"
    assert "takes 1 positional argument but 3 were given" in error.message


def test_the_traceback_of_a_tool_does_not_cross(run: Run) -> None:
    stack = run("try { await codemode.tool() } catch (e) { return e.stack }", {"tool": throwing(ToolBroken("it broke"))})
    assert ".py" not in stack and "File " not in stack


def test_a_long_message_is_cut(run: Run) -> None:
    length = run("try { await codemode.tool() } catch (e) { return e.message.length }", {"tool": throwing(ValueError("x" * 10**6))})
    assert 1000 <= length <= 20_000


def test_one_failing_call_leaves_the_others_alone(run: Run) -> None:
    def odd(n: int) -> int:
        if n % 2:
            raise ValueError(f"odd: {n}")
        return n

    code = "return (await Promise.allSettled([0, 1, 2, 3].map(n => codemode.odd(n)))).map(r => r.value ?? r.reason.message)"
    assert run(code, {"odd": odd}) == [0, "odd: 1", 2, "odd: 3"]


# -- values that cannot cross -------------------------------------------------------------------------------

RETURNS: dict[str, tuple[Any, str]] = {
    "object": (object(), "value: a builtins.object cannot cross"),
    "function": ({"a": [print]}, "value.a[0]: a builtins.builtin_function_or_method cannot cross"),
    "lone surrogate": (["\ud800"], "value[0]: a string with a lone surrogate (at index 0) cannot cross"),
    "complex": (1j, "value: a builtins.complex cannot cross"),
    "generator": ((n for n in [1]), "value: a builtins.generator cannot cross"),
    "exception": (ValueError("x"), "value: a builtins.ValueError cannot cross"),
}


@pytest.mark.parametrize("kind", RETURNS)
def test_a_tool_that_returns_what_cannot_cross_fails_with_the_path(run: Run, kind: str) -> None:
    value, reason = RETURNS[kind]
    message = run("try { return await codemode.tool() } catch (e) { return e.name + ': ' + e.message }", {"tool": lambda: value})
    assert message.startswith(f'TypeError: Tool "tool" returned what cannot cross: {reason}'), message


def test_a_tool_that_returns_a_cycle_fails_with_the_path(run: Run) -> None:
    cycle: dict[str, Any] = {"a": []}
    cycle["a"].append(cycle)
    message = run("try { return await codemode.tool() } catch (e) { return e.message }", {"tool": lambda: cycle})
    assert "value.a[0]: it contains itself" in message


def test_a_tool_that_returns_too_much_fails(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(result=1000))
    code = "try { return await codemode.tool() } catch (e) { return `${e.name}: ${e.message}` }"
    message = executor.execute(code, {"tool": lambda: "x" * 1000}).check().value
    assert message.startswith('RangeError: Tool "tool" returned 1002 bytes')
    assert "1000 bytes" in message
    assert executor.execute(code, {"tool": lambda: "x" * 900}).check().value == "x" * 900


ARGUMENTS = {
    "function": ("() => 1", "args[0]: a function cannot cross"),
    "symbol inside": ("{ a: [Symbol()] }", "args[0].a[0]: a symbol cannot cross"),
    "lone surrogate": ("'\\ud800'", "args[0]: a string with a lone surrogate cannot cross"),
    "promise": ("Promise.resolve(1)", "args[0]: a Promise cannot cross; await it first"),
    "cycle": ("(() => { const a = {}; a.a = a; return a })()", "args[0].a: it contains itself"),
    "date out of range": ("{ when: new Date(8.64e15) }", "args[0].when: a Date outside the years 1 to 9999"),
    "key that is no key": ("new Map([[[1], 2]])", "args[0] key 0: a list cannot be a key in Python"),
}


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_an_argument_that_cannot_cross_fails_with_the_path(run: Run, kind: str) -> None:
    argument, reason = ARGUMENTS[kind]
    called: list[Any] = []
    code = f"try {{ await codemode.tool({argument}) }} catch (e) {{ return e.name + ': ' + e.message }}"
    message = run(code, {"tool": called.append})
    assert message.startswith(f'TypeError: Cannot call tool "tool": {reason}'), message
    assert called == []


def test_arguments_that_are_too_large_fail(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(result=1000))
    code = "try { return await codemode.tool('x'.repeat(2000)) } catch (e) { return `${e.name}: ${e.message}` }"
    message = executor.execute(code, {"tool": lambda value: None}).check().value
    assert message.startswith('RangeError: Cannot call tool "tool": args[0]: it is larger than the limit result of 1000 bytes')


def test_a_tool_gets_a_copy(run: Run) -> None:
    def change(value: dict[str, Any]) -> None:
        value["changed"] = True

    assert run("const o = { a: 1 }; await codemode.change(o); return o", {"change": change}) == {"a": 1}
    shared: list[int] = [1]
    assert run("const a = await codemode.get(); a.push(2); return a", {"get": lambda: shared}) == [1, 2]
    assert shared == [1]


# -- time ---------------------------------------------------------------------------------------------------


def test_a_sync_tool_past_its_timeout_fails_and_is_named(run: Run, gate: threading.Event) -> None:
    done = threading.Event()

    def stuck() -> None:
        gate.wait(PATIENCE)
        done.set()

    code = "try { await codemode.stuckTool() } catch (e) { return [e.name, e.message, await codemode.quick()] }"
    name, message, quick = run(code, {"stuckTool": stuck, "quick": lambda: 5}, tool_timeout=0.2)
    assert (name, quick) == ("ToolTimeout", 5)
    assert message == 'Tool "stuckTool" did not return within the tool timeout of 0.2 s'
    assert "stuckTool" in abandoned_tools()
    gate.set()
    assert done.wait(PATIENCE)
    wait_until(lambda: "stuckTool" not in abandoned_tools())


def test_an_async_tool_past_its_timeout_is_cancelled(run: Run) -> None:
    cancelled = threading.Event()

    async def stuck() -> None:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    assert run("try { await codemode.stuck() } catch (e) { return e.name }", {"stuck": stuck}, tool_timeout=0.1) == "ToolTimeout"
    assert cancelled.wait(PATIENCE)


def test_the_timeout_counts_for_each_call(run: Run) -> None:
    async def slow(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    code = "return Promise.allSettled([codemode.slow(0.05), codemode.slow(20), codemode.slow(0.1)]).then(all => all.map(r => r.status))"
    assert run(code, {"slow": slow}, tool_timeout=0.5) == ["fulfilled", "rejected", "fulfilled"]


def test_the_time_of_tools_counts_towards_the_timeout(fail: Fail, gate: threading.Event) -> None:
    error = fail("await codemode.never()", {"never": lambda: gate.wait(PATIENCE)}, timeout=0.3)
    assert (error.kind, error.limit) == ("timeout", "timeout")
    assert "never" in abandoned_tools()
    gate.set()
    wait_until(lambda: "never" not in abandoned_tools())


def test_an_async_tool_is_cancelled_when_the_snippet_times_out(fail: Fail) -> None:
    cancelled = threading.Event()

    async def never() -> None:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            cancelled.set()

    assert fail("await codemode.never()", {"never": never}, timeout=0.2).kind == "timeout"
    assert cancelled.wait(PATIENCE)


def test_an_async_tool_that_blocks_its_loop_does_not_block_later_ones(executor: SnippetExecutor, gate: threading.Event) -> None:
    async def blocking() -> None:
        gate.wait(PATIENCE)

    result = executor.execute("await codemode.blocking()", {"blocking": blocking}, timeout=0.3)
    assert result.error is not None and result.error.kind == "timeout"
    assert executor.execute("return codemode.tool(1)", {"tool": plus_one}, timeout=10).check().value == 2


def test_async_tools_of_one_executor_share_a_loop(run: Run) -> None:
    async def loop() -> int:
        return id(asyncio.get_running_loop())

    first = run("return codemode.loop()", {"loop": lambda: None} | {"loop": loop})
    assert run("return codemode.loop()", {"loop": loop}) == first


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread does in a moment."""
    pause = threading.Event()
    for _ in range(int(PATIENCE * 100)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen")


# -- tools that use the executor ----------------------------------------------------------------------------


def test_a_tool_may_execute_on_the_executor_that_called_it(make_executor: MakeExecutor) -> None:
    executor = make_executor(max_runners=1)

    def inner(n: int) -> int:
        if n == 0:
            return 0
        value = executor.execute(f"return 1 + await codemode.inner({n - 1})", {"inner": inner}).check().value
        assert isinstance(value, int)
        return value

    assert executor.execute("return codemode.inner(3)", {"inner": inner}).check().value == 3
    assert executor.execute("return 2").check().value == 2


def test_an_async_tool_may_execute_on_the_executor_that_called_it(make_executor: MakeExecutor) -> None:
    executor = make_executor(max_runners=1)

    async def inner(n: int) -> Any:
        return (await executor.aexecute(f"return {n} + 1")).check().value

    assert executor.execute("return codemode.inner(4)", {"inner": inner}).check().value == 5


def test_parallel_tools_may_execute_on_the_executor_that_called_them(make_executor: MakeExecutor) -> None:
    executor = make_executor(max_runners=1)

    def inner(n: int) -> Any:
        return executor.execute(f"return {n} * 2").check().value

    assert executor.execute("return Promise.all([1, 2, 3].map(n => codemode.inner(n)))", {"inner": inner}).check().value == [
        2,
        4,
        6,
    ]


def test_a_tool_may_execute_on_another_executor(executor: SnippetExecutor, make_executor: MakeExecutor) -> None:
    other = make_executor()
    value = executor.execute("return codemode.other()", {"other": lambda: other.execute("return 7").check().value}).check().value
    assert value == 7


# -- codemode itself ----------------------------------------------------------------------------------------


def test_codemode_and_its_tools_cannot_be_changed(run: Run) -> None:
    code = """
    'use strict';
    const attempts = {
      assign: () => { codemode.add = () => 'evil' },
      extend: () => { codemode.evil = () => 'evil' },
      define: () => Object.defineProperty(codemode, 'add', { value: () => 'evil' }),
      remove: () => { delete codemode.add },
      replace: () => { globalThis.codemode = { add: () => 'evil' } },
      redefine: () => Object.defineProperty(globalThis, 'codemode', { value: {} }),
      // vm2's global object says yes to this, and does nothing.
      drop: () => { delete globalThis.codemode; if (globalThis.codemode) throw new TypeError('still there') },
      prototype: () => Object.setPrototypeOf(codemode, { evil: () => 1 }),
      tool: () => { codemode.add.evil = 1 },
      toolPrototype: () => Object.setPrototypeOf(codemode.add, null),
      toolName: () => { codemode.add.name = 'x' },
    };
    const errors = [];
    for (const [name, attempt] of Object.entries(attempts)) {
      try { attempt(); errors.push(`${name} succeeded`) } catch (error) { if (!(error instanceof TypeError)) errors.push(`${name}: ${error}`) }
    }
    return [errors, Object.isFrozen(codemode.add), Object.isExtensible(codemode), await codemode.add(1, 2)]
    """
    assert run(code, {"add": lambda a, b: a + b}) == [[], True, False, 3]


def test_a_tool_is_no_constructor_and_ignores_this(run: Run) -> None:
    code = """
    let constructed = true;
    try { new codemode.add(1, 2) } catch (error) { constructed = !(error instanceof TypeError) }
    const { add } = codemode;
    return [constructed, await add(1, 2), await add.call(null, 3, 4), await Reflect.apply(add, {}, [5, 6]), 'prototype' in add]
    """
    assert run(code, {"add": lambda a, b: a + b}) == [False, 3, 7, 11, False]
