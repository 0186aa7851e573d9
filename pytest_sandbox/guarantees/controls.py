"""The control room: runs attacks where nothing is in their way, once for each runtime, and remembers what became of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

from pytest_sandbox.errors import ExecutorUnavailable
from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.command_subject import CommandSubject, Done
from pytest_sandbox.guarantees.model import HARMLESS
from pytest_sandbox.guarantees.plain_subject import PLAIN, PlainSubject
from pytest_sandbox.guarantees.probe import CodeProbe, Probe, TraceProbe
from pytest_sandbox.guarantees.results import ControlResult
from pytest_sandbox.guarantees.stage import NotApplicable, Stage
from pytest_sandbox.guarantees.subjects import Subject
from pytest_sandbox.guarantees.together import run_together, run_traces
from pytest_sandbox.guarantees.verdicts import Sighting
from pytest_sandbox.limits import DEFAULT_LIMITS, Limits
from pytest_sandbox.names import LUA
from pytest_sandbox.processes.spawn import spawn_soon
from pytest_sandbox.snippets.link import StartingProcess
from pytest_sandbox.snippets.runtimes import Runtime, find_deno, find_node

__all__ = ["ControlRoom", "PlainCommands"]

_NOBODY: Final = "the control runner"
_LIMITED: Final = ("memory-limit", "output-limit", "tool-bridge")
"""Guarantees whose attacks go by the executor's limits."""


class PlainCommands(CommandSubject):
    """Plain subprocesses of this process: its user, its variables, its network.

    Args:
        name: who it is, in words.
        node: path of Node.
    """

    def __init__(self, name: str, node: str) -> None:
        Subject.__init__(self, name, "node")
        self.node = node

    def invoke(self, words: Sequence[str], timeout: float) -> Done:
        """See `CommandSubject`."""
        try:
            done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            told = error.stdout.decode("utf-8", "replace") if isinstance(error.stdout, bytes) else error.stdout or ""
            return Done(stdout=told, stderr="", exit_code=-9, timed_out=True)
        return Done(stdout=done.stdout, stderr=done.stderr, exit_code=done.returncode)


class ControlRoom:
    """Controls, made on first use.

    Args:
        canaries: what is planted.
        make: makes the subject of a runtime ("node", "deno" or "command"), for tests; None are the real ones.
    """

    def __init__(self, canaries: Canaries, make: Callable[[str], Subject] | None = None) -> None:
        self._canaries = canaries
        self._make = make or self._plain
        self._subjects: dict[str, Subject] = {}
        self._known: dict[tuple[str, str, tuple[object, ...]], ControlResult] = {}
        self._is_clean: dict[str, bool] = {}

    def close(self) -> None:
        """End what was started."""
        for subject in self._subjects.values():
            subject.close()
        self._subjects.clear()

    def results(self, probes: Sequence[Probe], runtime: str, limits: Limits = DEFAULT_LIMITS) -> dict[str, ControlResult]:
        """Return, by probe, whether the attack gets through where nothing is in its way.

        Args:
            probes: attacks on one guarantee.
            runtime: "node" or "deno" for snippets, "command" for commands.
            limits: what attacks on limits have to go past.
        """
        # What goes past a limit has to go past this one: a control with another limit says nothing.
        used = (limits.memory, limits.output, limits.result, limits.tool_calls)
        keys = {probe.id: (probe.id, runtime, used if probe.guarantee in _LIMITED else ()) for probe in probes}
        missing = [probe for probe in probes if keys[probe.id] not in self._known]
        if missing:
            found = self._find_out(missing, runtime, limits)
            nothing = ControlResult(runner=_NOBODY, succeeded=False, evidence="the attack does not apply to this machine")
            self._known |= {keys[probe.id]: found.get(probe.id, nothing) for probe in missing}
        return {probe.id: self._known[keys[probe.id]] for probe in probes}

    def _find_out(self, probes: Sequence[Probe], runtime: str, limits: Limits) -> dict[str, ControlResult]:
        try:
            subject = self._subject(runtime)
        except ExecutorUnavailable as error:
            missing = ControlResult(runner=_NOBODY, succeeded=False, evidence=f"there is no plain {runtime} here: {error.reason}")
            return {probe.id: missing for probe in probes}
        stage = Stage(subject=subject, canaries=self._canaries, limits=limits, is_control=True)
        is_harmless = {probe.guarantee for probe in probes} <= HARMLESS
        if not is_harmless or not self._is_clean.get(runtime, True):
            subject.renew()
        self._is_clean[runtime] = is_harmless
        seen = performed(probes, stage)
        return {name: self._result(subject, sighting) for name, sighting in seen.items()}

    @staticmethod
    def _result(subject: Subject, seen: Sighting) -> ControlResult:
        evidence = (
            seen.observer if seen.breached else "; ".join(part for part in (seen.attack, seen.trouble, seen.observer) if part)
        )
        # A control that says it got through without having run is none.
        succeeded = seen.breached and bool(seen.witness)
        return ControlResult(runner=subject.name, succeeded=succeeded, evidence=evidence[:500], duration=seen.duration)

    def _subject(self, runtime: str) -> Subject:
        if runtime not in self._subjects:
            self._subjects[runtime] = self._make(runtime)
        return self._subjects[runtime]

    def _plain(self, runtime: str) -> Subject:
        if runtime == LUA:
            from pytest_sandbox.guarantees.lua import PlainLua

            return PlainLua()
        found: Runtime = find_deno("audit") if runtime == "deno" else find_node("audit")
        if runtime == "command":
            return PlainCommands(f"a plain subprocess ({found})", found.path)
        flags = (
            ["run", "-A", "--no-config", "--no-lock", "--unstable-net"] if runtime == "deno" else ["--expose-gc", "--no-warnings"]
        )
        command = [found.path, *flags, str(PLAIN)]
        # What it stores is not to stay in the user's folders.
        home = {"DENO_DIR": str(self._canaries.folder / "deno")}
        return PlainSubject(f"plain {found}", runtime, lambda: StartingProcess(spawn_soon(command, env={**os.environ, **home})))


def performed(probes: Sequence[Probe], stage: Stage) -> dict[str, Sighting]:
    """Run attacks on one guarantee: those that can in one execution, the others one after another.

    What does not apply to this machine is not in the result; what breaks is in it, as trouble.
    """
    seen: dict[str, Sighting] = {}
    together = [probe for probe in probes if isinstance(probe, CodeProbe)]
    traces = [probe for probe in probes if isinstance(probe, TraceProbe)]
    groups: list[tuple[Callable[[], dict[str, Sighting]], Sequence[Probe]]] = [
        (lambda: run_together(together, stage), together),
        (lambda: run_traces(traces, stage), traces),
    ]
    for run, group in groups:
        try:
            seen |= run() if group else {}
        except NotApplicable:
            continue
        except Exception as error:  # an attack must not end the audit
            seen |= {probe.id: _broken(error) for probe in group}
    for probe in probes:
        if not isinstance(probe, CodeProbe | TraceProbe):
            if stage.is_control:
                stage.subject.renew()
            try:
                seen[probe.id] = probe.perform(stage)
            except NotApplicable:
                continue
            except Exception as error:  # as above
                seen[probe.id] = _broken(error)
    return seen


def _broken(error: Exception) -> Sighting:
    return Sighting(breached=False, trouble=f"the probe itself broke: {type(error).__name__}: {error}"[:500])
