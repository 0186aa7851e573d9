"""What one test run has proved: each guarantee of each executor once, with one set of canaries and controls."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from pytest_sandbox.errors import ExecutorUnavailable, GuaranteeViolated, InvalidArgument, SandboxError
from pytest_sandbox.guarantees.audit import Audited, AuditSession
from pytest_sandbox.guarantees.catalogue import read_catalogue
from pytest_sandbox.guarantees.facts import versions_of
from pytest_sandbox.guarantees.machine import machine_of
from pytest_sandbox.guarantees.results import Audit, ExecutorAudit, GuaranteeResult
from pytest_sandbox.guarantees.telling import told_failure
from pytest_sandbox.limits import Limits
from pytest_sandbox.plugin.fixtures import NAME_FIXTURE
from pytest_sandbox.plugin.markers import ExecutorMark
from pytest_sandbox.plugin.state import run_of

__all__ = ["Isolation", "IsolationRun", "Proved"]

_MARKER: Final = "requires_guarantee"


@dataclass
class Proved:
    """One executor, open for the whole run, and what was proved of it so far."""

    audited: Audited
    part: ExecutorAudit
    results: dict[str, GuaranteeResult] = field(default_factory=dict)

    def audit(self) -> ExecutorAudit:
        """Return what was proved."""
        from dataclasses import replace

        return replace(self.part, guarantees=tuple(self.results.values()))


class IsolationRun:
    """Proves guarantees for the tests of one process; opened on first use."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._stack = ExitStack()
        self._session: AuditSession | None = None
        self._proved: dict[str, Proved] = {}
        self._lock = threading.RLock()
        self._started = datetime.now(UTC)
        self._seconds = 0.0

    @property
    def session(self) -> AuditSession:
        """Canaries, controls and the catalogue.

        Raises:
            InvalidPlugin: when a plugin answers with nonsense (the fault of its author).
        """
        if self._session is None:
            catalogue = read_catalogue(run_of(self._config).registry.ask("pytest_sandbox_guarantees"))
            self._session = self._stack.enter_context(AuditSession(catalogue))
        return self._session

    def prove(self, executor: str, guarantee: str, mark: ExecutorMark | None = None) -> tuple[ExecutorAudit, GuaranteeResult]:
        """Put one guarantee to the proof, or remember what became of it.

        Args:
            executor: the name of a snippet executor, or of a kind of command executors.
            guarantee: the id.
            mark: limits and options with which a test gets that executor.

        Raises:
            UnknownGuarantee: when there is none of that id (the caller's fault).
            ExecutorUnavailable: when the executor does not work here.
            InvalidArgument: when there is none of that name (the caller's fault).
        """
        mark = mark or ExecutorMark()
        with self._lock:  # tests may run in threads
            began = time.monotonic()
            session = self.session
            wanted = session.catalogue.find(guarantee)
            with session.canaries.planted():
                proved = self._open(executor, mark)
                if guarantee not in proved.results:
                    proved.results[guarantee] = session.prove(proved.audited, wanted)
            self._seconds += time.monotonic() - began
            return proved.part, proved.results[guarantee]

    def _open(self, name: str, mark: ExecutorMark) -> Proved:
        from pytest_sandbox.guarantees.targets import COMMAND_TARGETS, commands

        run = run_of(self._config)
        options: Mapping[str, Any] = {}
        limits = Limits()
        if name not in COMMAND_TARGETS:
            options = {**run.options_for(name), **mark.options}
            limits = mark.limits
        key = f"{name} {limits!r} {sorted(options.items(), key=lambda item: item[0])!r}"
        if key not in self._proved:
            if name in COMMAND_TARGETS:
                audited, part = self._stack.enter_context(commands(self.session, name))
            else:
                executor = self._stack.enter_context(run.registry.create(name, limits=limits, **options))
                audited = self._stack.enter_context(self.session.snippets(executor))
                info = executor.info
                part = ExecutorAudit(name=name, kind="snippet", info=info.describe(), versions=versions_of(info), jail=info.jail)
            self._proved[key] = Proved(audited, part)
        return self._proved[key]

    def audits(self) -> list[Audit]:
        """Return what was proved, for reports; empty when nothing was."""
        parts = [proved.audit() for proved in self._proved.values() if proved.results]
        if not parts:
            return []
        from pytest_sandbox import __version__

        return [
            Audit(
                tool_version=__version__,
                started=self._started.isoformat(timespec="seconds"),
                duration=self._seconds,
                machine=machine_of(parts),
                executors=tuple(parts),
                complete=False,
            )
        ]

    def close(self) -> None:
        """End all executors and controls, and remove the canaries."""
        self._proved.clear()
        self._session = None
        self._stack.close()

    # -- the marker -----------------------------------------------------------------------------------------------------------

    def require(self, item: pytest.Item) -> None:
        """Skip a marked test, or fail it, unless everything that it requires is held."""
        for mark in item.iter_markers(_MARKER):
            reason, is_wrong = self._why_not_all(item, mark)
            if reason and (is_wrong or self._is_required):
                pytest.fail(reason, pytrace=False)
            if reason:
                pytest.skip(reason)

    def _why_not_all(self, item: pytest.Item, mark: pytest.Mark) -> tuple[str, bool]:
        """Return why a marker keeps a test from running, and whether the marker itself makes no sense."""
        try:
            executor, reason = _executor_of(mark, item)
            reasons = [self._why_not(item, executor, guarantee) for guarantee in mark.args] if executor else [reason]
        except ExecutorUnavailable as error:
            return str(error), False
        except SandboxError as error:
            return f"{error}, in the {_MARKER} marker of {item.nodeid}", True
        return "; ".join(filter(None, reasons)), False

    @property
    def _is_required(self) -> bool:
        option = self._config.getoption("sandbox_require_guarantees")
        return bool(self._config.getini("sandbox_require_guarantees") if option is None else option)

    def _why_not(self, item: pytest.Item, executor: str, guarantee: str) -> str:
        part, result = self.prove(executor, guarantee, run_of(self._config).marks(item))
        if result.verdict == "held":
            return ""
        return f'Guarantee "{guarantee}" is {result.verdict} on executor "{part.name}": {result.reason}'


