from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Fakes

ONE_TEST = """
def test_x(executor) -> None:
    assert executor.execute("return 1+1").value == 2
"""


def lines(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line.startswith("sandbox:")]


def test_it_names_executor_reason_and_runtime_after_collection(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest("--executor=alpha")
    result.stdout.fnmatch_lines(
        [
            "collected 1 item",
            "sandbox: alpha (from --executor): alpha-engine 1.2, node 99.1 (/fake/node), fresh realm, jail none",
            "test_*",
        ]
    )
    assert len(lines(result)) == 1


def test_it_tells_what_auto_detection_passed_over(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("alpha")
    pytester.makepyfile(ONE_TEST)
    assert lines(pytester.runpytest()) == [
        "sandbox: alpha unavailable: no alpha binary in /nowhere; install alpha",
        "sandbox: beta (auto-detected): beta-engine 1.2, node 99.1 (/fake/node), fresh realm, jail none",
    ]


def test_a_required_executor_beside_the_detected_one_has_its_own_reason(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    pytester.makepyfile(ONE_TEST)
    alpha, gamma = lines(pytester.runpytest("--sandbox-require=gamma"))
    assert alpha.startswith("sandbox: alpha (auto-detected): ")
    assert gamma.startswith("sandbox: gamma (required by --sandbox-require): ")


def test_it_tells_looser_settings_even_when_quiet(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.loose("alpha")
    pytester.makepyfile(ONE_TEST)
    assert lines(pytester.runpytest("--executor=alpha"))[0].endswith("jail none, loosened: network open")
    assert lines(pytester.runpytest("--executor=alpha", "-q")) == ["sandbox: alpha loosened: network open"]


def test_it_is_left_out_when_quiet(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(ONE_TEST)
    assert lines(pytester.runpytest("--executor=alpha", "-q")) == []
    assert lines(pytester.runpytest("--executor=alpha", "-qq")) == []


@pytest.mark.parametrize(
    "arguments",
    [[], ["-k", "unrelated"], ["--collect-only"], ["--setup-plan"], ["--fixtures"], ["--fixtures-per-test"], ["--markers"]],
)
def test_without_a_test_that_needs_an_executor_there_is_no_line_and_nothing_starts(
    pytester: pytest.Pytester, fakes: Fakes, arguments: list[str]
) -> None:
    needing = ONE_TEST if arguments else ""
    pytester.makepyfile("def test_unrelated(): pass\n" + needing)
    result = pytester.runpytest("--executor=alpha,beta", *arguments)
    assert result.ret == 0
    assert lines(result) == []
    assert fakes.events() == []


def test_errors_of_collection_leave_nothing_to_prove(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(test_a=ONE_TEST, test_b="raise RuntimeError")
    pytester.runpytest("--executor=alpha").assert_outcomes(errors=1)
    assert fakes.events() == []
    pytester.runpytest("--executor=alpha", "--continue-on-collection-errors").assert_outcomes(errors=1, passed=1)
    assert fakes.count("create alpha") == 1


def test_collect_only_lists_all_variants_without_starting_anything(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(test_it=ONE_TEST)
    result = pytester.runpytest("--executor=available", "--collect-only", "-q")
    for name in ("isolated-vm", "deno", "container", "vm2", "alpha", "beta", "gamma"):
        assert f"test_it.py::test_x[{name}]" in result.outlines
    assert fakes.events() == []


def test_a_proof_happens_once_however_many_tests_need_it(pytester: pytest.Pytester, fakes: Fakes) -> None:
    pytester.makepyfile(test_a=ONE_TEST, test_b=ONE_TEST, test_c="def test_y(executors, executor_factory): executor_factory()")
    pytester.runpytest("--executor=alpha,beta").assert_outcomes(passed=6)
    for name in ("alpha", "beta"):
        assert fakes.count(f"run {name} 'return 1+1'") == 1 + 2, "one proof, and one for each test_x"


def test_proofs_run_at_the_same_time(pytester: pytest.Pytester, fakes: Fakes) -> None:
    with pytester.path.joinpath("conftest.py").open("a") as conftest:
        conftest.write(
            """
import threading
import fake_executors

# Each executor is created only when the other is, too: one after the other would never get past this.
both = threading.Barrier(2, timeout=20)
plain = fake_executors.Fake.__init__

def together(self, **options):
    both.wait()
    plain(self, **options)

fake_executors.Fake.__init__ = together
"""
        )
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest("--executor=alpha,beta")
    result.assert_outcomes(passed=2)


def test_an_executor_that_answers_wrongly_is_unavailable(pytester: pytest.Pytester, fakes: Fakes) -> None:
    with pytester.path.joinpath("conftest.py").open("a") as conftest:
        conftest.write(
            """
import fake_executors
from pytest_sandbox import ExecuteResult
fake_executors.Alpha._run = lambda self, request: ExecuteResult(True, "alpha", 0.0, value="\\x1b[2J3")
"""
        )
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest("--executor=alpha")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            'ERROR: Cannot use executor "alpha" (forced by --executor): the trial snippet "return 1+1" gave *x1b[[]2J3* instead of 2; *'
        ]
    )
    assert "\x1b" not in result.stderr.str()
    assert fakes.count("create alpha") == fakes.count("close alpha") == 1


def test_real_runtimes_show_their_versions(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ONE_TEST)
    result = pytester.runpytest_subprocess("--executor=isolated-vm,deno,vm2")
    result.assert_outcomes(passed=3)
    result.stdout.re_match_lines(
        [
            r"sandbox: isolated-vm \(from --executor\): isolated-vm 7\.\d+\.\d+, node \d+\.\d+\.\d+ \(/",
            r"sandbox: deno \(from --executor\): deno \d+\.\d+\.\d+",
            r"sandbox: vm2 \(from --executor\): vm2 3\.\d+\.\d+, node \d+\.\d+\.\d+ \(/",
        ]
    )
