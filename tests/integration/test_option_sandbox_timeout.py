from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Fakes

SHOWS_TIMEOUT = """
def test_x(executor) -> None:
    print("per call", executor.execute("limits").value["timeout"], "of the lease", executor.limits.timeout)
"""


def shown(pytester: pytest.Pytester, *arguments: str) -> str:
    result = pytester.runpytest("--executor=alpha", "-s", *arguments)
    result.assert_outcomes(passed=1)
    return next(line for line in result.outlines if "per call" in line)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), (".5", 0.5), ("2.", 2.0), (" 3 s ", 3.0), ("1h", 3600.0)]
)
def test_seconds_are_accepted_in_several_forms(pytester: pytest.Pytester, fakes: Fakes, text: str, seconds: float) -> None:
    pytester.makepyfile(SHOWS_TIMEOUT)
    assert f"per call {seconds} of the lease {seconds}" in shown(pytester, f"--sandbox-timeout={text}")


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "+1", "inf", "nan", "1e3", "ten", "5 minutes", "1,5", "٣", "9" * 400])
def test_nonsense_is_a_usage_error_that_names_flag_value_and_accepted_forms(
    pytester: pytest.Pytester, fakes: Fakes, text: str
) -> None:
    result = pytester.runpytest(f"--sandbox-timeout={text}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: Cannot use --sandbox-timeout=*: expected seconds greater than 0, such as 90, 90s, 1.5m or 1h"]
    )
    assert text[:50] in result.stderr.str()


def test_nonsense_in_environment_and_ini_file_is_told_with_its_source(
    pytester: pytest.Pytester, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\nsandbox_timeout = never")
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: Cannot use ini value sandbox_timeout='never': expected seconds *"])
    monkeypatch.setenv("PYTEST_SANDBOX_TIMEOUT", "soon")
    result = pytester.runpytest()
    result.stderr.fnmatch_lines(["ERROR: Cannot use PYTEST_SANDBOX_TIMEOUT='soon': expected seconds *"])


def test_marker_beats_flag_beats_environment_beats_ini_beats_default(
    pytester: pytest.Pytester, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pytester.makepyfile(SHOWS_TIMEOUT)
    assert "per call 30.0 of" in shown(pytester)

    pytester.makeini("[pytest]\nsandbox_timeout = 11")
    assert "per call 11.0 of" in shown(pytester)

    monkeypatch.setenv("PYTEST_SANDBOX_TIMEOUT", "12")
    assert "per call 12.0 of" in shown(pytester)

    assert "per call 13.0 of" in shown(pytester, "--sandbox-timeout=13")

    path.write_text("import pytest\n@pytest.mark.executor(timeout=14)" + SHOWS_TIMEOUT)
    assert "per call 14.0 of" in shown(pytester, "--sandbox-timeout=13")


def test_the_call_itself_beats_everything(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.executor(timeout=14)
        def test_x(executor):
            assert executor.execute("limits", timeout=2).value["timeout"] == 2
            assert executor.execute("limits", timeout=None).value["timeout"] is None
        """
    )
    pytester.runpytest("--executor=alpha", "--sandbox-timeout=13").assert_outcomes(passed=1)


def test_another_timeout_needs_no_further_executor(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", [pytest.param(n, marks=pytest.mark.executor(timeout=n)) for n in (1, 2, 3)])
        def test_x(executor, n):
            assert executor.execute("limits").value["timeout"] == n
        """
    )
    pytester.runpytest("--executor=alpha").assert_outcomes(passed=3)
    assert fakes.count("create alpha") == 1


@pytest.mark.parametrize("name", ["isolated-vm", "deno", "vm2"])
def test_a_real_snippet_is_ended(pytester: pytest.Pytester, name: str) -> None:
    pytester.makepyfile(
        """
        def test_x(executor):
            result = executor.execute("for (;;) {}")
            assert result.error.kind == "timeout" and result.error.limit == "timeout", result
            assert 0.4 <= result.duration < 5
            assert executor.execute("return 1+1").value == 2
        """
    )
    pytester.runpytest_subprocess(f"--executor={name}", "--sandbox-timeout=0.4", "--sandbox-require=" + name).assert_outcomes(
        passed=1
    )
