"""What a report tells, as plain data: an audit, a test run, or both. A JSON report is this, and its schema is made from it.

Durations are seconds, sizes are bytes. Texts that come from inside a sandbox are kept as they came: whoever shows them has to
escape them, see `text`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from pytest_sandbox.guarantees.results import Audit, Machine

__all__ = ["SCHEMA_VERSION", "Report", "Section", "Selected", "Spent", "TestResult", "TestRun", "report_of"]

SCHEMA_VERSION: Final = 1
"""Grows when a field changes its meaning or goes away; new fields do not count."""


@dataclass(frozen=True, kw_only=True)
class Selected:
    """An executor that a test run used, or would have used.

    Attributes:
        name: the executor's name.
        why: why it was selected, such as "from --executor".
        available: whether it works here.
        detail: what really runs, on one line, with versions.
        runtime: the program that runs the snippets, with its version; empty where that is not known.
        backend: what makes the wall, with its version.
        fresh: what is new for each execution: "realm", "process" or "container".
        jail: the confinement around the runner.
        loosened: settings that are looser than the default, each as one phrase.
        reason: why it does not work.
        fix: what to do about that.
    """

    name: str
    why: str
    available: bool
    detail: str = ""
    runtime: str = ""
    backend: str = ""
    fresh: str = ""
    jail: str = ""
    loosened: tuple[str, ...] = ()
    reason: str = ""
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What one test used on one executor.

    Attributes:
        kind: whether snippets or commands ran.
        executor: the executor's name, or the entry's id.
        executions: how many.
        wall: seconds, of all of them.
        cpu: seconds of CPU time; None when it is not known of any.
        memory: resident bytes at the peak of the largest; None when it is not known of any.
        tool_calls: how many.
        output: bytes of log text or output.
    """

    kind: Literal["snippet", "command"]
    executor: str
    executions: int
    wall: float
    cpu: float | None = None
    memory: int | None = None
    tool_calls: int = 0
    output: int = 0


@dataclass(frozen=True, kw_only=True)
class Section:
    """Something that a failing test shows: a snippet with its logs and error, or a command with its output.

    Attributes:
        title: what it is.
        text: the text, as the terminal shows it: without control characters, and cut.
    """

    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """One test that used an executor, or that failed.

    Attributes:
        id: its node id.
        outcome: "passed", "failed", "error" (outside of the test itself), "skipped", "xfailed" or "xpassed".
        duration: seconds, set-up and teardown included.
        spent: what it used, by executor.
        problem: why it failed or was skipped; cut.
        shown: what it shows, if it failed: its last executions.
    """

    __test__ = False  # for pytest, which takes every class of this name for a test

    id: str
    outcome: Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed"]
    duration: float
    spent: tuple[Spent, ...] = ()
    problem: str = ""
    shown: tuple[Section, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TestRun:
    """A test run.

    Attributes:
        started: when, in UTC, as ISO 8601.
        duration: seconds.
        exit_code: pytest's.
        outcomes: how many tests of the whole run ended how, those without an executor included.
        selected: the executors.
        problems: plugins that could not be asked for executors, each as one sentence.
        tests: the tests that used an executor, or that failed, in the order in which they ended.
    """

    __test__ = False

    started: str
    duration: float
    exit_code: int
    outcomes: Mapping[str, int] = field(default_factory=dict)
    selected: tuple[Selected, ...] = ()
    problems: tuple[str, ...] = ()
    tests: tuple[TestResult, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report of pytest-sandbox.

    Attributes:
        schema_version: `SCHEMA_VERSION` of the program that wrote it.
        tool_version: the version of pytest-sandbox.
        created: when, in UTC, as ISO 8601.
        machine: where; None where nothing ran.
        audit: what was put to the proof, if an audit was asked for.
        run: the tests that ran, if it was a test run.
    """

    tool_version: str
    created: str
    machine: Machine | None = None
    audit: Audit | None = None
    run: TestRun | None = None
    schema_version: int = SCHEMA_VERSION


def report_of(audit: Audit | None = None, run: TestRun | None = None, machine: Machine | None = None) -> Report:
    """Return a report, created now."""
    from pytest_sandbox import __version__

    return Report(
        tool_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=audit.machine if audit is not None else machine,
        audit=audit,
        run=run,
    )
