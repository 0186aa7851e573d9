"""Audits: every probe of every guarantee on an executor, with its control, and what follows from it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Final, Self

from pytest_sandbox.errors import InvalidArgument, near_miss
from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.catalogue import Catalogue, read_catalogue
from pytest_sandbox.guarantees.controls import ControlRoom, performed
from pytest_sandbox.guarantees.model import HARMLESS, Guarantee
from pytest_sandbox.guarantees.plain_subject import PLAIN, PlainSubject
from pytest_sandbox.guarantees.probe import Probe
from pytest_sandbox.guarantees.results import ControlResult, GuaranteeResult, ProbeResult
from pytest_sandbox.guarantees.stage import Stage
from pytest_sandbox.guarantees.subjects import SnippetSubject, Subject, Vantage
from pytest_sandbox.guarantees.verdicts import Sighting, judge, sum_up
from pytest_sandbox.limits import Limits
from pytest_sandbox.snippets.base import SnippetExecutor
from pytest_sandbox.snippets.link import StartingProcess

__all__ = ["AuditSession", "Audited", "Choice", "Progress"]

SUFFIX: Final = "@process"
"""Added to the id of a probe that runs behind the realm."""

Progress = Callable[[str, str, int, int], None]
"""Called with the executor, the guarantee that comes next (or nothing, at the end), how many are done, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which part of an audit is wanted; empty is everything.

    Attributes:
        guarantees: ids of guarantees.
        probes: ids of probes, with or without their suffix.
    """

    guarantees: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return not self.guarantees and not self.probes

    def check(self, catalogue: Catalogue) -> None:
        """Refuse ids that nobody knows.

        Raises:
            UnknownGuarantee: when there is no such guarantee (the caller's fault).
            InvalidArgument: when there is no such probe (the caller's fault).
        """
        for name in self.guarantees:
            catalogue.find(name)
        known = [probe.id for probe in catalogue.probes]
        for name in self.probes:
            if name.removesuffix(SUFFIX) not in known:
                raise InvalidArgument("probe", name, f"the id of a probe, such as {known[0]}{near_miss(name, known)}")

    def wants(self, guarantee: str) -> bool:
        """Whether a guarantee is wanted."""
        wanted = {*self.guarantees, *(name.partition(".")[0] for name in self.probes)}
        return not wanted or guarantee in wanted

    def wants_probe(self, probe: Probe, vantage: Vantage) -> bool:
        """Whether a probe is wanted there."""
        if not self.probes:
            return True
        return probe.id in self.probes or (vantage == "process" and f"{probe.id}{SUFFIX}" in self.probes)


EVERYTHING: Final = Choice()


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What is audited.

    Attributes:
        name: as it is selected.
        kind: "snippet" or "command".
        stages: where probes run, by vantage.
        runtime: which control it needs: "node", "deno" or "command".
        declared: the ids of the guarantees that it promises.
    """

    name: str
    kind: str
    stages: Mapping[Vantage, Stage]
    runtime: str
    declared: Collection[str]

    @property
    def limits(self) -> Limits:
        """The limits that it is to keep to."""
        return next(iter(self.stages.values())).limits


class AuditSession:
    """Canaries, controls and the catalogue, for as many audits as are made while it is open.

    Args:
        catalogue: what can be proved; None is what we have ourselves.
        make_control: makes the control runner of a runtime, for tests; None are the real ones.
    """

    def __init__(self, catalogue: Catalogue | None = None, make_control: Callable[[str], Subject] | None = None) -> None:
        self.catalogue = catalogue if catalogue is not None else read_catalogue()
        self.canaries = Canaries()
        self.controls = ControlRoom(self.canaries, make_control)
        self._stack = ExitStack()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pytest-sandbox-controls")

    def __enter__(self) -> Self:
        self._stack.enter_context(self.canaries)
        self._stack.callback(self.controls.close)
        self._stack.callback(self._pool.shutdown)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    # -- what is audited ------------------------------------------------------------------------------------------------------

    @contextmanager
    def snippets(self, executor: SnippetExecutor) -> Iterator[Audited]:
        """Make a snippet executor ready for an audit; it stays its owner's.

        It should have been made while the canaries were planted (`Canaries.planted`), and be nobody else's meanwhile.
        """
        stage = Stage(subject=SnippetSubject(executor), canaries=self.canaries, limits=executor.limits, executor=executor)
        stages: dict[Vantage, Stage] = {"snippet": stage}
        with ExitStack() as stack:
            first = executor.start_bare(str(PLAIN))
            if first is not None:
                starting = [first]

                def start() -> StartingProcess:
                    bare = starting.pop() if starting else executor.start_bare(str(PLAIN))
                    assert bare is not None, "it could be started before"
                    return bare

                behind = PlainSubject(f"{executor.control_runtime} where {executor.name} runs", executor.control_runtime, start)
                stack.callback(_abandon, starting)
                stack.callback(behind.close)
                stages["process"] = replace(stage, subject=behind)
            yield Audited(
                name=executor.name,
                kind="snippet",
                stages=stages,
                runtime=executor.control_runtime,
                declared=executor.guarantees,
            )

    # -- the audit ------------------------------------------------------------------------------------------------------------

    def wanted(self, audited: Audited, choice: Choice = EVERYTHING) -> list[Guarantee]:
        """Return the guarantees to look at: those that are declared, and those that something can attack there."""
        attacked = {
            probe.guarantee
            for probe in self.catalogue.probes
            if any(_fits(probe, vantage, stage) for vantage, stage in audited.stages.items())
        }
        guarantees = self.catalogue.guarantees.values()
        return [one for one in guarantees if choice.wants(one.id) and (one.id in attacked or one.id in audited.declared)]

    def prove_all(self, audited: Audited, choice: Choice = EVERYTHING, progress: Progress | None = None) -> list[GuaranteeResult]:
        """Put all wanted guarantees to the proof."""
        wanted = self.wanted(audited, choice)
        results = []
        for done, guarantee in enumerate(wanted):
            if progress is not None:
                progress(audited.name, guarantee.id, done, len(wanted))
            results.append(self.prove(audited, guarantee, choice))
        if progress is not None:
            progress(audited.name, "", len(wanted), len(wanted))
        return results

    def prove(self, audited: Audited, guarantee: Guarantee, choice: Choice = EVERYTHING) -> GuaranteeResult:
        """Put one guarantee to the proof; never raises for what an executor does."""
        found: list[ProbeResult] = []
        for vantage, stage in audited.stages.items():
            probes = [
                probe
                for probe in self.catalogue.probes
                if probe.guarantee == guarantee.id and _fits(probe, vantage, stage) and choice.wants_probe(probe, vantage)
            ]
            if probes:
                found += self._run(audited, vantage, stage, probes)
        result = GuaranteeResult(
            id=guarantee.id,
            meaning=guarantee.meaning,
            severity=guarantee.severity,
            family=guarantee.family,
            declared=guarantee.id in audited.declared,
            verdict="inconclusive",
            reason="",
        )
        return sum_up(result, tuple(found))

    def _run(self, audited: Audited, vantage: Vantage, stage: Stage, probes: Sequence[Probe]) -> Iterator[ProbeResult]:
        if not {probe.guarantee for probe in probes} <= HARMLESS:
            stage.subject.renew()
        # At the same time: both are waiting, most of the time.
        waiting = self._pool.submit(self.controls.results, probes, audited.runtime, audited.limits)
        seen = performed(probes, stage)
        controls = waiting.result()
        for probe in probes:
            if probe.id in seen:
                yield self._result(audited, vantage, probe, seen[probe.id], controls[probe.id])

    @staticmethod
    def _result(audited: Audited, vantage: Vantage, probe: Probe, seen: Sighting, control: ControlResult) -> ProbeResult:
        verdict, reason = judge(seen, control)
        name = f"{probe.id}{SUFFIX}" if vantage == "process" else probe.id
        return ProbeResult(
            id=name,
            guarantee=probe.guarantee,
            mechanism=probe.way,
            title=probe.title,
            vantage=vantage,
            source=probe.source,
            verdict=verdict,
            reason=reason[:600],
            witness=seen.witness,
            attack=seen.attack[:600],
            observer=seen.observer[:600],
            control=control,
            duration=seen.duration,
            rerun=shlex.join(["pytest-sandbox", "audit", "--executor", audited.name, "--probe", name]),
        )


def _abandon(starting: list[StartingProcess]) -> None:
    while starting:
        starting.pop().abandon()


def _fits(probe: Probe, vantage: Vantage, stage: Stage) -> bool:
    return vantage in probe.vantages and stage.subject.runtime in probe.runtimes
