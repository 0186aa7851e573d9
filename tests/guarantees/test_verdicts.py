"""A verdict needs a witness, an observer and a control; where one of them is missing, nothing is held."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from pytest_sandbox import ExecuteResult, ExecutorBroken, ExecutorInfo, SnippetError, SnippetExecutor
from pytest_sandbox.guarantees.audit import AuditSession, Choice
from pytest_sandbox.guarantees.merging import merge_audits
from pytest_sandbox.guarantees.model import GUARANTEES
from pytest_sandbox.guarantees.results import (
    Audit,
    ControlResult,
    ExecutorAudit,
    GuaranteeResult,
    Machine,
    ProbeResult,
    audit_from_json,
    audit_to_json,
)
from pytest_sandbox.guarantees.subjects import Ran, Subject
from pytest_sandbox.guarantees.verdicts import Sighting, judge, sum_up
from pytest_sandbox.result import LogEntry
from pytest_sandbox.snippets.base import Request

SUCCESS = ControlResult(runner="plain", succeeded=True, evidence="it got through")
FAILURE = ControlResult(runner="plain", succeeded=False, evidence="no such address")
KEPT_OUT = Sighting(breached=False, witness="it ran", attack="TypeError")


@pytest.mark.parametrize(
    ("seen", "control", "verdict", "words"),
    [
        (KEPT_OUT, SUCCESS, "held", "kept out"),
        (KEPT_OUT, FAILURE, "inconclusive", "no such address"),
        (KEPT_OUT, None, "inconclusive", "no control"),
        (dataclasses.replace(KEPT_OUT, witness=""), SUCCESS, "inconclusive", "nothing shows that the attack ran"),
        (dataclasses.replace(KEPT_OUT, trouble="it crashed"), SUCCESS, "inconclusive", "it crashed"),
        (dataclasses.replace(KEPT_OUT, breached=True), SUCCESS, "violated", "got through"),
        # A breach is a breach, whatever else is missing.
        (Sighting(breached=True, observer="a knock"), None, "violated", "a knock"),
        (Sighting(breached=True, observer="a knock", trouble="it crashed"), FAILURE, "violated", "a knock"),
    ],
)
def test_what_follows_from_the_parts(seen: Sighting, control: ControlResult | None, verdict: str, words: str) -> None:
    found, reason = judge(seen, control)
    assert found == verdict
    assert words in reason


def probe(name: str, verdict: Any) -> ProbeResult:
    return ProbeResult(
        id=f"network.{name}",
        guarantee="network",
        mechanism=f"network.{name}",
        title=name,
        vantage="snippet",
        source="",
        verdict=verdict,
        reason=f"because of {name}",
    )


def result(*, declared: bool = True) -> GuaranteeResult:
    return GuaranteeResult(
        id="network", meaning="m", severity="critical", family="host", declared=declared, verdict="inconclusive", reason=""
    )


@pytest.mark.parametrize(
    ("verdicts", "declared", "verdict"),
    [
        (["held", "held"], True, "held"),
        (["held", "inconclusive"], True, "inconclusive"),
        (["held", "inconclusive", "violated"], True, "violated"),
        ([], True, "inconclusive"),
        (["held"], False, "not promised"),
        (["violated"], False, "not promised"),
    ],
)
def test_a_guarantee_is_as_good_as_its_worst_probe(verdicts: list[Any], declared: bool, verdict: str) -> None:
    probes = tuple(probe(f"p{number}", one) for number, one in enumerate(verdicts))
    assert sum_up(result(declared=declared), probes).verdict == verdict


def test_what_is_not_promised_tells_what_got_through() -> None:
    summed = sum_up(result(declared=False), (probe("fetch", "violated"), probe("udp", "held")))
    assert "1 of 2 attacks got through" in summed.reason
    assert "network.fetch" in summed.reason


def test_an_audit_survives_json_and_its_parts_can_be_put_together() -> None:
    machine = Machine(system="Linux", kernel="6", architecture="x86_64", cores=2, memory=1, python="3.13", user="user", jail="none")

    def part(started: str, *probes: ProbeResult) -> Audit:
        found = ExecutorAudit(name="deno", kind="snippet", guarantees=(sum_up(result(), probes),))
        return Audit(tool_version="1", started=started, duration=1.0, machine=machine, executors=(found,), complete=False)

    one, other = part("2026-01-01T00:00:00", probe("fetch", "held")), part("2026-01-01T00:00:01", probe("udp", "violated"))
    assert audit_from_json(audit_to_json(one)) == one
    merged = merge_audits([other, one])
    assert merged.started == one.started
    assert [found.name for found in merged.executors] == ["deno"]
    assert merged.executors[0].verdict_of("network") == "violated"
    assert merged.probes == 2
    with pytest.raises(ValueError, match="no audit"):
        merge_audits([])


# -- executors that do not run what they are given ------------------------------------------------------------------------


class Pretending(SnippetExecutor):
    """Runs nothing, and answers with what a function makes of the snippet."""

    name = "pretending"

    def __init__(self, answer: Callable[[str], ExecuteResult]) -> None:
        super().__init__()
        self._answer = answer

    @property
    def info(self) -> ExecutorInfo:
        return ExecutorInfo(name=self.name, runtime="none", path="/", backend="none", fresh="realm", max_runners=1)

    @property
    def guarantees(self) -> frozenset[str]:
        return frozenset(GUARANTEES)

    def _run(self, request: Request) -> ExecuteResult:
        return self._answer(request.source)

    def _shut_down(self) -> None:
        pass


def returns_nothing(source: str) -> ExecuteResult:
    return ExecuteResult(True, "pretending", 0.001, value=None, is_undefined=True)


def echoes(source: str) -> ExecuteResult:
    """What the attack says stands in its text: an echo must not be taken for it."""
    logs = [LogEntry("log", line, 0.0) for line in source.split("\n")]
    return ExecuteResult(True, "pretending", 0.001, value=source, logs=logs)


def refuses(source: str) -> ExecuteResult:
    return ExecuteResult(False, "pretending", 0.001, error=SnippetError("runtime", "TypeError", "fetch is not defined"))


def times_out(source: str) -> ExecuteResult:
    return ExecuteResult(False, "pretending", 0.3, error=SnippetError("timeout", "Timeout", "too slow", limit="timeout"))


def runs_out_of_memory(source: str) -> ExecuteResult:
    return ExecuteResult(False, "pretending", 0.3, error=SnippetError("memory", "OutOfMemory", "too much", limit="memory"))


def breaks(source: str) -> ExecuteResult:
    raise ExecutorBroken("pretending", "there is no runner")


@pytest.mark.parametrize("answer", [returns_nothing, echoes, refuses, times_out, runs_out_of_memory, breaks])
def test_an_executor_that_runs_nothing_holds_nothing(session: AuditSession, answer: Callable[[str], ExecuteResult]) -> None:
    with Pretending(answer) as executor, session.snippets(executor) as audited:
        results = session.prove_all(audited)
    assert {found.id for found in results if found.verdict == "held"} == set()
    held = [probe.id for found in results for probe in found.probes if probe.verdict == "held"]
    assert held == []
    assert len(results) > 15


# -- controls that do not work ---------------------------------------------------------------------------------------------


class Dead(Subject):
    """A control runner in which nothing ever works."""

    vantage = "process"

    def run(self, code: str, tools: Any = None, *, timeout: float = 10.0) -> Ran:
        return Ran(ended="threw", error="Error: this machine has no network and no files")


def test_without_a_control_nothing_is_held(isolated_vm: SnippetExecutor) -> None:
    with (
        AuditSession(make_control=lambda runtime: Dead("a dead control", runtime)) as session,
        session.snippets(isolated_vm) as audited,
    ):
        results = session.prove_all(
            audited, Choice(guarantees=("network", "filesystem-read", "host-objects", "state", "tool-bridge"))
        )
    assert {found.id: found.verdict for found in results} == dict.fromkeys(
        ("network", "filesystem-read", "host-objects", "tool-bridge", "state"), "inconclusive"
    )
    for found in results:
        assert "a dead control" in found.reason, found.reason
        assert all(probe.control is not None and not probe.control.succeeded for probe in found.probes)


def test_a_control_that_is_not_there_makes_it_inconclusive_and_says_so(
    isolated_vm: SnippetExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_sandbox.errors import ExecutorUnavailable
    from pytest_sandbox.guarantees import controls

    def nothing(executor: str) -> Any:
        raise ExecutorUnavailable(executor, "no node on PATH", "install it")

    monkeypatch.setattr(controls, "find_node", nothing)
    with AuditSession() as session, session.snippets(isolated_vm) as audited:
        (found,) = session.prove_all(audited, Choice(guarantees=("network",)))
    assert found.verdict == "inconclusive"
    assert "no node on PATH" in found.reason


@pytest.mark.parametrize(
    ("error", "is_left_out"),
    [
        ("EACCES: permission denied", False),
        ("ENOENT: no such file", True),
        ('NotCapable: Requires read access to "/proc/self/status", run again with the --allow-read flag', True),
        ("Access to this API has been restricted. Use --allow-fs-read to manage permissions.", True),
    ],
)
def test_what_is_hidden_inside_is_not_left_out(isolated_vm: SnippetExecutor, error: str, is_left_out: bool) -> None:
    from pytest_sandbox.guarantees.catalogue import Catalogue
    from pytest_sandbox.guarantees.probe import CodeProbe
    from pytest_sandbox.guarantees.scenes import told

    reading = CodeProbe(
        id="capabilities.reading",
        guarantee="capabilities",
        title="read",
        code=f"throw new Error({error!r})",
        scene=told("the capabilities", lambda _value: ""),
    )
    with AuditSession(Catalogue(GUARANTEES, (reading,))) as own, own.snippets(isolated_vm) as audited:
        found = own.prove(audited, GUARANTEES["capabilities"])
    assert [probe.verdict for probe in found.probes] == ([] if is_left_out else ["inconclusive"])
    assert is_left_out or "the capabilities cannot be read inside" in found.probes[0].reason


def test_a_probe_that_breaks_is_inconclusive(session: AuditSession, isolated_vm: SnippetExecutor) -> None:
    from pytest_sandbox.guarantees.catalogue import Catalogue
    from pytest_sandbox.guarantees.probe import ScriptedProbe

    def script(stage: Any) -> Any:
        raise KeyError("a fault of the probe")

    broken = ScriptedProbe(id="network.broken", guarantee="network", title="break", script=script, shown="")
    with AuditSession(Catalogue(GUARANTEES, (broken,))) as own, own.snippets(isolated_vm) as audited:
        found = own.prove(audited, GUARANTEES["network"])
    assert found.verdict == "inconclusive"
    assert "a fault of the probe" in found.reason
