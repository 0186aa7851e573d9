from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Fakes

pytest.importorskip("xdist")

MANY_TESTS = """
import pytest

@pytest.mark.parametrize("n", range(6))
def test_x(executor, n) -> None:
    assert executor.execute("return 1+1").value == 2
"""


def test_the_controller_finds_out_once_and_alone_prints_the_line(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("alpha")
    pytester.makepyfile(MANY_TESTS)
    result = pytester.runpytest_subprocess("-n2")
    result.assert_outcomes(passed=6)
    assert [line for line in result.outlines if line.startswith("sandbox:")] == [
        "sandbox: alpha unavailable: no alpha binary in /nowhere; install alpha",
        "sandbox: beta (auto-detected): beta-engine 1.2, node 99.1 (/fake/node), fresh realm, jail none",
    ]
    assert fakes.count("refuse alpha") == 1, "a worker looked for itself"
    assert fakes.count("run beta 'return 1+1'") == 1 + 6, "one proof, and one for each test"
    assert fakes.count("create beta") == fakes.count("close beta") <= 3


def test_the_line_comes_with_the_summary(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(MANY_TESTS)
    result = pytester.runpytest_subprocess("-n2", "--executor=alpha")
    result.stdout.fnmatch_lines(["......*", "sandbox: alpha (from --executor): alpha-engine 1.2*", "*6 passed*"])
    assert "sandbox:" not in pytester.runpytest_subprocess("-n2", "--executor=alpha", "-q").stdout.str()


def test_nothing_starts_and_nothing_is_printed_without_need(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    pytester.makepyfile("def test_a(): pass\ndef test_b(): pass")
    result = pytester.runpytest_subprocess("-n2", "--executor=all")
    result.assert_outcomes(passed=2)
    assert "sandbox:" not in result.stdout.str()
    assert fakes.events() == []


@pytest.mark.parametrize("source", ["flag", "environment", "ini", "require"])
def test_a_forced_executor_that_does_not_work_ends_the_run_before_workers_start(
    pytester: pytest.Pytester, fakes: Fakes, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    fakes.missing("beta")
    arguments = []
    told = {
        "flag": "--executor",
        "environment": "EXECUTOR_TYPE",
        "ini": "ini value sandbox_executor",
        "require": "--sandbox-require",
    }
    if source == "flag":
        arguments = ["--executor=alpha,beta"]
    elif source == "environment":
        monkeypatch.setenv("EXECUTOR_TYPE", "beta")
    elif source == "ini":
        pytester.makeini("[pytest]\nsandbox_executor = beta")
    else:
        arguments = ["--executor=alpha", "--sandbox-require=beta"]
    # Workers would import this.
    pytester.makepyfile("import pathlib; pathlib.Path('collected').touch()" + MANY_TESTS)
    result = pytester.runpytest_subprocess("-n2", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f'ERROR: Cannot use executor "beta" (forced by {told[source]}): no beta binary in /nowhere; install beta']
    )
    assert not pytester.path.joinpath("collected").exists()


def test_a_forced_executor_is_announced_only_if_a_test_needs_it(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile("def test_a(): pass")
    result = pytester.runpytest_subprocess("-n2", "--executor=alpha")
    result.assert_outcomes(passed=1)
    assert "sandbox:" not in result.stdout.str()


def test_unknown_names_end_the_run_before_workers_start(pytester: pytest.Pytester, fakes: Fakes) -> None:
    result = pytester.runpytest_subprocess("-n2", "--executor=alfa")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(['ERROR: Unknown executor "alfa" (from --executor) (did you mean "alpha"?): known executors are *'])


def test_an_unknown_executor_type_matters_only_if_a_test_needs_an_executor(
    pytester: pytest.Pytester, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECUTOR_TYPE", "CeleryExecutor")
    pytester.makepyfile("def test_unrelated(): pass")
    pytester.runpytest_subprocess("-n2").assert_outcomes(passed=1)

    pytester.makepyfile("def test_unrelated(): pass" + MANY_TESTS)
    result = pytester.runpytest_subprocess("-n2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.assert_outcomes(passed=1, errors=6)
    result.stdout.fnmatch_lines(['ERROR: Unknown executor "CeleryExecutor" (from EXECUTOR_TYPE): known executors are *'])


def test_several_executors_are_variants_on_every_worker(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("beta")
    pytester.makepyfile(MANY_TESTS)
    pytester.runpytest_subprocess("-n2", "--executor=all").assert_outcomes(passed=12, skipped=6)
    pytester.runpytest_subprocess("-n2", "--executor=available").assert_outcomes(passed=12)
    pytester.runpytest_subprocess("-n2", "--executor=all", "--sandbox-require=beta").assert_outcomes(passed=12, errors=6)


def test_executors_of_a_conftest_that_only_workers_load_are_found(pytester: pytest.Pytester, fakes: Fakes) -> None:
    conftest = pytester.path / "conftest.py"
    below = pytester.mkdir("below")
    conftest.rename(below / "conftest.py")
    below.joinpath("test_it.py").write_text("def test_x(executors): assert executors['beta'].name == 'beta'")
    pytester.makepyfile(test_top="def test_y(): pass")
    pytester.runpytest_subprocess("-n2", "--executor=all", "-rs").assert_outcomes(passed=2)


def test_an_executor_that_a_test_asks_for_by_name_is_found(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    pytester.makepyfile("def test_x(request): assert request.getfixturevalue('executor').execute('x').value == 'x'")
    result = pytester.runpytest_subprocess("-n2")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["sandbox: alpha (auto-detected): *"])


def test_failing_tests_show_their_snippets(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile("def test_x(executor): assert executor.execute('throw').ok")
    result = pytester.runpytest_subprocess("-n2", "--executor=alpha")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*- sandbox snippet 1 (alpha, failed after 12.3 ms) -*", "1 | throw", r"  TypeError: no \x1b[[]2J luck"]
    )
    assert "\x1b" not in result.stdout.str()


def test_a_worker_that_crashes_is_replaced_by_one_that_is_told_again(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import os, pathlib, pytest

        @pytest.mark.parametrize("n", range(4))
        def test_x(executor, n):
            if n == 1:
                os._exit(1)
            assert executor.execute("x").value == "x"
        """
    )
    result = pytester.runpytest_subprocess("-n1", "--executor=alpha")
    result.assert_outcomes(passed=3, failed=1)


@pytest.mark.parametrize("arguments", [["-n0"], ["-p", "no:xdist"], ["--dist=no"]])
def test_without_distribution_the_line_comes_after_collection(
    pytester: pytest.Pytester, fakes: Fakes, arguments: list[str]
) -> None:
    pytester.makepyfile(MANY_TESTS)
    result = pytester.runpytest_subprocess("--executor=alpha", *arguments)
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["collected 6 items", "sandbox: alpha (from --executor): *", "*......*"])


def test_real_executors_work_on_workers(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(MANY_TESTS)
    result = pytester.runpytest_subprocess("-n2", "--executor=isolated-vm,deno,vm2")
    result.assert_outcomes(passed=18)
    result.stdout.fnmatch_lines(["sandbox: isolated-vm (from --executor): isolated-vm 7.*", "sandbox: deno *", "sandbox: vm2 *"])


def test_a_controller_that_cannot_find_out_is_told_by_the_tests(pytester: pytest.Pytester, fakes: Fakes) -> None:
    with pytester.path.joinpath("conftest.py").open("a") as conftest:
        conftest.write(
            """
from pytest_sandbox.plugin.provers import LocalProver

def fail(self):
    raise RuntimeError("no time")

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        LocalProver.find_best = fail
"""
        )
    pytester.makepyfile("def test_unrelated(): pass" + MANY_TESTS)
    result = pytester.runpytest_subprocess("-n2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.assert_outcomes(passed=1, errors=6)
    result.stdout.fnmatch_lines(["ERROR: Cannot learn from the controller which executors work: there, RuntimeError: no time"])
