"""The corpus, the executors that it runs on, and what is compared."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from pytest_sandbox import ExecuteResult, JSError, Limits, SnippetError, SnippetExecutor, create_executor
from pytest_sandbox.errors import ExecutorUnavailable
from pytest_sandbox.snippets.differences import differences_of


@dataclass(frozen=True, eq=False)
class Subject:
    """An executor, and the topics on which it is held to agree with the others."""

    executor: str
    options: Mapping[str, Any] = field(default_factory=dict)
    topics: frozenset[str] | None = None

    @property
    def id(self) -> str:
        """How failures name it."""
        return self.executor if self.executor != "container" else f"container {'hardened' if self.is_hardened else 'by default'}"

    @property
    def is_hardened(self) -> bool:
        """Whether its realm is that of the other executors."""
        return self.executor != "container" or bool(self.options.get("hardened"))

    @property
    def differences(self) -> set[str]:
        """The ids of its declared differences."""
        return set(differences_of(self.executor, hardened=self.is_hardened))


SUBJECTS: Final = (
    Subject("isolated-vm"),
    Subject("deno"),
    Subject("vm2"),
    # Fresh processes: a fresh container for each snippet would take ten times as long.
    Subject("container", {"hardened": True, "fresh": "process"}),
    # It has Node's own words for what goes wrong, so only what is meant to agree is compared.
    Subject("container", {"fresh": "process"}, frozenset({"globals", "hardening", "timing", "tools", "values"})),
)


@dataclass(frozen=True)
class Case:
    """One snippet of the corpus.

    Attributes:
        topic: the file that it stands in.
        name: what it is about.
        code: the snippet.
        ends: "ok", or the kind of error that ends it, on every executor without a difference: a snippet that fails by mistake
            would agree everywhere.
        differs: ids of declared differences that it shows; on an executor that has one of them, its outcome must be another.
        language: "js" or "ts".
        timeout: seconds, for what never ends.
    """

    topic: str
    name: str
    code: str
    ends: str = "ok"
    differs: tuple[str, ...] = ()
    language: str = "js"
    timeout: float | None = None


def read_corpus() -> list[Case]:
    """Return all cases; an unknown key is an error."""
    cases = []
    for path in sorted((Path(__file__).parent / "corpus").glob("*.yaml")):
        for fields in yaml.safe_load(path.read_text(encoding="utf-8")):
            cases.append(Case(topic=path.stem, **{**fields, "differs": tuple(fields.get("differs", ()))}))
    return cases


CORPUS: Final = read_corpus()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", [pytest.param(case, id=f"{case.topic}: {case.name}") for case in CORPUS])


# -- what can be seen of an execution -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What is compared of an error."""

    kind: str
    name: str
    message: str
    line: int | None
    limit: str | None
    cause: Fault | None


@dataclass(frozen=True)
class Outcome:
    """What is compared of an execution: durations and columns are not, nor frames but the snippet's first one."""

    ends: str
    value: str
    fault: Fault | None
    logs: tuple[tuple[str, str], ...]
    truncated: bool


def outcome_of(result: ExecuteResult) -> Outcome:
    """Return what is compared."""
    return Outcome(
        ends="ok" if result.error is None else result.error.kind,
        value="undefined" if result.is_undefined else repr(_plain(result.value)),
        fault=_fault(result.error),
        logs=tuple((entry.level, entry.text) for entry in result.logs),
        truncated=result.truncated,
    )


def _plain(value: Any) -> Any:
    """Return a value whose repr says all that must agree, types included, and nothing else."""
    if isinstance(value, JSError):
        return ("JSError", value.name, value.message, _plain(value.cause))
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, set):
        return ("set", sorted(map(repr, value)))
    return value


_FRAME_REGEXP: Final = re.compile(r"\(?snippet\.js:(\d+):\d+\)?")
_MEASURED_REGEXP: Final = re.compile(r"ended after [\d.]+ s")


def _fault(error: SnippetError | None) -> Fault | None:
    if error is None:
        return None
    frame = _FRAME_REGEXP.search(error.stack)
    line = error.line if error.line is not None else int(frame[1]) if frame else None
    message = _MEASURED_REGEXP.sub("ended after … s", error.message)
    return Fault(error.kind, error.name, message, line, error.limit, _fault(error.cause))


def without_lines(fault: Fault | None) -> Fault | None:
    """Return an error as an executor tells it that hides the snippet's lines, those of syntax errors excepted."""
    if fault is None or fault.kind == "syntax":
        return fault
    return replace(fault, line=None, cause=without_lines(fault.cause))


# -- running --------------------------------------------------------------------------------------------------------

