from __future__ import annotations

import re

import pytest

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_quick(executor, number):
    assert executor.execute(f"return {number}").ok

def test_slow(executor):
    code = "\\n// first\\x1b[31m\\nconsole.log('abc'); await codemode.t(1); const end = Date.now() + 900; while (Date.now() < end);"
    assert executor.execute(code, {"t": lambda value: value}).ok

def test_command(native_executor):
    assert native_executor.run("/bin/sh -c 'echo hello; exec sleep 1.5'").ok

@pytest.fixture
def early(executor):
    executor.execute("await new Promise(done => setTimeout(done, 700))")

async_source = "await new Promise(done => setTimeout(done, 500))"

def test_in_a_fixture_and_without_one(early):
    from pytest_sandbox import create_executor
    with create_executor("isolated-vm") as own:
        own.execute(async_source)
"""

NUMBER = r"\d+\.\d{2,3} s"
ROW = rf"^ *({NUMBER}) +({NUMBER}|-) +([\d.]+ \w+|-) +(\d+|-) +([\d.]+ \w+) +(\S+) +(\S+): (.*)$"


@pytest.mark.parametrize("workers", [0, 2])
def test_the_slowest_are_listed_with_what_they_used(pytester: pytest.Pytester, workers: int) -> None:
    pytester.makepyfile(test_x=TESTS)
    result = pytester.runpytest_subprocess("--executor=isolated-vm", "--sandbox-durations=4", f"-n{workers}", "-q")
    result.assert_outcomes(passed=6)
    lines = result.stdout.str().partition("= slowest 4 sandbox executions =")[2].splitlines()[1:6]
    assert lines[0].split() == ["wall", "CPU", "memory", "calls", "out", "executor", "test"]
    rows = [re.fullmatch(ROW, line) for line in lines[1:]]
    assert all(rows), lines
    command, slow, early, own = (row.groups() for row in rows if row is not None)
    assert command[3:7] == ("-", "6 B", "native_executor", "test_x.py::test_command")
    assert command[7].startswith("/bin/sh -c")
    # A shell and sleep: the memory of the test run itself, which has started them, is not counted.
    assert command[2].endswith("MiB") and float(command[2].split()[0]) < 15
    assert slow[3:] == ("1", "4 B", "isolated-vm", "test_x.py::test_slow", "// first\\x1b[31m…")
    assert float(slow[0].split()[0]) >= 0.9 and slow[1] != "-" and slow[2].endswith("MiB")
    assert early[6] == own[6] == "test_x.py::test_in_a_fixture_and_without_one"


def test_a_failing_test_shows_what_its_executions_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_x(executor, native_executor):
            executor.execute("console.log('abc'); await codemode.t(1); for (;;) {}", {"t": lambda value: value}, timeout=0.4)
            native_executor.run("/bin/sh -c 'echo hello; exec sleep 0.4'")
            assert False
        """
    )
    result = pytester.runpytest_subprocess("--executor=isolated-vm")
    result.stdout.re_match_lines(
        [
            r"-+ sandbox snippet 1 ",
            r"usage: 0\.[4-9]\d\d s, CPU \d\.\d\d s, memory \d+\.\d MiB, 1 tool call, 4 B out$",
            r"-+ sandbox command 1 ",
            r"outcome: exit code 0",
            r"usage: \d\.\d{3} s, CPU 0\.\d\d s, memory \d+\.\d MiB, 6 B out$",
        ]
    )


def test_without_the_option_nothing_is_listed_and_without_executions_that_is_said(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_x(): pass")
    assert "sandbox executions" not in pytester.runpytest().stdout.str()
    pytester.makeini("[pytest]\nsandbox_durations = 3")
    result = pytester.runpytest()
    result.stdout.fnmatch_lines(["*= slowest 3 sandbox executions =*", "none: no test has executed anything"])


@pytest.mark.parametrize("value", ["0", "-1", "many", "", "1.5", "²"])
def test_a_number_that_makes_no_sense_is_refused(pytester: pytest.Pytester, value: str) -> None:
    result = pytester.runpytest(f"--sandbox-durations={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: Cannot use --sandbox-durations='{value}': expected a whole number of executions, at least 1"]
    )
