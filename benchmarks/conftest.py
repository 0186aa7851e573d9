"""Collects what the benchmarks measure, and prints one table at the end.

Machines are shared and noisy: nothing here fails for being slow. Every figure stands beside a baseline from the same run, and the
ratio of the two is what can be compared between machines.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Row:
    """One measured figure, with the baseline of the same run and the ratio that is aimed at."""

    name: str
    value: float
    unit: str
    baseline: float | None
    aim: float | None


ROWS = pytest.StashKey[list[Row]]()


class Meter:
    """Measures, and keeps what it measured for the table."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def seconds(self, work: Callable[[], object], *, rounds: int, warm_up: int = 3) -> float:
        """Return the median duration of ``work`` in seconds."""
        for _ in range(warm_up):
            work()
        durations = []
        for _ in range(rounds):
            started = time.perf_counter()
            work()
            durations.append(time.perf_counter() - started)
        return statistics.median(durations)

    def note(self, name: str, value: float, unit: str, *, baseline: float | None = None, aim: float | None = None) -> None:
        """Keep a figure; ``aim`` is the ratio to the baseline that is to be reached (without a baseline: the value itself)."""
        self._rows.append(Row(name, value, unit, baseline, aim))


@pytest.fixture
def meter(request: pytest.FixtureRequest) -> Meter:
    """Measure and report."""
    return Meter(request.config.stash.setdefault(ROWS, []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    terminalreporter.section("benchmarks")
    terminalreporter.line(f"{'what':<58}{'measured':>14}{'baseline':>14}{'ratio':>9}{'aim':>9}")
    for row in rows:
        ratio = None if row.baseline is None else row.value / row.baseline
        shown = "" if ratio is None else f"{ratio:.2f}"
        against = row.value if ratio is None else ratio
        mark = "" if row.aim is None else ("  ok" if against <= row.aim else "  over")
        baseline = "" if row.baseline is None else f"{row.baseline:.3g} {row.unit}"
        aim = "" if row.aim is None else f"{row.aim:.2f}"
        terminalreporter.line(f"{row.name:<58}{f'{row.value:.3g} {row.unit}':>14}{baseline:>14}{shown:>9}{aim:>9}{mark}")
