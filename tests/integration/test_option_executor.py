from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Fakes

ONE_TEST = """
def test_x(executor) -> None:
    assert executor.execute("return 1+1").value == 2
    print("ran on", executor.name)
"""


def test_a_named_executor_runs_the_test(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest("--executor=beta", "-s")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*ran on beta*"])
    assert not any("alpha" in event or "gamma" in event for event in fakes.events())


def test_one_named_executor_leaves_the_test_id_alone(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest("--executor=beta", "-v")
    result.stdout.fnmatch_lines(["*::test_x PASSED*"])


def test_several_names_give_one_variant_each_in_the_given_order(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest("--executor= beta , alpha", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*::test_x[[]beta] PASSED*", "*::test_x[[]alpha] PASSED*"])


def test_a_variant_can_be_chosen_by_its_id(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(test_it=ONE_TEST)
    result = pytester.runpytest("--executor=alpha,beta", "test_it.py::test_x[beta]")
    result.assert_outcomes(passed=1)
    assert "create alpha" not in fakes.events()


def test_auto_takes_the_first_that_works(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("alpha")
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest("--executor=auto", "-s", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*ran on beta*"])
    assert "create gamma" not in fakes.events(), "an executor was tried that was not needed"


def test_auto_is_the_default(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest("-s", "-v")
    result.stdout.fnmatch_lines(["*::test_x ran on alpha", "PASSED*"])


def test_auto_skips_with_all_reasons_where_nothing_works(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("alpha", "beta", "gamma")
    pytester.makepyfile(test_it=ONE_TEST)
    result = pytester.runpytest("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        [
            'SKIPPED*test_it.py: Cannot use executor "auto": none works on this machine '
            "(alpha: no alpha binary in /nowhere; beta: no beta binary in /nowhere; gamma: *"
        ]
    )


def test_all_skips_what_does_not_work_with_the_reason(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("beta")
    pytester.makepyfile(test_it=ONE_TEST)
    result = pytester.runpytest("--executor=all", "-v", "-rs")
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*::test_x[[]alpha] PASSED*",
            "*::test_x[[]beta] SKIPPED*",
            "*::test_x[[]gamma] PASSED*",
            'SKIPPED*test_it.py: Executor "beta" is unavailable: no beta binary in /nowhere; install beta',
        ]
    )


def test_available_leaves_out_what_does_not_work(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("beta")
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest("--executor=available", "-v")
    result.assert_outcomes(passed=2, deselected=1)
    result.stdout.fnmatch_lines(["*::test_x[[]alpha] PASSED*", "*::test_x[[]gamma] PASSED*"])


def test_available_never_lets_a_test_vanish(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("alpha", "beta", "gamma")
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest("--executor=available", "-rs")
    result.assert_outcomes(skipped=1, deselected=2)
    result.stdout.fnmatch_lines(['SKIPPED*Executor "alpha" is unavailable: no alpha binary in /nowhere; install alpha'])


def test_the_flag_beats_the_environment_which_beats_the_ini_value(
    pytester: pytest.Pytester, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.take_the_place_of_ours()
    pytester.makepyfile(ONE_TEST)

    assert "ran on alpha" in pytester.runpytest("-s").stdout.str()

    pytester.makeini("[pytest]\nsandbox_executor = beta")
    result = pytester.runpytest("-s")
    assert "ran on beta" in result.stdout.str()
    assert "sandbox: beta (from ini value sandbox_executor)" in result.stdout.str()

    monkeypatch.setenv("EXECUTOR_TYPE", "gamma")
    result = pytester.runpytest("-s")
    assert "ran on gamma" in result.stdout.str()
    assert "sandbox: gamma (from EXECUTOR_TYPE)" in result.stdout.str()

    result = pytester.runpytest("-s", "--executor=alpha")
    assert "ran on alpha" in result.stdout.str()
    assert "sandbox: alpha (from --executor)" in result.stdout.str()


def test_an_empty_variable_counts_as_not_set(pytester: pytest.Pytester, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTOR_TYPE", " ")
    pytester.makeini("[pytest]\nsandbox_executor = beta")
    pytester.makepyfile(ONE_TEST)
    assert "ran on beta" in pytester.runpytest("-s").stdout.str()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "Cannot use --executor='': expected names separated by single commas, such as deno,vm2"),
        (" ", "Cannot use --executor=' ': expected names separated by single commas, such as deno,vm2"),
        (",", "Cannot use --executor=',': expected names separated by single commas, such as deno,vm2"),
        ("alpha,", "Cannot use --executor='alpha,': expected names separated by single commas, such as deno,vm2"),
        ("alpha,,beta", "Cannot use --executor='alpha,,beta': expected names separated by single commas*"),
        ("alpha,beta,alpha", "*'alpha,beta,alpha': expected each name once: alpha is given twice"),
        ("all,all", "*'all,all': expected each name once: all is given twice"),
        ("auto,deno", "Cannot use --executor='auto,deno': expected names of executors, or \"auto\" alone"),
        ("deno,available", "*'deno,available': expected names of executors, or \"available\" alone"),
        ("all,auto", "*'all,auto': expected names of executors, or \"all\" alone"),
        (
            "deno2",
            'Unknown executor "deno2" (from --executor) (did you mean "deno"?): known executors are '
            "isolated-vm, deno, container, vm2, alpha, beta, gamma",
        ),
        ("DENO", 'Unknown executor "DENO" (from --executor) (did you mean "deno"?)*'),
        ("Isolated_VM", 'Unknown executor "Isolated_VM" (from --executor) (did you mean "isolated-vm"?)*'),
        ("beta,xyzzy", 'Unknown executor "xyzzy" (from --executor): known executors are *'),
        ("be\x1bta", "*Unknown executor *"),
    ],
)
def test_nonsense_is_a_usage_error_before_collection(pytester: pytest.Pytester, fakes: Fakes, value: str, message: str) -> None:
    pytester.makepyfile("raise SystemExit('collected')")
    result = pytester.runpytest(f"--executor={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert "collected" not in result.stdout.str()


def test_nonsense_in_the_ini_file_is_a_usage_error_too(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makeini("[pytest]\nsandbox_executor = deno,,vm2")
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: Cannot use ini value sandbox_executor='deno,,vm2': expected *"])


def test_nonsense_in_executor_type_matters_only_if_a_test_needs_an_executor(
    pytester: pytest.Pytester, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECUTOR_TYPE", "CeleryExecutor")
    pytester.makepyfile("def test_unrelated(): pass")
    pytester.runpytest().assert_outcomes(passed=1)

    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(['ERROR: Unknown executor "CeleryExecutor" (from EXECUTOR_TYPE): known executors are *'])


@pytest.mark.parametrize("source", ["flag", "environment", "ini"])
def test_a_forced_executor_that_does_not_work_is_a_usage_error(
    pytester: pytest.Pytester, fakes: Fakes, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    fakes.missing("beta")
    arguments = []
    if source == "flag":
        arguments = ["--executor=alpha,beta"]
        told = "--executor"
    elif source == "environment":
        monkeypatch.setenv("EXECUTOR_TYPE", "beta")
        told = "EXECUTOR_TYPE"
    else:
        pytester.makeini("[pytest]\nsandbox_executor = beta")
        told = "ini value sandbox_executor"
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest_subprocess(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f'ERROR: Cannot use executor "beta" (forced by {told}): no beta binary in /nowhere; install beta'])
    assert "ran on" not in result.stdout.str()
    assert fakes.count("create alpha") == fakes.count("close alpha"), "an executor was left open"


def test_a_forced_executor_that_no_collected_test_needs_is_not_proved(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.missing("beta")
    pytester.makepyfile("def test_unrelated(): pass")
    pytester.runpytest("--executor=beta").assert_outcomes(passed=1)
    assert fakes.events() == []


def test_a_forced_executor_that_only_markers_exclude_is_not_proved(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.missing("beta")
    pytester.makepyfile("import pytest\n@pytest.mark.executor('alpha')" + ONE_TEST)
    pytester.runpytest("--executor=alpha,beta").assert_outcomes(passed=1)
    assert "refuse beta" not in fakes.events()
