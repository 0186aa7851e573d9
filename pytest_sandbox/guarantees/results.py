"""What an audit found, as plain data: frozen, without behaviour, and the same after a trip through JSON.

Durations are seconds. Texts that come from inside a sandbox (witnesses, evidence, errors) are kept as they came, capped, and are
as hostile as what ran there: whoever shows them has to escape them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pytest_sandbox.guarantees.model import Verdict

__all__ = [
    "SCHEMA_VERSION",
    "Audit",
    "ControlResult",
    "ExecutorAudit",
    "Fact",
    "GuaranteeResult",
    "Latency",
    "Machine",
    "ProbeResult",
    "audit_from_json",
    "audit_to_json",
]

SCHEMA_VERSION: Final = 1
"""Grows when a field changes its meaning or goes away; new fields do not count."""


@dataclass(frozen=True, kw_only=True)
class ControlResult:
    """The positive control: the same attack where nothing is in its way.

    Attributes:
        runner: what ran it, such as "plain node 24.19.0".
        succeeded: whether the attack got through there, so that the probe is able to fail.
        evidence: what it managed to do, or why it did not.
        duration: seconds.
    """

    runner: str
    succeeded: bool
    evidence: str
    duration: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """One attack on one executor.

    Attributes:
        id: the probe, such as "network.tcp-loopback".
        guarantee: the id of the guarantee that it attacks.
        mechanism: what it tries, as an id; probes that share one are variants of each other.
        title: what it tries, as a phrase.
        vantage: where it ran: "snippet" (what a user's snippet reaches), "process" (in plain JavaScript where the executor's runner
            runs, as after an escape from the realm), "command", or "host" (judged from outside alone).
        source: the snippet or command.
        verdict: held, violated or inconclusive; never "not promised", which is said of a guarantee.
        reason: why, in one sentence.
        witness: what shows that the attack ran in the sandbox; empty when nothing does.
        attack: what the attack says became of it, such as "ReferenceError: fetch is not defined".
        observer: what was looked at on the host, and what was seen there.
        control: the positive control; None when there is none, for what is no attack.
        duration: seconds that the attack took in the sandbox, observation included.
        rerun: the command that runs this one probe again.
    """

    id: str
    guarantee: str
    mechanism: str
    title: str
    vantage: Literal["snippet", "process", "command", "host"]
    source: str
    verdict: Verdict
    reason: str
    witness: str = ""
    attack: str = ""
    observer: str = ""
    control: ControlResult | None = None
    duration: float = 0.0
    rerun: str = ""


@dataclass(frozen=True, kw_only=True)
class GuaranteeResult:
    """What became of one guarantee on one executor.

    Attributes:
        id: the guarantee.
        meaning: what it says.
        severity: how grave a breach is: critical, high, medium or low.
        family: the heading under which it stands, a key of `model.FAMILIES`.
        declared: whether the executor promises it, as it is set up.
        verdict: the worst of its probes; "not promised" where it is not declared, whatever they found.
        reason: why, in one sentence.
        probes: the attacks.
    """

    id: str
    meaning: str
    severity: str
    family: str
    declared: bool
    verdict: Verdict
    reason: str
    probes: tuple[ProbeResult, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A row of the comparison table that is measured rather than promised, such as the concurrency.

    Attributes:
        id: "concurrency", "start-up", "security-model" or "freshness".
        title: the row's heading.
        value: what was found, such as "parallel" or "low".
        detail: what that rests on, such as "two executions at once took 1.1 times as long as one".
    """

    id: str
    title: str
    value: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Measured times.

    Attributes:
        id: "start" (an execution that had to start everything anew), "execution" (one on an executor in use), or "create".
        title: what was timed.
        seconds: the samples, in the order in which they were taken.
    """

    id: str
    title: str
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExecutorAudit:
    """What was found about one executor.

    Attributes:
        name: as it is selected, such as "deno", "exec.docker", or "exec.native (confined)".
        kind: whether it runs snippets or commands.
        available: whether it works here; if not, nothing was probed.
        reason: why it does not work, or why its audit was cut short.
        fix: what to do about that.
        info: what really runs, on one line.
        versions: programs by name with their versions, such as {"node": "24.19.0"}.
        jail: the confinement around its processes, or "none" and why.
        facts: the measured rows of the comparison table.
        latencies: measured times.
        guarantees: all guarantees that apply to its kind, in the order of reports.
        duration: seconds.
    """

    name: str
    kind: Literal["snippet", "command"]
    available: bool = True
    reason: str = ""
    fix: str = ""
    info: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    jail: str = ""
    facts: tuple[Fact, ...] = ()
    latencies: tuple[Latency, ...] = ()
    guarantees: tuple[GuaranteeResult, ...] = ()
    duration: float = 0.0

    def verdict_of(self, guarantee: str) -> Verdict | None:
        """Return the verdict on a guarantee, or None when it was not looked at."""
        return next((result.verdict for result in self.guarantees if result.id == guarantee), None)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where an audit ran.

    Attributes:
        system: the operating system, such as "Linux".
        kernel: its release.
        architecture: such as "x86_64".
        cores: processors.
        memory: bytes of RAM.
        python: its version.
        user: "root" or "user".
        jail: the jail of this machine, or "none" and why.
        engines: container engines that were used, each on one line.
        versions: packages by name with their versions, ours among them.
    """

    system: str
    kernel: str
    architecture: str
    cores: int
    memory: int
    python: str
    user: str
    jail: str
    engines: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """A whole audit.

    Attributes:
        schema_version: `SCHEMA_VERSION` of the program that wrote it.
        tool_version: the version of pytest-sandbox.
        started: when, in UTC, as ISO 8601.
        duration: seconds.
        machine: where.
        executors: what was found, in the order of selection.
        complete: whether every guarantee and probe was asked for; False for a selection.
    """

    tool_version: str
    started: str
    duration: float
    machine: Machine
    executors: tuple[ExecutorAudit, ...] = ()
    complete: bool = True
    schema_version: int = SCHEMA_VERSION

    def count(self, verdict: Verdict) -> int:
        """Return on how many guarantees of all executors this verdict was found."""
        return sum(result.verdict == verdict for executor in self.executors for result in executor.guarantees)

    @property
    def probes(self) -> int:
        """How many mechanisms were tried, variants and executors not counted."""
        return len({probe.mechanism for executor in self.executors for result in executor.guarantees for probe in result.probes})


def audit_to_json(audit: Audit) -> bytes:
    """Return an audit as JSON, indented by two."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(audit), indent=2) + b"\n"


def audit_from_json(data: bytes | str) -> Audit:
    """Return an audit from its JSON; unknown fields are passed over.

    Raises:
        msgspec.DecodeError: when it is none.
    """
    import msgspec

    return msgspec.json.decode(data, type=Audit)