def _executor_of(mark: pytest.Mark, item: pytest.Item) -> tuple[str, str]:
    """Return the executor that a marker is about, or nothing and the reason why the test has none.

    Raises:
        SandboxError: when the marker makes no sense.
    """
    unknown = sorted(mark.kwargs.keys() - {"executor"})
    if unknown:
        raise InvalidArgument(unknown[0], mark.kwargs[unknown[0]], "no keyword but executor")
    if not mark.args:
        raise InvalidArgument(_MARKER, "()", "ids of guarantees")
    named = mark.kwargs.get("executor")
    if named is not None:
        return str(named), ""
    # What the test has, or would have if it asked for one.
    variant = getattr(getattr(item, "callspec", None), "params", {}).get(NAME_FIXTURE)
    known = getattr(item, "funcargs", {}).get(NAME_FIXTURE, variant)
    if known is not None:
        return str(known), ""
    run = run_of(item.config)
    choice = run.selection.choose_one(run.marks(item), None)
    return (choice.names[0], "") if choice.names else ("", choice.reason)


class Isolation:
    """The fixture ``isolation``.

    Attributes:
        executor: the name of the executor that is selected for this test.
    """

    def __init__(self, run: IsolationRun, item: pytest.Item, executor: str) -> None:
        self._run = run
        self._item = item
        self.executor = executor

    def prove(self, guarantee: str, executor: str | None = None) -> GuaranteeResult:
        """Put a guarantee to the proof, once per test run and executor, and return what became of it.

        Args:
            guarantee: its id, such as "network".
            executor: the name of an executor; None is the one that is selected for this test.

        Raises:
            UnknownGuarantee: when there is none of that id (the caller's fault).
            ExecutorUnavailable: when the executor does not work here.
        """
        return self._prove(guarantee, executor)[1]

    def assert_held(self, guarantee: str, executor: str | None = None) -> None:
        """Fail unless a guarantee is promised and, as put to the proof, held.

        Args:
            guarantee: as for `prove`.
            executor: as for `prove`.

        Raises:
            GuaranteeViolated: when it is violated, inconclusive or not promised; an `AssertionError`, whose message has the
                attacks, what they managed to do, and what to do next.
            UnknownGuarantee: as for `prove`, like ExecutorUnavailable.
        """
        __tracebackhide__ = True
        part, result = self._prove(guarantee, executor)
        if result.verdict != "held":
            raise GuaranteeViolated(guarantee, part.name, result.verdict, told_failure(part, result))

    def _prove(self, guarantee: str, executor: str | None) -> tuple[ExecutorAudit, GuaranteeResult]:
        mark = run_of(self._item.config).marks(self._item) if executor in (None, self.executor) else None
        return self._run.prove(self.executor if executor is None else executor, guarantee, mark)
