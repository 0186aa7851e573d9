"""An audit in a few words: how often each verdict was found, the worst of them, and where to look first."""

from __future__ import annotations

from pytest_sandbox.guarantees.model import VERDICTS, Verdict
from pytest_sandbox.guarantees.results import Audit, ExecutorAudit, GuaranteeResult

__all__ = ["headline", "problems", "tally"]


def tally(audit: Audit) -> dict[Verdict, int]:
    """Return how often each verdict was found."""
    return {verdict: audit.count(verdict) for verdict in VERDICTS}


def headline(audit: Audit) -> tuple[str, str]:
    """Return the worst verdict ("violated", "inconclusive", "held", or "not promised"), and what was found, as one sentence."""
    counts = tally(audit)
    if counts["violated"]:
        verb = "guarantee is" if counts["violated"] == 1 else "guarantees are"
        return "violated", f"{counts['violated']} {verb} violated"
    missing = [executor.name for executor in audit.executors if not executor.available]
    if counts["inconclusive"] or missing:
        parts = [f"{counts['inconclusive']} inconclusive"] if counts["inconclusive"] else []
        parts += [f"{', '.join(missing)} not available"] if missing else []
        return "inconclusive", f"Nothing is known to be violated, but not all is proved: {', '.join(parts)}"
    if counts["held"]:
        return "held", "Everything that is promised held"
    return "not promised", "Nothing was promised, so nothing was proved"


def problems(audit: Audit) -> list[tuple[ExecutorAudit, GuaranteeResult]]:
    """Return what was violated, and then what is inconclusive."""
    found = [(executor, result) for executor in audit.executors for result in executor.guarantees]
    return [pair for verdict in ("violated", "inconclusive") for pair in found if pair[1].verdict == verdict]
