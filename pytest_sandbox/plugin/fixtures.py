"""The fixtures, each built on the one before: name, shared executors, one test's lease."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_sandbox.errors import SandboxError
from pytest_sandbox.plugin.state import recorder_of, run_of

if TYPE_CHECKING:
    from pytest_sandbox.limits import Limits
    from pytest_sandbox.plugin.markers import ExecutorMark
    from pytest_sandbox.plugin.pool import ExecutorPool
    from pytest_sandbox.plugin.selection import Choice, Selection
    from pytest_sandbox.plugin.types import ExecutorFactory
    from pytest_sandbox.snippets.base import SnippetExecutor

__all__ = [
    "ALL_FIXTURE",
    "NAME_FIXTURE",
    "_sandbox_executor_name",
    "_sandbox_pool",
    "executor",
    "executor_factory",
    "executors",
    "needs_executor",
]

NAME_FIXTURE: Final = "_sandbox_executor_name"
"""The private fixture on which everything rests that needs one executor: it is parametrized, the public one never."""

ALL_FIXTURE: Final = "executors"


def needs_executor(test: pytest.Item | pytest.Metafunc) -> bool:
    """Whether a test needs an executor, as far as that shows before it runs."""
    names = getattr(test, "fixturenames", ())
    if NAME_FIXTURE in names or ALL_FIXTURE in names:
        return True
    if not isinstance(test, pytest.Metafunc):
        callspec = getattr(test, "callspec", None)
        return callspec is not None and NAME_FIXTURE in callspec.params
    # pytest 8 does not follow a fixture that overrides ours and asks for it; pytest 9 does.
    if any(name in names and _asks_for_ours(test, name) for name in ("executor", "executor_factory")):
        test.fixturenames.append(NAME_FIXTURE)
        return True
    return False


def _asks_for_ours(metafunc: pytest.Metafunc, name: str) -> bool:
    """Whether what overrides a fixture of ours asks for it in turn."""
    definitions = getattr(metafunc, "_arg2fixturedefs", {}).get(name, ())
    return bool(definitions) and all(name in definition.argnames for definition in definitions[1:])


@pytest.fixture(scope="session")
def _sandbox_pool(request: pytest.FixtureRequest) -> Iterator[ExecutorPool]:
    """The executors that tests share."""
    pool = run_of(request.config).pool
    yield pool
    pool.close()


@pytest.fixture
def _sandbox_executor_name(request: pytest.FixtureRequest) -> str:
    """The name of the executor that is selected for this test."""
    variant = getattr(request, "param", None)
    selection, mark = _ready(request, variant, compares=False)
    return _granted(selection.choose_one(mark, variant))[0]


@pytest.fixture
def executor(request: pytest.FixtureRequest, _sandbox_executor_name: str, _sandbox_pool: ExecutorPool) -> Iterator[SnippetExecutor]:
    """The selected snippet executor; a failing test shows what it executed."""
    with _lease(request, _sandbox_executor_name) as lease:
        yield lease


@pytest.fixture
def executors(request: pytest.FixtureRequest, _sandbox_pool: ExecutorPool) -> Iterator[Mapping[str, SnippetExecutor]]:
    """All selected snippet executors that work, by name, for tests that compare them."""
    selection, mark = _ready(request, None, compares=True)
    names = _granted(selection.choose_all(mark))
    with ExitStack() as stack:
        yield {name: stack.enter_context(_lease(request, name)) for name in names}


@pytest.fixture
def executor_factory(request: pytest.FixtureRequest, _sandbox_executor_name: str) -> Iterator[ExecutorFactory]:
    """Creates snippet executors of this test's own, which are closed when it ends."""
    from pytest_sandbox.plugin.leases import Lease

    run = run_of(request.config)
    mark = run.marks(request.node)
    with ExitStack() as stack:

        def create(name: str | None = None, *, limits: Limits | None = None, **options: Any) -> SnippetExecutor:
            chosen = _sandbox_executor_name if name is None else name
            # A marker's options are meant for the selected executor; another one may not have them.
            marked = mark.options if chosen == _sandbox_executor_name else {}
            made = run.registry.create(chosen, limits=run.limits(limits, mark), **{**run.options_for(chosen), **marked, **options})
            lease = Lease(made, recorder_of(request.node), tool_timeout=mark.tool_timeout, owned=True)
            return stack.enter_context(lease)

        yield create


def _lease(request: pytest.FixtureRequest, name: str) -> SnippetExecutor:
    # Imported here, because it loads what runs without sandbox tests do not need.
    from pytest_sandbox.plugin.leases import Lease

    run = run_of(request.config)
    mark = run.marks(request.node)
    failure = None
    try:
        shared = run.shared(name, mark)
    except SandboxError as error:
        failure = str(error)
    if failure is not None:
        pytest.fail(failure, pytrace=False)  # not where it is caught: pytest would print it twice
    return Lease(shared, recorder_of(request.node), timeout=run.timeout(mark), tool_timeout=mark.tool_timeout)


def _ready(request: pytest.FixtureRequest, variant: str | None, *, compares: bool) -> tuple[Selection, ExecutorMark]:
    """Return what chooses executors, and what the test's markers say; fail the test or end the run where that is wrong."""
    run = run_of(request.config)
    if run.fatal is not None:
        pytest.fail(run.fatal, pytrace=False)
    try:
        mark = run.marks(request.node)
    except SandboxError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        selection = run.selection
        # Already done for tests that were collected with our fixtures; not so for getfixturevalue() and in doctests.
        run.needed = True
        selection.prove(selection.needed(mark, variant, compares=compares))
    except (SandboxError, pytest.UsageError) as error:
        if run.cannot_end(str(error)):
            pytest.fail(str(error), pytrace=False)
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    return selection, mark


def _granted(choice: Choice) -> tuple[str, ...]:
    """Return the executors of a test, or skip or fail it."""
    if not choice.names and choice.fails:
        pytest.fail(choice.reason, pytrace=False)
    if not choice.names:
        pytest.skip(choice.reason)
    return choice.names
