"""The line that names the executors, why they were selected, and what really runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_sandbox.names import AUTO
from pytest_sandbox.result import printable

if TYPE_CHECKING:
    from pytest_sandbox.plugin.run import SandboxRun
    from pytest_sandbox.proofs import Availability

__all__ = ["executor_lines", "why_selected"]


def executor_lines(run: SandboxRun, verbosity: int) -> list[str]:
    """Return one line for each executor that was proved, or none if no test needs an executor.

    Args:
        run: the test run.
        verbosity: pytest's; below 0 only settings that are looser than the default are told.
    """
    rows = list(run.prover.rows.values())
    if not run.needed:
        return []
    if verbosity < 0:
        loose = [(row.name, row.info.loosened) for row in rows if row.info is not None and row.info.loosened]
        return [printable(f"sandbox: {name} loosened: {', '.join(phrases)}") for name, phrases in loose]
    lines = []
    for row in rows:
        if row.available:
            lines.append(f"sandbox: {row.name} ({why_selected(run, row)}): {row.detail}")
        else:
            lines.append(f"sandbox: {row.name} unavailable: {row.reason}; {row.fix}")
    lines += [f"sandbox: {problem}" for problem in run.registry.problems()]
    return [printable(line) for line in lines]


def why_selected(run: SandboxRun, row: Availability) -> str:
    """Return why an executor was proved, as a phrase."""
    if run.request.mode == AUTO:
        working = (name for spec in run.registry.in_order() if (name := spec.name) in run.prover.rows)
        best = next(name for name in working if run.prover.rows[name].available)
        if row.name != best:
            return f"required by {run.settings.require_source}"
    return run.request.reason
