"""The attacks of an audit: each once, with what differs between the executors on which it ran."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pytest_sandbox.guarantees.results import ControlResult, ProbeResult

__all__ = ["Attack", "Control", "Variant", "attacks_of", "base_id", "without_numbers"]

_NUMBER: Final = re.compile(r"\d+")


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
    """Positive controls that ended alike.

    Attributes:
        runners: what ran them.
        result: how the first of them ended.
    """

    runners: tuple[str, ...]
    result: ControlResult


@dataclass(frozen=True)
class Attack:
    """One probe, as it is the same for all executors, wherever it ran.

    Attributes:
        number: its place in the page: ids need not be fit for an address.
        id: the probe, without what tells where it ran.
        title: what it tries.
        mechanism: what it tries, as an id.
        sources: the snippet or command; several, where executors need different ones.
        controls: the positive controls; those together whose evidence differs in numbers at most, such as that of a port.
    """

    number: int
    id: str
    title: str
    mechanism: str
    sources: tuple[Variant, ...]
    controls: tuple[Control, ...]


def base_id(probe: str) -> str:
    """Return the id of a probe without its suffix, such as "@process", which tells where it ran."""
    return probe.partition("@")[0]


def without_numbers(text: str) -> str:
    """Return a text in a form that is the same for those that differ in numbers at most, such as that of a port."""
    return _NUMBER.sub("0", text)


def attacks_of(runs: Iterable[tuple[str, ProbeResult]], numbers: Iterator[int]) -> tuple[Attack, ...]:
    """Return the attacks of which these are the results.

    Args:
        runs: results, each with the name of its executor.
        numbers: gives the numbers of attacks.
    """
    found: dict[str, list[tuple[str, ProbeResult]]] = {}
    for name, probe in runs:
        found.setdefault(base_id(probe.id), []).append((name, probe))
    return tuple(_attack(next(numbers), id_, same) for id_, same in found.items())


def _attack(number: int, id_: str, runs: list[tuple[str, ProbeResult]]) -> Attack:
    sources: dict[str, dict[str, None]] = {}
    controls: dict[tuple[bool, str], tuple[ControlResult, dict[str, None]]] = {}
    for name, probe in runs:
        sources.setdefault(_dedented(probe.source), {})[name] = None
        if probe.control is not None:
            key = (probe.control.succeeded, without_numbers(probe.control.evidence))
            controls.setdefault(key, (probe.control, {}))[1][probe.control.runner] = None
    probe = runs[0][1]
    return Attack(
        number=number,
        id=id_,
        title=probe.title,
        mechanism=probe.mechanism,
        sources=tuple(Variant(tuple(names), text) for text, names in sources.items()),
        controls=tuple(Control(tuple(runners), result) for result, runners in controls.values()),
    )


def _dedented(source: str) -> str:
    """Return a source whose later lines are indented like its first one, which has lost its own indentation."""
    first, newline, rest = source.partition("\n")
    return first + newline + textwrap.dedent(rest)
