"""The fixtures entries and native_executor, the marker command_whitelist, and what failing tests show."""

from __future__ import annotations

import pytest

ENTRIES = """
version: "1.0"
namespace: app
entries:
  - name: shell
    kind: exec.native
    default_env: {API_TOKEN: s3cr3t-value, SHORT: xy, LANG: C}
    command_whitelist: [echo hello, echo bye, "sh -c 'echo $API_TOKEN $SHORT; env; exit 3'"]
"""


@pytest.fixture(autouse=True)
def _no_entries_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_SANDBOX_ENTRIES", raising=False)


def test_entries_gives_executors_by_id_and_closes_them(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", entries=ENTRIES)
    pytester.makepyfile(
        """
        import pytest
        from pytest_sandbox import CommandNotAllowed, ExecutorClosed
        kept = []

        def test_one(entries):
            assert entries.ids() == ("app:shell",)
            shell = entries.get("app:shell")
            kept.append(shell)
            assert shell.run("echo hello").check().stdout == "hello\\n"
            with pytest.raises(CommandNotAllowed):
                shell.exec("echo x")

        def test_two(entries):
            with pytest.raises(ExecutorClosed):
                kept[0].run("echo hello")
        """
    )
    pytester.runpytest("--sandbox-entries=entries.yaml").assert_outcomes(passed=2)


def test_entries_come_from_the_option_else_the_environment_else_the_ini_file(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("flag", "environment", "ini"):
        pytester.makefile(".yaml", **{name: f"- {{name: from_{name}, kind: exec.native}}"})
    pytester.makeini("[pytest]\nsandbox_entries = ini.yaml\n")
    pytester.makepyfile("def test(entries, request): print('ids', *entries.ids())")
    pytester.runpytest("-s").stdout.fnmatch_lines(["*ids from_ini*"])
    monkeypatch.setenv("PYTEST_SANDBOX_ENTRIES", "environment.yaml")
    pytester.runpytest("-s").stdout.fnmatch_lines(["*ids from_environment*"])
    result = pytester.runpytest("-s", "--sandbox-entries=flag.yaml", "--sandbox-entries=ini.yaml")
    result.stdout.fnmatch_lines(["*ids from_flag from_ini*"])


def test_wrong_entries_end_the_run_with_every_problem(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", wrong="- {name: a, kind: exec.nativ}\n- {name: b, kind: exec.docker}\n")
    pytester.makepyfile("def test(entries): pass")
    result = pytester.runpytest("--sandbox-entries=wrong.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: Cannot load entries: 2 problems found",
            '*wrong.yaml:1: entry "a", kind: unknown kind "exec.nativ" (did you mean "exec.native"?)*',
            '*wrong.yaml:2: entry "b", image: is missing*',
        ]
    )


def test_wrong_entries_do_not_disturb_a_run_that_needs_none(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", wrong="nonsense")
    pytester.makepyfile("def test(): pass")
    pytester.runpytest("--sandbox-entries=wrong.yaml").assert_outcomes(passed=1)


def test_wrong_entries_fail_the_tests_of_a_worker(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    pytester.makefile(".yaml", wrong="- {name: a, kind: exec.nativ}\n")
    pytester.makepyfile("def test(entries): pass")
    result = pytester.runpytest_subprocess("-n1", "--sandbox-entries=wrong.yaml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Cannot load entries: 1 problem found*"])


def test_the_entries_fixture_without_a_file_says_how_to_name_one(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test(entries): pass")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Cannot use fixture entries: no file is named; name one with --sandbox-entries*"])


def test_native_executor_without_entries_runs_in_an_empty_folder_with_a_clean_environment(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os
        def test(native_executor):
            assert native_executor.id == "native_executor"
            assert native_executor.run("env").check().stdout == ""
            assert native_executor.run("ls -A").check().stdout == ""
            assert native_executor.run("pwd").stdout.strip() != os.getcwd()
        """
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_native_executor_is_the_only_native_entry_or_the_one_that_native_entry_names(pytester: pytest.Pytester) -> None:
    more = ENTRIES + "  - {name: other, kind: exec.native}\n  - {name: box, kind: exec.docker, image: x}\n"
    pytester.makefile(".yaml", entries=ENTRIES, more=more)
    only = pytester.makepyfile(test_only="def test(native_executor): assert native_executor.id == 'app:shell'")
    pytester.runpytest(only, "--sandbox-entries=entries.yaml").assert_outcomes(passed=1)
    result = pytester.runpytest(only, "--sandbox-entries=more.yaml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Cannot choose an entry of kind exec.native: there are 2 (app:shell, app:other); let fixture*"])
    named = pytester.makepyfile(
        test_named="""
        import pytest
        from pytest_sandbox import NativeEntry

        @pytest.fixture
        def native_entry(request):
            return request.param

        @pytest.mark.parametrize("native_entry", ["app:other", NativeEntry(name="mine")], indirect=True)
        def test_right(native_executor):
            assert native_executor.id in ("app:other", "mine")

        @pytest.mark.parametrize("native_entry", ["app:box", "app:othr", 7, NativeEntry(name="a b")], indirect=True)
        def test_wrong(native_executor):
            pass
        """
    )
    result = pytester.runpytest(named, "--sandbox-entries=more.yaml")
    result.assert_outcomes(passed=2, errors=4)
    result.stdout.fnmatch_lines(
        [
            "*expected the id of an entry of kind exec.native*",
            '*Unknown entry "app:othr" (did you mean "app:other"?)*',
            "*native_entry=7: expected the id of an entry, or an entry, of kind exec.native*",
            "*expected a name without blanks and colons*",
        ]
    )


def test_the_marker_is_the_whitelist_of_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from pytest_sandbox import CommandNotAllowed

        @pytest.mark.command_whitelist("echo a", "echo b")
        def test_some(native_executor):
            native_executor.run("echo a").check()
            with pytest.raises(CommandNotAllowed) as caught:
                native_executor.run("echo c")
            assert caught.value.allowed == ("echo a", "echo b")

        @pytest.mark.command_whitelist()
        def test_none(native_executor):
            with pytest.raises(CommandNotAllowed, match="allows nothing"):
                native_executor.run("echo a")

        def test_all(native_executor):
            native_executor.run("echo anything").check()

        @pytest.mark.command_whitelist("echo class")
        class TestClosest:
            @pytest.mark.command_whitelist("echo test")
            def test(self, native_executor):
                native_executor.run("echo test").check()
                with pytest.raises(CommandNotAllowed):
                    native_executor.run("echo class")
        """
    )
    pytester.runpytest("--strict-markers").assert_outcomes(passed=4)


def test_the_marker_may_narrow_the_entrys_whitelist_but_not_widen_it(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", entries=ENTRIES)
    pytester.makepyfile(
        """
        import pytest
        from pytest_sandbox import CommandNotAllowed

        @pytest.mark.command_whitelist("echo hello")
        def test_narrow(native_executor):
            native_executor.run("echo hello").check()
            with pytest.raises(CommandNotAllowed):
                native_executor.run("echo bye")

        @pytest.mark.command_whitelist("echo hello", "rm -rf /")
        def test_wide(native_executor):
            pass
        """
    )
    result = pytester.runpytest("--sandbox-entries=entries.yaml")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*command_whitelist='rm -rf /': expected commands that the entry allows*in the command_whitelist marker of*"]
    )


@pytest.mark.parametrize(
    ("marker", "message"), [("entry='x'", "expected commands only, no keywords"), ("7", "expected commands, each a string")]
)
def test_a_marker_that_makes_no_sense_is_an_error(pytester: pytest.Pytester, marker: str, message: str) -> None:
    pytester.makepyfile(f"import pytest\n@pytest.mark.command_whitelist({marker})\ndef test(native_executor): pass")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{message}*"])


def test_a_failing_test_shows_its_commands_with_values_of_default_env_masked(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", entries=ENTRIES)
    pytester.makepyfile(
        """
        def test(entries):
            shell = entries.get("app:shell")
            shell.run("echo hello").check()
            result = shell.run("sh -c 'echo $API_TOKEN $SHORT; env; exit 3'")
            assert "s3cr3t" + "-value" in result.stdout  # the test itself sees it
            result.check()
        """
    )
    result = pytester.runpytest("--sandbox-entries=entries.yaml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*CommandFailed: Command * of entry 'app:shell' failed: exit code 3*",
            "*sandbox command 1 (app:shell)*",
            "command: echo hello",
            "outcome: exit code 0 after *",
            "stdout (6 bytes):",
            "hello",
            "stderr: empty",
            "*sandbox command 2 (app:shell)*",
            "command: sh -c 'echo $API_TOKEN $SHORT; env; exit 3'",
            "outcome: exit code 3 after *",
            "[*][*][*] xy",
        ]
    )
    result.stdout.fnmatch_lines_random(["API_TOKEN=[*][*][*]", "SHORT=[*][*][*]"])
    result.stdout.no_fnmatch_line("*s3cr3t-value*")


def test_a_passing_test_shows_no_commands(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test(native_executor): native_executor.run('echo x')")
    result = pytester.runpytest("-rA")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*sandbox command*")


def test_long_output_is_cut_in_the_middle_and_control_characters_are_escaped(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        r"""
        def test(native_executor):
            native_executor.run("seq 100000")
            native_executor.run(r"printf 'a\033[31mb'")
            for number in range(8):
                native_executor.run(f"echo turn {number}")
            native_executor.exec("sleep 1000").start()
            try:
                native_executor.run("./nope")
            except Exception:
                pass
            assert False
        """
    )
    result = pytester.runpytest()
    result.stdout.fnmatch_lines(
        ["*sandbox commands*", "… 6 earlier commands", "*sandbox command 11*", "command: sleep 1000", "outcome: still running"]
    )
    pytester.makepyfile(
        r"""
        def test(native_executor):
            native_executor.run("seq 100000")
            native_executor.run(r"printf 'a\033[31mb'")
            assert False
        """
    )
    result = pytester.runpytest()
    result.stdout.fnmatch_lines(["stdout (588895 bytes):", "1", "2", "… 584895 bytes omitted", "100000", r"a\x1b[[]31mb"])


def test_whitelist_lines_that_no_test_has_used_are_listed_on_request(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", entries=ENTRIES)
    pytester.makepyfile("def test(entries): entries.get('app:shell').run('echo hello')")
    result = pytester.runpytest("--sandbox-entries=entries.yaml", "--sandbox-unused-whitelist")
    result.stdout.fnmatch_lines(
        ["*whitelist lines that no test has used*", "app:shell: echo bye", "app:shell: sh -c 'echo $API_TOKEN $SHORT; env; exit 3'"]
    )
    result.stdout.no_fnmatch_line("app:shell: echo hello")
    pytester.runpytest("--sandbox-entries=entries.yaml").stdout.no_fnmatch_line("*no test has used*")


def test_whitelist_lines_of_all_workers_count(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    pytester.makefile(".yaml", entries=ENTRIES)
    pytester.makepyfile(
        test_a="def test(entries): entries.get('app:shell').run('echo hello')",
        test_b="def test(entries): entries.get('app:shell').run('echo bye')",
    )
    result = pytester.runpytest_subprocess("-n2", "--sandbox-entries=entries.yaml", "--sandbox-unused-whitelist")
    result.assert_outcomes(passed=2)
    lines = [line for line in result.stdout.lines if line.startswith("app:shell: ")]
    assert lines == ["app:shell: sh -c 'echo $API_TOKEN $SHORT; env; exit 3'"]


DANGEROUS = """
- {name: box, kind: exec.docker, image: x, network_mode: host, cap_add: [NET_RAW], volumes: ["/var/run/docker.sock:/s", "/:/h"]}
"""
DANGER_LINES = [
    "sandbox: entry box: network_mode: `host` shares the host's network, local services included",
    "sandbox: entry box: cap_add: adds NET_RAW",
    "sandbox: entry box: volumes: mounts the engine socket /var/run/docker.sock",
    "sandbox: entry box: volumes: mounts the whole filesystem of the host",
]


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_settings_that_hand_out_the_host_are_named_once(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    if workers:
        pytest.importorskip("xdist")
    pytester.makefile(".yaml", entries=DANGEROUS)
    pytester.makepyfile("def test_1(entries): pass\ndef test_2(entries): pass")
    result = pytester.runpytest_subprocess("--sandbox-entries=entries.yaml", *workers)
    result.assert_outcomes(passed=2)
    assert [line for line in result.stdout.lines if line.startswith("sandbox: entry")] == DANGER_LINES


def test_a_run_without_commands_loads_nothing_of_ours(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", entries=ENTRIES)
    pytester.makepyfile(
        """
        import sys
        def test():
            heavy = {"yaml", "msgspec", "docker", "asyncio", "pytest_sandbox.entries", "pytest_sandbox.commands.base"}
            assert not heavy & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess("--sandbox-entries=entries.yaml", "-p", "no:xdist").assert_outcomes(passed=1)


def test_the_fixtures_and_the_marker_are_documented(pytester: pytest.Pytester) -> None:
    pytester.runpytest("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.command_whitelist(*commands): the commands that native_executor*"]
    )
    fixtures = pytester.runpytest("--fixtures").stdout
    fixtures.fnmatch_lines_random(
        [
            "entries -- *",
            "native_executor -- *",
            "docker_executor -- *",
            "native_entry -- *",
            "docker_entry -- *",
            "    The entries of --sandbox-entries; executors that a test gets from it are closed when it ends.",
        ]
    )
