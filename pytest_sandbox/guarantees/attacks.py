"""Attacks of ours as probes: each id begins with that of its guarantee."""

from __future__ import annotations

from collections.abc import Callable

from pytest_sandbox.guarantees.probe import BOTH, CodeProbe, Runtime, ScriptedProbe
from pytest_sandbox.guarantees.stage import SceneMaker, Stage
from pytest_sandbox.guarantees.subjects import Vantage
from pytest_sandbox.guarantees.verdicts import Sighting

__all__ = ["attack", "everywhere", "scripted"]


def attack(
    id: str,
    title: str,
    code: str,
    scene: SceneMaker,
    *,
    runtimes: tuple[Runtime, ...] = BOTH,
    vantages: tuple[Vantage, ...] = ("snippet",),
    mechanism: str = "",
) -> CodeProbe:
    """Return the probe of an attack that is code.

    Args:
        id: the guarantee, a dot, and a name.
        title: what it tries, as a phrase.
        code: the attack.
        scene: makes what it goes for.
        runtimes: which runtimes have the API.
        vantages: where it runs.
        mechanism: the name, in the same guarantee, of the attack that it is a variant of.
    """
    guarantee = id.partition(".")[0]
    return CodeProbe(
        id=id,
        guarantee=guarantee,
        title=title,
        code=code,
        scene=scene,
        runtimes=runtimes,
        vantages=vantages,
        mechanism=mechanism and f"{guarantee}.{mechanism}",
    )


def scripted(
    id: str,
    title: str,
    shown: str,
    script: Callable[[Stage], Sighting],
    *,
    runtimes: tuple[Runtime, ...] = BOTH,
    vantages: tuple[Vantage, ...] = ("snippet",),
) -> ScriptedProbe:
    """Return the probe of an attack that is a function; see `attack` for the other arguments.

    Args:
        id: the guarantee, a dot, and a name.
        title: what it tries, as a phrase.
        shown: the code or command at its heart.
        script: runs it, and looks.
        runtimes: which runtimes have the API.
        vantages: where it runs.
    """
    return ScriptedProbe(
        id=id, guarantee=id.partition(".")[0], title=title, script=script, shown=shown, runtimes=runtimes, vantages=vantages
    )


def everywhere(runtimes: tuple[Runtime, ...]) -> tuple[Vantage, ...]:
    """Return all vantages of an attack for these runtimes: commands are those of Node."""
    return ("snippet", "process", "command") if "node" in runtimes else ("snippet", "process")
