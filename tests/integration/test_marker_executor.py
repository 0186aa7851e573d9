from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Fakes


def test_names_only_intersect_the_selection(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        test_it="""
        import pytest

        @pytest.mark.executor("gamma", "beta")
        def test_both(executor): pass

        @pytest.mark.executor("gamma")
        def test_one(executor): pass

        @pytest.mark.executor("isolated-vm", "vm2")
        def test_none(executor): pass
        """
    )
    result = pytester.runpytest("--executor=alpha,beta,gamma", "-v", "-rs")
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*::test_both[[]beta] PASSED*",
            "*::test_both[[]gamma] PASSED*",
            "*::test_one[[]gamma] PASSED*",
            "*::test_none SKIPPED*",
            "SKIPPED*test_it.py:9: The executor marker names isolated-vm, vm2; selected is alpha, beta, gamma (from --executor)",
        ]
    )
    assert "create alpha" not in fakes.events(), "no test runs on it"


def test_with_auto_they_do_not_change_what_is_best(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.executor("beta")
        def test_x(executor): pass
        """
    )
    result = pytester.runpytest("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*The executor marker names beta; selected is alpha (auto-detected)"])


def test_markers_of_module_class_and_function_intersect_and_the_closest_option_wins(
    pytester: pytest.Pytester, fakes: Fakes
) -> None:
    pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.executor("alpha", "beta", timeout=1, output=7)

        @pytest.mark.executor(timeout=2, memory=1000)
        class TestIt:
            @pytest.mark.executor("beta", "gamma", timeout=3)
            def test_x(self, executor):
                assert executor.name == "beta"
                limits = executor.execute("limits").value
                assert (limits["timeout"], limits["memory"], limits["output"]) == (3, 1000, 7)

            def test_y(self, executor):
                limits = executor.execute("limits").value
                assert (limits["timeout"], limits["memory"], limits["output"]) == (2, 1000, 7)

        @pytest.mark.executor("gamma")
        def test_contradiction(executor): pass
        """
    )
    result = pytester.runpytest("--executor=alpha,beta,gamma", "-rs")
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*The executor markers of this test have no name in common"])


def test_a_marker_on_one_parameter_set_counts_for_it_alone(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.executor("beta", timeout=9))])
        def test_x(executor, n):
            assert executor.execute("limits").value["timeout"] == (9 if n == 2 else 30)
        """
    )
    result = pytester.runpytest("--executor=alpha,beta", "-v", "-rs")
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(
        ["*::test_x[[]alpha-2] SKIPPED*", "SKIPPED*The executor marker names beta; selected is alpha (from --executor)"]
    )


def test_limits_and_options_reach_the_executor_and_make_one_of_their_own(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.executor(cpu_time=1, memory=2, output=3, result=4, source=5000, tool_calls=6, processes=7, tool_timeout=8)
        def test_limits(executor):
            limits = executor.execute("limits").value
            del limits["timeout"]
            assert limits == dict(cpu_time=1, memory=2, output=3, result=4, source=5000, tool_calls=6, processes=7)
            assert executor.limits.memory == 2
            assert executor.execute("tool_timeout").value == 8
            assert executor.execute("tool_timeout", tool_timeout=1).value == 1

        @pytest.mark.executor("beta", colour="red", max_runners=3)
        def test_options(executor):
            assert executor.execute("options").value == {"max_runners": 3, "colour": "red"}

        @pytest.mark.executor(colour="red", max_runners=3)
        def test_the_same_options_again(executor):
            assert executor.execute("options").value == {"max_runners": 3, "colour": "red"}

        @pytest.mark.executor(timeout=None)
        def test_none_is_no_limit(executor):
            assert executor.execute("limits").value["timeout"] is None

        def test_plain(executor):
            assert executor.execute("options").value == {"max_runners": None, "colour": "blue"}
            assert executor.execute("limits").value["timeout"] == 5
        """
    )
    pytester.runpytest("--executor=beta", "--sandbox-timeout=5").assert_outcomes(passed=5)
    assert fakes.count("create beta") == 3 == fakes.count("close beta")


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (
            '"bta"',
            'Unknown executor "bta" (from the executor marker of test_it.py::test_x) (did you mean "beta"?): known executors are *',
        ),
        ('"Beta"', '*(did you mean "beta"?): known executors are isolated-vm, *'),
        ('"auto"', 'Unknown executor "auto" (from the executor marker of test_it.py::test_x): *'),
        ('""', 'Unknown executor "" (from the executor marker of test_it.py::test_x): *'),
        (
            '["beta"]',
            "Cannot use executor=['beta']: expected names of executors, each a string, in the executor marker of test_it.py::test_x",
        ),
        ("5", "Cannot use executor=5: expected names of executors, each a string, in *"),
        (
            "",
            "Cannot use executor='()': expected names of executors, limits or options, in the executor marker of test_it.py::test_x",
        ),
        (
            "timout=5",
            "Cannot use timout=5: expected one of the keywords colour, *, max_runners, memory, *, timeout, *"
            '(did you mean "timeout"?), in the executor marker of test_it.py::test_x',
        ),
        ('"alpha", colour="red"', "Cannot use colour='red': expected one of the keywords cpu_time, *"),
        (
            "timeout=0",
            "Cannot use timeout=0: expected a finite number of seconds greater than 0, or None for no limit, in the executor *",
        ),
        ('timeout="5s"', "Cannot use timeout='5s': expected a finite number of seconds *"),
        ("timeout=float('nan')", "Cannot use timeout=nan: expected a finite number of seconds *"),
        ("memory=-1", "Cannot use memory=-1: expected a whole number of bytes greater than 0, or None for no limit, in *"),
        ("memory='1m'", "Cannot use memory='1m': expected a whole number of bytes *"),
        ("tool_timeout=-1", "Cannot use tool_timeout=-1: expected a finite number of seconds *"),
    ],
)
@pytest.mark.parametrize("place", ["function", "class", "module"])
def test_misuse_is_an_error_of_collection_that_names_the_test(
    pytester: pytest.Pytester, fakes: Fakes, mark: str, message: str, place: str
) -> None:
    if place == "function":
        text = f"import pytest\n@pytest.mark.executor({mark})\ndef test_x(executor): pass"
    elif place == "class":
        text = f"import pytest\n@pytest.mark.executor({mark})\nclass TestIt:\n    def test_x(self, executor): pass"
        message = message.replace("::test_x", "::TestIt::test_x")
    else:
        text = f"import pytest\npytestmark = pytest.mark.executor({mark})\ndef test_x(executor): pass"
    pytester.makepyfile(test_it=text)
    result = pytester.runpytest("--executor=beta")
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([message])
    assert fakes.events() == [], "nothing must be started for a run that does not take place"


