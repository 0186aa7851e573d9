"""Probes: attacks, each with an observer on the host, that run in the same way in a sandbox and in the control runner.

Most probes are a piece of JavaScript and a scene (`CodeProbe`): the scene plants what the attack goes for, and looks afterwards.
Many of them run in one execution. The others (`ScriptedProbe`) are functions: those that end their execution, need several, or look
at processes.
"""

from __future__ import annotations

import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pytest_sandbox.errors import InvalidArgument
from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.subjects import Ran, Subject, Vantage
from pytest_sandbox.guarantees.verdicts import Sighting
from pytest_sandbox.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from pytest_sandbox.commands.base import CommandExecutor
    from pytest_sandbox.snippets.base import SnippetExecutor

__all__ = [
    "Attempt",
    "CannotTell",
    "CodeProbe",
    "NotApplicable",
    "Probe",
    "Scene",
    "ScriptedProbe",
    "Stage",
    "TraceProbe",
    "Witness",
    "harness",
    "run_together",
    "run_traces",
]

_HARNESS: Final = Path(__file__).with_name("harness.js")
_PATIENCE: Final = 1000
"""Milliseconds that one of many attacks in a run may take; what hangs longer runs again, alone."""
_LONG_PATIENCE: Final = 5000
"""Milliseconds that an attack may take alone; what hangs longer, as where packets are dropped, is judged by the observer."""

Runtime = Literal["node", "deno", "lua"]
BOTH: Final[tuple[Runtime, ...]] = ("node", "deno")


class CannotTell(Exception):
    """An attack ran, and yet shows nothing, in neither direction: its probe is inconclusive."""


class NotApplicable(Exception):
    """This machine has nothing that this probe could attack, such as a bridge."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where a probe performs.

    Attributes:
        subject: what runs the attack.
        canaries: what is planted.
        limits: the limits that the subject is to keep to; for a control, those of the executor that is audited.
        is_control: whether this is the control.
        executor: the executor that is audited; None for a control, and where it is of another kind.
        commands: the same of a command executor.
        whitelisted: one like `commands`, whose entry has a whitelist of one command.
    """

    subject: Subject
    canaries: Canaries
    limits: Limits = DEFAULT_LIMITS
    is_control: bool = False
    executor: SnippetExecutor | None = None
    commands: CommandExecutor | None = None
    whitelisted: CommandExecutor | None = None


class Witness:
    """A word that only code which really runs can say: the reverse of what it was given."""

    def __init__(self) -> None:
        self.challenge = secrets.token_hex(8)

    @property
    def answer(self) -> str:
        """What the code has to say."""
        return self.challenge[::-1]

    @property
    def code(self) -> str:
        """An expression whose value is the answer."""
        return f'[..."{self.challenge}"].reverse().join("")'

    def said(self, text: str) -> str:
        """Return what stands as the witness if the answer is in a text, else nothing."""
        return f"the code ran: asked for the reverse of {self.challenge}, it said {self.answer}" if self.answer in text else ""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one attack came to, in its own words.

    Attributes:
        at: "returned", "threw", "pending" (it had not ended when the next one began), or "" (it never told).
        value: what it returned.
        error: what it threw.
        ran: the whole run that it was a part of.
    """

    at: str
    value: Any = None
    error: str = ""
    ran: Ran

    @property
    def words(self) -> str:
        """What became of it, for a report."""
        if self.at == "returned":
            return f"returned {json.dumps(self.value)}"[:300]
        return self.error or {"pending": "it did not end"}.get(self.at, str(self.ran))


@dataclass(frozen=True)
class Scene:
    """What an attack goes for.

    Attributes:
        params: what it is told, as ``P``.
        look: returns whether it got through, and what was seen.
    """

    params: Mapping[str, Any]
    look: Callable[[Attempt], tuple[bool, str]]


SceneMaker = Callable[[Canaries], AbstractContextManager[Scene]]


@dataclass(frozen=True, kw_only=True)
class Probe(ABC):
    """One attack.

    Attributes:
        id: its stable name, beginning with that of the guarantee: "network.tcp-loopback".
        guarantee: the id of the guarantee that it attacks.
        title: what it tries, as a phrase.
        runtimes: which runtimes have the API; on an executor over another one, it does not run.
        vantages: where it runs: "snippet" and "process" on snippet executors, "command" on command executors.
        mechanism: the id that it shares with its variants; empty is its own.

    Raises:
        InvalidArgument: when a field makes no sense (the caller's fault).
    """

    id: str
    guarantee: str
    title: str
    runtimes: tuple[Runtime, ...] = BOTH
    vantages: tuple[Vantage, ...] = ("snippet",)
    mechanism: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id.startswith(f"{self.guarantee}.") or self.id.endswith("."):
            raise InvalidArgument("id", self.id, f'the id of its guarantee, a dot and a name: "{self.guarantee}.name"')
        if not self.vantages:
            raise InvalidArgument("vantages", self.vantages, 'at least one of "snippet", "process", "command"')

    @property
    def way(self) -> str:
        """The mechanism by its id."""
        return self.mechanism or self.id

    @property
    @abstractmethod
    def source(self) -> str:
        """The attack, for people."""

    @abstractmethod
    def perform(self, stage: Stage) -> Sighting:
        """Run the attack once, alone, and look.

        Raises:
            NotApplicable: when this machine has nothing to attack.
        """


@dataclass(frozen=True, kw_only=True)
class CodeProbe(Probe):
    """An attack that is the body of an async function.

    It gets ``P`` (what its scene gives), and from `harness.js` ways to the runtime's objects: ``need("net")`` for a builtin module,
    ``needProcess()``, ``needDeno()``. What it returns has to fit into JSON.

    Attributes:
        code: the attack.
        scene: makes what it goes for.
    """

    code: str
    scene: SceneMaker

    @property
    def source(self) -> str:
        """See `Probe`."""
        return self.code.strip()

    def perform(self, stage: Stage) -> Sighting:
        """See `Probe`."""
        return run_together([self], stage)[self.id]


@dataclass(frozen=True, kw_only=True)
class TraceProbe(Probe):
    """An attack in two executions: what the first leaves, the second looks for.

    Attributes:
        leave: leaves ``P.mark`` somewhere.
        look: returns what it finds there.
    """

    leave: str
    look: str

    @property
    def source(self) -> str:
        """See `Probe`."""
        return f"// the first execution\n{self.leave.strip()}\n\n// the second execution\n{self.look.strip()}"

    def perform(self, stage: Stage) -> Sighting:
        """See `Probe`."""
        return run_traces([self], stage)[self.id]


@dataclass(frozen=True, kw_only=True)
class ScriptedProbe(Probe):
    """An attack that is a function.

    Attributes:
        script: runs it, and looks.
        shown: the code or command at its heart.
    """

    script: Callable[[Stage], Sighting]
    shown: str

    @property
    def source(self) -> str:
        """See `Probe`."""
        return self.shown.strip()

    def perform(self, stage: Stage) -> Sighting:
        """See `Probe`."""
        return self.script(stage)


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
