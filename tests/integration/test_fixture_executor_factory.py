from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Fakes


def test_it_makes_executors_of_the_selected_kind_that_are_closed_with_the_test(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        from pytest_sandbox import Limits

        def test_x(executor_factory):
            first = executor_factory(colour="red", limits=Limits(memory=1000))
            second = executor_factory(colour="green")
            assert first.execute("options").value["colour"] == "red"
            assert first.limits.memory == first.execute("limits").value["memory"] == 1000
            assert second.execute("options").value["colour"] == "green"

        def test_y():
            with open("fake.log") as log:
                assert log.read().splitlines().count("close beta") == 2
        """
    )
    pytester.runpytest("--executor=beta").assert_outcomes(passed=2)
    assert fakes.count("create beta") == fakes.count("close beta") == 3, "the third was the proof's"


def test_it_makes_one_of_another_name(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile("def test_x(executor_factory): assert executor_factory('gamma').name == 'gamma'")
    pytester.runpytest("--executor=beta").assert_outcomes(passed=1)


def test_closing_by_hand_is_fine(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        from pytest_sandbox import ExecutorClosed

        def test_x(executor_factory):
            with executor_factory() as executor:
                pass
            with pytest.raises(ExecutorClosed):
                executor.execute("x")
            executor.close()

        def test_y(executor_factory):
            executor = executor_factory()
            asyncio.run(executor.aclose())
            with pytest.raises(ExecutorClosed):
                executor.execute("x")
        """
    )
    pytester.runpytest("--executor=alpha").assert_outcomes(passed=2)
    assert fakes.count("create alpha") == fakes.count("close alpha")


def test_all_are_closed_even_if_one_cannot_be(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import fake_executors

        class Stuck(Exception): pass

        def test_x(executor_factory, monkeypatch):
            executor_factory("alpha")
            executor_factory("beta")
            executor_factory("alpha")
            def refuse(self): raise Stuck("will not close")
            fake_executors.Beta._shut_down = refuse
        """
    )
    result = pytester.runpytest_subprocess("--executor=alpha")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E * test_*.Stuck: will not close"])
    assert fakes.count("create alpha") == fakes.count("close alpha")


def test_limits_come_from_the_call_then_the_marker_then_the_options(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest
        from pytest_sandbox import Limits

        def limits(executor):
            value = executor.execute("limits").value
            return value["timeout"], value["memory"], value["output"]

        @pytest.mark.executor(memory=2000, output=3000)
        def test_x(executor_factory):
            assert limits(executor_factory()) == (9, 2000, 3000)
            assert limits(executor_factory(limits=Limits(memory=1))) == (9, 1, 3000)
            assert limits(executor_factory(limits=Limits(timeout=4, memory=None))) == (4, None, 3000)

        @pytest.mark.executor(timeout=5)
        def test_y(executor_factory):
            assert limits(executor_factory())[0] == 5
        """
    )
    pytester.runpytest("--executor=alpha", "--sandbox-timeout=9").assert_outcomes(passed=2)


def test_options_of_the_marker_go_to_the_selected_executor_only(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.executor("beta", colour="red")
        def test_x(executor_factory):
            assert executor_factory().execute("options").value["colour"] == "red"
            assert executor_factory(colour="green").execute("options").value["colour"] == "green"
            assert executor_factory("alpha").execute("x").value == "x"
        """
    )
    pytester.runpytest("--executor=beta").assert_outcomes(passed=1)


def test_errors_reach_the_test(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.missing("gamma")
    pytester.makepyfile(
        """
        import pytest
        from pytest_sandbox import ExecutorUnavailable, InvalidArgument, UnknownExecutor

        def test_x(executor_factory):
            with pytest.raises(UnknownExecutor, match='Unknown executor "alfa" .did you mean "alpha"'):
                executor_factory("alfa")
            with pytest.raises(ExecutorUnavailable, match='Cannot use executor "gamma": no gamma binary in /nowhere'):
                executor_factory("gamma")
            with pytest.raises(InvalidArgument, match="Cannot use option shape='round': expected one of max_runners"):
                executor_factory(shape="round")
            with pytest.raises(InvalidArgument, match="Cannot use limits=5: expected a Limits object, or None"):
                executor_factory(limits=5)
        """
    )
    pytester.runpytest("--executor=alpha").assert_outcomes(passed=1)


def test_several_selected_executors_give_one_variant_each(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile("def test_x(executor_factory): print('made', executor_factory().name)")
    result = pytester.runpytest("--executor=alpha,beta", "-s")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*made alpha*", "*made beta*"])
