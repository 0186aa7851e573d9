"""An audit as a reader meets it: a matrix of guarantees and executors, and behind each cell its attacks. Shared by all formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, groupby
from typing import Final

from pytest_sandbox.guarantees.model import FAMILIES, GUARANTEES
from pytest_sandbox.guarantees.results import Audit, ExecutorAudit, GuaranteeResult, ProbeResult
from pytest_sandbox.reports.attacks import Attack, attacks_of, base_id, without_numbers
from pytest_sandbox.reports.text import plural

__all__ = ["Cell", "Column", "Family", "Group", "Row", "Sighting", "families"]

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
    def groups(self) -> list[Group]:
        """The attacks by what became of them, the worst first."""
        return [Group(verdict, tuple(found)) for verdict, found in groupby(self.probes, key=lambda probe: probe.verdict)]

    @property
    def note(self) -> str:
        """How many attacks there were, in a few words."""
        if self.result is None:
            return ""
        attacks = plural(len(self.result.probes), "attack")
        return f"{self.let_through} of {attacks} got through" if self.let_through else attacks


@dataclass(frozen=True)
class Group:
    """The attacks of one cell that came to the same verdict.

    Attributes:
        verdict: the verdict.
        probes: the attacks.
    """

    verdict: str
    probes: tuple[ProbeResult, ...]

    @property
    def controls(self) -> tuple[str, ...]:
        """What ran the controls that got through."""
        found = (probe.control.runner for probe in self.probes if probe.control is not None and probe.control.succeeded)
        return tuple(dict.fromkeys(found))

    @property
    def witness(self) -> str:
        """A witness, for all of them."""
        return next((probe.witness for probe in self.probes if probe.witness), "")

    @property
    def sightings(self) -> list[Sighting]:
        """The attacks, those together of which the host saw the same."""
        return [Sighting(texts, probes) for texts, probes in _alike(self.probes, lambda probe: probe.observer)]


@dataclass(frozen=True)
class Sighting:
    """Attacks of which the host saw the same, but for numbers, such as that of a port.

    Attributes:
        texts: what it saw.
        probes: the attacks.
    """

    texts: tuple[str, ...]
    probes: tuple[ProbeResult, ...]

    @property
    def findings(self) -> list[tuple[tuple[str, ...], tuple[ProbeResult, ...]]]:
        """What the attacks say became of them, each with those that say so, but for numbers."""
        return _alike(self.probes, lambda probe: probe.attack or probe.reason)


def _alike(
    probes: Iterable[ProbeResult], text: Callable[[ProbeResult], str]
) -> list[tuple[tuple[str, ...], tuple[ProbeResult, ...]]]:
    """Return the probes in groups whose texts differ in numbers at most, each with its different texts."""
    found: dict[str, list[ProbeResult]] = {}
    for probe in probes:
        found.setdefault(without_numbers(text(probe)), []).append(probe)
    return [(tuple(dict.fromkeys(map(text, group))), tuple(group)) for group in found.values()]


_GRAVITY: Final = {"violated": 0, "inconclusive": 1, "not promised": 2, "held": 3}


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

    @property
    def runners(self) -> tuple[str, ...]:
        """What ran the controls of most of the attacks."""
        found = Counter(control.runners for attack in self.attacks for control in attack.controls)
        return found.most_common(1)[0][0] if found else ()

    def number(self, probe: ProbeResult) -> int:
        """Return the number of the attack that a probe is."""
        return next(attack.number for attack in self.attacks if attack.id == base_id(probe.id))


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
    numbers = count(1)
    first: dict[str, GuaranteeResult] = {}
    for executor in audit.executors:
        for result in executor.guarantees:
            first.setdefault(result.id, result)
    # Parts of an audit come from several workers, in any order.
    places = {id_: place for place, id_ in enumerate(GUARANTEES)}
    first = dict(sorted(first.items(), key=lambda pair: places.get(pair[0], len(places))))
    found = []
    for family, heading in FAMILIES.items():
        ids = [id_ for id_, result in first.items() if result.family == family]
        if ids:
            found.append(Family(heading, tuple(_row(first[id_], columns, numbers) for id_ in ids)))
    strangers = [id_ for id_, result in first.items() if result.family not in FAMILIES]  # of a newer program
    if strangers:
        found.append(Family("Further guarantees", tuple(_row(first[id_], columns, numbers) for id_ in strangers)))
    return found


def _row(result: GuaranteeResult, columns: Iterable[Column], numbers: Iterator[int]) -> Row:
    cells = tuple(
        Cell(column, next((found for found in column.executor.guarantees if found.id == result.id), None)) for column in columns
    )
    runs = ((cell.column.executor.name, probe) for cell in cells if cell.result is not None for probe in cell.result.probes)
    return Row(result.id, result.meaning, result.severity, cells, attacks_of(runs, numbers))
