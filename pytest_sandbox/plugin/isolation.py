"""Guarantees in tests: the fixture ``isolation``, the marker ``requires_guarantee``, and ``--sandbox-audit``.

A pytest plugin of its own, which the main one names. Nothing is proved, or loaded, before a test asks for it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_sandbox.plugin.fixtures import NAME_FIXTURE
from pytest_sandbox.plugin.options import our_group

if TYPE_CHECKING:
    from pytest_sandbox.plugin.isolation_run import Isolation, IsolationRun

__all__ = ["isolation", "prover_of"]

PROVER: Final[pytest.StashKey[IsolationRun]] = pytest.StashKey()
"""In a config: what was proved in this test run, once something was."""

MARKER: Final = "requires_guarantee"
MARKER_LINE: Final = (
    "requires_guarantee(*ids, executor=None): run this test only if its executor (or the named one) holds these guarantees, which "
    "is proved once per run; otherwise it is skipped, or with --sandbox-require-guarantees it fails."
)
_OUTPUT: Final = "sandbox_audits"


def prover_of(config: pytest.Config) -> IsolationRun:
    """Return what proves guarantees in a test run."""
    if PROVER not in config.stash:
        from pytest_sandbox.plugin.isolation_run import IsolationRun

        config.stash[PROVER] = IsolationRun(config)
        config.add_cleanup(config.stash[PROVER].close)
    return config.stash[PROVER]


# -- hooks -----------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register our options."""
    group = our_group(parser)
    group.addoption(
        "--sandbox-audit",
        dest="sandbox_audit",
        action="store_true",
        default=False,
        help="Add a test for each guarantee of each selected executor, which puts it to the proof",
    )
    group.addoption(
        "--sandbox-require-guarantees",
        dest="sandbox_require_guarantees",
        action="store_true",
        default=None,
        help="Fail tests whose requires_guarantee does not hold, instead of skipping them",
    )
    parser.addini("sandbox_require_guarantees", "Default for --sandbox-require-guarantees", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Register our marker."""
    config.addinivalue_line("markers", MARKER_LINE)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let a marked test be collected for the executors that are selected, even if it has no fixture of ours."""
    mark = metafunc.definition.get_closest_marker(MARKER)
    if mark is not None and mark.kwargs.get("executor") is None and NAME_FIXTURE not in metafunc.fixturenames:
        metafunc.fixturenames.append(NAME_FIXTURE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the audit as tests, if that was asked for."""
    if session.config.getoption("sandbox_audit"):
        from pytest_sandbox.plugin.isolation_items import audit_items

        items.extend(audit_items(session))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Prove what a marked test requires, when its fixtures are there and before it runs."""
    yield
    if item.get_closest_marker(MARKER) is not None:
        prover_of(item.config).require(item)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what was proved to the reports; a worker of pytest-xdist hands it to the controller."""
    if PROVER not in session.config.stash:
        return
    parts = session.config.stash[PROVER].audits()
    output = getattr(session.config, "workeroutput", None)
    if output is None:
        from pytest_sandbox.plugin.state import AUDITS

        session.config.stash.setdefault(AUDITS, []).extend(parts)
    else:
        from pytest_sandbox.guarantees.results import audit_to_json

        output[_OUTPUT] = [audit_to_json(part).decode() for part in parts]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker has proved."""
    told = getattr(node, "workeroutput", {}).get(_OUTPUT)
    if told:
        from pytest_sandbox.guarantees.results import audit_from_json
        from pytest_sandbox.plugin.state import AUDITS

        node.config.stash.setdefault(AUDITS, []).extend(map(audit_from_json, told))


# -- fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def isolation(request: pytest.FixtureRequest, _sandbox_executor_name: str) -> Isolation:
    """Proves guarantees of the selected executor: isolation.assert_held("network")."""
    from pytest_sandbox.plugin.isolation_run import Isolation

    return Isolation(prover_of(request.config), request.node, _sandbox_executor_name)
