from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Fakes


def test_tests_share_one_executor_which_is_closed_at_the_end(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", range(3))
        def test_x(executor, n):
            assert executor.execute(f"n{n}").value == f"n{n}"

        def test_last(executor):
            with open("fake.log") as log:
                assert "close alpha" not in log.read().splitlines()
        """
    )
    pytester.runpytest("--executor=alpha").assert_outcomes(passed=4)
    assert fakes.count("create alpha") == 1, "also the proof uses the shared executor"
    assert fakes.count("close alpha") == 1
    assert fakes.events()[-1] == "close alpha"


def test_the_executor_is_closed_even_if_all_tests_are_skipped(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.skip
        def test_x(executor): pass
        """
    )
    pytester.runpytest("--executor=alpha").assert_outcomes(skipped=1)
    assert fakes.count("create alpha") == fakes.count("close alpha") == 1


def test_the_lease_offers_all_that_an_executor_offers(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import asyncio
        from pytest_sandbox import SnippetExecutor

        def test_x(executor):
            assert isinstance(executor, SnippetExecutor)
            assert executor.name == "beta"
            assert executor.info.backend == "beta-engine 1.2"
            assert executor.limits.memory == 256 * 1024 * 1024
            assert executor.guarantees == {"network"}
            assert executor.options.colour == "blue"
            assert executor.own_addition() == "only beta has this"
            assert asyncio.run(executor.aexecute("async")).value == "async"
            assert executor.execute("tool_timeout", tool_timeout=3).value == 3
            assert executor.execute("x", language="ts").value == "x"
            assert repr(executor).startswith("<Lease of <Beta beta")
            try:
                executor.no_such_thing
            except AttributeError as error:
                assert "no_such_thing" in str(error)
            else:
                raise AssertionError("an attribute was made up")
        """
    )
    pytester.runpytest("--executor=beta").assert_outcomes(passed=1)


def test_a_lease_ends_with_its_test_and_closing_it_leaves_the_executor_to_others(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        from pytest_sandbox import ExecutorClosed

        kept = []

        def test_keeps(executor):
            kept.append(executor)
            executor.execute("before")

        def test_finds_it_ended():
            with pytest.raises(ExecutorClosed, match='executor "alpha": it is closed'):
                kept[0].execute("after")
            with pytest.raises(ExecutorClosed):
                asyncio.run(kept[0].aexecute("after"))

        def test_closes(executor):
            executor.close()
            executor.close()
            with pytest.raises(ExecutorClosed):
                executor.execute("closed")

        def test_closes_in_a_loop(executor):
            asyncio.run(executor.aclose())
            with pytest.raises(ExecutorClosed):
                executor.execute("closed")

        def test_uses_it_as_context_manager(executor):
            with executor as inner:
                assert inner.execute("in").value == "in"

        def test_still_works(executor):
            assert executor.execute("works").value == "works"
        """
    )
    pytester.runpytest("--executor=alpha").assert_outcomes(passed=6)
    assert fakes.count("create alpha") == 1
    assert "run alpha 'after'" not in fakes.events()
    assert "run alpha 'closed'" not in fakes.events()


def test_users_may_override_it_and_get_all_variants(pytester: pytest.Pytester, fakes: Fakes) -> None:
    with pytester.path.joinpath("conftest.py").open("a") as conftest:
        conftest.write(
            """
import pytest

@pytest.fixture
def executor(executor):
    assert executor.execute("set up by the user").ok
    return executor
"""
        )
    pytester.makepyfile("def test_x(executor): print('ran on', executor.name)")
    result = pytester.runpytest("--executor=alpha,beta", "-s")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*ran on alpha*", "*ran on beta*"])
    assert fakes.count("run beta 'set up by the user'") == 1


def test_users_may_replace_it_altogether_and_nothing_is_proved(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def executor():
            return "their own"

        def test_x(executor):
            assert executor == "their own"
        """
    )
    pytester.runpytest("--executor=alpha,beta").assert_outcomes(passed=1)
    assert fakes.events() == []


def test_users_may_parametrize_their_tests(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", [1, 2])
        def test_x(executor, n):
            assert executor.execute(str(n)).value == str(n)
        """
    )
    result = pytester.runpytest("--executor=alpha,beta", "-v")
    result.assert_outcomes(passed=4)
    for name in ("alpha-1", "alpha-2", "beta-1", "beta-2"):
        result.stdout.fnmatch_lines([f"*::test_x[[]{name}] PASSED*"])


