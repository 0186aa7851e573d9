"""Command executors in tests: the option ``--sandbox-entries``, three fixtures, one marker, and what failing tests show.

A pytest plugin of its own, which the main one names. It loads entries, and all that they need, when a collected test asks for them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_sandbox.plugin.options import our_group

if TYPE_CHECKING:
    from pytest_sandbox.commands.base import CommandExecutor
    from pytest_sandbox.entries import DockerEntry, EntryRegistry, NativeEntry
    from pytest_sandbox.plugin.command_run import CommandRun, CommandTest

__all__ = ["docker_entry", "docker_executor", "entries", "native_entry", "native_executor"]

RUN: Final[pytest.StashKey[CommandRun]] = pytest.StashKey()
"""In a config: the entries of this run, once a test has asked for them."""
TEST: Final[pytest.StashKey[CommandTest]] = pytest.StashKey()
"""In a test item: the executors that it was given."""

FIXTURES: Final = frozenset({"entries", "native_executor", "docker_executor"})
MARKER_LINE: Final = (
    "command_whitelist(*commands): the commands that native_executor and docker_executor run in this test; "
    "they must be in the entry's own command_whitelist, if it has one."
)


def run_of(config: pytest.Config) -> CommandRun:
    """Return the entries of a test run."""
    if RUN not in config.stash:
        from pytest_sandbox.plugin.command_run import CommandRun

        config.stash[RUN] = CommandRun(config)
    return config.stash[RUN]


# -- hooks -----------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register our options."""
    group = our_group(parser)
    group.addoption(
        "--sandbox-entries",
        dest="sandbox_entries",
        action="append",
        metavar="FILE",
        help="YAML file, or folder of such files, with the entries of command executors. Can be given several times.\n"
        "Beats PYTEST_SANDBOX_ENTRIES, which beats the ini value.",
    )
    group.addoption(
        "--sandbox-unused-whitelist",
        dest="sandbox_unused_whitelist",
        action="store_true",
        default=False,
        help="List, at the end, the lines of command_whitelist that no test has used",
    )
    parser.addini("sandbox_entries", "Default for --sandbox-entries: files or folders, relative to the ini file", type="paths")


def pytest_configure(config: pytest.Config) -> None:
    """Register our marker."""
    config.addinivalue_line("markers", MARKER_LINE)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Load the entries if a test needs them, and end the run when they are wrong."""
    if any(FIXTURES.intersection(getattr(item, "fixturenames", ())) for item in session.items):
        run_of(session.config).load_early()


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Name the settings by which an entry hands out the host."""
    return run_of(config).danger_lines() if RUN in config.stash else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the commands of a failing test."""
    report = yield
    if TEST in item.stash:
        if report.failed:
            report.sections.extend(item.stash[TEST].sections())
        from pytest_sandbox.plugin.harmless import make_harmless

        make_harmless(report, has_colour=item.config.get_terminal_writer().hasmarkup)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a worker of pytest-xdist tell the controller what its tests have used."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None and RUN in session.config.stash:
        output["sandbox_commands"] = run_of(session.config).as_plain()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker tells."""
    told = getattr(node, "workeroutput", {}).get("sandbox_commands")
    if told is not None:
        run_of(node.config).add_plain(told)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Report dangerous settings that workers found, and whitelist lines that no test has used."""
    if RUN not in config.stash:
        return
    run = run_of(config)
    for line in run.danger_lines():
        terminalreporter.write_line(line)
    if config.getoption("sandbox_unused_whitelist"):
        terminalreporter.section("whitelist lines that no test has used")
        for line in run.unused_lines():
            terminalreporter.write_line(line)


# -- fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def entries(request: pytest.FixtureRequest) -> Iterator[EntryRegistry]:
    """The entries of --sandbox-entries; executors that a test gets from it are closed when it ends."""
    test = _test(request)
    test.need_entries()
    yield test.registry
    test.close()


@pytest.fixture
def native_entry() -> str | NativeEntry | None:
    """Override me: the id, or the entry, of native_executor. By default the only entry of kind exec.native, else a bare one."""
    return None


@pytest.fixture
def docker_entry() -> str | DockerEntry | None:
    """Override me: the id, or the entry, of docker_executor. By default the only entry of kind exec.docker."""
    return None


@pytest.fixture
def native_executor(
    request: pytest.FixtureRequest, native_entry: str | NativeEntry | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CommandExecutor]:
    """Runs commands on the host with a clean environment; without an entry, in an empty folder."""
    test = _test(request)
    yield test.native(native_entry, lambda: tmp_path_factory.mktemp("native_executor", numbered=True))
    test.close()


@pytest.fixture
def docker_executor(request: pytest.FixtureRequest, docker_entry: str | DockerEntry | None) -> Iterator[CommandExecutor]:
    """Runs commands in containers; what their entry leaves unset is strict: no network, read-only, no capabilities, non-root."""
    test = _test(request)
    yield test.docker(docker_entry)
    test.close()


def _test(request: pytest.FixtureRequest) -> CommandTest:
    item: pytest.Item = request.node
    if TEST not in item.stash:
        from pytest_sandbox.plugin.command_run import CommandTest

        item.stash[TEST] = CommandTest(item, run_of(request.config))
    return item.stash[TEST]
