"""Rows of the comparison table that are measured rather than promised, and facts about the machine."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Final

from pytest_sandbox.guarantees.results import Fact, Latency
from pytest_sandbox.snippets.base import ExecutorInfo, SnippetExecutor

__all__ = ["facts_of", "latencies_of", "versions_of"]

_MODELS: Final[Mapping[str, str]] = {
    "deno": "Deno permissions",
    "isolated-vm": "V8 process isolation",
    "container": "container boundary",
    "vm2": "JS context isolation",
}
_LOW, _MEDIUM = 0.02, 0.25
"""Seconds: a fresh execution up to the first is called low, up to the second medium, above that higher."""

_MEETING: Final = 5.0
_NO_MEETING: Final = 0.4
_SAMPLES: Final = 8
_BUDGET: Final = 1.0
_VERSION_REGEXP: Final = re.compile(r"([A-Za-z][\w.-]*) v?(\d[\w.+-]*)")


def latencies_of(executor: SnippetExecutor, created: float) -> tuple[Latency, ...]:
    """Measure how long executions take.

    Args:
        executor: the executor, just made.
        created: seconds that it took to make it.
    """
    first = _timed(executor)
    samples: list[float] = []
    end = time.monotonic() + _BUDGET
    # Back to back, so that what is kept ready is used up: most of these had to start what is fresh on this executor.
    while len(samples) < _SAMPLES and (time.monotonic() < end or len(samples) < 3):
        samples.append(_timed(executor))
    return (
        Latency(id="create", title="making the executor", seconds=(created,)),
        Latency(id="start", title="the first execution, which starts everything", seconds=(first,)),
        Latency(id="execution", title="executions one after another", seconds=tuple(samples)),
    )


def _timed(executor: SnippetExecutor) -> float:
    began = time.monotonic()
    executor.execute("return 1").check()
    return time.monotonic() - began


def facts_of(executor: SnippetExecutor, latencies: Iterable[Latency]) -> tuple[Fact, ...]:
    """Return the measured rows of the comparison table."""
    info = executor.info
    executions = next((latency.seconds for latency in latencies if latency.id == "execution"), ())
    fresh = sorted(executions)[len(executions) // 2] if executions else 0.0
    overhead = "low" if fresh <= _LOW else "medium" if fresh <= _MEDIUM else "higher"
    met = _meet(executor, _MEETING if info.max_runners > 1 else _NO_MEETING)
    words = "ran at the same time" if met else "did not run at the same time"
    return (
        Fact(
            id="concurrency",
            title="Concurrency",
            value="parallel" if met else "serialized",
            detail=f"two executions {words}, max_runners is {info.max_runners}",
        ),
        Fact(
            id="start-up",
            title="Start-up",
            value=overhead,
            detail=f"a fresh execution took {fresh * 1000:.1f} ms in the median of {len(executions)}",
        ),
        Fact(
            id="freshness", title="New for each execution", value=info.fresh, detail=f"as the executor is set up: {info.describe()}"
        ),
        Fact(
            id="security-model",
            title="Security model",
            value=_MODELS.get(executor.name, info.backend),
            detail=f"{info.backend}, jail {info.jail}",
        ),
    )


def _meet(executor: SnippetExecutor, patience: float) -> bool:
    """Let two executions wait for each other: only if they run at the same time, both get through."""
    barrier = threading.Barrier(2, timeout=patience)

    def meet() -> bool:
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            return False
        return True

    met: list[object] = []
    threads = [
        threading.Thread(target=lambda: met.append(executor.execute("return await codemode.meet()", {"meet": meet}).value))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return met == [True, True]


def versions_of(info: ExecutorInfo) -> dict[str, str]:
    """Return the programs that an executor names, with their versions."""
    return dict(_VERSION_REGEXP.findall(f"{info.backend}; {info.runtime}"))
