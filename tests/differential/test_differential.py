"""All executors are one environment: the same snippets have the same outcomes, but for the declared differences.

The corpus stands in `corpus/*.yaml`, one file for each topic; the table of differences in `pytest_sandbox/snippets/differences.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_sandbox import ExecuteResult, LogEntry, SnippetError
from pytest_sandbox.snippets.differences import DIFFERENCES

if TYPE_CHECKING:
    from tests.differential.conftest import Case, Outcome, Subject

    RunCase = Callable[[Case], Mapping[Subject, Outcome]]
    Disagreements = Callable[[Case, Mapping[Subject, Outcome]], list[str]]


def test_all_executors_agree_but_for_declared_differences(case: Case, run_case: RunCase, disagreements: Disagreements) -> None:
    wrong = disagreements(case, run_case(case))
    assert not wrong, "\n".join([*wrong, "the snippet:", case.code])


# -- the corpus -----------------------------------------------------------------------------------------------------


@pytest.fixture
def corpus(request: pytest.FixtureRequest) -> list[Case]:
    return list(_conftest(request).CORPUS)


@pytest.fixture
def subjects(request: pytest.FixtureRequest) -> tuple[Subject, ...]:
    return tuple(_conftest(request).SUBJECTS)


def _conftest(request: pytest.FixtureRequest) -> Any:
    # By its path: under --import-mode=importlib, a test module cannot import the conftest beside it.
    path = str(request.path.with_name("conftest.py"))
    return next(plugin for _, plugin in request.config.pluginmanager.list_name_plugin() if getattr(plugin, "__file__", "") == path)


def test_the_corpus_is_large_and_without_repetition(corpus: list[Case]) -> None:
    assert len(corpus) >= 150
    assert len({(case.topic, case.name) for case in corpus}) == len(corpus)
    assert len({(case.language, case.code) for case in corpus}) == len(corpus)


def test_every_declared_difference_is_shown_by_a_snippet_alone(corpus: list[Case], subjects: tuple[Subject, ...]) -> None:
    shown = set()
    for case in corpus:
        for subject in subjects:
            if subject.topics is None or case.topic in subject.topics:
                ids = subject.differences.intersection(case.differs)
                shown |= {(subject.executor, id_) for id_ in ids if len(ids) == 1}
    declared = {(row.executor, row.id) for row in DIFFERENCES}
    assert declared - shown == set(), "these are declared and not shown"
    unknown = {id_ for case in corpus for id_ in case.differs} - {row.id for row in DIFFERENCES}
    assert unknown == set(), "these are named in the corpus and not declared"


# -- the comparison itself can fail ---------------------------------------------------------------------------------


@pytest.fixture
def outcome(request: pytest.FixtureRequest) -> Callable[..., Outcome]:
    def make(**fields: Any) -> Outcome:
        error = fields.get("error")
        result = ExecuteResult(ok=error is None, executor="x", duration=0.0, **fields)
        found: Outcome = _conftest(request).outcome_of(result)
        return found

    return make


def _error(line: int = 2, **fields: Any) -> SnippetError:
    facts: dict[str, Any] = {"kind": "runtime", "name": "TypeError", "message": "no", **fields}
    return SnippetError(stack=f"TypeError: no\n    at f (snippet.js:{line}:3)", **facts)


@pytest.mark.parametrize(
    "other",
    [
        {"value": 1.0},
        {"value": True},
        {"value": None, "is_undefined": True},
        {"value": 1, "logs": (LogEntry("log", "x", 0.0),)},
        {"value": 1, "truncated": True},
        {"error": _error()},
    ],
    ids=str,
)
def test_an_undeclared_divergence_of_a_result_fails(
    other: dict[str, Any],
    corpus: list[Case],
    subjects: tuple[Subject, ...],
    outcome: Callable[..., Outcome],
    disagreements: Disagreements,
) -> None:
    case = replace(corpus[0], ends="ok", differs=())
    one, two = subjects[:2]
    assert disagreements(case, {one: outcome(value=1), two: outcome(value=1)}) == []
    (told,) = disagreements(case, {one: outcome(value=1), two: outcome(**other)})
    assert told.startswith("deno differs from isolated-vm, and no difference is declared:")


@pytest.mark.parametrize(
    "other",
    [{"name": "RangeError"}, {"message": "nope"}, {"line": 3}, {"limit": "memory"}, {"cause": _error()}],
    ids=str,
)
def test_an_undeclared_divergence_of_an_error_fails(
    other: dict[str, Any],
    corpus: list[Case],
    subjects: tuple[Subject, ...],
    outcome: Callable[..., Outcome],
    disagreements: Disagreements,
) -> None:
    case = replace(corpus[0], ends="runtime", differs=())
    one, two = subjects[:2]
    assert disagreements(case, {one: outcome(error=_error()), two: outcome(error=_error())}) == []
    assert len(disagreements(case, {one: outcome(error=_error()), two: outcome(error=_error(**other))})) == 1


def test_a_declared_divergence_must_show(
    corpus: list[Case], subjects: tuple[Subject, ...], outcome: Callable[..., Outcome], disagreements: Disagreements
) -> None:
    case = replace(corpus[0], ends="ok", differs=("no-proxy",))
    ordinary, _, vm2 = subjects[:3]
    assert disagreements(case, {ordinary: outcome(value=1), vm2: outcome(value=2)}) == []
    (told,) = disagreements(case, {ordinary: outcome(value=1), vm2: outcome(value=1)})
    assert told == "vm2 agrees with isolated-vm: remove the declared no-proxy"


def test_lines_that_are_declared_to_be_hidden_must_be(
    corpus: list[Case], subjects: tuple[Subject, ...], outcome: Callable[..., Outcome], disagreements: Disagreements
) -> None:
    case = replace(corpus[0], ends="runtime", differs=())
    ordinary, _, vm2 = subjects[:3]
    hidden = SnippetError("runtime", "TypeError", "no")
    assert disagreements(case, {ordinary: outcome(error=_error()), vm2: outcome(error=hidden)}) == []
    assert len(disagreements(case, {ordinary: outcome(error=_error()), vm2: outcome(error=_error())})) == 2


def test_a_snippet_that_fails_by_mistake_fails(
    corpus: list[Case], subjects: tuple[Subject, ...], outcome: Callable[..., Outcome], disagreements: Disagreements
) -> None:
    case = replace(corpus[0], ends="ok", differs=())
    one, two = subjects[:2]
    (told,) = disagreements(case, {one: outcome(error=_error()), two: outcome(error=_error())})
    assert told.startswith("isolated-vm ends with 'runtime', the corpus says 'ok'")
