"""Guarantees in tests: the fixture, the marker, the audit as tests, and what others add by hook."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("_clean")

# A third party: an executor that lets one attack through, a guarantee of its own, and an attack on one of ours.
PLUGIN = """
import dataclasses
from pytest_sandbox import CodeProbe, ExecutorSpec, Guarantee, SnippetExecutor, create_executor
from pytest_sandbox.guarantees.scenes import got

class Acme(SnippetExecutor):
    name = "acme"
    guarantees = frozenset({"sealed-global", "frozen-builtins", "no-secrets", "unproved"})

    def __init__(self, *, limits=None, **options):
        super().__init__(limits=limits, **options)
        self._inner = create_executor("isolated-vm", limits=limits)

    @property
    def info(self):
        return dataclasses.replace(self._inner.info, name=self.name, backend="acme 1.2")

    def execute(self, code, tools=None, **options):
        return self._inner.execute(f"const Math = {{ random: () => 1 }}; return await (async () => {{ {code}\\n }})();", tools, **options)

    def _run(self, request):
        raise NotImplementedError

    def _shut_down(self):
        self._inner.close()

SECRET = "<b>\\x1b[31m hostile"

def pytest_sandbox_executors():
    return [ExecutorSpec("acme", "acme_plugin:Acme", 100)]

def pytest_sandbox_guarantees():
    yield Guarantee(id="no-secrets", meaning="No secrets.")
    yield Guarantee(id="unproved", meaning="Nobody attacks this.")
    yield CodeProbe(id="no-secrets.guess", guarantee="no-secrets", title="guess", code="return { token: P.token, got: typeof require === 'function' };", scene=got("a secret"))
    yield CodeProbe(id="sealed-global.shadow", guarantee="sealed-global", title="shadow", code="return { token: P.token, got: typeof require === 'function' };", scene=got("a shadow"))
"""


@pytest.fixture
def _clean(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("EXECUTOR_TYPE", "PYTEST_SANDBOX_REQUIRE", "PYTEST_SANDBOX_TIMEOUT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:timeout -p no:cacheprovider")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path), prepend=":")
    monkeypatch.setenv("COLUMNS", "300")
    (pytester.path / "acme_plugin.py").write_text(PLUGIN)


def test_the_fixture_proves_once_and_tells_what_got_through(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("from acme_plugin import pytest_sandbox_executors, pytest_sandbox_guarantees")
    pytester.makepyfile(
        """
        import pytest
        from pytest_sandbox import GuaranteeViolated, UnknownGuarantee

        def test_held(isolation):
            isolation.assert_held("sealed-global")
            first = isolation.prove("sealed-global")
            assert isolation.prove("sealed-global") is first
            assert "sealed-global.shadow" in [probe.id for probe in first.probes]
            isolation.assert_held("no-secrets")

        def test_violated(isolation):
            isolation.assert_held("frozen-builtins")

        def test_violated_is_an_assertion_error(isolation):
            with pytest.raises(AssertionError) as caught:
                isolation.assert_held("frozen-builtins")
            assert isinstance(caught.value, GuaranteeViolated)
            assert (caught.value.guarantee, caught.value.executor, caught.value.verdict) == ("frozen-builtins", "acme", "violated")

        def test_not_promised_fails(isolation):
            isolation.assert_held("network")

        def test_nothing_attacks_it(isolation):
            isolation.assert_held("unproved")

        def test_of_another_executor(isolation):
            isolation.assert_held("frozen-builtins", executor="isolated-vm")

        def test_unknown(isolation):
            with pytest.raises(UnknownGuarantee, match='did you mean "network"'):
                isolation.assert_held("netwrk")
        """
    )
    result = pytester.runpytest_subprocess("--executor=acme", timeout=110)
    result.assert_outcomes(passed=4, failed=3)
    result.stdout.fnmatch_lines(
        [
            '*Guarantee "frozen-builtins" is violated on executor "acme"*',
            "*promise: *Builtins and their prototypes cannot be changed. (medium)",
            "*executor: acme 1.2, node *",
            "*attack: *frozen-builtins.math: replace the source of chance (violated)",
            "*seen: *replace the source of chance",
            "*witness: *the code ran: asked for the reverse of *",
            "*control: *got through in plain node *",
            "* | *target[[]key[]] = value;*",
            "*next: *run no untrusted code on it*",
            "*again: *pytest-sandbox audit --executor acme --probe frozen-builtins.math",
            '*Guarantee "network" is not promised on executor "acme"*',
            "*next: *choose an executor that promises it (isolated-vm, deno, container, vm2 (jail)), or do without*",
            '*Guarantee "unproved" is inconclusive on executor "acme"*',
            "*no probe applies*",
        ]
    )


MARKED = """
    import pytest

    @pytest.mark.requires_guarantee("sealed-global", "frozen-builtins")
    def test_held(executor):
        assert executor.name == "isolated-vm"

    @pytest.mark.requires_guarantee("sealed-global")
    def test_without_a_fixture():
        pass

    @pytest.mark.requires_guarantee("cpu-limit")
    def test_not_promised(executor):
        raise AssertionError("must not run")

    @pytest.mark.requires_guarantee("whitelist", executor="exec.native")
    def test_of_commands():
        pass
