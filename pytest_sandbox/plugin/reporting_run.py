"""What a report tells about a test run: what each test used, how it ended, and what it shows if it failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import pytest

from pytest_sandbox.guarantees.machine import this_machine
from pytest_sandbox.guarantees.merging import merge_audits
from pytest_sandbox.guarantees.results import Audit, Machine
from pytest_sandbox.plugin.header import why_selected
from pytest_sandbox.plugin.state import RUN
from pytest_sandbox.reports.model import Report, Section, Selected, Spent, TestResult, TestRun, report_of
from pytest_sandbox.reports.text import cut

if TYPE_CHECKING:
    from pytest_sandbox.observing import Ended
    from pytest_sandbox.plugin.run import SandboxRun

__all__ = ["Meter", "RunLog", "make_report"]

_PROBLEM: Final = 4000
"""Characters of a failure that are kept."""
_OURS: Final = ("sandbox snippet", "sandbox command")
"""How the titles of our sections begin, see `records` and `command_records`."""

Outcome = Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed"]


class Meter:
    """Adds up what the test that runs uses; it is told of executions in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = False
        self._spent: dict[tuple[str, str], dict[str, Any]] = {}

    @contextmanager
    def test(self) -> Iterator[None]:
        """Measure while a test runs; what nobody's test asked for, such as a trial snippet, is left out."""
        with self._lock:
            self._spent.clear()
            self._running = True
        try:
            yield
        finally:
            with self._lock:
                self._running = False

    def observe(self, ended: Ended) -> None:
        """Add an execution."""
        usage = ended.usage
        with self._lock:
            if not self._running:
                return
            row = self._spent.setdefault((ended.kind, ended.executor), {"executions": 0, "wall": 0.0, "tool_calls": 0, "output": 0})
            row["executions"] += 1
            row["wall"] += usage.wall
            row["tool_calls"] += usage.tool_calls
            row["output"] += usage.output
            if usage.cpu is not None:
                row["cpu"] = row.get("cpu", 0.0) + usage.cpu
            if usage.memory is not None:
                row["memory"] = max(row.get("memory", 0), usage.memory)

    def spent(self) -> list[dict[str, Any]]:
        """Return what the test has used so far, as plain data: fields of `Spent`."""
        with self._lock:
            return [{"kind": kind, "executor": executor, **row} for (kind, executor), row in self._spent.items()]

    def properties(self) -> list[tuple[str, object]]:
        """Return the same as properties for JUnit XML; none if the test has used nothing."""
        rows = self.spent()
        if not rows:
            return []
        return [
            ("sandbox_executor", ",".join(dict.fromkeys(row["executor"] for row in rows))),
            ("sandbox_executions", sum(row["executions"] for row in rows)),
            ("sandbox_seconds", f"{sum(row['wall'] for row in rows):.3f}"),
            ("sandbox_tool_calls", sum(row["tool_calls"] for row in rows)),
        ]


class RunLog:
    """Keeps how tests ended.

    Args:
        attribute: under which name the last report of a test carries what it used.
    """

    def __init__(self, attribute: str) -> None:
        self._attribute = attribute
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()
        self._open: dict[str, dict[str, Any]] = {}
        self._outcomes: dict[str, int] = {}
        self._tests: list[TestResult] = []

    def add(self, report: pytest.TestReport) -> None:
        """Take note of one phase of a test: set-up, call or teardown."""
        test = self._open.setdefault(report.nodeid, {"outcome": "passed", "duration": 0.0, "problem": "", "shown": []})
        test["duration"] += report.duration
        outcome = _outcome(report)
        if outcome in ("failed", "error") or test["outcome"] == "passed":
            test["outcome"] = test["outcome"] if outcome == "passed" else outcome
        if outcome not in ("passed", "xpassed") and not test["problem"]:
            test["problem"] = _problem(report)
        if report.failed:
            test["shown"] += [Section(title=title, text=text) for title, text in report.sections if title.startswith(_OURS)]
        if report.when == "teardown":
            self._close(report, self._open.pop(report.nodeid))

    def _close(self, report: pytest.TestReport, test: Mapping[str, Any]) -> None:
        outcome = test["outcome"]
        self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
        spent = tuple(Spent(**row) for row in getattr(report, self._attribute, ()))
        if spent or outcome in ("failed", "error"):
            problem = "" if outcome == "passed" else test["problem"]
            self._tests.append(
                TestResult(
                    id=report.nodeid,
                    outcome=cast(Outcome, outcome),
                    duration=test["duration"],
                    spent=spent,
                    problem=problem,
                    shown=tuple(test["shown"]),
                )
            )

    def finish(self, exit_code: int, run: SandboxRun | None) -> TestRun:
        """Return what is known in the end; a test that never ended, because its worker died, has failed."""
        for nodeid, test in self._open.items():
            outcome = "failed" if test["outcome"] == "failed" else "error"
            self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
            problem = test["problem"] or "it did not end"
            result = TestResult(id=nodeid, outcome=cast(Outcome, outcome), duration=test["duration"], problem=problem)
            self._tests.append(result)
        self._open.clear()
        return TestRun(
            started=self._started.isoformat(timespec="seconds"),
            duration=time.monotonic() - self._clock,
            exit_code=exit_code,
            outcomes={name: self._outcomes[name] for name in _ORDER if name in self._outcomes},
            selected=tuple(_selected(run)) if run is not None else (),
            problems=run.registry.problems() if run is not None and run.needed else (),
            tests=tuple(self._tests),
        )


_ORDER: Final = ("failed", "error", "passed", "skipped", "xfailed", "xpassed")


def _outcome(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.failed:
        # pytest-xdist says "???" of a test that was running when its worker died.
        return "error" if report.when in ("setup", "teardown") else "failed"
    return "skipped" if report.skipped else "passed"


def _problem(report: pytest.TestReport) -> str:
    longrepr = report.longrepr
    if isinstance(longrepr, tuple):  # of a skipped test: file, line, reason
        return cut(str(longrepr[-1]), _PROBLEM)
    crash = getattr(longrepr, "reprcrash", None)
    return cut(str(crash.message) if crash is not None else report.longreprtext, _PROBLEM)


def _selected(run: SandboxRun) -> Iterator[Selected]:
    if not run.needed:
        return
    for row in list(run.prover.rows.values()):
        why = why_selected(run, row)
        if not row.available:
            yield Selected(name=row.name, why=why, available=False, reason=row.reason, fix=row.fix)
        elif row.info is None:  # proved by a worker
            yield Selected(name=row.name, why=why, available=True, detail=row.detail)
        else:
            info = row.info
            yield Selected(
                name=row.name,
                why=why,
                available=True,
                detail=row.detail,
                runtime=info.runtime,
                backend=info.backend,
                fresh=info.fresh,
                jail=info.jail,
                loosened=info.loosened,
            )


def make_report(config: pytest.Config, audits: Sequence[Audit], log: RunLog | None, exit_code: int) -> Report:
    """Return the report of a test run.

    Args:
        config: of the run.
        audits: the parts of the audit, if there was one.
        log: how the tests ended; None for the audit alone.
        exit_code: pytest's.
    """
    run = config.stash.get(RUN, None)
    audit = merge_audits(audits) if audits else None
    tests = log.finish(exit_code, run) if log is not None else None
    machine: Machine | None = None
    if audit is None and tests is not None and tests.selected:
        machine = this_machine(row.backend for row in tests.selected if row.fresh == "container" or row.name == "container")
    return report_of(audit, tests, machine)
