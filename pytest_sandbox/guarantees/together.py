"""Many attacks in one execution: those of `CodeProbe`, and both halves of those of `TraceProbe`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.probe import CodeProbe, TraceProbe
from pytest_sandbox.guarantees.stage import Attempt, CannotTell, NotApplicable, Scene, Stage
from pytest_sandbox.guarantees.subjects import Ran
from pytest_sandbox.guarantees.verdicts import Sighting
from pytest_sandbox.guarantees.witness import Witness

__all__ = ["harness", "run_together", "run_traces"]

_HARNESS: Final = Path(__file__).with_name("harness.js")
_PATIENCE: Final = 1000
"""Milliseconds that one of many attacks in a run may take; what hangs longer runs again, alone."""
_LONG_PATIENCE: Final = 5000
"""Milliseconds that an attack may take alone; what hangs longer, as where packets are dropped, is judged by the observer."""


@dataclass
class _Prepared:
    probe: CodeProbe
    scene: Scene
    witness: Witness = field(default_factory=Witness)

    def call(self, patience: int) -> str:
        params = json.dumps(dict(self.scene.params))
        return (
            f"await attempt({json.dumps(self.probe.id)}, {json.dumps(self.witness.challenge)}, {patience}, async () => {{\n"
            f"const P = {params};\n{self.probe.code}\n}});"
        )


@cache
def harness() -> str:
    """Return the JavaScript around attacks."""
    return _HARNESS.read_text("utf-8")


def run_together(probes: Sequence[CodeProbe], stage: Stage) -> dict[str, Sighting]:
    """Run attacks in one execution; those that it does not tell of run alone.

    Those that do not apply to this machine are not in the result, unless there is only one: then `NotApplicable` is raised.
    """
    with ExitStack() as stack:
        prepared = []
        for probe in probes:
            try:
                prepared.append(_Prepared(probe, stack.enter_context(probe.scene(stage.canaries))))
            except (NotApplicable, OSError) as error:
                if len(probes) == 1:
                    raise NotApplicable(str(error)) from error
        if not prepared:
            return {}
        is_alone = len(prepared) == 1
        patience = _LONG_PATIENCE if is_alone else _PATIENCE
        code = "\n".join([harness(), *(part.call(patience) for part in prepared), "return results;"])
        tools = {"echo": lambda value=None: value} if stage.subject.vantage != "command" else None
        ran = stage.subject.run(code, tools, timeout=10.0 + patience * len(prepared) / 1000)
        told = {row["id"]: row for row in _rows(ran.value)}
        seen = dict(_sightings(prepared, told, ran))
    if not is_alone:
        for part in prepared:
            sighting = seen.get(part.probe.id)
            if sighting is None:
                continue
            if not sighting.breached and (not sighting.witness or sighting.trouble):
                stage.subject.renew()
                try:
                    seen[part.probe.id] = part.probe.perform(stage)
                except NotApplicable:
                    del seen[part.probe.id]
    return seen


def run_traces(probes: Sequence[TraceProbe], stage: Stage) -> dict[str, Sighting]:
    """Run attacks in two executions, one after the other on the same executor."""
    marks = {probe.id: f"left-{secrets.token_hex(8)}" for probe in probes}
    first = [_as_code(probe, probe.leave, marks[probe.id]) for probe in probes]
    second = [_as_code(probe, probe.look, marks[probe.id]) for probe in probes]
    left = run_together(first, stage)
    found = run_together(second, stage)
    if stage.subject.vantage == "snippet":
        # Two processes may take turns: then only every other execution is where the first one was.
        again = run_together(second, stage)
        found = {name: again[name] if again[name].breached else seen for name, seen in found.items()}
    seen = {}
    for probe in probes:
        one, other = left[probe.id], found[probe.id]
        seen[probe.id] = Sighting(
            breached=other.breached,
            witness=other.witness if one.witness else "",
            attack=f"leaving: {one.attack}; looking: {other.attack}",
            observer=other.observer,
            trouble=other.trouble or one.trouble,
            duration=one.duration + other.duration,
        )
    return seen


def _as_code(probe: TraceProbe, code: str, mark: str) -> CodeProbe:
    @contextmanager
    def make(canaries: Canaries) -> Iterator[Scene]:
        # A part of it will do, where only so much can be left.
        def look(attempt: Attempt) -> tuple[bool, str]:
            found = attempt.at == "returned" and code is probe.look and mark[:12] in str(attempt.value)
            return found, f"what the first execution left {'was' if found else 'was not'} found by the second"

        # Who looks is not told the mark: it would be found in the text of the attack itself.
        params = {"name": f"{canaries.token}-{probe.id}"}
        yield Scene(params if code is probe.look else {**params, "mark": mark}, look)

    return CodeProbe(id=probe.id, guarantee=probe.guarantee, title=probe.title, code=code, scene=make, runtimes=probe.runtimes)


def _rows(value: Any) -> Iterator[dict[str, Any]]:
    for row in value if isinstance(value, list) else ():
        if isinstance(row, dict) and isinstance(row.get("id"), str):
            yield row


def _sightings(prepared: Sequence[_Prepared], told: Mapping[str, Mapping[str, Any]], ran: Ran) -> Iterator[tuple[str, Sighting]]:
    logged = set(ran.logs)
    share = ran.duration / len(prepared)
    for part in prepared:
        name = part.probe.id
        row = told.get(name)
        attempt = Attempt(
            at="" if row is None else str(row.get("at", "")),
            value=None if row is None else row.get("value"),
            error="" if row is None else str(row.get("error") or ""),
            ran=ran,
        )
        witnessed = f"witness {name} {part.witness.answer}" in logged
        trouble = ""
        try:
            breached, observed = part.scene.look(attempt)
        except CannotTell as error:
            breached, observed, trouble = False, "", str(error)
        except NotApplicable:
            if len(prepared) == 1:
                raise
            continue
        if not attempt.at:
            trouble = f"the attack never told its outcome ({ran})"
        elif attempt.at == "pending" and len(prepared) > 1:
            trouble = "the attack had not ended when the next one began"
        yield (
            name,
            Sighting(
                breached=breached,
                witness=part.witness.said(part.witness.answer) if witnessed else "",
                attack=attempt.words,
                observer=observed,
                trouble=trouble,
                duration=share,
            ),
        )
