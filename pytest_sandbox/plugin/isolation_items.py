"""``pytest --sandbox-audit``: a test for each guarantee of each selected executor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pytest_sandbox.errors import GuaranteeViolated, SandboxError
from pytest_sandbox.guarantees.catalogue import read_catalogue
from pytest_sandbox.guarantees.telling import told_failure
from pytest_sandbox.names import AUTO
from pytest_sandbox.plugin.isolation import prover_of
from pytest_sandbox.plugin.state import run_of

__all__ = ["AuditItem", "audit_items"]


class AuditCollector(pytest.Collector):
    """Stands for the audit of one executor; its tests are made by `audit_items`."""

    def collect(self) -> list[pytest.Item]:
        """Return nothing: the tests are added when all others are there."""
        return []


class AuditItem(pytest.Item):
    """One guarantee of one executor."""

    def __init__(self, *, executor: str, guarantee: str, reason: str, required: bool, **options: Any) -> None:
        super().__init__(**options)
        self.executor = executor
        self.guarantee = guarantee
        self._reason = reason
        self._required = required

    def runtest(self) -> None:
        """Put the guarantee to the proof."""
        if self._reason and self._required:
            pytest.fail(self._reason, pytrace=False)
        if self._reason:
            pytest.skip(self._reason)
        part, result = prover_of(self.config).prove(self.executor, self.guarantee)
        self.user_properties += [
            ("sandbox_executor", self.executor),
            ("sandbox_info", part.info),
            ("sandbox_guarantee", self.guarantee),
            ("sandbox_verdict", result.verdict),
            ("sandbox_attacks", str(len(result.probes))),
        ]
        if result.verdict == "not promised":
            pytest.skip(f"not promised: {result.reason}")
        if result.verdict != "held":
            raise GuaranteeViolated(self.guarantee, self.executor, result.verdict, told_failure(part, result))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show what the attacks did instead of a traceback through our code."""
        if isinstance(excinfo.value, SandboxError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Return what the header of a failure says."""
        return self.path, None, f"audit of {self.executor}: {self.guarantee}"


def audit_items(session: pytest.Session) -> Iterator[AuditItem]:
    """Make the tests of an audit: for each selected executor, one for each guarantee that it declares or that something can attack.

    Raises:
        pytest.UsageError: when what was asked for makes no sense.
    """
    run = run_of(session.config)
    try:
        catalogue = read_catalogue(run.registry.ask("pytest_sandbox_guarantees"))
        selection = run.selection
        run.needed = True
        if selection.request.mode == AUTO:
            tried = run.prover.find_best()
            rows = {row.name: row for row in tried[-1:]}
        else:
            rows = dict(run.prover.prove(selection.names))
    except SandboxError as error:
        raise pytest.UsageError(str(error)) from error
    attacked = {probe.guarantee for probe in catalogue.probes if {"snippet", "process"}.intersection(probe.vantages)}
    for name, row in rows.items():
        if selection.request.mode == "available" and not row.available:
            continue
        reason = "" if row.available else f'Executor "{name}" is unavailable: {row.reason}; {row.fix}'
        required = name in run.settings.require or selection.request.mode == "names"
        collector = AuditCollector.from_parent(session, name=name, nodeid=f"sandbox-audit::{name}")
        for guarantee in catalogue.guarantees:
            if guarantee in attacked:
                yield AuditItem.from_parent(
                    collector, name=guarantee, executor=name, guarantee=guarantee, reason=reason, required=required
                )
