"""Attacks in Lua as probes. The control is a plain runtime of lupa, or a sandbox without policy and whitelist."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from pytest_sandbox.guarantees.attacks import scripted
from pytest_sandbox.guarantees.probe import Runtime, SceneProbe, ScriptedProbe
from pytest_sandbox.guarantees.stage import Attempt, Stage
from pytest_sandbox.guarantees.subjects import Ran
from pytest_sandbox.guarantees.verdicts import Sighting
from pytest_sandbox.guarantees.witness import LuaWitness

if TYPE_CHECKING:
    from pytest_sandbox.guarantees.lua import RunsLua

__all__ = ["LUA_RUNTIME", "LuaProbe", "lua_subject", "scripted_lua", "witnessed_lua"]

LUA_RUNTIME: Final[tuple[Runtime, ...]] = ("lua",)


def lua_subject(stage: Stage) -> RunsLua:
    """Return what runs the attack, as what it is."""
    return cast("RunsLua", stage.subject)


def witnessed_lua(
    stage: Stage, code: str, params: Mapping[str, object], timeout: float, *, first: str | None = None, then: str | None = None
) -> tuple[Ran, str]:
    """Run Lua that prints a witness's word first; return what became of it, and the witness, or nothing.

    Args:
        stage: where.
        code: the attack.
        params: what it gets as ``P``.
        timeout: seconds for each script.
        first: a script that runs before.
        then: one that runs afterwards, and whose outcome is returned.
    """
    witness = LuaWitness()
    pieces = [piece for piece in (first, witness.code + code, then) if piece is not None]
    ran = lua_subject(stage).run_lua(pieces, params, timeout)
    return ran, witness.said(witness.answer) if witness.answer in ran.logs[:5] else ""


@dataclass(frozen=True, kw_only=True)
class LuaProbe(SceneProbe):
    """An attack that is a Lua chunk; it gets ``P`` (what its scene gives) and ``TOOL``, a function of the host."""

    def perform(self, stage: Stage) -> Sighting:
        """See `Probe`."""
        with self.scene(stage.canaries) as scene:
            ran, witness = witnessed_lua(stage, self.code, scene.params, 10.0)
            at = ran.ended if ran.ended in ("returned", "threw") else ""
            attempt = Attempt(at=at, value=ran.value, error=ran.error, ran=ran)
            breached, observed = scene.look(attempt)
        return Sighting(
            breached=breached,
            witness=witness,
            attack=attempt.words,
            observer=observed,
            trouble="" if at else f"the attack never told its outcome ({ran})",
            duration=ran.duration,
        )


def scripted_lua(id: str, title: str, shown: str, script: Callable[[Stage], Sighting]) -> ScriptedProbe:
    """Return the probe of an attack in Lua that is a function; see `scripted`."""
    return scripted(id, title, shown, script, runtimes=LUA_RUNTIME)