def test_users_may_parametrize_the_fixture_itself(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("executor", ["a", "b"])
        def test_direct(executor):
            assert executor in "ab"

        @pytest.fixture(params=["one", "two"])
        def executor(request, executor):
            return request.param, executor

        def test_own_params(executor):
            assert executor[0] in ("one", "two")
            assert executor[1].name in ("alpha", "beta")
        """
    )
    pytester.runpytest("--executor=alpha,beta").assert_outcomes(passed=6)


def test_a_unittest_gets_the_first_selected(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import unittest
        import pytest

        class TestIt(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _give(self, executor):
                self.executor = executor

            def test_x(self):
                self.assertEqual(self.executor.name, "beta")
                self.assertEqual(self.executor.execute("return 1+1").value, 2)

        @pytest.mark.usefixtures("executor")
        class TestUses(unittest.TestCase):
            def test_x(self): pass
        """
    )
    pytester.runpytest("--executor=beta,alpha").assert_outcomes(passed=2)
    assert "create alpha" not in fakes.events()


def test_a_unittest_is_skipped_with_the_reason_where_nothing_works(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("alpha", "beta", "gamma")
    pytester.makepyfile(
        """
        import unittest
        import pytest

        @pytest.mark.usefixtures("executor")
        class TestIt(unittest.TestCase):
            def test_x(self): pass
        """
    )
    result = pytester.runpytest("--executor=all", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ['SKIPPED*Executor "alpha" is unavailable: no alpha binary in /nowhere; install alpha; Executor "beta" *']
    )


def test_a_doctest_gets_the_first_selected(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makefile(
        ".txt",
        test_doc="""
        >>> executor = getfixture("executor")
        >>> executor.name
        'beta'
        >>> executor.execute("return 1+1").value
        2
        """,
    )
    result = pytester.runpytest("--executor=beta,alpha", "--doctest-glob=*.txt")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["sandbox: beta (from --executor): *"])


def test_a_doctest_is_skipped_where_nothing_works(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("alpha", "beta", "gamma")
    pytester.makefile(".txt", test_doc=">>> executor = getfixture('executor')\n")
    pytester.runpytest("--doctest-glob=*.txt").assert_outcomes(skipped=1)


def test_it_can_be_asked_for_by_name_in_a_running_test(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        def test_x(request):
            executor = request.getfixturevalue("executor")
            assert executor.execute("return 1+1").value == 2
        """
    )
    result = pytester.runpytest("--executor=alpha")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["sandbox: alpha (from --executor): *"])


def test_a_forced_one_that_is_asked_for_by_name_and_missing_ends_the_run(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.missing("alpha")
    pytester.makepyfile(
        """
        def test_x(request):
            request.getfixturevalue("executor")

        def test_y():
            print("went on")
        """
    )
    result = pytester.runpytest_subprocess("--executor=alpha", "-s")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(
        ['*Cannot use executor "alpha" (forced by --executor): no alpha binary in /nowhere; install alpha*']
    )
    assert "went on" not in result.stdout.str()


def test_an_async_tool_runs_on_the_loop_of_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio

        def test_x(executor):
            async def main():
                loop = asyncio.get_running_loop()

                async def add(a, b):
                    assert asyncio.get_running_loop() is loop
                    return a + b

                return await executor.aexecute("return await codemode.add(20, 22)", {"add": add})

            assert asyncio.run(main()).check().value == 42
        """
    )
    pytester.runpytest_subprocess("--executor=isolated-vm,deno,vm2", "--sandbox-require=isolated-vm").assert_outcomes(passed=3)


def test_an_executor_that_cannot_be_closed_is_an_error_of_the_run(pytester: pytest.Pytester, fakes: Fakes) -> None:
    with pytester.path.joinpath("conftest.py").open("a") as conftest:
        conftest.write(
            """
import fake_executors
def refuse(self): raise OSError("stuck")
fake_executors.Alpha._shut_down = refuse
"""
        )
    pytester.makepyfile("def test_x(executor): executor.execute('x')")
    result = pytester.runpytest_subprocess("--executor=alpha")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E * OSError: stuck"])
