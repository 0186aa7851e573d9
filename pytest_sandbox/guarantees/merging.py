"""Parts of one audit, as several processes found them, put together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pytest_sandbox.guarantees.results import Audit, ExecutorAudit, GuaranteeResult
from pytest_sandbox.guarantees.verdicts import sum_up

__all__ = ["merge_audits"]


def merge_audits(audits: Iterable[Audit]) -> Audit:
    """Put parts of one audit together, as the workers of pytest-xdist deliver them.

    An executor that occurs several times gets the guarantees of all its parts; of a guarantee that occurs twice, the first counts,
    with the probes of both.

    Raises:
        ValueError: when there is no part at all.
    """
    parts = sorted(audits, key=lambda audit: audit.started)
    if not parts:
        raise ValueError("there is no audit to merge")
    executors: dict[str, ExecutorAudit] = {}
    for executor in (executor for part in parts for executor in part.executors):
        known = executors.get(executor.name)
        executors[executor.name] = executor if known is None else _merge_executors(known, executor)
    first = parts[0]
    engines = tuple(dict.fromkeys(engine for part in parts for engine in part.machine.engines))
    versions = {name: version for part in parts for name, version in part.machine.versions.items()}
    return replace(
        first,
        duration=max(part.duration for part in parts),
        machine=replace(first.machine, engines=engines, versions=versions),
        executors=tuple(executors.values()),
        complete=all(part.complete for part in parts),
    )


def _merge_executors(one: ExecutorAudit, other: ExecutorAudit) -> ExecutorAudit:
    results: dict[str, GuaranteeResult] = {result.id: result for result in one.guarantees}
    for result in other.guarantees:
        known = results.get(result.id)
        probes: dict[str, Any] = {probe.id: probe for probe in (*(known.probes if known else ()), *result.probes)}
        results[result.id] = sum_up(known or result, tuple(probes.values()))
    return replace(
        one,
        available=one.available and other.available,
        reason=one.reason or other.reason,
        fix=one.fix or other.fix,
        facts=tuple({fact.id: fact for fact in (*one.facts, *other.facts)}.values()),
        latencies=tuple({latency.id: latency for latency in (*one.latencies, *other.latencies)}.values()),
        guarantees=tuple(results.values()),
        duration=one.duration + other.duration,
    )
