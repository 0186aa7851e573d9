"""One suite for every snippet executor: each test runs once for each of `SUBJECTS`.

A case may fail on an executor only where `pytest_sandbox/snippets/differences.py` declares a difference, and says so with the marker
``difference``: the case is then a strict expected failure, so that a difference that is gone turns red.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest

from pytest_sandbox import ExecuteResult, Limits, SnippetError, SnippetExecutor, create_executor
from pytest_sandbox.errors import ExecutorUnavailable, SandboxError
from pytest_sandbox.snippets.differences import DIFFERENCES, differences_of


@dataclass(frozen=True)
class Subject:
    """An executor as this suite sets it up."""

    executor: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """How test ids name it."""
        return "-".join([self.executor, *(name for name, value in self.options.items() if value is True)])


# To hold a further executor to the suite, add a line here.
SUBJECTS = (
    Subject("isolated-vm"),
    Subject("deno"),
    Subject("vm2"),
    # A fresh process for each case: a fresh container takes ten times as long, and tests/engines holds it to its own promises.
    Subject("container", {"hardened": True, "fresh": "process"}),
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "difference(*ids): declared differences; on an executor that has one, the test must fail.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" in metafunc.fixturenames:
        metafunc.parametrize("subject", [pytest.param(subject, id=subject.id) for subject in SUBJECTS])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        callspec = getattr(item, "callspec", None)
        subject = callspec.params.get("subject") if callspec is not None else None
        if subject is None:
            continue
        own = differences_of(subject.executor)
        reasons = [f"{own[name].effect}: {own[name].reason}" for name in sorted(_differences(item)) if name in own]
        if reasons:
            item.add_marker(pytest.mark.xfail(strict=True, reason="; ".join(reasons)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    unknown = _differences(item) - {difference.id for difference in DIFFERENCES}
    if unknown:
        pytest.fail(f"The marker names differences that are not declared: {', '.join(unknown)}", pytrace=False)


def _differences(item: pytest.Item) -> set[str]:
    return {name for mark in item.iter_markers("difference") for name in mark.args}


# -- executors ----------------------------------------------------------------------------------------------

MakeExecutor = Callable[..., SnippetExecutor]


def is_broken(error: BaseException | None) -> bool:
    """Whether an executor is not just missing here, but fails to be imported."""
    while error is not None:
        if not isinstance(error, SandboxError):
            return True
        error = error.__cause__
    return False


class Workshop:
    """Makes executors, or says why there is none."""

    def __init__(self, required: str) -> None:
        self._required = required
        self._open: dict[str, SnippetExecutor] = {}

    def make(self, subject: Subject, **options: Any) -> SnippetExecutor:
        """Make an executor; skip the test when its runtime is missing, unless --sandbox-require names it."""
        try:
            return create_executor(subject.executor, **{**subject.options, **options})
        except ExecutorUnavailable as error:
            if subject.executor in self._required.split(",") or is_broken(error):
                raise
            pytest.skip(str(error))

    def shared(self, subject: Subject, **options: Any) -> SnippetExecutor:
        """Return the executor that the tests of this process share, one for each set of options."""
        key = f"{subject.id} {options}"
        if key not in self._open:
            self._open[key] = self.make(subject, **options)
        return self._open[key]

    def close(self) -> None:
        """Close what is shared."""
        for executor in self._open.values():
            executor.close()


@pytest.fixture(scope="session")
def workshop(request: pytest.FixtureRequest) -> Iterator[Workshop]:
    workshop = Workshop(request.config.getoption("sandbox_require") or "")
    yield workshop
    workshop.close()


@pytest.fixture
def executor(subject: Subject, workshop: Workshop) -> SnippetExecutor:
    """The executor under test, shared with other tests: what one does to it must not hurt the next."""
    return workshop.shared(subject)


@pytest.fixture
def narrow_executor(subject: Subject, workshop: Workshop) -> SnippetExecutor:
    """Like `executor`, with one runner, so that what can be used again is used again at once."""
    return workshop.shared(subject, max_runners=1)


@pytest.fixture
def small_executor(subject: Subject, workshop: Workshop) -> SnippetExecutor:
    """Like `executor`, with little memory."""
    return workshop.shared(subject, limits=Limits(memory=96 * 2**20, timeout=20))


@pytest.fixture
def make_executor(subject: Subject, workshop: Workshop) -> Iterator[MakeExecutor]:
    """Makes executors of the test's own, with limits or options."""
    made: list[SnippetExecutor] = []

    def make(**options: Any) -> SnippetExecutor:
        made.append(workshop.make(subject, **options))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


# -- running ------------------------------------------------------------------------------------------------

Run = Callable[..., Any]
Fail = Callable[..., SnippetError]


@pytest.fixture
def run(executor: SnippetExecutor) -> Run:
    """Execute a snippet that must succeed; returns its value."""

    def run(code: str, tools: Mapping[str, Callable[..., Any]] | None = None, **options: Any) -> Any:
        return executor.execute(code, tools, **options).check().value

    return run


@pytest.fixture
def fail(executor: SnippetExecutor) -> Fail:
    """Execute a snippet that must fail; returns its error."""

    def fail(code: str, tools: Mapping[str, Callable[..., Any]] | None = None, **options: Any) -> SnippetError:
        result: ExecuteResult = executor.execute(code, tools, **options)
        assert not result.ok, result
        assert result.value is None
        assert result.error is not None
        return result.error

    return fail


# -- processes ----------------------------------------------------------------------------------------------

Runners = Callable[[], dict[int, psutil.Process]]


def find_runners() -> dict[int, psutil.Process]:
    """Return our runner processes, by pid, wherever they hang in the tree below this process."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if any("snippets/runners/" in word for word in command):
            found[process.pid] = process
    return found


@pytest.fixture
def runners() -> Runners:
    """Returns the runner processes of this test process, by pid."""
    return find_runners
