"""All guarantees and probes: ours, and what plugins add by the hook ``pytest_sandbox_guarantees``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_sandbox.errors import InvalidPlugin, UnknownGuarantee
from pytest_sandbox.guarantees.model import FAMILIES, GUARANTEES, Guarantee
from pytest_sandbox.guarantees.probe import Probe

if TYPE_CHECKING:
    from pytest_sandbox.extension import Answer

__all__ = ["Catalogue", "our_probes", "read_catalogue"]


@dataclass(frozen=True)
class Catalogue:
    """What can be proved.

    Attributes:
        guarantees: by id, in the order of reports.
        probes: all attacks.
        problems: what is wrong with plugins, each as one sentence.
    """

    guarantees: Mapping[str, Guarantee]
    probes: tuple[Probe, ...]
    problems: tuple[str, ...] = ()

    def find(self, name: str) -> Guarantee:
        """Return a guarantee.

        Raises:
            UnknownGuarantee: when there is none of that id (the caller's fault).
        """
        try:
            return self.guarantees[name]
        except (KeyError, TypeError):
            raise UnknownGuarantee(name, self.guarantees, self.problems) from None


def our_probes() -> tuple[Probe, ...]:
    """Return our own probes."""
    from pytest_sandbox.guarantees.probes import (
        availability,
        bridge,
        code_generation,
        commands,
        control_groups,
        environment,
        file_reads,
        file_writes,
        frozen_realm,
        host_objects,
        limits,
        lua,
        mounts,
        network,
        privileges,
        processes,
        state,
    )

    modules = (
        *(network, file_reads, file_writes, processes, environment, host_objects, code_generation, frozen_realm),
        *(bridge, state, limits, availability, privileges, mounts, control_groups, commands, lua),
    )
    return tuple(probe for module in modules for probe in module.PROBES)


def read_catalogue(answers: Iterable[Answer] = ()) -> Catalogue:
    """Put together what we have and what plugins have answered.

    Args:
        answers: of plugins, to the hook ``pytest_sandbox_guarantees``: guarantees and probes, in any order.

    Raises:
        InvalidPlugin: when one answers with nonsense (the fault of its author).
    """
    guarantees = dict(GUARANTEES)
    probes = {probe.id: probe for probe in our_probes()}
    owners = dict.fromkeys((*guarantees, *probes), "pytest-sandbox itself")
    problems: list[str] = []
    added: list[tuple[str, Probe]] = []
    for answer in answers:
        if answer.error is not None:
            told = f"it raised {type(answer.error).__name__}: {answer.error}"
            if not answer.installed:
                raise InvalidPlugin(answer.plugin, told, "correct or remove it", "guarantees") from answer.error
            problems.append(f"{answer.plugin} adds no guarantees: {told}")
        for thing in answer.values:
            if not isinstance(thing, Guarantee | Probe):
                reason = f"pytest_sandbox_guarantees gave {thing!r}"
                raise InvalidPlugin(answer.plugin, reason, "return Guarantee and Probe objects", "guarantees")
            if thing.id in owners:
                reason = f'the id "{thing.id}" is already taken by {owners[thing.id]}'
                raise InvalidPlugin(answer.plugin, reason, "choose another id", "guarantees")
            owners[thing.id] = answer.plugin
            if isinstance(thing, Guarantee):
                guarantees[thing.id] = thing
            else:
                added.append((answer.plugin, thing))
    for plugin, probe in added:
        if probe.guarantee not in guarantees:
            reason = f'probe "{probe.id}" attacks "{probe.guarantee}", which nobody has defined'
            raise InvalidPlugin(plugin, reason, "return that Guarantee, too", "guarantees")
        probes[probe.id] = probe
    order = list(FAMILIES)
    ordered = sorted(guarantees.values(), key=lambda one: order.index(one.family))
    return Catalogue({one.id: one for one in ordered}, tuple(probes.values()), tuple(problems))