def test_a_marker_without_parentheses_is_misuse_too(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(test_it="import pytest\n@pytest.mark.executor\ndef test_x(executor): pass")
    result = pytester.runpytest("--executor=beta")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["Cannot use executor='()': expected names of executors, limits or options, in *"])


def test_misuse_where_no_variants_are_made_fails_the_test(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        test_it="""
        import unittest
        import pytest

        @pytest.mark.executor("bta")
        @pytest.mark.usefixtures("executor")
        class TestIt(unittest.TestCase):
            def test_x(self): pass

        @pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.executor(timout=5)), 2])
        def test_y(executor, n): pass
        """
    )
    result = pytester.runpytest("--executor=beta")
    result.assert_outcomes(errors=2, passed=1)
    result.stdout.fnmatch_lines(
        [
            'Unknown executor "bta" (from the executor marker of test_it.py::TestIt::test_x) (did you mean "beta"?)*',
            "Cannot use timout=5: expected one of the keywords *, in the executor marker of test_it.py::test_y[[]1]",
        ]
    )


def test_it_has_no_effect_on_tests_that_need_no_executor(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile("import pytest\npytestmark = pytest.mark.executor('no-such-executor', timout=1)\ndef test_x(): pass")
    pytester.runpytest("--strict-markers").assert_outcomes(passed=1)


def test_an_option_that_this_variant_does_not_have_fails_it(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.executor(colour='red')\ndef test_x(executor): pass")
    result = pytester.runpytest("--executor=alpha,beta")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["Cannot use option colour='red': expected one of max_runners for executor alpha"])


def test_a_limit_that_the_executor_cannot_enforce_fails_the_test(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.executor(memory=1000)\ndef test_x(executor): pass")
    result = pytester.runpytest("--executor=alpha,gamma")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(['Cannot enforce limit memory=1000 on executor "gamma": it has none; leave it unset or choose *'])


def test_it_is_listed_with_all_keywords(pytester: pytest.Pytester) -> None:
    import dataclasses

    from pytest_sandbox import Limits

    result = pytester.runpytest("--markers")
    line = next(line for line in result.outlines if line.startswith("@pytest.mark.executor("))
    for field in dataclasses.fields(Limits):
        assert f" {field.name}=None" in line


def test_a_real_limit_is_enforced(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.executor("isolated-vm", "deno", "vm2", tool_calls=2, timeout=5)
        def test_x(executor):
            calls = []
            result = executor.execute("for (let i = 0; i < 3; i++) await codemode.add(i)", {"add": calls.append})
            assert result.error.limit == "tool_calls", result
            assert calls == [0, 1]
        """
    )
    pytester.runpytest_subprocess("--executor=isolated-vm,deno,vm2").assert_outcomes(passed=3)


def test_a_tool_timeout_of_0_is_refused_and_not_replaced(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest
        from pytest_sandbox import InvalidArgument

        @pytest.mark.executor(tool_timeout=3)
        def test_x(executor):
            with pytest.raises(InvalidArgument, match="Cannot use tool_timeout=0"):
                executor.execute("x", tool_timeout=0)
        """
    )
    pytester.runpytest("--executor=alpha").assert_outcomes(passed=1)
