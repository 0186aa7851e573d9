"""close() takes less than two seconds, whatever a runner or a tool is doing, and a runner that is stopped holds nobody up."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_sandbox import ExecutorClosed, SnippetExecutor
from pytest_sandbox.processes.tree import descendants, is_stopped

MakeExecutor = Callable[..., SnippetExecutor]

CLOSE = 2.0
PATIENCE = 20.0
ENGINE_PROGRAMS = ("docker", "podman", "conmon", "runc", "crun")


def allowed() -> float:
    """Seconds that close() may take: two, and more only where the machine has more to do than it can."""
    return CLOSE * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def check_close(executor: SnippetExecutor) -> None:
    started = time.monotonic()
    executor.close()
    assert time.monotonic() - started < allowed()


def below(but: set[int]) -> list[int]:
    """Return the processes below this one that are not among the given: not the watchdog, which serves all executors.

    Nor one that has not become a program of its own yet: this process waits for that, and stopping it would stop us. Nor the client
    of an engine that is about something, which can hold a lock that the whole engine waits for; one that is attached holds none.
    """
    found = []
    me = psutil.Process().cmdline()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if not line or line == me or process.pid in but or "watchdog" in str(line):
                continue
            if Path(line[0]).name not in ENGINE_PROGRAMS or "--attach" in line:
                found.append(process.pid)
    return found


def pids_of(executor: SnippetExecutor, before: set[int]) -> list[int]:
    """Return the processes of an executor that was made after these were there."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        pool: Any = executor._pool  # type: ignore[attr-defined]  # it has one
        inside = [runner.pid for runner in [*pool._idle, *pool._lent] if executor.name == "container" and runner.pid]
        pids = below(before) + [pid for top in inside for pid in (top, *descendants(top))]
        if pids:
            return pids
        time.sleep(0.01)
    pytest.skip("its processes cannot be seen from here")


def stop(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE
    while not all(is_stopped(pid) for pid in pids if psutil.pid_exists(pid)) and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.fixture
def busy(make_executor: MakeExecutor) -> Iterator[Callable[..., SnippetExecutor]]:
    """Makes an executor that is in the middle of an execution."""
    threads: list[threading.Thread] = []
    over = threading.Event()

    def make(code: str, hang: Any = lambda *_: lambda: None) -> SnippetExecutor:
        executor = make_executor(max_runners=1)
        begun = threading.Event()

        def execute() -> None:
            tools = {"begun": begun.set, "hang": hang(begun, over)}
            with contextlib.suppress(ExecutorClosed):
                executor.execute(code, tools, timeout=None)

        threads.append(threading.Thread(target=execute))
        threads[-1].start()
        assert begun.wait(PATIENCE)
        return executor

    yield make
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the execution has not ended with its executor"


def test_with_a_tool_that_hangs(busy: Any) -> None:
    check_close(busy("await codemode.hang()", lambda begun, over: lambda: (begun.set(), over.wait(60))))


def test_with_an_async_tool_that_blocks_its_loop(busy: Any) -> None:
    def tool(begun: threading.Event, over: threading.Event) -> Callable[[], Any]:
        async def block() -> None:
            begun.set()
            over.wait(60)

        return block

    check_close(busy("await codemode.hang()", tool))


def test_with_a_snippet_that_computes(busy: Any) -> None:
    check_close(busy("await codemode.begun(); for (;;) {}"))


def test_with_a_runner_that_is_stopped_in_the_middle(busy: Any) -> None:
    before = set(below(set()))
    executor = busy("await codemode.begun(); await new Promise(() => {})")
    stop(pids_of(executor, before))
    check_close(executor)


def test_with_runners_that_are_stopped_while_they_rest(make_executor: MakeExecutor) -> None:
    before = set(below(set()))
    executor = make_executor()
    executor.execute("return 1").check()
    stop(pids_of(executor, before))
    check_close(executor)


def test_with_runners_that_are_stopped_while_they_start(make_executor: MakeExecutor) -> None:
    before = set(below(set()))
    executor = make_executor()
    stop(below(before))
    check_close(executor)


def test_a_spare_that_is_stopped_while_it_starts_holds_no_execution_up(make_executor: MakeExecutor) -> None:
    executor = make_executor(max_runners=1)
    if executor.info.fresh != "process" or executor.name == "container":
        pytest.skip("no runner of it is kept ready for a later execution")
    executor.execute("return 1").check()
    pool: Any = executor._pool  # type: ignore[attr-defined]  # it has one
    spare = pool._start()  # as it does itself; here it can be stopped before anybody waits for it
    deadline = time.monotonic() + PATIENCE
    while not (started := spare._starting._process).done():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    stop([started.result().pid, *descendants(started.result().pid)])
    pool._idle.insert(0, spare)
    begun = time.monotonic()
    assert executor.execute("return 1+1").check().value == 2
    assert time.monotonic() - begun < 10, "a start may take thirty seconds before it is given up"
