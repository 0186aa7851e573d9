"""The page and the code say the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_sandbox import ExecutorUnavailable, SnippetExecutor, create_executor
from pytest_sandbox.guarantees.audit import AuditSession
from pytest_sandbox.guarantees.catalogue import our_probes
from pytest_sandbox.guarantees.results import Audit, ExecutorAudit, Machine
from pytest_sandbox.guarantees.table import insert, render, summary
from pytest_sandbox.promises import PROMISES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "guarantees.md").read_text("utf-8")
KEPT = json.loads((DOCS / "guarantees.json").read_text("utf-8"))
AGAIN = "the table is stale: run 'python -m pytest_sandbox.guarantees.table' on Linux, with bubblewrap and Docker"


def test_the_table_is_that_of_the_audit_that_is_kept() -> None:
    assert insert(PAGE, render(KEPT)) == PAGE, AGAIN


def test_the_audit_that_is_kept_has_all_promises_and_attacks_of_today() -> None:
    for name, row in KEPT.items():
        promises = PROMISES[name.partition(" ")[0]]
        declared = {id_ for id_, found in row.items() if found["verdict"] != "not promised"}
        assert declared <= set(promises), AGAIN
    kept = {attack.removesuffix("@process") for row in KEPT.values() for found in row.values() for attack in found["attacks"]}
    assert kept == {probe.id for probe in our_probes()}, AGAIN


def test_the_audit_that_is_kept_has_nothing_that_is_not_held() -> None:
    wrong = {
        (name, id_): found["verdict"]
        for name, row in KEPT.items()
        for id_, found in row.items()
        if found["verdict"] not in ("held", "not promised")
    }
    assert wrong == {}


@pytest.mark.parametrize("name", ["isolated-vm", "deno", "vm2"])
def test_what_is_kept_is_what_an_audit_finds(session: AuditSession, name: str) -> None:
    # All of it; those that run containers are audited by whoever makes the table.
    try:
        executor = create_executor(name)
    except ExecutorUnavailable as error:
        pytest.skip(str(error))
    with executor:
        _audit_of(session, name, executor)


def _audit_of(session: AuditSession, name: str, executor: SnippetExecutor) -> None:
    if "bubblewrap" not in executor.info.jail or session.catalogue.problems:
        pytest.skip(f"the table is made where there is a jail: {executor.info.jail}")
    import os

    if os.geteuid() != 0:
        pytest.skip("the table is made by root, whose controls can show more")
    with session.snippets(executor) as audited:
        results = session.prove_all(audited)
    assert [result.reason for result in results if result.verdict not in ("held", "not promised")] == []
    machine = Machine(system="", kernel="", architecture="", cores=1, memory=1, python="", user="", jail="")
    found = ExecutorAudit(name=name, kind="snippet", guarantees=tuple(results))
    audit = Audit(tool_version="", started="", duration=0.0, machine=machine, executors=(found,))
    # Without Docker there may be no bridge to containers, and without a network no address: nothing to attack.
    absent = tuple(f"-{kind}" for kind in ("host", "bridge") if not session.canaries.addresses(kind))
    row = json.loads(json.dumps(KEPT[name]))
    row["network"]["attacks"] = [each for each in row["network"]["attacks"] if not each.removesuffix("@process").endswith(absent)]
    assert summary(audit)[name] == row, AGAIN


def test_a_table_needs_a_complete_audit() -> None:
    machine = Machine(system="", kernel="", architecture="", cores=1, memory=1, python="", user="", jail="")
    gone = ExecutorAudit(name="deno", kind="snippet", available=False, reason="no deno on PATH")
    with pytest.raises(ValueError, match="no deno on PATH"):
        summary(Audit(tool_version="", started="", duration=0.0, machine=machine, executors=(gone,)))
