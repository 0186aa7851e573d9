"""Which tests tox runs in environments of their own, as they take long: those that run containers, and those of the audit.

And the end of every run: one line for each thing that was not exercised, in place of one for each test.
"""

from __future__ import annotations

import re
import signal
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent
_PLACES = (
    "tests/differential",
    "tests/engines",
    "tests/commands/test_docker.py",
    "tests/integration/test_command_docker_fixture.py",
)
_AUDIT_PLACES = ("tests/guarantees", "tests/lua", "tests/reports", "tests/soak")
_PARAMETERS = ("subject", "engine_name", "name")
_VALUES = ("container", "docker", "podman")


def needs_engine(item: pytest.Item) -> bool:
    """Whether a test runs containers: by its file, or by what it is parametrized with."""
    if any(item.path.is_relative_to(_ROOT / place) for place in _PLACES):
        return True
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    values = [getattr(value, "id", value) for name, value in parameters.items() if name in _PARAMETERS]
    return any(isinstance(value, str) and value.startswith(_VALUES) for value in values)


def pytest_configure() -> None:
    """Hear what a run under nohup, or in the background of a shell, ignores: all that tests start would ignore it, too."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, _go_on), (signal.SIGQUIT, _go_on)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def _go_on(*_: object) -> None:
    """Take a signal as if it was ignored; programs that are started begin with its default all the same."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them."""
    for item in items:
        if needs_engine(item):
            item.add_marker(pytest.mark.engine)
        elif any(item.path.is_relative_to(_ROOT / place) for place in _AUDIT_PLACES):
            item.add_marker(pytest.mark.audit)


_LONGEST = 240  # characters of a reason
_MISSING_EXECUTOR = re.compile(r'Cannot use executor "([^"]+)": ')
_MISSING_MODULE = re.compile(r"could not import '([^']+)': ")


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why a test was skipped, as "thing: reason" where a thing is missing."""
    words = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    words = " ".join(words.removeprefix("Skipped: ").split())
    return _MISSING_MODULE.sub(r"module \1: ", _MISSING_EXECUTOR.sub(r"executor \1: ", words))


def folded(reasons: Iterable[str]) -> list[str]:
    """Return one line for each thing, with its most frequent reason and the number of tests; the most tests first."""
    of_thing: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for reason in reasons:
        of_thing[reason.partition(": ")[0]][reason] += 1
    lines = []
    for counted in sorted(of_thing.values(), key=lambda each: -each.total()):
        reason = counted.most_common(1)[0][0]
        shown = reason if len(reason) <= _LONGEST else f"{reason[: _LONGEST - 1]}…"
        lines.append(f"{shown} ({counted.total()} test{'s' * (counted.total() > 1)})")
    return lines


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not exercised; under xdist the controller does, which has the reports of all workers."""
    reports = terminalreporter.stats
    for line in folded(map(skip_reason, reports.get("skipped", ()))):
        terminalreporter.write_line(f"not exercised: {line}")
    for line in folded(report.wasxfail.removeprefix("reason: ") for report in reports.get("xfailed", ())):
        terminalreporter.write_line(f"fails as declared: {line}")
