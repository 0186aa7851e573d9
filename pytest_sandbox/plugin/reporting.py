"""``--sandbox-report=FILE``: reports of a test run, and of the audit if there was one.

A pytest plugin of its own, which the main one names. What reports are made of is in `reporting_run.py`, which is loaded when one is
asked for. Under pytest-xdist each test's report carries what that test used, and the controller alone writes.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_sandbox.errors import SandboxError
from pytest_sandbox.plugin.options import our_group
from pytest_sandbox.plugin.state import AUDITS

if TYPE_CHECKING:
    from pytest_sandbox.plugin.reporting_run import Meter, RunLog

__all__: list[str] = []

_OPTION: Final = "--sandbox-report"
_VARIABLE: Final = "PYTEST_SANDBOX_REPORT"
_INI: Final = "sandbox_report"
_STEP_SUMMARY: Final = "GITHUB_STEP_SUMMARY"
_ATTRIBUTE: Final = "sandbox_spent"
"""Of a test's report: what the test used, as plain data."""

_AUDIT: Final = "sandbox-audit::"
"""How the ids of the tests begin that `--sandbox-audit` adds."""

_PATHS: Final = pytest.StashKey[tuple[Path, ...]]()
"""In a config: the files that are to be written."""
_LOG: Final[pytest.StashKey[RunLog]] = pytest.StashKey()
"""In a config: what is known of the run; not on workers of pytest-xdist."""
_METER: Final[pytest.StashKey[Meter]] = pytest.StashKey()
"""In a config: measures what each test uses."""
_TOLD: Final = pytest.StashKey[list[str]]()
"""In a config: what the summary says about reports."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register our option."""
    group = our_group(parser)
    group.addoption(
        _OPTION,
        dest=_INI,
        action="append",
        metavar="FILE.{html,json,md}",
        help="Write a report of the run, and of the audit if there is one. The suffix is the format. Can be given several times.",
    )
    parser.addini(_INI, f"Default for {_OPTION}: files, relative to the ini file", type="paths")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse files that cannot be written, before anything runs; begin to measure if somebody wants to know."""
    is_worker = hasattr(config, "workerinput")
    paths = _paths(config)
    if paths and not is_worker:
        _check(paths)
    config.stash[_PATHS] = tuple(path for path, _ in paths)
    if not paths and not config.getoption("xmlpath", None):
        return
    from pytest_sandbox import observing
    from pytest_sandbox.plugin.reporting_run import Meter, RunLog

    meter = config.stash[_METER] = Meter()
    observing.observers.append(meter.observe)
    config.add_cleanup(lambda: observing.observers.remove(meter.observe))
    if paths and not is_worker:
        config.stash[_LOG] = RunLog(_ATTRIBUTE)


def _paths(config: pytest.Config) -> list[tuple[Path, str]]:
    """Return the files, each with what asked for it: options beat the environment, which beats the ini value."""
    given = config.getoption(_INI)
    if given:
        return [(config.invocation_params.dir / Path(text).expanduser(), _OPTION) for text in given]
    variable = os.environ.get(_VARIABLE, "").strip()
    if variable:
        return [(config.invocation_params.dir / text, _VARIABLE) for text in variable.split(os.pathsep) if text]
    return [(Path(path), f"ini value {_INI}") for path in config.getini(_INI)]


def _check(paths: list[tuple[Path, str]]) -> None:
    from pytest_sandbox.errors import InvalidArgument
    from pytest_sandbox.reports.writing import check_path

    seen: set[Path] = set()
    for path, source in paths:
        try:
            check_path(path, source)
            if path.resolve() in seen:
                raise InvalidArgument(source, str(path), "each file once")
        except SandboxError as error:
            raise pytest.UsageError(str(error)) from error
        seen.add(path.resolve())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure what this test uses."""
    meter = item.config.stash.get(_METER, None)
    if meter is None:
        return (yield)
    with meter.test():
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the last report of a test what it used, and to the properties of JUnit XML."""
    meter = item.config.stash.get(_METER, None)
    # What an audit used is no test's usage; what it found is told as an audit.
    if meter is None or call.when != "teardown" or item.nodeid.startswith(_AUDIT):
        return (yield)
    spent = meter.spent()
    item.user_properties.extend(meter.properties())
    report = yield
    setattr(report, _ATTRIBUTE, spent)
    return report


class _Log:
    """Listens to the reports of all tests, those of workers included; as a plugin, because that hook does not say of which run."""

    def __init__(self, log: RunLog) -> None:
        self._log = log

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of one phase of a test."""
        self._log.add(report)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin to listen."""
    if _LOG in session.config.stash:
        session.config.pluginmanager.register(_Log(session.config.stash[_LOG]), "sandbox-report-log")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the reports."""
    config = session.config
    paths = config.stash.get(_PATHS, ())
    parts = config.stash.get(AUDITS, [])
    wants_summary = os.environ.get(_STEP_SUMMARY, "").strip() and (parts or paths)
    if hasattr(config, "workerinput") or config.option.collectonly or not (paths or wants_summary):
        return
    from pytest_sandbox.plugin.reporting_run import make_report
    from pytest_sandbox.reports.writing import write, write_step_summary

    told = config.stash.setdefault(_TOLD, [])
    report = make_report(config, parts, config.stash.get(_LOG, None), int(exitstatus))
    for path in paths:
        try:
            write(report, path)
        except (SandboxError, OSError) as error:
            told.append(f"ERROR: Cannot write the report {path}: {error}")
            session.exitstatus = exitstatus or pytest.ExitCode.INTERNAL_ERROR
        else:
            here = config.invocation_params.dir
            told.append(f"sandbox report: {path.relative_to(here) if path.is_relative_to(here) else path}")
    if wants_summary and write_step_summary(report):
        told.append(f"sandbox report: added to {_STEP_SUMMARY}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the reports."""
    from pytest_sandbox.result import printable

    for line in config.stash.get(_TOLD, []):
        terminalreporter.write_line(printable(line), red=line.startswith("ERROR"))
