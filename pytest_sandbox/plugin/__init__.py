"""The pytest plugin: hooks, each of which hands over to a module of its own.

Everybody who has pytest-sandbox installed imports this on every test run. So this module and what it imports are cheap
to import, all else is imported when a test needs an executor, and nothing is started or searched before that.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from pytest_sandbox import active_runs
from pytest_sandbox.names import EXECUTOR_TYPE
from pytest_sandbox.plugin import options
from pytest_sandbox.plugin.fixtures import (
    _sandbox_executor_name,
    _sandbox_pool,
    executor,
    executor_factory,
    executors,
    needs_executor,
)
from pytest_sandbox.plugin.state import RECORDER, RUN, SETTINGS, run_of

if TYPE_CHECKING:
    from pytest_sandbox.plugin.distributed import WorkerNode

__all__ = ["_sandbox_executor_name", "_sandbox_pool", "executor", "executor_factory", "executors"]

pytest_plugins = (
    "pytest_sandbox.plugin.commands",
    "pytest_sandbox.plugin.isolation",
    "pytest_sandbox.plugin.lua",
    "pytest_sandbox.plugin.reporting",
    "pytest_sandbox.plugin.sentinel",
    "pytest_sandbox.plugin.slowest",
)
"""What has options, hooks and fixtures of its own."""

MARKER_LINE = (
    "executor(*names, timeout=None, cpu_time=None, memory=None, output=None, result=None, source=None, tool_calls=None, "
    "processes=None, tool_timeout=None, **options): run this test only on the named executors, of those that are selected; "
    "limits (in seconds and bytes) and options of the executor beat command line, environment and ini file."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register our options."""
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Let conftest files and plugins define our hooks."""
    from pytest_sandbox import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Show the executors instead of running tests, if that was asked for."""
    if not config.getoption("sandbox_list"):
        return None
    from pytest_sandbox.registry import Registry
    from pytest_sandbox.reports.listing import listing

    print(listing(Registry(config.pluginmanager.list_name_plugin)), end="")
    return 0


def pytest_configure(config: pytest.Config) -> None:
    """Read the options, and announce this test run to the library."""
    config.addinivalue_line("markers", MARKER_LINE)
    config.stash[SETTINGS] = options.read_settings(config)
    config.add_cleanup(active_runs.enter(lambda: run_of(config).registry))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse names that nobody knows; before workers start, prove the executors that were asked for by name."""
    settings = session.config.stash[SETTINGS]
    asked_for = settings.executor[1] or settings.require_source
    if not asked_for or hasattr(session.config, "workerinput"):
        return
    is_controller = session.config.pluginmanager.hasplugin("dsession")
    if is_controller or settings.require or settings.executor[1] != EXECUTOR_TYPE:
        run_of(session.config).check_early()
    if is_controller:
        run_of(session.config).prove_forced()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerNode) -> None:
    """Let a worker of pytest-xdist ask which executors work."""
    from pytest_sandbox.plugin.distributed import attend_to

    attend_to(node)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Collect a test once for each selected executor."""
    if needs_executor(metafunc):
        from pytest_sandbox.plugin.collection import parametrize

        parametrize(metafunc)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Prove the executors that the collected tests need, after all other plugins have deselected what they will."""
    yield
    needing = [item for item in items if needs_executor(item)]
    if needing:
        from pytest_sandbox.plugin.collection import settle

        settle(session, items, needing)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Name the executors, if a collected test needs one."""
    if RUN not in config.stash:
        return []
    from pytest_sandbox.plugin.header import executor_lines

    run = config.stash[RUN]
    run.line_done = run.needed
    return executor_lines(run, config.get_verbosity())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the executors, where that was not known after collection: under pytest-xdist, above all."""
    if RUN not in config.stash:
        return
    from pytest_sandbox.plugin.header import executor_lines

    run = config.stash[RUN]
    for line in [] if run.line_done else executor_lines(run, config.get_verbosity()):
        terminalreporter.write_line(line)
    if run.fatal is not None:
        terminalreporter.write_line(f"ERROR: {run.fatal}", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End as a usage error, where a worker found that what was asked for makes no sense."""
    if RUN in session.config.stash and session.config.stash[RUN].fatal is not None:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what a failing test executed."""
    report = yield
    if RECORDER in item.stash:
        if report.failed:
            report.sections.extend(item.stash[RECORDER].sections())
        from pytest_sandbox.plugin.harmless import make_harmless

        make_harmless(report, has_colour=item.config.get_terminal_writer().hasmarkup)
    return report
