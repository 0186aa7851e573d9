"""``--sandbox-durations=N``: the slowest snippets and commands of a run, with what they used.

A pytest plugin of its own, which the main one names. Under pytest-xdist each worker tells the controller its slowest.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import threading
from collections.abc import Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_sandbox import observing
from pytest_sandbox.plugin.options import TextOption, refuse
from pytest_sandbox.reports.text import size

if TYPE_CHECKING:
    from pytest_sandbox.observing import Ended

__all__: list[str] = []

_OPTION: Final = TextOption(
    "--sandbox-durations",
    "sandbox_durations",
    "N",
    "List the N slowest executions of snippets and commands at the end, with what they used",
    "PYTEST_SANDBOX_DURATIONS",
)
_OUTPUT: Final = "sandbox_slowest"
_SHOWN: Final = 60
"""Characters of a snippet or command that are shown."""
_KEPT: Final = 400


@dataclasses.dataclass(frozen=True)
class Row:
    """One execution.

    Attributes:
        wall: seconds.
        cpu: seconds, or None.
        memory: bytes at the peak, or None.
        calls: tool calls, or None for a command.
        output: bytes of its output.
        executor: the executor's name, or the entry's id.
        test: the id of the test.
        text: the beginning of the snippet or command.
    """

    wall: float
    cpu: float | None
    memory: int | None
    calls: int | None
    output: int
    executor: str
    test: str
    text: str

    def cells(self) -> list[str]:
        """Return what the table shows."""
        cpu = "-" if self.cpu is None else f"{self.cpu:.2f} s"
        calls = "-" if self.calls is None else str(self.calls)
        memory = "-" if self.memory is None else size(self.memory)
        return [
            f"{self.wall:.3f} s",
            cpu,
            memory,
            calls,
            size(self.output),
            self.executor,
            f"{self.test}: {_first_line(self.text)}",
        ]


class Slowest:
    """The slowest executions.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.test = ""
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._rows: list[tuple[float, int, Row]] = []

    def observe(self, ended: Ended) -> None:
        """Take note of an execution; what no test has asked for, such as a trial snippet, is left out."""
        usage = ended.usage
        if self.test:
            calls = usage.tool_calls if ended.kind == "snippet" else None
            text = ended.text[:_KEPT]
            self.add(Row(usage.wall, usage.cpu, usage.memory, calls, usage.output, ended.executor, self.test, text))

    def add(self, row: Row) -> None:
        """Take note of a row."""
        with self._lock:
            # A later one does not displace an earlier one that was as slow.
            heapq.heappush(self._rows, (row.wall, -next(self._numbers), row))
            if len(self._rows) > self.most:
                heapq.heappop(self._rows)

    def rows(self) -> list[Row]:
        """Return the rows, the slowest first."""
        with self._lock:
            return [row for *_, row in sorted(self._rows, reverse=True)]


_SLOWEST: Final = pytest.StashKey[Slowest]()
"""In a config: the slowest, if they were asked for."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register our option."""
    _OPTION.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the option, and begin to observe."""
    value, source = _OPTION.read(config)
    if not source:
        return
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise refuse(source, value, "a whole number of executions, at least 1")
    slowest = config.stash[_SLOWEST] = Slowest(int(value))
    observing.observers.append(slowest.observe)
    config.add_cleanup(lambda: observing.observers.remove(slowest.observe))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Note which test runs."""
    slowest = item.config.stash.get(_SLOWEST, None)
    if slowest is None:
        return (yield)
    slowest.test = item.nodeid
    try:
        return (yield)
    finally:
        slowest.test = ""


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a worker of pytest-xdist tell the controller."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None and _SLOWEST in session.config.stash:
        output[_OUTPUT] = [dataclasses.asdict(row) for row in session.config.stash[_SLOWEST].rows()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker tells."""
    told: Iterable[Mapping[str, Any]] = getattr(node, "workeroutput", {}).get(_OUTPUT, ())
    for row in told:
        node.config.stash[_SLOWEST].add(Row(**row))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """List them."""
    slowest = config.stash.get(_SLOWEST, None)
    if slowest is None:
        return
    rows = slowest.rows()
    terminalreporter.section(f"slowest {slowest.most} sandbox executions")
    if not rows:
        terminalreporter.write_line("none: no test has executed anything")
        return
    table = [["wall", "CPU", "memory", "calls", "out", "executor", "test"], *(row.cells() for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(table[0]))]
    for cells in table:
        numbers = [cell.rjust(width) for cell, width in zip(cells[:5], widths, strict=False)]
        terminalreporter.write_line("  ".join([*numbers, cells[5].ljust(widths[5]), cells[6]]))


def _first_line(text: str) -> str:
    from pytest_sandbox.result import printable

    lines = [line.strip() for line in text.split("\n") if line.strip()]
    first = lines[0] if lines else ""
    cut = len(first) > _SHOWN or len(lines) > 1
    return printable(first[:_SHOWN]) + ("…" if cut else "")
