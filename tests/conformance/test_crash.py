"""A runner that dies, stops or was killed is a typed outcome, and the next execution runs on a new one; nothing is run twice."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

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


def idle_runners(before: set[int], runners: Runners) -> list[psutil.Process]:
    """Return the runners that wait for the next execution; one for each execution is started in the background."""
    deadline = time.monotonic() + 30
    while not (idle := new_runners(before, runners)):
        assert time.monotonic() < deadline, "no runner is kept ready"
        time.sleep(0.01)
    return idle


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended with the one before
            process.kill()


WORK = "const end = Date.now() + 200; while (Date.now() < end);"
"""A snippet that begins so has used more CPU time than any runner that was only started."""


def busiest(before: set[int], runners: Runners) -> psutil.Process:
    """Return the runner in use: others may be kept ready for the next execution."""
    programs = [process for process in new_runners(before, runners) if process.name() != "bwrap"]
    return max(programs, key=lambda process: sum(process.cpu_times()[:2]))


def test_a_runner_killed_while_a_tool_runs_is_a_crash_and_the_next_execution_works(
    make_executor: MakeExecutor, runners: Runners
) -> None:
    before = set(runners())
    executor = make_executor(max_runners=1)
    calls = []

    def kill_runner() -> None:
        calls.append(1)
        kill(new_runners(before, runners))

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
        kill(new_runners(before, runners))

    killer = threading.Thread(target=kill_soon)
    killer.start()
    result = executor.execute("await codemode.begun(); for (;;) {}", {"begun": begun.set}, timeout=30)
    killer.join()
    assert result.error is not None
    assert result.error.kind == "crash"
    assert executor.execute("return 1+1").check().value == 2


def test_a_runner_killed_before_it_is_ready_is_replaced_without_anybody_noticing(
    make_executor: MakeExecutor, runners: Runners
) -> None:
    before = set(runners())
    executor = make_executor(max_runners=1)
    starting = executor._pool._idle[0]  # type: ignore[attr-defined]  # it has one
    processes = idle_runners(before, runners)
    assert not starting.is_ready
    kill(processes)
    psutil.wait_procs(processes, timeout=10)
    assert executor.execute("return 1+1").check().value == 2
    assert starting not in executor._pool._idle, "it was used after all"  # type: ignore[attr-defined]


def test_a_runner_killed_while_idle_is_replaced_without_anybody_noticing(make_executor: MakeExecutor, runners: Runners) -> None:
    before = set(runners())
    executor = make_executor(max_runners=1)
    executor.execute("return 1").check()
    idle = idle_runners(before, runners)
    kill(idle)
    psutil.wait_procs(idle, timeout=10)
    assert executor.execute("return 1+1").check().value == 2


@pytest.mark.usefixtures("runners")
def test_a_spare_that_is_about_to_be_started_counts_as_left(make_executor: MakeExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_sandbox.snippets import pool

    executor: Any = make_executor(max_runners=1)
    if executor.info.fresh == "realm":
        pytest.skip("no spare of it is started in the background")
    for name in ("_HEAD_START", "BREATH"):
        monkeypatch.setattr(pool, name, 30.0)
    executor.execute("return 1").check()
    assert executor._pool._idle == []
    assert "a runner that is about to be started" in executor._maker.remains()
    executor.close()
    assert "a runner that is about to be started" not in executor._maker.remains()


def test_a_runner_that_is_stopped_ends_at_the_timeout(make_executor: MakeExecutor, runners: Runners) -> None:
    before = set(runners())
    executor = make_executor(max_runners=1)

    def stop_runner() -> None:
        busiest(before, runners).suspend()

    result = executor.execute(f"{WORK} await codemode.stop(); return 1", {"stop": stop_runner}, timeout=1)
    assert result.error is not None
    assert result.error.kind == "timeout"
    assert executor.execute("return 1+1").check().value == 2


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_crash_says_how_the_runner_ended(make_executor: MakeExecutor, runners: Runners, number: signal.Signals) -> None:
    before = set(runners())
    executor = make_executor(max_runners=1)

    def hit() -> None:
        busiest(before, runners).send_signal(number)

    result = executor.execute(f"{WORK} await codemode.hit(); for (;;) {{}}", {"hit": hit}, timeout=20)
    assert result.error is not None
    assert result.error.kind == "crash"
    # Through a jail, the number arrives as an exit code, as shells have it.
    assert number.name in result.error.message or f"exit code {128 + number}" in result.error.message, result
    assert executor.execute("return 1+1").check().value == 2


def test_a_runner_that_is_stopped_while_idle_costs_one_timeout(make_executor: MakeExecutor, runners: Runners) -> None:
    before = set(runners())
    executor = make_executor(max_runners=1)
    if executor.info.fresh != "realm":
        pytest.skip("no runner of it waits for another execution")
    executor.execute("return 1").check()
    for process in new_runners(before, runners):
        if process.name() != "bwrap":
            process.suspend()
    result = executor.execute("return 2", timeout=0.5)
    assert result.error is not None and result.error.kind == "timeout"
    assert executor.execute("return 3").check().value == 3


def test_runners_killed_again_and_again_are_replaced_again_and_again(make_executor: MakeExecutor, runners: Runners) -> None:
    before = set(runners())
    executor = make_executor(max_runners=1)
    for number in range(4):
        # At any moment: while it starts, while it is idle, or while it is being used.
        kill(new_runners(before, runners))
        result = executor.execute(f"await new Promise(done => setTimeout(done, {number})); return {number}", timeout=20)
        assert result.ok or (result.error is not None and result.error.kind == "crash"), result
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
