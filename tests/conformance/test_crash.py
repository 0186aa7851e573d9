"""A runner that dies, stops or was killed is a typed outcome, and the next execution runs on a new one; nothing is run twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from pytest_sandbox import SnippetExecutor

MakeExecutor = Callable[..., SnippetExecutor]
Runners = Callable[[], dict[int, psutil.Process]]


@pytest.fixture(autouse=True)
def local(request: pytest.FixtureRequest) -> None:
    """Leaves out executors whose runner is no process below this one; tests/engines kills theirs."""
    if "runners" in request.fixturenames and request.getfixturevalue("subject").executor == "container":
        pytest.skip("its runner is in a container")


def new_runners(before: set[int], runners: Runners) -> list[psutil.Process]:
    return [process for pid, process in runners().items() if pid not in before]


def test_a_runner_killed_while_a_tool_runs_is_a_crash_and_the_next_execution_works(
    make_executor: MakeExecutor, runners: Runners
) -> None:
    before = set(runners())
    executor = make_executor(max_runners=1)
    calls = []

    def kill_runner() -> None:
        calls.append(1)
        for process in new_runners(before, runners):
            process.kill()

    result = executor.execute("console.log('begun'); await codemode.kill(); return 1", {"kill": kill_runner}, timeout=20)
    assert result.error is not None
    assert result.error.kind == "crash"
    assert [entry.text for entry in result.logs] == ["begun"]
    assert calls == [1], "the snippet was run again"
    assert executor.execute("return 1+1").check().value == 2


def test_a_runner_killed_while_it_computes_is_a_crash(make_executor: MakeExecutor, runners: Runners) -> None:
    before = set(runners())
    executor = make_executor(max_runners=1)
    begun = threading.Event()

    def kill_soon() -> None:
        begun.wait(20)
        for process in new_runners(before, runners):
            process.kill()

    killer = threading.Thread(target=kill_soon)
    killer.start()
    result = executor.execute("await codemode.begun(); for (;;) {}", {"begun": begun.set}, timeout=30)
    killer.join()
    assert result.error is not None
    assert result.error.kind == "crash"
    assert executor.execute("return 1+1").check().value == 2


def test_a_runner_killed_while_idle_is_replaced_without_anybody_noticing(make_executor: MakeExecutor, runners: Runners) -> None:
    before = set(runners())
    executor = make_executor(max_runners=1)
    executor.execute("return 1").check()
    idle = new_runners(before, runners)
    for process in idle:
        process.kill()
    psutil.wait_procs(idle, timeout=10)
    assert executor.execute("return 1+1").check().value == 2


def test_a_runner_that_is_stopped_ends_at_the_timeout(make_executor: MakeExecutor, runners: Runners) -> None:
    before = set(runners())
    executor = make_executor(max_runners=1)

    def stop_runner() -> None:
        # The oldest is the one in use; where every execution has its own, the others are kept ready for the next.
        programs = [process for process in new_runners(before, runners) if process.name() != "bwrap"]
        oldest = min(programs, key=lambda process: process.create_time())
        os.kill(oldest.pid, signal.SIGSTOP)

    result = executor.execute("await codemode.stop(); return 1", {"stop": stop_runner}, timeout=1)
    assert result.error is not None
    assert result.error.kind == "timeout"
    assert executor.execute("return 1+1").check().value == 2


def test_closing_during_an_execution_ends_it_at_once(make_executor: MakeExecutor) -> None:
    from pytest_sandbox import ExecutorClosed

    executor = make_executor(max_runners=1)
    begun = threading.Event()
    outcome: list[object] = []

    def execute() -> None:
        try:
            outcome.append(executor.execute("await codemode.begun(); for (;;) {}", {"begun": begun.set}, timeout=60))
        except ExecutorClosed as error:
            outcome.append(error)

    thread = threading.Thread(target=execute)
    thread.start()
    assert begun.wait(20)
    started = time.monotonic()
    executor.close()
    thread.join(10)
    assert time.monotonic() - started < 5
    assert isinstance(outcome[0], ExecutorClosed)


def test_closing_twice_is_fine_and_executing_afterwards_is_an_error(make_executor: MakeExecutor) -> None:
    from pytest_sandbox import ExecutorClosed

    executor = make_executor()
    executor.close()
    executor.close()
    with pytest.raises(ExecutorClosed, match=r'executor ".+": it is closed; create a new one'):
        executor.execute("return 1")


def test_an_executor_leaves_no_process_and_no_descriptor_behind(make_executor: MakeExecutor, runners: Runners) -> None:
    def use() -> None:
        with make_executor(max_runners=1) as executor:
            executor.execute("return await codemode.add(1)", {"add": lambda a: a + 1}).check()
            executor.execute("for (;;) {}", timeout=0.2)
            executor.execute("return 1").check()

    use()  # what is made once per process is there now
    before = set(runners())
    me = psutil.Process()
    descriptors, threads = me.num_fds(), threading.active_count()
    for _ in range(3):
        use()
    psutil.wait_procs(new_runners(before, runners), timeout=10)
    assert new_runners(before, runners) == []
    deadline = time.monotonic() + 5
    while (me.num_fds() > descriptors or threading.active_count() > threads + 2) and time.monotonic() < deadline:
        time.sleep(0.02)  # another thread closes the pipes of a runner that was retired
    assert me.num_fds() <= descriptors
    assert threading.active_count() <= threads + 2
