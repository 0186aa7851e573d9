from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Fakes

ONE_TEST = """
def test_x(executor) -> None:
    assert executor.execute("return 1+1").value == 2
"""


def test_a_missing_executor_fails_its_tests_instead_of_skipping_them(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("beta", "gamma")
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest("--executor=all", "--sandbox-require=beta")
    result.assert_outcomes(passed=1, errors=1, skipped=1)
    result.stdout.fnmatch_lines(
        ['Executor "beta" (required by --sandbox-require) is unavailable: no beta binary in /nowhere; install beta']
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_available_keeps_the_variants_of_a_required_executor(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("beta", "gamma")
    pytester.makepyfile(ONE_TEST)
    pytester.runpytest("--executor=available", "--sandbox-require=beta").assert_outcomes(passed=1, errors=1, deselected=1)


def test_a_required_executor_that_works_changes_nothing(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    pytester.makepyfile(ONE_TEST)
    pytester.runpytest("--executor=all", "--sandbox-require=beta, gamma").assert_outcomes(passed=3)


def test_a_test_that_compares_executors_fails_when_a_required_one_is_missing(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("beta")
    pytester.makepyfile("def test_x(executors): assert set(executors) == {'alpha', 'gamma'}")
    pytester.runpytest("--executor=all").assert_outcomes(passed=1)
    pytester.runpytest("--executor=all", "--sandbox-require=beta").assert_outcomes(errors=1)


def test_a_missing_executor_that_no_test_can_run_on_ends_the_run(pytester: pytest.Pytester, fakes: Fakes) -> None:
    # Else a CI that requires deno, and selects automatically, would be green without it.
    fakes.take_the_place_of_ours()
    fakes.missing("beta")
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest("--sandbox-require=beta")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(['ERROR: Cannot use executor "beta" (forced by --sandbox-require): no beta binary *'])


def test_it_is_of_no_account_while_no_test_needs_an_executor(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.missing("beta")
    pytester.makepyfile("def test_unrelated(): pass")
    pytester.runpytest("--sandbox-require=beta").assert_outcomes(passed=1)
    assert fakes.events() == []


def test_the_flag_beats_the_environment_which_beats_the_ini_value(
    pytester: pytest.Pytester, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("alpha", "beta", "gamma")
    pytester.makepyfile(ONE_TEST)
    pytester.runpytest("--executor=all").assert_outcomes(skipped=3)

    pytester.makeini("[pytest]\nsandbox_require = alpha")
    result = pytester.runpytest("--executor=all")
    result.assert_outcomes(skipped=2, errors=1)
    result.stdout.fnmatch_lines(['*"alpha" (required by ini value sandbox_require)*'])

    monkeypatch.setenv("PYTEST_SANDBOX_REQUIRE", "beta")
    result = pytester.runpytest("--executor=all")
    result.assert_outcomes(skipped=2, errors=1)
    result.stdout.fnmatch_lines(['*"beta" (required by PYTEST_SANDBOX_REQUIRE)*'])

    result = pytester.runpytest("--executor=all", "--sandbox-require=gamma")
    result.assert_outcomes(skipped=2, errors=1)
    result.stdout.fnmatch_lines(['*"gamma" (required by --sandbox-require)*'])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "Cannot use --sandbox-require='': expected names separated by single commas, such as deno,vm2"),
        ("beta,beta", "Cannot use --sandbox-require='beta,beta': expected each name once: beta is given twice"),
        ("Beta", 'Unknown executor "Beta" (from --sandbox-require) (did you mean "beta"?): known executors are *'),
        ("auto", 'Unknown executor "auto" (from --sandbox-require): known executors are *'),
    ],
)
def test_nonsense_is_a_usage_error(pytester: pytest.Pytester, fakes: Fakes, value: str, message: str) -> None:
    result = pytester.runpytest(f"--sandbox-require={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
