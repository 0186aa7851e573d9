"""What happens to collected tests: variants for several executors, proofs, and skips with a reason."""

from __future__ import annotations

import pytest

from pytest_sandbox.errors import SandboxError
from pytest_sandbox.plugin.fixtures import ALL_FIXTURE, NAME_FIXTURE
from pytest_sandbox.plugin.markers import ExecutorMark
from pytest_sandbox.plugin.run import SandboxRun
from pytest_sandbox.plugin.selection import Choice, Selection
from pytest_sandbox.plugin.state import run_of

__all__ = ["parametrize", "settle"]


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Collect a test function once for each selected executor that its markers allow.

    Raises:
        pytest.Collector.CollectError: when a marker makes no sense.
    """
    run = run_of(metafunc.config)
    try:
        mark = run.marks(metafunc.definition)
    except SandboxError as error:
        raise pytest.Collector.CollectError(str(error)) from error
    if NAME_FIXTURE not in metafunc.fixturenames:
        return
    try:
        variants = run.selection.variants(mark)
    except (SandboxError, pytest.UsageError):
        return  # told by settle, once for all tests
    if variants:
        metafunc.parametrize(NAME_FIXTURE, variants, ids=variants, indirect=True)


def settle(session: pytest.Session, items: list[pytest.Item], needing: list[pytest.Item]) -> None:
    """Prove the executors that tests need; then skip the tests that get none, and drop the variants nobody wants.

    Tests whose markers make no sense are left alone: they fail when they are set up.

    Args:
        session: the test session.
        items: all collected tests; changed in place.
        needing: those of them that need an executor.

    Raises:
        pytest.UsageError: when what was asked for makes no sense, or does not work.
    """
    run = run_of(session.config)
    run.needed = not _runs_nothing(session)
    marks = {item: mark for item in needing if (mark := _marks(run, item)) is not None}
    try:
        selection = run.selection
        if not run.needed:
            return
        selection.prove(
            name
            for item, mark in marks.items()
            for name in selection.needed(mark, _variant(item), compares=ALL_FIXTURE in _fixtures(item))
        )
    except (SandboxError, pytest.UsageError) as error:
        if run.cannot_end(str(error)):
            return
        raise pytest.UsageError(str(error)) from error
    choices = {item: _choose(selection, item, mark) for item, mark in marks.items()}
    dropped = _drop(selection, choices)
    for item, choice in choices.items():
        if item not in dropped and not choice.names and not choice.fails:
            item.add_marker(pytest.mark.skip(reason=choice.reason))
    if dropped:
        session.config.hook.pytest_deselected(items=list(dropped))
        items[:] = [item for item in items if item not in dropped]


def _runs_nothing(session: pytest.Session) -> bool:
    option = session.config.option
    shows = option.collectonly or option.setupplan or option.showfixtures or option.show_fixtures_per_test
    return bool(shows or (session.testsfailed and not option.continue_on_collection_errors))


def _marks(run: SandboxRun, item: pytest.Item) -> ExecutorMark | None:
    try:
        return run.marks(item)
    except SandboxError:
        return None


def _variant(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get(NAME_FIXTURE) if callspec is not None else None


def _fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


def _choose(selection: Selection, item: pytest.Item, mark: ExecutorMark) -> Choice:
    variant = _variant(item)
    if variant is None and NAME_FIXTURE not in _fixtures(item):
        return selection.choose_all(mark)
    return selection.choose_one(mark, variant)


def _drop(selection: Selection, choices: dict[pytest.Item, Choice]) -> set[pytest.Item]:
    """Return the variants that "available" leaves out: those without executor, if the test has another variant."""
    if selection.request.mode != "available":
        return set()
    kept: set[object] = {_function(item) for item, choice in choices.items() if choice.names or choice.fails}
    dropped = set()
    for item, choice in choices.items():
        if choice.names or choice.fails or _variant(item) is None:
            continue
        if _function(item) in kept:
            dropped.add(item)
        kept.add(_function(item))  # the first one stays, so that no test vanishes without a word
    return dropped


def _function(item: pytest.Item) -> object:
    return item.parent, getattr(item, "originalname", item.name)
