"""``--sandbox-report``: a run, on workers or not, ends up in one report for each file; nonsense is refused before anything runs."""

from __future__ import annotations

import json
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest

TESTS = """
import pytest


@pytest.mark.parametrize("n", range(4))
def test_adds(executor, n):
    assert executor.execute("console.log('x'); return (await codemode.f()) + 1", {"f": lambda: n}).value == n + 1


def test_fails(executor):
    assert executor.execute("console.log('<script>', '\\\\u001b[31m\\\\u202e]]>', '::error::owned'); return 'trapped'").value == 1


def test_breaks_later(executor, request):
    request.addfinalizer(lambda: 1 / 0)
    executor.execute("return 1")


@pytest.mark.skip(reason="not <b>now</b>")
def test_is_skipped(executor):
    pass


@pytest.mark.xfail(reason="known")
def test_is_known_to_fail(executor):
    assert executor.execute("return 1").value == 2


def test_needs_no_executor():
    pass
"""


@pytest.fixture(autouse=True)
def _no_settings_from_outside(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("EXECUTOR_TYPE", "PYTEST_SANDBOX_REPORT", "PYTEST_SANDBOX_REQUIRE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:timeout")


def read(pytester: pytest.Pytester, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(pytester.path.joinpath(name).read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("arguments", [["-p", "no:xdist"], ["-n2"]], ids=["alone", "workers"])
def test_a_run_ends_up_in_every_format(pytester: pytest.Pytester, arguments: list[str]) -> None:
    pytester.makepyfile(TESTS)
    names = ["deep/r.html", "r.json", "r.md"]
    result = pytester.runpytest_subprocess(
        "--executor=isolated-vm", "--junitxml=j.xml", *(f"--sandbox-report={name}" for name in names), *arguments
    )
    result.assert_outcomes(passed=6, failed=1, errors=1, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines([f"sandbox report: {name}" for name in names])

    run = read(pytester, "r.json")["run"]
    # pytest counts a test twice that passed and then broke in its teardown.
    assert run["outcomes"] == {"failed": 1, "error": 1, "passed": 5, "skipped": 1, "xfailed": 1}
    assert run["exit_code"] == 1
    (selected,) = run["selected"]
    assert (selected["name"], selected["why"], selected["fresh"]) == ("isolated-vm", "from --executor", "realm")
    assert selected["backend"].startswith("isolated-vm ") and selected["runtime"].startswith("node ")
    tests = {test["id"].partition("::")[2]: test for test in run["tests"]}
    assert sorted(tests) == [*(f"test_adds[{n}]" for n in range(4)), "test_breaks_later", "test_fails", "test_is_known_to_fail"]
    for n in range(4):
        (spent,) = tests[f"test_adds[{n}]"]["spent"]
        assert (spent["kind"], spent["executor"], spent["executions"], spent["tool_calls"], spent["output"]) == (
            "snippet",
            "isolated-vm",
            1,
            1,
            2,
        )
        assert 0 < spent["wall"] < tests[f"test_adds[{n}]"]["duration"]
    failed = tests["test_fails"]
    assert failed["outcome"] == "failed" and "assert 'trapped' == 1" in failed["problem"]
    assert "return 'trapped'" in failed["shown"][0]["text"] and r"\x1b[31m\u202e" in failed["shown"][0]["text"]
    assert tests["test_breaks_later"]["outcome"] == "error" and "division by zero" in tests["test_breaks_later"]["problem"]

    page = pytester.path.joinpath("deep/r.html").read_text(encoding="utf-8")
    assert "trapped" in page and page.count("<script>") == 1
    markdown = pytester.path.joinpath("r.md").read_text(encoding="utf-8")
    assert markdown.startswith("## ❌ Sandboxed tests: 1 failed, 1 error, 5 passed, 1 skipped, 1 xfailed") and "trapped" in markdown

    suite = xml.etree.ElementTree.parse(pytester.path / "j.xml")
    found = {
        case.get("name"): {item.get("name"): item.get("value") for item in case.iter("property")} for case in suite.iter("testcase")
    }
    assert found["test_adds[0]"]["sandbox_executor"] == "isolated-vm"
    assert (found["test_adds[0]"]["sandbox_executions"], found["test_adds[0]"]["sandbox_tool_calls"]) == ("1", "1")
    assert float(found["test_adds[0]"]["sandbox_seconds"] or 0) > 0
    assert found["test_needs_no_executor"] == {}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sandbox-report=r.pdf"], "Cannot use --sandbox-report='*r.pdf': expected a file that ends in .html, .json, .md*"),
        (["--sandbox-report="], "Cannot use --sandbox-report='*': expected a file that ends in .html, .json, .md*"),
        (["--sandbox-report=folder.md"], "Cannot use --sandbox-report='*folder.md': expected a file, and this is a folder"),
        (["--sandbox-report=r.md", "--sandbox-report=./r.md"], "Cannot use --sandbox-report='*r.md': expected each file once"),
        (["--sandbox-report=test_it.py/r.md"], "Cannot use --sandbox-report='*r.md': expected a file that can be written (*)"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_before_tests_run(pytester: pytest.Pytester, arguments: list[str], told: str) -> None:
    pytester.mkdir("folder.md")
    pytester.makepyfile(test_it="import pathlib; pathlib.Path('collected').touch()")
    result = pytester.runpytest_inprocess(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {told}"])
    assert not pytester.path.joinpath("collected").exists()


def test_without_the_template_engine_html_is_refused_before_tests_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_sandbox.reports.html.importlib.util.find_spec", lambda name: None)
    result = pytester.runpytest_inprocess("--sandbox-report=r.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: Cannot write a report as HTML: jinja2 is not installed; install it with 'pip install \"pytest-sandbox[[]report]\"'"
        ]
    )


def test_options_beat_the_environment_which_beats_the_ini_file(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile("def test_it(): pass")
    pytester.makeini("[pytest]\nsandbox_report = ini.json")

    def written(*arguments: str) -> list[str]:
        pytester.runpytest_inprocess(*arguments).assert_outcomes(passed=1)
        found = sorted(path.name for path in pytester.path.glob("*.json"))
        for name in found:
            pytester.path.joinpath(name).unlink()
        return found

    assert written() == ["ini.json"]
    monkeypatch.setenv("PYTEST_SANDBOX_REPORT", "one.json:two.json")
    assert written() == ["one.json", "two.json"]
    assert written("--sandbox-report=option.json") == ["option.json"]


def test_the_step_summary_is_written_with_a_report_and_only_then(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest_inprocess()
    assert not summary.exists()
    pytester.runpytest_inprocess("--sandbox-report=r.json", "--collect-only")
    assert not summary.exists() and not pytester.path.joinpath("r.json").exists()
    result = pytester.runpytest_inprocess("--sandbox-report=r.json")
    result.stdout.fnmatch_lines(["sandbox report: added to GITHUB_STEP_SUMMARY"])
    assert summary.read_text(encoding="utf-8").startswith("## ✅ Sandboxed tests: 1 passed")


def test_a_report_that_cannot_be_written_in_the_end_fails_the_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pathlib\n\ndef test_it(): pathlib.Path('r.json').mkdir()")
    result = pytester.runpytest_inprocess("--sandbox-report=r.json")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["ERROR: Cannot write the report *r.json: *this is a folder"])


def test_a_test_whose_worker_dies_has_failed(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    pytester.makepyfile("import os\n\ndef test_dies(): os._exit(1)\n\ndef test_lives(): pass")
    pytester.runpytest_subprocess("-n1", "--sandbox-report=r.json").assert_outcomes(passed=1, failed=1)
    run = read(pytester, "r.json")["run"]
    assert run["outcomes"] == {"failed": 1, "passed": 1}
    assert [(test["id"], test["outcome"]) for test in run["tests"]] == [
        ("test_a_test_whose_worker_dies_has_failed.py::test_dies", "failed")
    ]
    assert "crashed" in run["tests"][0]["problem"]


def test_an_audit_on_workers_ends_up_in_one_report(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("xdist")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    pytester.makepyfile("def test_it(executor): assert executor.execute('return 1').ok")
    chosen = ("frozen-builtins", "code-generation", "sealed-global")
    result = pytester.runpytest_subprocess(
        "-n2", "--executor=isolated-vm", "--sandbox-audit", "-k", f"test_it or {' or '.join(chosen)}", "--sandbox-report=r.json"
    )
    result.assert_outcomes(passed=4)
    report = read(pytester, "r.json")
    (executor,) = report["audit"]["executors"]
    verdicts = {guarantee["id"]: (guarantee["verdict"], len(guarantee["probes"]) > 3) for guarantee in executor["guarantees"]}
    assert verdicts == dict.fromkeys(chosen, ("held", True))
    assert executor["name"] == "isolated-vm" and executor["jail"]
    assert report["machine"] == report["audit"]["machine"]
    (test,) = report["run"]["tests"]
    assert test["spent"][0]["executions"] == 1, "what the audit used is no test's usage"
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert (
        summary.startswith("## ✅ Sandbox audit: everything that is promised held") and "## ✅ Sandboxed tests: 4 passed" in summary
    )
