"""``pytest-sandbox audit``: the matrix, what went wrong, and the exit code."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox import cli
from pytest_sandbox.cli.audit import matrix
from pytest_sandbox.guarantees import targets
from pytest_sandbox.guarantees.results import Audit, ExecutorAudit, GuaranteeResult, Machine, ProbeResult

MACHINE = Machine(system="Linux", kernel="6", architecture="x86_64", cores=2, memory=1, python="3.13", user="user", jail="none")


def found(id_: str, verdict: Any) -> GuaranteeResult:
    probe = ProbeResult(
        id=f"{id_}.attack",
        guarantee=id_,
        mechanism=f"{id_}.attack",
        title="attack \x1b[31mred",
        vantage="snippet",
        source="",
        verdict="violated" if verdict == "not promised" else verdict,
        reason="because \x1b[2J of \u202ethis",
        rerun=f"pytest-sandbox audit --executor deno --probe {id_}.attack",
    )
    declared = verdict != "not promised"
    return GuaranteeResult(
        id=id_, meaning="m", severity="high", family="host", declared=declared, verdict=verdict, reason="why", probes=(probe,)
    )


def audit_of(*verdicts: Any, available: bool = True) -> Audit:
    results = tuple(found(id_, verdict) for id_, verdict in zip(("network", "state", "environment"), verdicts, strict=False))
    executor = ExecutorAudit(
        name="deno",
        kind="snippet",
        available=available,
        reason="" if available else "no deno here",
        fix="install it",
        guarantees=results,
    )
    return Audit(tool_version="1", started="2026-01-01T00:00:00+00:00", duration=1.0, machine=MACHINE, executors=(executor,))


@pytest.mark.parametrize(
    ("audit", "code"),
    [
        (audit_of("held", "not promised"), 0),
        (audit_of("held", "violated", "inconclusive"), 1),
        (audit_of("held", "inconclusive"), 3),
        (audit_of(available=False), 2),
    ],
)
def test_the_exit_code_tells_the_worst(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, audit: Audit, code: int
) -> None:
    monkeypatch.setattr(targets, "audit_all", lambda *_args, **_options: audit)
    report = tmp_path / "report.json"
    assert cli.main(["audit", "--executor", "deno", "--report", str(report)]) == code
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err and "\u202e" not in shown.out
    if code == 2:
        assert "no deno here; install it" in shown.err
        return
    assert "✔ held" in shown.out
    assert json.loads(report.read_text())["audit"]["executors"][0]["name"] == "deno"
    if code == 1:
        assert "✘ violated" in shown.out and "? inconclusive" in shown.out
        assert "again: pytest-sandbox audit --executor deno --probe state.attack" in shown.out
    if code == 0:
        assert "○ not promised" in shown.out
        assert "state.attack" not in shown.out, "what is not promised is no fault"


def test_the_matrix_has_symbols_and_words_in_aligned_columns() -> None:
    lines = matrix(audit_of("held", "violated", "not promised"), {"held": "+", "violated": "X", "not promised": "-", "": " "})
    assert lines == [
        "guarantee    deno",
        "---------------------------",
        "network      + held",
        "state        X violated",
        "environment  - not promised",
    ]


def test_a_terminal_without_symbols_gets_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "audit_all", lambda *_args, **_options: audit_of("held", "violated"))
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert cli.main(["audit"]) == 1
    out.seek(0)
    text = out.read()
    assert "+ held" in text and "X violated" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--executor", "den"], 'did you mean "deno"'),
        (["--guarantee", "netwrk"], 'did you mean "network"'),
        (["--probe", "network.fetsch"], 'did you mean "network.fetch"'),
        (["--report", "x.txt"], "a file that ends in .html, .json, .md"),
    ],
)
def test_nonsense_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert cli.main(["audit", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_one_probe_runs_alone_and_tells_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", "--executor", "isolated-vm", "--probe", "network.fetch"]) == 0
    shown = capsys.readouterr()
    assert "network.fetch: held: the attack ran and was kept out (ReferenceError: fetch is not defined)" in shown.out
    assert "network.udp" not in shown.out
    assert "1 executor, 1 attack," in shown.out