LIMITS: Final = Limits(timeout=30, tool_calls=20, output=8192, result=200_000)


async def _later(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


def _fail(reason: str) -> None:
    raise KeyError(reason)


TOOLS: Final[dict[str, Callable[..., Any]]] = {
    "add": lambda a, b: a + b,
    "later": _later,
    "echo": lambda value, *rest: value,
    "fail": _fail,
    "arguments": lambda *values: [repr(value) for value in values],
    "values": lambda: {
        "none": None,
        "big": 2**60,
        "when": datetime(2026, 1, 1, tzinfo=UTC),
        "map": {1: 2},
        "set": {1},
        "raw": b"\x00",
        "list": (1,),
        "text": "x",
        "number": 1.5,
        "flag": True,
        "error": JSError("RangeError", "m"),
    },
    "unreturnable": object,
    "a-b": lambda value: value,
}

Outcomes = Mapping[Subject, Outcome]


class Bench:
    """One executor for each subject, and all of them at once for each case."""

    def __init__(self, required: str) -> None:
        self.missing: dict[str, str] = {}
        self._executors: dict[Subject, SnippetExecutor] = {}
        self._threads = ThreadPoolExecutor(len(SUBJECTS))
        for subject in SUBJECTS:
            try:
                self._executors[subject] = create_executor(subject.executor, limits=LIMITS, **subject.options)
            except ExecutorUnavailable as error:
                if subject.executor in required.split(","):
                    self.close()
                    raise
                self.missing[subject.id] = str(error)

    def run(self, case: Case) -> Outcomes:
        """Run a case on every executor that is held to it."""
        subjects = [subject for subject in self._executors if subject.topics is None or case.topic in subject.topics]
        return dict(zip(subjects, self._threads.map(lambda subject: self._run_one(subject, case), subjects), strict=True))

    def _run_one(self, subject: Subject, case: Case) -> Outcome:
        options: dict[str, Any] = {"language": case.language}
        if case.timeout is not None:
            options["timeout"] = case.timeout
        return outcome_of(self._executors[subject].execute(case.code, TOOLS, **options))

    def close(self) -> None:
        """Close all executors."""
        self._threads.shutdown()
        for executor in self._executors.values():
            executor.close()


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(request.config.getoption("sandbox_require") or "")
    yield bench
    bench.close()


@pytest.fixture
def run_case(bench: Bench) -> Callable[[Case], Outcomes]:
    """Runs a case on all executors; skips where fewer than two work."""

    def run(case: Case) -> Outcomes:
        outcomes = bench.run(case)
        if len(outcomes) < 2:
            pytest.skip(f"There is nothing to compare: {'; '.join(bench.missing.values())}")
        return outcomes

    return run


# -- comparing ------------------------------------------------------------------------------------------------------


@pytest.fixture
def disagreements() -> Callable[[Case, Outcomes], list[str]]:
    """Returns what is wrong with the outcomes of a case, each as one text."""
    return find_disagreements


def find_disagreements(case: Case, outcomes: Outcomes) -> list[str]:
    """Return what is wrong: divergences that are not declared, and declared ones that do not show.

    The outcome that counts is that of the executors without a declared difference in this case, which have to agree.
    """
    declared = {subject: sorted(subject.differences.intersection(case.differs)) for subject in outcomes}
    ordinary = [subject for subject in outcomes if not declared[subject]]
    if not ordinary:
        return []  # where only executors with differences work, there is nothing to hold them to
    reference_subject = next((subject for subject in ordinary if not _hides_lines(subject)), ordinary[0])
    reference = outcomes[reference_subject]
    wrong = []
    if reference.ends != case.ends:
        wrong.append(f"{reference_subject.id} ends with {reference.ends!r}, the corpus says {case.ends!r}: {reference}")
    for subject, outcome in outcomes.items():
        hides = _hides_lines(subject)
        if hides and not _hides_lines(reference_subject) and outcome.fault != without_lines(outcome.fault):
            wrong.append(f'{subject.id} tells lines of the snippet: remove the difference "error-lines"\n  {outcome}')
        expected = replace(reference, fault=without_lines(reference.fault)) if hides else reference
        if outcome == expected and declared[subject]:
            wrong.append(f"{subject.id} agrees with {reference_subject.id}: remove the declared {', '.join(declared[subject])}")
        if outcome != expected and not declared[subject]:
            wrong.append(
                f"{subject.id} differs from {reference_subject.id}, and no difference is declared:\n  {outcome}\n  {expected}"
            )
    return wrong


def _hides_lines(subject: Subject) -> bool:
    return "error-lines" in subject.differences