"""


def test_the_marker_skips_or_fails_with_the_reason(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(MARKED)
    result = pytester.runpytest_subprocess("--executor=isolated-vm", "-rs", timeout=110)
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(['SKIPPED*Guarantee "cpu-limit" is not promised on executor "isolated-vm": not declared*'])
    result = pytester.runpytest_subprocess(
        "--executor=isolated-vm", "--sandbox-require-guarantees", "-k", "not_promised", timeout=110
    )
    result.assert_outcomes(errors=1, deselected=3)
    pytester.makeini("[pytest]\nsandbox_require_guarantees = true")
    result = pytester.runpytest_subprocess("--executor=isolated-vm", "-k", "not_promised", timeout=110)
    result.assert_outcomes(errors=1, deselected=3)


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ('"netwrk"', "Unknown guarantee 'netwrk' (did you mean \"network\"?)*"),
        ("", "Cannot use requires_guarantee='()': expected ids of guarantees*"),
        ('"network", limit=1', "Cannot use limit=1: expected no keyword but executor*"),
        ('"network", executor="nobody"', 'Unknown executor "nobody"*'),
    ],
)
def test_a_marker_that_makes_no_sense_is_an_error(pytester: pytest.Pytester, marker: str, words: str) -> None:
    pytester.makepyfile(f"import pytest\n\n@pytest.mark.requires_guarantee({marker})\ndef test_it(): pass")
    result = pytester.runpytest_subprocess("--executor=isolated-vm", timeout=60)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{words}in the requires_guarantee marker of *::test_it"])


def test_the_audit_as_tests_also_on_workers(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("from acme_plugin import pytest_sandbox_executors, pytest_sandbox_guarantees")
    report = pytester.path / "report.json"
    result = pytester.runpytest_subprocess(
        "--executor=acme",
        "--sandbox-audit",
        "-k",
        "sealed or frozen or code-generation or no-secrets",
        "-n2",
        "-rs",
        "--junit-xml=junit.xml",
        f"--sandbox-report={report}",
        timeout=110,
    )
    result.assert_outcomes(passed=2, failed=1, skipped=1)
    result.stdout.fnmatch_lines(["*frozen-builtins.math*", "SKIPPED*not promised: not declared; 0 of * attacks got through*"])
    properties = {
        case.get("name"): {one.get("name"): one.get("value") for one in case.iter("property")}
        for case in ElementTree.parse(Path(pytester.path, "junit.xml")).iter("testcase")
    }
    assert properties["frozen-builtins"]["sandbox_verdict"] == "violated"
    assert properties["sealed-global"]["sandbox_executor"] == "acme"
    assert int(properties["sealed-global"]["sandbox_attacks"] or 0) == 9
    (executor,) = json.loads(report.read_text())["audit"]["executors"]
    verdicts = {found["id"]: found["verdict"] for found in executor["guarantees"]}
    assert verdicts == {
        "sealed-global": "held",
        "frozen-builtins": "violated",
        "code-generation": "not promised",
        "no-secrets": "held",
    }


def test_without_the_option_nothing_is_added(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest_subprocess("--collect-only", "-q").stdout.no_fnmatch_line("*sandbox-audit*")
