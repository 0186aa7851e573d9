"""A test may fork, start processes with multiprocessing, and share one executor among many threads: everybody gets what is theirs."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pytest_sandbox import SnippetExecutor, create_executor

MakeExecutor = Callable[..., SnippetExecutor]

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*use of fork.*:DeprecationWarning"
)  # Python warns of it; it has to work all the same

PATIENCE = 60.0


def in_a_forked_child(work: Callable[[], Any]) -> Any:
    """Run work in a forked child and return what it returns; the child ends as multiprocessing ends its own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(read)
            signal.alarm(int(PATIENCE))  # a child that hangs must not outlive the test
            os.write(write, json.dumps(work()).encode())
            code = 0
        except BaseException as error:
            os.write(write, json.dumps(f"{type(error).__name__}: {error}").encode())
        finally:
            os._exit(code)
    os.close(write)
    with open(read, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, told
    return json.loads(told)


def test_a_forked_child_uses_the_executor_of_its_parent_and_both_go_on(narrow_executor: SnippetExecutor) -> None:
    narrow_executor.execute("return 1").check()

    def work() -> Any:
        first = narrow_executor.execute("return await codemode.add(1)", {"add": lambda n: n + 1}, timeout=PATIENCE).check().value
        later = narrow_executor.execute("for (;;) {}", timeout=0.2).error
        assert later is not None
        return [first, later.kind, narrow_executor.execute("return 3", timeout=PATIENCE).check().value]

    assert in_a_forked_child(work) == [2, "timeout", 3]
    assert narrow_executor.execute("return 4").check().value == 4


def test_a_fork_in_the_middle_of_an_execution_disturbs_nobody(narrow_executor: SnippetExecutor) -> None:
    """Also one from a tool, with the threads of a loop and of a queue behind it."""

    def fork() -> Any:
        return in_a_forked_child(lambda: narrow_executor.execute("return 5", timeout=PATIENCE).check().value)

    code = "const got = await codemode.fork(); return [got, await codemode.later()]"

    async def later() -> int:
        return 6

    assert narrow_executor.execute(code, {"fork": fork, "later": later}, timeout=2 * PATIENCE).check().value == [5, 6]


def test_a_forked_child_that_closes_the_executor_closes_its_own_only(make_executor: MakeExecutor) -> None:
    executor = make_executor(max_runners=1)
    executor.execute("return 1").check()
    pool: Any = executor._pool  # type: ignore[attr-defined]  # it has one
    deadline = time.monotonic() + PATIENCE
    while not pool._idle:  # a spare is started in the background
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ours = pool._idle[0]

    def work() -> Any:
        executor.close()
        return "closed"

    assert in_a_forked_child(work) == "closed"
    assert pool._idle[0] is ours
    if ours.is_ready:
        assert ours.is_reusable(), "the child has ended a runner of its parent"
    assert executor.execute("return 7").check().value == 7


def _work(name: str, options: dict[str, Any], queue: Any) -> None:
    with create_executor(name, **options) as executor:
        queue.put(executor.execute("return await codemode.add(1)", {"add": lambda n: n + 1}, timeout=PATIENCE).check().value)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_processes_of_multiprocessing_make_executors_of_their_own(subject: Any, executor: SnippetExecutor, method: str) -> None:
    if subject.executor == "container" and method == "forkserver":
        pytest.skip("as spawn, as far as an engine is concerned")
    executor.execute("return 1").check()
    context: Any = multiprocessing.get_context(method)
    # Found by the other process, too, whichever way this module was imported.
    module = sys.modules[_work.__module__]
    monkey = pytest.MonkeyPatch()
    monkey.setattr(_work, "__module__", "test_forks")
    monkey.setitem(sys.modules, "test_forks", module)
    monkey.syspath_prepend(os.path.dirname(__file__))
    try:
        queue = context.Queue()
        process = context.Process(target=_work, args=(subject.executor, dict(subject.options), queue))
        process.start()
        assert queue.get(timeout=PATIENCE) == 2
        process.join(PATIENCE)
        assert process.exitcode == 0
    finally:
        monkey.undo()


def test_thirty_two_threads_share_one_executor(executor: SnippetExecutor) -> None:
    together = threading.Barrier(32)

    def one(number: int) -> tuple[object, str]:
        together.wait(PATIENCE)
        code = f"console.log({number}); return await codemode.same({number})"
        result = executor.execute(code, {"same": lambda value: value}, timeout=PATIENCE)
        return result.check().value, result.output

    with ThreadPoolExecutor(32) as threads:
        assert list(threads.map(one, range(32))) == [(number, f"{number}\n") for number in range(32)]


def test_many_threads_make_executors_at_once(subject: Any, workshop: Any) -> None:
    count = 2 if subject.executor == "container" else 8
    together = threading.Barrier(count)
    made: list[SnippetExecutor] = []

    def one(_number: int) -> None:
        together.wait(PATIENCE)
        made.append(workshop.make(subject, max_runners=1))

    try:
        with ThreadPoolExecutor(count) as threads:
            list(threads.map(one, range(count)))
        assert made[-1].execute("return 1+1", timeout=PATIENCE).check().value == 2
    finally:
        for executor in made:
            executor.close()
