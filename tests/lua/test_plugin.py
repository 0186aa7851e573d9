"""The fixture ``lua_sandbox`` and files ``test_*.sandbox.lua``, in inner test runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ENTRIES = """
namespace: app
entries:
  - name: shell
    kind: exec.native
    default_env: {TOKEN: hunter2-hunter2}
"""

SHOP = """\
local exec = require("exec")

local tests = {}

function tests.test_greets()
  local process = assert(exec.get("app:shell")):exec("echo hello")
  local out = process:stdout_stream()
  process:start()
  assert(out:read() == "hello\\n")
end

function tests.test_fails()
  print("about to\\27[31m fail")
  local process = assert(exec.get("app:shell")):exec("sh -c 'echo $TOKEN'")
  process:start()
  process:wait()
  assert(1 == 2, "one is not two")
end

function tests.test_returns_an_error()
  return exec.get("app:nothing")
end

function tests.test_never_ends()
  while true do end
end

function tests.helper() error("not a test") end
tests.test_number = 5

return tests
"""


@pytest.fixture(autouse=True)
def _inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PYTEST_SANDBOX_ENTRIES", "PYTEST_SANDBOX_TIMEOUT", "PYTEST_SANDBOX_REQUIRE", "EXECUTOR_TYPE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:timeout -p no:cacheprovider")
    (pytester.path / "entries.yaml").write_text(ENTRIES)


def lua_file(pytester: pytest.Pytester, text: str, name: str = "test_shop.sandbox.lua") -> Path:
    path = pytester.path / name
    path.write_text(text)
    return path


def test_functions_of_a_file_are_tests_and_failures_point_into_it(pytester: pytest.Pytester) -> None:
    lua_file(pytester, SHOP)
    result = pytester.runpytest("--sandbox-entries=entries.yaml", "--sandbox-timeout=1")
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(
        [
            "*_ test_fails _*",
            "test_shop.sandbox.lua:17: one is not two",
            "",
            "    12 | function tests.test_fails()",
            '>   17 |   assert(1 == 2, "one is not two")',
            "",
            "stack traceback:",
            "*test_shop.sandbox.lua:17: in function <test_shop.sandbox.lua:12>",
            "*lua logs*",
            "log: about to\\x1b?31m fail",
            "*sandbox command 1 (app:shell)*",
            "command: sh -c 'echo $TOKEN'",
            "outcome: exit code 0 after *",
            "*_ test_returns_an_error _*",
            'test_shop.sandbox.lua:20: it returned an error: NOT_FOUND: *there is no entry "app:nothing": loaded entries are app:shell',
            ">   20 | function tests.test_returns_an_error()",
            "*_ test_never_ends _*",
            "test_shop.sandbox.lua:24: ?timeout? it did not finish within 1 s",
            "FAILED test_shop.sandbox.lua::test_fails - test_shop.sandbox.lua:17: one is *",
        ],
        consecutive=False,
    )
    output = result.stdout.str()
    assert "hunter2" not in output and "(sandbox)" not in output and "\x1b[31m fail" not in output


def test_tests_of_a_file_are_selected_and_distributed_like_others(pytester: pytest.Pytester) -> None:
    lua_file(pytester, SHOP)
    collected = pytester.runpytest("--collect-only", "-q")
    names = re.findall(r"::(\w+)", collected.stdout.str())
    assert names == ["test_greets", "test_fails", "test_returns_an_error", "test_never_ends"]
    result = pytester.runpytest("-n", "1", "-k", "greets", "--sandbox-entries=entries.yaml")
    result.assert_outcomes(passed=1)
    one = pytester.runpytest("test_shop.sandbox.lua::test_greets", "--sandbox-entries=entries.yaml")
    one.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("local x =\n", ["[[]syntax[]] test_shop.sandbox.lua:2: unexpected symbol near <eof>", ">    2 |"]),
        ("\nerror('at the top')", ["test_shop.sandbox.lua:2: at the top", ">    2 | error('at the top')"]),
        ("return 5", ["test_shop.sandbox.lua returns number: expected a table of functions*"]),
        ("while true do end", ["[[]timeout[]] it did not finish within 1 s"]),
        (
            "return {test_x = assert(require('exec').get('app:shell'))}",
            [
                '*the policy does not allow action exec.get on resource "app:shell"',
                "while a file is collected, no executor can be had*",
            ],
        ),
    ],
)
def test_a_file_that_cannot_be_collected_says_why(pytester: pytest.Pytester, text: str, lines: list[str]) -> None:
    lua_file(pytester, text)
    result = pytester.runpytest("--sandbox-entries=entries.yaml", "--sandbox-timeout=1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(lines)


def test_collecting_runs_no_command(pytester: pytest.Pytester) -> None:
    mark = pytester.path / "ran"
    script = f"""
        local executor = require("exec").get("app:shell")
        if executor then local p = executor:exec("touch {mark}") p:start() p:wait() end
        return {{test_x = function() end}}
    """
    lua_file(pytester, script)
    pytester.runpytest("--sandbox-entries=entries.yaml", "--collect-only").assert_outcomes()
    assert not mark.exists()
    pytester.runpytest("--sandbox-entries=entries.yaml").assert_outcomes(passed=1)
    assert mark.exists(), "the control: with entries, the same file runs it"


def test_the_fixture_runs_scripts_with_the_entries_of_the_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_one(lua_sandbox):
            script = "local p = require('exec').get('app:shell'):exec('pwd') p:start() return p:wait()"
            assert lua_sandbox.run(script).check().value == 0
            assert lua_sandbox.limits.timeout == 7

        def test_two(lua_sandbox):
            lua_sandbox.run("local p = require('exec').get('app:shell'):exec('ls /no/such') p:start() return p:wait()").check()
            assert False
        """
    )
    result = pytester.runpytest("--sandbox-entries=entries.yaml", "--sandbox-timeout=7")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*sandbox command 1 (app:shell)*", "command: ls /no/such"])


def test_the_fixture_needs_no_entries(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_one(lua_sandbox): assert lua_sandbox.run('return 1 + 1').value == 2")
    pytester.runpytest().assert_outcomes(passed=1)


def test_without_lupa_tests_are_skipped_or_fail_when_it_is_required(pytester: pytest.Pytester) -> None:
    lua_file(pytester, "return {test_x = function() end}")
    pytester.makepyfile(test_fixture="def test_one(lua_sandbox): pass")
    pytester.makeconftest(
        """
        from importlib.machinery import PathFinder
        import pytest_sandbox.lua.launcher as launcher

        class NoLupa:
            @staticmethod
            def find_spec(name, *rest):
                return None if name == "lupa" else PathFinder.find_spec(name, *rest)

        launcher.PathFinder = NoLupa
        launcher._found = None
        """
    )
    result = pytester.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(
        ['*Cannot use executor "lua": the package lupa is not installed; install it with*pytest-sandbox?lua?*']
    )
    required = pytester.runpytest_subprocess("--sandbox-require=lua", "test_fixture.py")
    required.assert_outcomes(failed=0, errors=1)
    required.stdout.fnmatch_lines(["*the package lupa is not installed*"])


def test_a_run_without_lua_loads_nothing_of_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_one():
            assert "pytest_sandbox.plugin.lua" in sys.modules
            assert not [name for name in sys.modules if name.startswith(("lupa", "pytest_sandbox.lua"))]
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
