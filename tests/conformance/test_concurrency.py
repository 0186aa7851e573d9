"""Calls that overlap get their own results, no more run at once than allowed, and waiting is not counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pytest_sandbox import ExecuteResult, SnippetExecutor

MakeExecutor = Callable[..., SnippetExecutor]


def test_fifty_calls_that_overlap_each_get_their_own_result(make_executor: MakeExecutor) -> None:
    executor = make_executor()

    def one(number: int) -> tuple[object, str]:
        code = f"console.log('log {number}'); const n = await codemode.same({number}); return [n, {number} * 2]"
        result = executor.execute(code, {"same": lambda value: value})
        return result.check().value, result.output

    with ThreadPoolExecutor(50) as threads:
        outcomes = list(threads.map(one, range(50)))
    assert outcomes == [([number, number * 2], f"log {number}\n") for number in range(50)]


def test_no_more_execute_at_once_than_max_runners(make_executor: MakeExecutor) -> None:
    executor = make_executor(max_runners=2)
    lock = threading.Lock()
    two = threading.Event()
    running, most = 0, 0

    def enter() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if most >= 2:
                two.set()
        two.wait(20)
        time.sleep(0.02)
        with lock:
            running -= 1

    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(lambda _: executor.execute("await codemode.enter()", {"enter": enter}), range(6)))
    assert all(result.ok for result in results)
    assert most == 2


def test_waiting_for_a_runner_is_not_counted_as_time(make_executor: MakeExecutor) -> None:
    executor = make_executor(max_runners=1)
    executor.execute("return 1").check()
    begun, release = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        release.wait(20)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(executor.execute, "await codemode.hold()", {"hold": hold}, timeout=30)
        assert begun.wait(20)
        second = threads.submit(executor.execute, "return 2", timeout=1)
        time.sleep(1.5)
        assert not second.done(), "the second did not wait for the first"
        release.set()
        assert first.result().ok
        result: ExecuteResult = second.result()
    assert result.check().value == 2
    assert result.duration < 1


def test_a_kill_hits_nobody_else(make_executor: MakeExecutor) -> None:
    executor = make_executor(max_runners=2)
    with ThreadPoolExecutor(2) as threads:
        doomed = threads.submit(executor.execute, "for (;;) {}", timeout=0.5)
        patient = threads.submit(
            executor.execute, "await new Promise((done) => setTimeout(done, 1500)); return 'alive'", timeout=20
        )
        assert doomed.result().error is not None
        assert patient.result().check().value == "alive"


def test_hundreds_of_executions_in_a_row_all_work(executor: SnippetExecutor) -> None:
    count = 20 if executor.info.fresh != "realm" else 200
    for number in range(count):
        assert executor.execute(f"return {number}").check().value == number


def test_all_kinds_of_outcomes_at_once_do_not_mix(make_executor: MakeExecutor) -> None:
    executor = make_executor(max_runners=2)
    executor.execute("return 1").check()

    def broken(number: int) -> None:
        raise ValueError(f"tool {number}")

    def one(number: int) -> None:
        kind = number % 6
        tools: dict[str, Callable[..., object]] = {"same": lambda value: value, "broken": broken}
        codes = {
            0: f"return await codemode.same({number})",
            1: f"throw new RangeError('error {number}')",
            2: f"return ({number} +",
            3: f"console.log('busy {number}'); for (;;) {{}}",
            4: f"await codemode.broken({number})",
            5: f"console.log('log {number}'); return new Map([[{number}, new Set([{number}n])]])",
        }
        result = executor.execute(codes[kind], tools, timeout=0.3 if kind == 3 else 30)
        error = result.error
        if kind == 0:
            assert result.check().value == number
        elif kind == 1:
            assert error is not None and (error.name, error.message) == ("RangeError", f"error {number}")
        elif kind == 2:
            assert error is not None and error.kind == "syntax"
        elif kind == 3:
            # On a busy machine it may not even have begun to run by then.
            assert error is not None and error.kind == "timeout" and result.output in ("", f"busy {number}\n")
        elif kind == 4:
            assert error is not None and (error.name, error.message) == ("ValueError", f"tool {number}")
        else:
            assert result.check().value == {number: {number}} and result.output == f"log {number}\n"

    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(one, number) for number in range(48)]:
            future.result(120)


def test_many_threads_can_close_and_execute_at_will(make_executor: MakeExecutor) -> None:
    from pytest_sandbox import ExecutorClosed

    executor = make_executor(max_runners=2)
    refused = []

    def work(number: int) -> None:
        try:
            result = executor.execute(f"return {number}")
        except ExecutorClosed as error:
            refused.append(error)
        else:
            assert result.check().value == number

    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(work, number) for number in range(40)]
        time.sleep(0.2)
        executor.close()
        for future in futures:
            future.result(30)
