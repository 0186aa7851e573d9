"""The tables: guarantees, promises and probes fit together, and there are as many as there should be."""

from __future__ import annotations

import re

import pytest

from pytest_sandbox import CodeProbe, Guarantee, ScriptedProbe
from pytest_sandbox.catalog import BUILTINS
from pytest_sandbox.errors import InvalidArgument, InvalidPlugin, UnknownGuarantee
from pytest_sandbox.extension import Answer
from pytest_sandbox.guarantees.audit import Choice
from pytest_sandbox.guarantees.catalogue import our_probes, read_catalogue
from pytest_sandbox.guarantees.model import FAMILIES, GUARANTEES
from pytest_sandbox.guarantees.scenes import got
from pytest_sandbox.promises import PROMISES, promised

NAMED = """network filesystem-read filesystem-write process-spawn process-visibility environment host-objects code-generation
frozen-builtins sealed-global tool-bridge state time-limit memory-limit output-limit availability capabilities no-new-privileges
non-root read-only-root noexec-tmp processes-limit cpu-limit volumes-read-only whitelist clean-environment"""


def test_all_guarantees_are_there_with_stable_ids() -> None:
    assert sorted(GUARANTEES) == sorted(NAMED.split())
    assert [one.family for one in GUARANTEES.values()] == sorted(
        (one.family for one in GUARANTEES.values()), key=list(FAMILIES).index
    )
    assert all(one.meaning.endswith(".") and one.id == id_ for id_, one in GUARANTEES.items())


def test_there_are_more_than_a_hundred_mechanisms_and_every_guarantee_has_some() -> None:
    probes = our_probes()
    assert len({probe.id for probe in probes}) == len(probes)
    assert len({probe.way for probe in probes}) >= 180
    for guarantee in GUARANTEES:
        assert [probe for probe in probes if probe.guarantee == guarantee], guarantee
    known = {probe.id for probe in probes}
    assert [probe.id for probe in probes if probe.way not in known] == [], "a mechanism is the id of a probe"


def test_titles_and_sources_are_for_people() -> None:
    for probe in our_probes():
        assert re.fullmatch(r"[a-z].*[^.]", probe.title), probe.id
        assert probe.source, probe.id


def test_promises_are_of_known_guarantees_and_executors() -> None:
    assert set(PROMISES) == {*(spec.name for spec in BUILTINS), "exec.native", "exec.docker", "lua"}
    for row in PROMISES.values():
        assert set(row) <= set(GUARANTEES)


def test_what_rests_on_the_jail_is_not_declared_without_it() -> None:
    limits = ("timeout", "memory", "output")
    assert "network" not in promised("vm2", limits)
    assert "network" in promised("vm2", (*limits, "jail"))
    assert "capabilities" not in promised("isolated-vm", limits)
    assert "processes-limit" not in promised("deno", (*limits, "jail"))
    assert "time-limit" not in promised("deno", ("memory",))
    assert "host-objects" not in promised("container", limits)
    assert promised("somebody-elses", limits) == frozenset()


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        (Guarantee, {"id": "No Spaces", "meaning": "x"}, "id='No Spaces'"),
        (Guarantee, {"id": "x", "meaning": " "}, "meaning"),
        (Guarantee, {"id": "x", "meaning": "x", "severity": "bad"}, "severity='bad'"),
        (Guarantee, {"id": "x", "meaning": "x", "family": "bad"}, "family='bad'"),
        (CodeProbe, {"id": "fetch", "guarantee": "network", "title": "t", "code": "", "scene": got("x")}, "id='fetch'"),
        (
            ScriptedProbe,
            {"id": "network.x", "guarantee": "network", "title": "t", "script": print, "shown": "", "vantages": ()},
            "vantages",
        ),
    ],
)
def test_nonsense_is_refused(kind: type, fields: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(words)):
        kind(**fields)


GPU = Guarantee(id="gpu", meaning="No GPU is in reach.")
PROBE = CodeProbe(id="gpu.adapter", guarantee="gpu", title="ask for an adapter", code="return 1;", scene=got("an adapter"))
MORE = CodeProbe(id="network.carrier-pigeon", guarantee="network", title="send a pigeon", code="return 1;", scene=got("a pigeon"))


def test_plugins_add_guarantees_and_probes_also_to_ours() -> None:
    catalogue = read_catalogue([Answer("plugin a", True, (PROBE, MORE)), Answer("plugin b", False, (GPU,))])
    assert catalogue.guarantees["gpu"] is GPU
    assert {PROBE, MORE} <= set(catalogue.probes)
    assert len(catalogue.probes) == len(our_probes()) + 2


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([Answer("plugin a", True, (42,))], "gave 42; return Guarantee and Probe objects"),
        (
            [Answer("plugin a", True, (Guarantee(id="network", meaning="x"),))],
            'the id "network" is already taken by pytest-sandbox itself',
        ),
        ([Answer("plugin a", True, (GPU,)), Answer("plugin b", True, (GPU,))], 'the id "gpu" is already taken by plugin a'),
        ([Answer("plugin a", True, (PROBE,))], 'probe "gpu.adapter" attacks "gpu", which nobody has defined'),
        ([Answer("conftest", False, error=ZeroDivisionError("x"))], "it raised ZeroDivisionError: x"),
    ],
)
def test_nonsense_of_a_plugin_is_refused_by_name(answers: list[Answer], words: str) -> None:
    with pytest.raises(InvalidPlugin, match=re.escape(words)) as caught:
        read_catalogue(answers)
    assert "Cannot register guarantees of " in str(caught.value)


def test_an_installed_package_that_is_broken_is_told_and_passed_over() -> None:
    catalogue = read_catalogue([Answer("plugin a", True, error=ImportError("no module"))])
    assert catalogue.problems == ("plugin a adds no guarantees: it raised ImportError: no module",)


def test_a_choice_is_checked_with_a_hint() -> None:
    catalogue = read_catalogue()
    with pytest.raises(UnknownGuarantee, match='did you mean "network"'):
        Choice(guarantees=("netwrk",)).check(catalogue)
    with pytest.raises(InvalidArgument, match='did you mean "network.fetch"'):
        Choice(probes=("network.fetsch",)).check(catalogue)
    Choice(guarantees=("state",), probes=("network.fetch@process",)).check(catalogue)
