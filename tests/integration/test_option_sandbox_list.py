from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Fakes


def test_the_list_tells_what_works_what_does_not_and_what_to_do(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("beta")
    pytester.makepyfile("raise SystemExit('collected')")
    result = pytester.runpytest_subprocess("--sandbox-list")
    assert result.ret == 0
    assert result.outlines == [
        "alpha  available    alpha-engine 1.2, node 99.1 (/fake/node), fresh realm, jail none",
        "beta   unavailable  no beta binary in /nowhere",
        "                    install beta",
        "gamma  available    gamma-engine 1.2, node 99.1 (/fake/node), fresh realm, jail none",
    ]
    assert fakes.count("close alpha") == fakes.count("create alpha") == 1


def test_the_exit_code_is_0_even_if_nothing_works(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    fakes.missing("alpha", "beta", "gamma")
    result = pytester.runpytest("--sandbox-list")
    assert result.ret == 0
    assert result.stdout.str().count("unavailable") == 3


def test_executors_of_a_conftest_come_after_ours(pytester: pytest.Pytester, fakes: Fakes) -> None:
    result = pytester.runpytest_subprocess("--sandbox-list")
    names = [line.split()[0] for line in result.outlines if "available" in line]
    assert names == ["isolated-vm", "deno", "container", "vm2", "alpha", "beta", "gamma"]


def test_real_executors_are_listed_with_their_versions(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--sandbox-list")
    result.stdout.re_match_lines(
        [
            r"isolated-vm  available    isolated-vm 7\.\d+\.\d+, node \d+\.\d+\.\d+ \(/.*\), fresh realm, jail ",
            r"deno         available    deno \d+\.\d+\.\d+ \(/.*\), fresh process, jail ",
            r"container    ",
            r"vm2          available    vm2 3\.\d+\.\d+, node \d+\.\d+\.\d+ \(/",
        ]
    )


def test_a_broken_plugin_is_named(pytester: pytest.Pytester, fakes: Fakes) -> None:
    fakes.take_the_place_of_ours()
    with pytester.path.joinpath("conftest.py").open("a") as conftest:
        conftest.write("\ndef pytest_sandbox_executors(): return [ExecutorSpec('alpha', 'm:C')]\n")
    result = pytester.runpytest("--sandbox-list")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ['problem: Cannot register executors of conftest "*conftest.py": the name "alpha" is already taken by pytest-*']
    )


@pytest.mark.parametrize("arguments", [["-q"], ["-n2"], ["--executor=no-such-executor"]])
def test_other_options_do_not_matter(pytester: pytest.Pytester, fakes: Fakes, arguments: list[str]) -> None:
    fakes.take_the_place_of_ours()
    result = pytester.runpytest("--sandbox-list", *arguments)
    assert result.ret == 0
    assert result.stdout.str().count("  available ") == 3
