from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Fakes


def test_a_failing_test_shows_snippet_logs_and_error(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        def test_x(executor):
            result = executor.execute("throw new TypeError('no luck');\\nsecond();")
            assert result.ok
        """
    )
    result = pytester.runpytest("--executor=alpha")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- sandbox snippet 1 (alpha, failed after 12.3 ms) -*",
            "1 | throw new TypeError('no luck');",
            "2 | second();",
            "logs:",
            "… 10 more earlier entries",
            r"  0.010 warn: entry 10 \x1b[[]31mred",
            "  second line",
            '  … further log text was dropped because of the limit "output"',
            "error:",
            r"  TypeError: no \x1b[[]2J luck",
            "stack:",
            r"  at <snippet>:1:7\u202e",
        ],
        consecutive=False,
    )
    assert "\x1b" not in result.stdout.str()
    assert "\u202e" not in result.stdout.str()
    assert "entry 9 " not in result.stdout.str()


def test_a_passing_test_shows_nothing(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile("def test_x(executor): executor.execute('throw')")
    result = pytester.runpytest("--executor=alpha", "-rA")
    result.assert_outcomes(passed=1)
    assert "sandbox snippet" not in result.stdout.str()


def test_only_the_last_snippets_are_kept(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        def test_x(executor, executors, executor_factory):
            for number in range(3):
                executor.execute(f"first {number}")
            for number in range(3):
                executors["alpha"].execute(f"second {number}")
            executor_factory().execute("third")
            assert False
        """
    )
    result = pytester.runpytest("--executor=alpha")
    result.stdout.fnmatch_lines(
        [
            "*- sandbox snippets -*",
            "… 2 more earlier snippets",
            "*- sandbox snippet 3 (alpha, ok after 4.2 ms) -*",
            "1 | first 2",
            "value: 'first 2'",
            "*- sandbox snippet 7 (alpha, ok after 4.2 ms) -*",
            "1 | third",
        ]
    )
    assert "first 1" not in "".join(line for line in result.outlines if "|" in line)


def test_long_and_wide_snippets_are_cut_with_a_count(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        def test_x(executor):
            executor.execute("x" * 1000 + "\\n" + "\\n".join(f"line {n}\\u2028\\r" for n in range(99)))
            assert False
        """
    )
    result = pytester.runpytest("--executor=alpha")
    result.stdout.fnmatch_lines(
        [" 1 | " + "x" * 300 + "… 700 more characters", r" 2 | line 0\u2028\x0d", r"60 | line 58\u2028\x0d", "… 40 more lines"]
    )
    assert all(len(line) < 700 for line in result.outlines)


def test_a_call_that_raises_is_shown_too(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import asyncio

        def test_argument(executor):
            executor.execute("x", timeout=-1)

        def test_no_text(executor):
            executor.execute(b"bytes")

        def test_async(executor):
            asyncio.run(executor.aexecute("throw"))
            assert False
        """
    )
    result = pytester.runpytest("--executor=alpha")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "*- sandbox snippet 1 (alpha, not run) -*",
            "1 | x",
            "raised:",
            "  InvalidArgument: Cannot use timeout=-1: expected *",
            "*- sandbox snippet 1 (alpha, not run) -*",
            "1 | b'bytes'",
            "*- sandbox snippet 1 (alpha, failed after 12.3 ms) -*",
        ]
    )


def test_a_snippet_that_still_runs_is_shown_as_such(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import threading
        import fake_executors

        def test_x(executor, monkeypatch):
            started, go_on = threading.Event(), threading.Event()
            plain = fake_executors.Alpha._run

            def wait(self, request):
                started.set()
                assert go_on.wait(60)
                return plain(self, request)

            monkeypatch.setattr(fake_executors.Alpha, "_run", wait)
            thread = threading.Thread(target=executor.execute, args=("slow",))
            thread.start()
            try:
                assert started.wait(60)
                assert False
            finally:
                go_on_later.append((go_on, thread))

        go_on_later = []

        def test_y():
            (go_on, thread), = go_on_later
            go_on.set()
            thread.join(60)
        """
    )
    result = pytester.runpytest("--executor=alpha")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*- sandbox snippet 1 (alpha, not ended) -*", "1 | slow"])


def test_a_failure_in_setup_or_teardown_shows_them_once(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def breaks_before(executor):
            executor.execute("in setup")
            raise RuntimeError

        @pytest.fixture
        def breaks_after(executor):
            yield
            executor.execute("in teardown")
            raise RuntimeError

        def test_x(breaks_before): pass

        def test_y(executor, breaks_after):
            executor.execute("in call")
            assert False
        """
    )
    result = pytester.runpytest("--executor=alpha")
    result.assert_outcomes(errors=2, failed=1)
    shown = [line for line in result.outlines if line.startswith("1 | ")]
    assert sorted(shown) == ["1 | in call", "1 | in setup", "1 | in teardown"]


def test_they_are_sections_of_the_report(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile("def test_x(executor): executor.execute('throw'); assert False")
    report = pytester.inline_run("--executor=alpha").getreports("pytest_runtest_logreport")[1]
    (section,) = [text for title, text in report.sections if title == "sandbox snippet 1 (alpha, failed after 12.3 ms)"]
    assert section.startswith("1 | throw\nlogs:\n")


def test_a_real_failure_is_readable(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_x(executor):
            executor.execute("console.log('before \\x1b[31m');\\nnull.x;").check()
        """
    )
    result = pytester.runpytest_subprocess("--executor=isolated-vm,deno")
    result.assert_outcomes(failed=2)
    for name in ("isolated-vm", "deno"):
        result.stdout.fnmatch_lines(
            [
                f"*- sandbox snippet 1 ({name}, failed after * ms) -*",
                r"1 | console.log('before \x1b[[]31m');",
                "2 | null.x;",
                "logs:",
                r"  0.* log: before \x1b[[]31m",
                "error:",
                "  TypeError: *",
            ]
        )
