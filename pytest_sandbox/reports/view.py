"""An audit as a reader meets it: a matrix of guarantees and executors, and behind each cell its attacks. Shared by all formats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from pytest_sandbox.guarantees.model import FAMILIES, VERDICTS, Verdict
from pytest_sandbox.guarantees.results import Audit, ControlResult, ExecutorAudit, GuaranteeResult, ProbeResult

__all__ = ["Attack", "Cell", "Column", "Family", "Row", "Variant", "families", "headline", "problems", "tally"]

_NOT_APPLICABLE: Final = "not applicable"


@dataclass(frozen=True)
class Column:
    """One executor.

    Attributes:
        number: its place, from 1: names need not be fit for an id.
        executor: what was found about it.
    """

    number: int
    executor: ExecutorAudit


@dataclass(frozen=True)
class Cell:
    """One guarantee on one executor.

    Attributes:
        column: the executor.
        result: what became of it; None where the guarantee is not for such executors, or the executor does not work here.
    """

    column: Column
    result: GuaranteeResult | None

    @property
    def verdict(self) -> str:
        """The verdict, "not applicable", or "unavailable"."""
        if self.result is not None:
            return self.result.verdict
        return _NOT_APPLICABLE if self.column.executor.available else "unavailable"

    @property
    def let_through(self) -> int:
        """How many of the attacks got through."""
        return sum(probe.verdict == "violated" for probe in self.probes)

    @property
    def probes(self) -> tuple[ProbeResult, ...]:
        """The attacks, the worst first."""
        if self.result is None:
            return ()
        return tuple(sorted(self.result.probes, key=lambda probe: _GRAVITY[probe.verdict]))

    @property
    def groups(self) -> list[tuple[str, tuple[ProbeResult, ...]]]:
        """The attacks by what became of them, the worst first."""
        return [(verdict, tuple(group)) for verdict, group in groupby(self.probes, key=lambda probe: probe.verdict)]

    @property
    def note(self) -> str:
        """How many attacks there were, in a few words."""
        if self.result is None:
            return ""
        count = len(self.result.probes)
        attacks = f"{count} attack{'' if count == 1 else 's'}"
        return f"{self.let_through} of {attacks} got through" if self.let_through else attacks


_GRAVITY: Final = {"violated": 0, "inconclusive": 1, "not promised": 2, "held": 3}


@dataclass(frozen=True)
class Variant:
    """A text, such as a source, with the executors for which it holds.

    Attributes:
        executors: their names.
        text: the text.
    """

    executors: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Control:
    """A control, with the executors to which it belongs."""

    executors: tuple[str, ...]
    result: ControlResult


@dataclass(frozen=True)
class Attack:
    """One probe, as it is the same for all executors.

    Attributes:
        id: the probe.
        title: what it tries.
        mechanism: what it tries, as an id.
        vantage: where it runs.
        sources: the snippet or command; several, where executors need different ones.
        controls: the positive controls.
    """

    id: str
    title: str
    mechanism: str
    vantage: str
    sources: tuple[Variant, ...]
    controls: tuple[Control, ...]


@dataclass(frozen=True)
class Row:
    """One guarantee.

    Attributes:
        id: the guarantee.
        meaning: what it says.
        severity: how grave a breach is.
        cells: one for each executor.
        attacks: all attacks on it.
    """

    id: str
    meaning: str
    severity: str
    cells: tuple[Cell, ...]
    attacks: tuple[Attack, ...]


@dataclass(frozen=True)
class Family:
    """Guarantees of one kind.

    Attributes:
        heading: what they have in common.
        rows: the guarantees.
    """

    heading: str
    rows: tuple[Row, ...]


def families(audit: Audit) -> list[Family]:
    """Return the matrix of an audit."""
    columns = [Column(number, executor) for number, executor in enumerate(audit.executors, 1)]
    first: dict[str, GuaranteeResult] = {}
    for executor in audit.executors:
        for result in executor.guarantees:
            first.setdefault(result.id, result)
    found = []
    for family, heading in FAMILIES.items():
        ids = [id_ for id_, result in first.items() if result.family == family]
        if ids:
            found.append(Family(heading, tuple(_row(first[id_], columns) for id_ in ids)))
    strangers = [id_ for id_, result in first.items() if result.family not in FAMILIES]  # of a newer program
    if strangers:
        found.append(Family("Further guarantees", tuple(_row(first[id_], columns) for id_ in strangers)))
    return found


def _row(result: GuaranteeResult, columns: Iterable[Column]) -> Row:
    cells = tuple(
        Cell(column, next((found for found in column.executor.guarantees if found.id == result.id), None)) for column in columns
    )
    return Row(result.id, result.meaning, result.severity, cells, _attacks(cells))


def _attacks(cells: Iterable[Cell]) -> tuple[Attack, ...]:
    runs: dict[str, list[tuple[str, ProbeResult]]] = {}
    for cell in cells:
        for probe in cell.result.probes if cell.result is not None else ():
            runs.setdefault(probe.id, []).append((cell.column.executor.name, probe))
    return tuple(_attack(id_, found) for id_, found in runs.items())


def _attack(id_: str, runs: list[tuple[str, ProbeResult]]) -> Attack:
    sources: dict[str, list[str]] = {}
    controls: dict[tuple[str, bool, str], tuple[ControlResult, list[str]]] = {}
    for name, probe in runs:
        sources.setdefault(probe.source, []).append(name)
        if probe.control is not None:
            key = (probe.control.runner, probe.control.succeeded, probe.control.evidence)
            controls.setdefault(key, (probe.control, []))[1].append(name)
    probe = runs[0][1]
    return Attack(
        id=id_,
        title=probe.title,
        mechanism=probe.mechanism,
        vantage=probe.vantage,
        sources=tuple(Variant(tuple(names), text) for text, names in sources.items()),
        controls=tuple(Control(tuple(names), control) for control, names in controls.values()),
    )


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
