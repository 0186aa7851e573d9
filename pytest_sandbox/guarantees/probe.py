"""Probes: attacks, each with an observer on the host, that run in the same way in a sandbox and in the control runner.

Most probes are a piece of JavaScript and a scene (`CodeProbe`): the scene plants what the attack goes for, and looks afterwards.
Many of them run in one execution, see `together`. The others (`ScriptedProbe`) are functions: those that end their execution, need
several, or look at processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from pytest_sandbox.errors import InvalidArgument
from pytest_sandbox.guarantees.stage import SceneMaker, Stage
from pytest_sandbox.guarantees.subjects import Vantage
from pytest_sandbox.guarantees.verdicts import Sighting

__all__ = ["BOTH", "CodeProbe", "Probe", "Runtime", "SceneProbe", "ScriptedProbe", "TraceProbe"]

Runtime = Literal["node", "deno", "lua"]
BOTH: Final[tuple[Runtime, ...]] = ("node", "deno")


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
class SceneProbe(Probe):
    """An attack that is a piece of code, on what a scene plants.

    Attributes:
        code: the attack; it gets ``P``, what its scene gives.
        scene: makes what it goes for.
    """

    code: str
    scene: SceneMaker

    @property
    def source(self) -> str:
        """See `Probe`."""
        return self.code.strip()


@dataclass(frozen=True, kw_only=True)
class CodeProbe(SceneProbe):
    """An attack that is the body of an async function.

    It gets ``P`` (what its scene gives), and from `harness.js` ways to the runtime's objects: ``need("net")`` for a builtin module,
    ``needProcess()``, ``needDeno()``. What it returns has to fit into JSON.

    Attributes:
        code: the attack.
        scene: makes what it goes for.
    """

    def perform(self, stage: Stage) -> Sighting:
        """See `Probe`."""
        # Which needs these classes.
        from pytest_sandbox.guarantees.together import run_together

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
        from pytest_sandbox.guarantees.together import run_traces

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
