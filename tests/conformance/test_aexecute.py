"""`aexecute`: async tools run on the caller's loop, and a cancelled call leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import trio

from pytest_sandbox import AsyncioRequired, InvalidArgument, SnippetExecutor, create_executor

MakeExecutor = Callable[..., SnippetExecutor]
Runners = Callable[[], dict[int, psutil.Process]]

PATIENCE = 20.0


def test_a_snippet_runs(executor: SnippetExecutor) -> None:
    result = asyncio.run(executor.aexecute("console.log('hi'); return 1 + 1"))
    assert result.check().value == 2
    assert result.logs[0].text == "hi"


def test_a_failing_snippet_is_a_result_here_too(executor: SnippetExecutor) -> None:
    result = asyncio.run(executor.aexecute("throw new TypeError('x')"))
    assert result.error is not None and result.error.name == "TypeError"


def test_async_tools_run_on_the_callers_loop(executor: SnippetExecutor) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        thread = threading.get_ident()

        async def tool(value: int) -> int:
            assert asyncio.get_running_loop() is loop
            assert threading.get_ident() == thread
            await asyncio.sleep(0)
            return value + 1

        result = await executor.aexecute("return Promise.all([codemode.tool(1), codemode.tool(2)])", {"tool": tool})
        assert result.check().value == [2, 3]

    asyncio.run(main())


def test_sync_tools_do_not_block_the_loop(executor: SnippetExecutor) -> None:
    async def main() -> None:
        loop_ran = threading.Event()
        entered = threading.Event()

        def tool() -> bool:
            assert threading.current_thread() is not threading.main_thread()
            entered.set()
            return loop_ran.wait(PATIENCE)

        task = asyncio.ensure_future(executor.aexecute("return codemode.tool()", {"tool": tool}))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        loop_ran.set()
        assert (await task).check().value is True

    asyncio.run(main())


def test_context_variables_reach_both_kinds_of_tools(executor: SnippetExecutor) -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    async def main() -> Any:
        variable.set("seen")

        async def tool() -> str:
            return variable.get()

        return (
            (await executor.aexecute("return [await codemode.a(), await codemode.b()]", {"a": tool, "b": variable.get}))
            .check()
            .value
        )

    assert asyncio.run(main()) == ["seen", "seen"]


def test_cancelling_kills_the_snippet(make_executor: MakeExecutor, runners: Runners) -> None:
    executor = make_executor(max_runners=1)
    executor.execute("return 1").check()

    async def main() -> None:
        busy = asyncio.Event()

        async def tool() -> None:
            busy.set()

        task = asyncio.ensure_future(executor.aexecute("await codemode.tool(); for (;;) {}", {"tool": tool}, timeout=60))
        await asyncio.wait_for(busy.wait(), PATIENCE)
        before = set(runners())
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - started < 2
        # The one that was busy is gone: of all that were there, only idle ones remain. (No runner in a container is below us.)
        assert any(not alive(pid) for pid in before) or executor.name == "container"
        assert (await executor.aexecute("return 2")).check().value == 2

    asyncio.run(main())


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_timeout_of_asyncio_kills_the_snippet(make_executor: MakeExecutor) -> None:
    executor = make_executor(max_runners=1)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await executor.aexecute("for (;;) {}", timeout=60)
        assert (await executor.aexecute("return 2")).check().value == 2

    asyncio.run(main())


def test_cancelling_cancels_async_tools(executor: SnippetExecutor) -> None:
    async def main() -> None:
        busy, cancelled = asyncio.Event(), asyncio.Event()

        async def tool() -> None:
            busy.set()
            try:
                await asyncio.sleep(PATIENCE)
            finally:
                cancelled.set()

        task = asyncio.ensure_future(executor.aexecute("await codemode.tool()", {"tool": tool}))
        await asyncio.wait_for(busy.wait(), PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(cancelled.wait(), PATIENCE)

    asyncio.run(main())


def test_cancelling_one_call_hits_no_other(make_executor: MakeExecutor) -> None:
    executor = make_executor(max_runners=2)

    async def main() -> None:
        inside, go_on = asyncio.Semaphore(0), asyncio.Event()

        async def tool() -> None:
            inside.release()
            await asyncio.wait_for(go_on.wait(), PATIENCE)

        victim, survivor = (
            asyncio.ensure_future(executor.aexecute("await codemode.tool(); return 'survived'", {"tool": tool})) for _ in range(2)
        )
        for _ in range(2):
            await asyncio.wait_for(inside.acquire(), PATIENCE)
        victim.cancel()
        with pytest.raises(asyncio.CancelledError):
            await victim
        go_on.set()
        assert (await survivor).check().value == "survived"

    asyncio.run(main())


def test_a_call_that_still_waits_for_its_turn_can_be_cancelled(make_executor: MakeExecutor) -> None:
    executor = make_executor(max_runners=1)

    async def main() -> None:
        inside, go_on = asyncio.Event(), asyncio.Event()

        async def tool() -> None:
            inside.set()
            await asyncio.wait_for(go_on.wait(), PATIENCE)

        first = asyncio.ensure_future(executor.aexecute("await codemode.tool(); return 1", {"tool": tool}))
        await asyncio.wait_for(inside.wait(), PATIENCE)
        called: list[int] = []
        second = asyncio.ensure_future(executor.aexecute("await codemode.tool(); return 2", {"tool": lambda: called.append(1)}))
        await asyncio.sleep(0.05)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(second, 2)
        go_on.set()
        assert (await first).check().value == 1
        assert (await executor.aexecute("return 3")).check().value == 3
        assert called == []

    asyncio.run(main())


def test_a_cancelled_call_that_is_awaited_no_more_ends_anyway(executor: SnippetExecutor) -> None:
    async def main() -> None:
        busy = asyncio.Event()

        async def tool() -> None:
            busy.set()

        asyncio.ensure_future(executor.aexecute("await codemode.tool(); for (;;) {}", {"tool": tool}, timeout=60))  # noqa: RUF006
        await asyncio.wait_for(busy.wait(), PATIENCE)
        # asyncio.run cancels what is left.

    started = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - started < PATIENCE
    assert executor.execute("return 2").check().value == 2


def test_twenty_at_once_get_each_its_own_result(executor: SnippetExecutor) -> None:
    async def main() -> list[Any]:
        async def tool(value: int) -> int:
            await asyncio.sleep(0)
            return value * 2

        results = await asyncio.gather(
            *(executor.aexecute(f"console.log({n}); return codemode.tool({n})", {"tool": tool}) for n in range(20))
        )
        assert [result.logs[0].text for result in results] == [str(n) for n in range(20)]
        return [result.check().value for result in results]

    assert asyncio.run(main()) == [n * 2 for n in range(20)]


def test_an_async_tool_may_await_the_executor_that_called_it(make_executor: MakeExecutor) -> None:
    executor = make_executor(max_runners=1)

    async def main() -> Any:
        async def inner(n: int) -> Any:
            if n == 0:
                return 0
            return (await executor.aexecute(f"return 1 + await codemode.inner({n - 1})", {"inner": inner})).check().value

        return (await executor.aexecute("return codemode.inner(2)", {"inner": inner})).check().value

    assert asyncio.run(main()) == 2


def test_one_executor_serves_one_loop_after_another(executor: SnippetExecutor) -> None:
    async def main() -> Any:
        async def tool() -> str:
            return type(asyncio.get_running_loop()).__name__

        return (await executor.aexecute("return codemode.tool()", {"tool": tool})).check().value

    assert asyncio.run(main()) == asyncio.run(main())


def test_under_trio_the_error_says_what_to_do(executor: SnippetExecutor) -> None:
    async def main() -> None:
        with pytest.raises(AsyncioRequired, match=r"no asyncio event loop is running; call execute\(\) instead"):
            await executor.aexecute("return 1")
        result = await trio.to_thread.run_sync(lambda: executor.execute("return 1"))
        assert result.check().value == 1

    trio.run(main)


def test_nonsense_arguments_are_refused_here_too(executor: SnippetExecutor) -> None:
    async def main() -> None:
        with pytest.raises(InvalidArgument):
            await executor.aexecute(None)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument):
            await executor.aexecute("return 1", timeout=0)

    asyncio.run(main())


def test_async_with_closes(executor: SnippetExecutor) -> None:
    async def main() -> None:
        async with create_executor(executor.name) as own:
            assert (await own.aexecute("return 1")).check().value == 1
        await own.aclose()

    asyncio.run(main())
