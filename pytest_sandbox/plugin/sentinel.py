"""The leak sentinel: a test that leaves a process, container, descriptor or temporary folder of ours behind fails in teardown.

A pytest plugin of its own, which the main one names. It looks at nothing unless a test has made something of ours; who is to blame
is found out in `leaks.py`, which is loaded then.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_sandbox.plugin.options import TextOption, refuse

if TYPE_CHECKING:
    from types import ModuleType

    from pytest_sandbox.plugin.leaks import Ledger

__all__: list[str] = []

_OPTION: Final = TextOption(
    "--sandbox-leaks",
    "sandbox_leaks",
    "fail|off",
    "Whether a test fails that leaves a process, container, descriptor or temporary folder of ours behind. Default: fail.",
    "PYTEST_SANDBOX_LEAKS",
)
_CHOICES: Final = ("fail", "off")
_SOURCE: Final = pytest.StashKey[str]()
"""In a config: what has switched the sentinel off; empty while it is on."""
_LEDGER: Final[pytest.StashKey[Ledger]] = pytest.StashKey()
"""In a config: what tests have made that is not decided yet."""
_START: Final = pytest.StashKey[tuple[int, frozenset[int]]]()
"""In a test item: the latest maker before it, and the threads that ran."""
_FOUND: Final = pytest.StashKey[str]()
"""In a test item: what it has left, when its teardown failed for another reason."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register our option."""
    _OPTION.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the option."""
    value, source = _OPTION.read(config)
    if source and value not in _CHOICES:
        raise refuse(source, value, " or ".join(_CHOICES))
    config.stash[_SOURCE] = source if value == "off" else ""


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say so when nobody watches."""
    return _off_lines(config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say so again, where quiet runs show it, too."""
    for line in _off_lines(config):
        terminalreporter.write_line(line, yellow=True)


def _off_lines(config: pytest.Config) -> list[str]:
    source = config.stash[_SOURCE]
    told = f"sandbox: the leak sentinel is off ({source}): tests may leave processes, containers and files behind unseen"
    return [told] if source else []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Remember what there was before a test."""
    if not item.config.stash[_SOURCE]:
        makers = _makers()
        threads = frozenset(thread.ident or 0 for thread in threading.enumerate())
        item.stash[_START] = (makers.latest() if makers is not None else 0, threads)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Generator[None, Any, Any]:
    """Note what fixtures make that outlive the test which needs them first."""
    if request.scope == "function" or request.config.stash[_SOURCE]:
        return (yield)
    makers = _makers()
    before = makers.latest() if makers is not None else 0
    try:
        return (yield)
    finally:
        makers = _makers()
        if makers is not None and makers.latest() > before:
            _ledger(request.config).note_fixture(fixturedef, makers.made_since(before))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Fail the test when it has left something."""
    failed = True
    try:
        result = yield
        failed = False
    finally:
        found = _found(item)
        if found and failed:
            item.stash[_FOUND] = found
    if found:
        pytest.fail(found, pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what was left where the teardown failed for another reason."""
    report = yield
    if _FOUND in item.stash:
        report.sections.append(("sandbox leaks", item.stash[_FOUND]))
        del item.stash[_FOUND]
    return report


def _found(item: pytest.Item) -> str:
    makers = _makers()
    start = item.stash.get(_START, None)
    if makers is None or start is None:
        return ""
    before, threads = start
    if makers.latest() == before and _LEDGER not in item.config.stash:
        return ""
    return _ledger(item.config).check(makers.made_since(before), threads)


def _makers() -> ModuleType | None:
    """Return the module that knows who has made what, if anything of ours was ever used."""
    return sys.modules.get("pytest_sandbox.processes.makers")


def _ledger(config: pytest.Config) -> Ledger:
    if _LEDGER not in config.stash:
        from pytest_sandbox.plugin.leaks import Ledger

        config.stash[_LEDGER] = Ledger(config)
    return config.stash[_LEDGER]
