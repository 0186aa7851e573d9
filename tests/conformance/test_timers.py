"""Timers really wait, keep their order, and end with the snippet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_sandbox import SnippetError, SnippetExecutor

Run = Callable[..., Any]
Fail = Callable[..., SnippetError]

SLEEP = "const sleep = ms => new Promise(done => setTimeout(done, ms));"


def test_a_timeout_really_waits(executor: SnippetExecutor) -> None:
    code = f"{SLEEP} const start = Date.now(); await null; const before = Date.now(); await sleep(200); return [Date.now() - before, before - start]"
    result = executor.execute(code).check()
    # Clocks and timers may differ by a millisecond.
    waited, control = result.value
    assert waited >= 198 > control
    assert result.duration >= 0.198


def test_timeouts_fire_in_the_order_of_their_times(run: Run) -> None:
    code = f"{SLEEP} const log = []; for (const ms of [60, 1, 30]) setTimeout(() => log.push(ms), ms); await sleep(90); return log"
    assert run(code) == [1, 30, 60]


def test_timeouts_of_one_time_fire_in_the_order_of_their_calls(run: Run) -> None:
    assert run(
        f"{SLEEP} const log = []; for (let i = 0; i < 10; i++) setTimeout(() => log.push(i), 5); await sleep(30); return log"
    ) == list(range(10))


def test_microtasks_go_before_timeouts(run: Run) -> None:
    code = f"""{SLEEP}
    const log = [];
    setTimeout(() => log.push('timeout'), 0);
    queueMicrotask(() => log.push('microtask'));
    Promise.resolve().then(() => log.push('promise'));
    log.push('now');
    await sleep(10);
    return log;
    """
    assert run(code) == ["now", "microtask", "promise", "timeout"]


def test_microtasks_go_between_timeouts(run: Run) -> None:
    code = f"""{SLEEP}
    const log = [];
    for (const n of [1, 2]) setTimeout(() => {{ log.push(n); queueMicrotask(() => log.push(`${{n}} micro`)) }}, 1);
    await sleep(20);
    return log;
    """
    assert run(code) == [1, "1 micro", 2, "2 micro"]


def test_arguments_are_passed_on(run: Run) -> None:
    assert run("return new Promise(done => setTimeout((...args) => done(args), 1, 1, 'b', null))") == [1, "b", None]
    assert run("return new Promise(done => { const id = setInterval((...args) => { clearInterval(id); done(args) }, 1, 2) })") == [
        2
    ]


@pytest.mark.parametrize(
    "delay", ["", ", 0", ", -5", ", NaN", ", '1'", ", null", ", undefined", ", {}", ", 1e99", ", Infinity", ", -Infinity"]
)
def test_an_odd_delay_is_a_short_one(executor: SnippetExecutor, delay: str) -> None:
    result = executor.execute(f"return new Promise(done => setTimeout(() => done(1){delay}))", timeout=5).check()
    assert result.value == 1


def test_a_delay_that_throws_is_the_snippets_error(fail: Fail) -> None:
    assert fail("setTimeout(() => {}, { valueOf() { throw new RangeError('mine') } })").message == "mine"
    assert fail("setTimeout(() => {}, Symbol())").name == "TypeError"


def test_a_cleared_timeout_does_not_fire(run: Run) -> None:
    code = f"{SLEEP} const log = []; clearTimeout(setTimeout(() => log.push('no'), 1)); setTimeout(() => log.push('yes'), 1); await sleep(20); return log"
    assert run(code) == ["yes"]


def test_a_timeout_can_be_cleared_by_one_that_fires_before(run: Run) -> None:
    code = f"{SLEEP} const log = []; setTimeout(() => clearTimeout(id), 1); const id = setTimeout(() => log.push('no'), 1); await sleep(20); return log"
    assert run(code) == []


@pytest.mark.parametrize("handle", ["", "undefined", "null", "0", "-1", "'x'", "NaN", "{}", "999999", "Symbol()"])
def test_clearing_nothing_does_no_harm(run: Run, handle: str) -> None:
    assert run(f"clearTimeout({handle}); clearInterval({handle}); return 1") == 1


def test_an_interval_repeats_until_it_is_cleared(run: Run) -> None:
    code = f"""{SLEEP}
    let n = 0;
    await new Promise(done => {{ const id = setInterval(() => {{ if (++n === 3) {{ clearInterval(id); done() }} }}, 2) }});
    await sleep(20);
    return n;
    """
    assert run(code) == 3


def test_handles_are_interchangeable(run: Run) -> None:
    code = f"{SLEEP} let n = 0; clearTimeout(setInterval(() => n++, 1)); clearInterval(setTimeout(() => n++, 1)); await sleep(20); return n"
    assert run(code) == 0


def test_handles_are_all_different(run: Run) -> None:
    assert (
        run("return new Set(Array.from({ length: 100 }, (_, i) => (i % 2 ? setTimeout : setInterval)(() => {}, 1e6))).size") == 100
    )


def test_timers_can_be_nested(run: Run) -> None:
    code = "return new Promise(done => { let n = 0; (function again() { if (++n === 20) done(n); else setTimeout(again, 1) })() })"
    assert run(code) == 20


def test_an_async_callback_may_wait(run: Run) -> None:
    code = f"{SLEEP} const log = []; return new Promise(done => setTimeout(async () => {{ log.push(1); await sleep(5); log.push(2); done(log) }}, 1))"
    assert run(code) == [1, 2]


@pytest.mark.parametrize("callback", ["'evil()'", "undefined", "null", "5", "{}", "[]"])
@pytest.mark.parametrize("timer", ["setTimeout", "setInterval", "queueMicrotask"])
def test_what_is_no_function_is_refused(fail: Fail, timer: str, callback: str) -> None:
    error = fail(f"{timer}({callback}, 0)")
    assert (error.kind, error.name) == ("runtime", "TypeError")
    assert "the callback must be a function" in error.message


def test_thousands_of_timers_fire(run: Run) -> None:
    code = "let n = 0; await new Promise(done => { for (let i = 0; i < 5000; i++) setTimeout(() => { if (++n === 5000) done() }, i % 20) }); return n"
    assert run(code) == 5000


def test_thousands_of_timers_can_be_cleared(run: Run) -> None:
    code = f"{SLEEP} let n = 0; const ids = Array.from({{ length: 5000 }}, () => setTimeout(() => n++, 5)); ids.forEach(clearTimeout); await sleep(20); return n"
    assert run(code) == 0


def test_pending_timers_do_not_keep_a_snippet_that_has_returned(executor: SnippetExecutor) -> None:
    result = executor.execute("setTimeout(() => {}, 20000); setInterval(() => {}, 10); return 1", timeout=10).check()
    assert result.value == 1
    assert result.duration < 5


def test_timers_do_not_fire_in_the_next_execution(executor: SnippetExecutor) -> None:
    called: list[int] = []
    executor.execute("setTimeout(() => codemode.tool(), 10); return 1", {"tool": lambda: called.append(1)}).check()
    result = executor.execute(f"{SLEEP} await sleep(50); return 2", {"tool": lambda: called.append(2)}).check()
    assert result.value == 2
    assert called == []


def test_a_snippet_that_waits_forever_times_out(fail: Fail) -> None:
    error = fail("await new Promise(() => {})", timeout=0.3)
    assert (error.kind, error.limit) == ("timeout", "timeout")
    assert "0.3 s" in error.message
