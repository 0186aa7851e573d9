from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Fakes


def test_it_holds_all_selected_by_name_in_order(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        def test_x(executors):
            assert list(executors) == ["gamma", "alpha"]
            assert {name: executor.execute("return 1+1").value for name, executor in executors.items()} == {"gamma": 2, "alpha": 2}
            assert [executor.name for executor in executors.values()] == ["gamma", "alpha"]
        """
    )
    result = pytester.runpytest("--executor=gamma,alpha", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*::test_x PASSED*"])


def test_it_shares_the_executors_with_other_tests_and_ends_its_leases(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest
        from pytest_sandbox import ExecutorClosed

        kept = []

        def test_x(executors): kept.extend(executors.values())
        def test_y(executor): executor.execute("y")
        def test_z():
            for executor in kept:
                with pytest.raises(ExecutorClosed):
                    executor.execute("z")
        """
    )
    pytester.runpytest("--executor=alpha,beta").assert_outcomes(passed=4)
    assert fakes.count("create alpha") == fakes.count("close alpha") == 1


def test_what_does_not_work_is_left_out_and_if_nothing_works_the_test_is_skipped(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    pytester.makepyfile("def test_x(executors): print('holds', *executors)")
    fakes.missing("alpha")
    assert "holds beta gamma" in pytester.runpytest("--executor=all", "-s").stdout.str()
    fakes.missing("alpha", "beta", "gamma")
    result = pytester.runpytest("--executor=all", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(['SKIPPED*Executor "alpha" is unavailable: no alpha binary in /nowhere; install alpha;*"gamma"*'])


def test_with_auto_it_holds_the_best_one(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("alpha")
    pytester.makepyfile("def test_x(executors): print('holds', *executors)")
    assert "holds beta\n" in pytester.runpytest("-s").stdout.str().replace(".", "")


def test_names_of_the_marker_intersect_it(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.executor("gamma", "alpha", timeout=3)
        def test_x(executors):
            assert list(executors) == ["alpha", "gamma"]
            assert executors["alpha"].execute("limits").value["timeout"] == 3

        @pytest.mark.executor("isolated-vm")
        def test_none(executors): pass
        """
    )
    result = pytester.runpytest("--executor=alpha,beta,gamma", "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*The executor marker names isolated-vm; selected is alpha, beta, gamma (from --executor)"])


def test_beside_executor_it_still_holds_all(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile("def test_x(executor, executors): assert list(executors) == ['alpha', 'beta']")
    pytester.runpytest("--executor=alpha,beta").assert_outcomes(passed=2)


def test_real_executors_agree(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_x(executors):
            assert len(executors) == 3
            values = {name: executor.execute("return [1, 'a', {b: null}]").check().value for name, executor in executors.items()}
            assert all(value == [1, "a", {"b": None}] for value in values.values()), values
        """
    )
    pytester.runpytest_subprocess("--executor=isolated-vm,deno,vm2").assert_outcomes(passed=1)
