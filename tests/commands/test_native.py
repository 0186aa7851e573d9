"""`exec.native`: environment, programs, folders, groups, signals, ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_sandbox.commands import CommandExecutor
from pytest_sandbox.errors import (
    AsyncioRequired,
    CommandFailed,
    CommandNotStarted,
    EntriesInvalid,
    ExecutorClosed,
    InvalidArgument,
    InvalidCommand,
    ProcessStateError,
    ProcessTimeout,
)

MakeNative = Callable[..., CommandExecutor]
PATH = "/usr/local/bin:/usr/bin:/bin"


def gone(pid: int, within: float = 10.0) -> bool:
    """Wait until a process, which need not be our child, is gone or a zombie."""
    try:
        process = psutil.Process(pid)
        end = time.monotonic() + within
        while time.monotonic() < end:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            try:
                process.wait(0.02)
            except psutil.TimeoutExpired:
                continue
            return True
    except psutil.NoSuchProcess:
        return True
    return False


def read_until(stream: Any, mark: bytes) -> bytes:
    """Read from a stream until the mark was there."""
    text = b""
    while mark not in text:
        piece = stream.read(1000)
        assert piece, f"the stream ended after {text!r}"
        text += piece
    return text


# -- environment ---------------------------------------------------------------------------------------------------


def test_nothing_of_the_host_environment_is_inherited(make_native: MakeNative, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_OF_THE_HOST", "seen")
    # Positive control: a plain subprocess sees it.
    assert b"CANARY_OF_THE_HOST" in subprocess.run(["env"], capture_output=True, check=True).stdout
    assert make_native().run("env").check().stdout == ""


def test_default_env_is_passed_and_merged_with_the_call_which_wins(make_native: MakeNative) -> None:
    shell = make_native(default_env={"A": "entry", "B": "entry", "LANG": "en_US.UTF-8"})
    assert sorted(shell.run("env").stdout.split("\n")) == ["", "A=entry", "B=entry", "LANG=en_US.UTF-8"]
    assert sorted(shell.run("env", env={"B": "call", "C": "ü"}).stdout.split()) == ["A=entry", "B=call", "C=ü", "LANG=en_US.UTF-8"]
    assert sorted(shell.run("env").stdout.split()) == ["A=entry", "B=entry", "LANG=en_US.UTF-8"]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"A=B": "x"}, "cannot be the name of an environment variable"),
        ({"": "x"}, "cannot be the name of an environment variable"),
        ({"A\0": "x"}, "cannot be the name of an environment variable"),
        ({"A": "x\0y"}, "contains a NUL character"),
        ({"A": "\ud800"}, "cannot be encoded"),
    ],
)
def test_an_environment_that_no_program_can_be_given_is_an_error(
    make_native: MakeNative, env: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidCommand, match=message):
        make_native().exec("true", env=env)


@pytest.mark.parametrize("env", [{"A": 1}, {1: "A"}, [("A", "B")], "A=B"])
def test_an_environment_of_the_wrong_type_is_an_error(make_native: MakeNative, env: Any) -> None:
    with pytest.raises(InvalidArgument, match="env"):
        make_native().exec("true", env=env)


# -- programs ------------------------------------------------------------------------------------------------------


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_program_is_looked_up_on_the_entrys_path(make_native: MakeNative, tmp_path: Path) -> None:
    script(tmp_path / "bin/tool", "#!/bin/sh\necho entry\n")
    shell = make_native(default_env={"PATH": f"{tmp_path}/bin:{PATH}"})
    assert shell.run("tool").check().stdout == "entry\n"


def test_the_program_is_never_looked_up_on_the_calls_path(make_native: MakeNative, tmp_path: Path) -> None:
    script(tmp_path / "evil/env", "#!/bin/sh\necho evil\n")
    script(tmp_path / "evil/tool", "#!/bin/sh\necho evil\n")
    shell = make_native(default_env={"PATH": PATH})
    result = shell.run("env", env={"PATH": f"{tmp_path}/evil"}).check()
    # The witness: the program really got the call's PATH; only the lookup did not use it.
    assert result.stdout == f"PATH={tmp_path}/evil\n"
    with pytest.raises(InvalidCommand, match='program "tool" was not found on the PATH of the entry'):
        shell.exec("tool", env={"PATH": f"{tmp_path}/evil"})


def test_without_a_path_in_the_entry_the_hosts_path_is_searched(
    make_native: MakeNative, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / "hostbin/hosttool", "#!/bin/sh\necho host\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/hostbin:{os.environ['PATH']}")
    assert make_native().run("hosttool").check().stdout == "host\n"
    with pytest.raises(InvalidCommand, match="was not found on the PATH of the entry"):
        make_native(default_env={"PATH": PATH}).exec("hosttool")


def test_relative_folders_on_a_path_are_not_searched(make_native: MakeNative, tmp_path: Path) -> None:
    script(tmp_path / "here/tool", "#!/bin/sh\necho here\n")
    script(tmp_path / "tool", "#!/bin/sh\necho here\n")
    with pytest.raises(InvalidCommand, match="was not found"):
        make_native(default_env={"PATH": f"here::.:{PATH}"}).exec("tool")
    assert make_native().run("./tool").check().stdout == "here\n"


def test_a_program_with_a_slash_is_relative_to_the_working_folder(make_native: MakeNative, tmp_path: Path) -> None:
    script(tmp_path / "sub/tool", "#!/bin/sh\necho $0\n")
    shell = make_native()
    assert shell.run("./tool", work_dir="sub").check().stdout == "./tool\n"
    with pytest.raises(InvalidCommand, match=r'program "\./tool" does not exist'):
        shell.exec("./tool")


def test_a_program_that_cannot_be_executed_says_why(make_native: MakeNative, tmp_path: Path) -> None:
    script(tmp_path / "plain", "#!/bin/sh\n", 0o644)
    shell = make_native(default_env={"PATH": str(tmp_path)})
    with pytest.raises(InvalidCommand, match=r'program "\./plain" is not executable; allow it with chmod \+x'):
        shell.exec("./plain")
    with pytest.raises(InvalidCommand, match="plain is not executable"):
        shell.exec("plain")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidCommand, match=r'program "\./folder" is not a file'):
        shell.exec("./folder")
    with pytest.raises(InvalidCommand, match="does not exist"):
        shell.exec("/no/such/program")


def test_a_script_without_an_interpreter_is_a_start_error_with_the_reason(make_native: MakeNative, tmp_path: Path) -> None:
    script(tmp_path / "bare", "echo hi\n")
    script(tmp_path / "odd", "#!/no/such/interpreter\n")
    shell = make_native()
    with pytest.raises(CommandNotStarted, match="Exec format error; a script needs a first line such as #!/bin/sh"):
        shell.run("./bare")
    with pytest.raises(CommandNotStarted, match="the interpreter that its first line names, is gone"):
        shell.run("./odd")
    assert [record.outcome().partition(":")[0] for _, record in shell.log] == ["not started", "not started"]


def test_arguments_that_are_too_long_are_a_start_error(make_native: MakeNative) -> None:
    with pytest.raises(CommandNotStarted, match="its arguments and environment are too long"):
        make_native().run("echo " + "x" * 200_000)


# -- words ---------------------------------------------------------------------------------------------------------


def test_there_is_no_shell(make_native: MakeNative, tmp_path: Path) -> None:
    shell = make_native(default_env={"HOME": "/root"})
    line = "echo $HOME * ~ `id` $(id) > out ; echo x && echo y | cat #z"
    assert shell.run(line).check().stdout == "$HOME * ~ `id` $(id) > out ; echo x && echo y | cat #z\n"
    assert list(tmp_path.iterdir()) == []


def test_words_are_split_as_posix_does(make_native: MakeNative) -> None:
    shell = make_native()
    assert shell.run("""printf '<%s>' a 'b c' "d e" f\\ g '' "" 'it'"'"'s' "\\"q\\""  h""").stdout == (
        '<a><b c><d e><f g><><><it\'s><"q"><h>'
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "it is empty"),
        ("   \t\n ", "it is empty"),
        ("''", "its first word, the program, is empty"),
        ("echo 'x", "a quote is opened and never closed"),
        ('echo "x', "a quote is opened and never closed"),
        ("echo x\\", "it ends with a backslash"),
        ("echo \0", "contains a NUL character"),
        ("echo \ud800", "cannot be encoded"),
    ],
)
def test_a_command_that_makes_no_sense_is_an_error(make_native: MakeNative, command: str, message: str) -> None:
    with pytest.raises(InvalidCommand, match=message) as caught:
        make_native().exec(command)
    assert 'with entry "app:shell"' in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("command", [None, b"true", ["true"], 7])
def test_a_command_of_the_wrong_type_is_an_error(make_native: MakeNative, command: Any) -> None:
    with pytest.raises(InvalidArgument, match="cmd"):
        make_native().exec(command)


# -- working folders -----------------------------------------------------------------------------------------------


def test_the_working_folder_is_the_calls_else_the_entrys_else_the_current_one(make_native: MakeNative, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    shell = make_native()
    assert shell.run("pwd").stdout == f"{tmp_path}\n"
    assert shell.run("pwd", work_dir="/").stdout == "/\n"
    assert shell.run("pwd", work_dir="sub").stdout == f"{tmp_path}/sub\n"
    assert shell.run("pwd", work_dir=tmp_path / "sub").stdout == f"{tmp_path}/sub\n"
    assert make_native(default_work_dir=None).run("pwd").stdout == f"{os.getcwd()}\n"


def test_a_missing_working_folder_is_an_error_naming_it(make_native: MakeNative, tmp_path: Path) -> None:
    with pytest.raises(InvalidCommand, match=rf'work_dir "{tmp_path}/none" cannot be opened \(No such file or directory\)'):
        make_native().exec("true", work_dir="none")
    with pytest.raises(InvalidCommand, match=r'default_work_dir "/no/such" cannot be opened'):
        make_native(default_work_dir="/no/such").exec("true")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidCommand, match="is not a folder"):
        make_native().exec("true", work_dir="file")
    with pytest.raises(InvalidCommand, match="NUL"):
        make_native().exec("true", work_dir="a\0b")


def test_a_removed_working_folder_is_an_error(make_native: MakeNative, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    fd = os.open(tmp_path / "sub", os.O_PATH)
    (tmp_path / "sub").rmdir()
    with pytest.raises(InvalidCommand, match="cannot be entered"):
        make_native().exec("true", work_dir=f"/proc/self/fd/{fd}")
    os.close(fd)


@pytest.mark.parametrize("work_dir", [7, b"/", ["/"]])
def test_a_working_folder_of_the_wrong_type_is_an_error(make_native: MakeNative, work_dir: Any) -> None:
    with pytest.raises(InvalidArgument, match="work_dir"):
        make_native().exec("true", work_dir=work_dir)


def test_a_relative_default_starts_at_the_entries_file(tmp_path: Path) -> None:
    from pytest_sandbox.entries import load_entries

    (tmp_path / "project/src").mkdir(parents=True)
    file = tmp_path / "project/entries.yaml"
    file.write_text("- {name: shell, kind: exec.native, default_work_dir: src}\n")
    with load_entries(file) as registry:
        assert registry.get("shell").run("pwd").stdout == f"{tmp_path}/project/src\n"


# -- descriptors, session, group -----------------------------------------------------------------------------------


def test_no_descriptor_is_inherited(make_native: MakeNative, tmp_path: Path) -> None:
    canary = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(canary, True)
    try:
        control = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, check=True, close_fds=False)
        assert str(canary) in control.stdout.decode().split()
        # 3 is the folder that ls itself has opened.
        assert make_native().run("ls /proc/self/fd").stdout.split() == ["0", "1", "2", "3"]
    finally:
        os.close(canary)


def test_a_command_has_a_session_and_a_process_group_of_its_own(make_native: MakeNative) -> None:
    shell = make_native()
    with shell.exec("cat") as process:
        process.start()
        assert process.pid is not None
        assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
        assert os.getsid(0) != process.pid


def test_run_without_input_gives_an_empty_input(make_native: MakeNative) -> None:
    assert make_native().run("cat").check().stdout == ""


# -- results -------------------------------------------------------------------------------------------------------


def test_a_result_says_everything(make_native: MakeNative) -> None:
    result = make_native().run("sh -c 'echo out; echo err >&2; exit 3'")
    assert (result.exit_code, result.signal, result.ok, result.timed_out, result.truncated) == (3, None, False, False, False)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert (result.stdout_bytes, result.stderr_bytes) == (b"out\n", b"err\n")
    assert (result.stdout_size, result.stderr_size, result.usage.output) == (4, 4, 8)
    assert 0 < result.duration < 60
    assert result.usage.cpu is not None
    assert "exit 3" in repr(result)
    with pytest.raises(CommandFailed, match=r"of entry 'app:shell' failed: exit code 3; last line of stderr: err") as caught:
        result.check()
    assert caught.value.result is result
    ok = make_native().run("true")
    assert ok.check() is ok


def test_what_is_not_utf_8_becomes_u_fffd_and_the_bytes_are_there(make_native: MakeNative) -> None:
    result = make_native().run(r"printf '\xff\xc3\xa4'")
    assert result.stdout == "\ufffdä"
    assert result.stdout_bytes == b"\xff\xc3\xa4"


def test_control_characters_of_a_command_do_not_reach_a_terminal(make_native: MakeNative) -> None:
    result = make_native().run(r"sh -c 'printf \\033[31mred >&2; exit 1'")
    assert "\x1b" in result.stderr
    assert "\x1b" not in repr(result)
    with pytest.raises(CommandFailed) as caught:
        result.check()
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(("number", "name"), [(1, "SIGHUP"), (9, "SIGKILL"), (15, "SIGTERM"), (11, "SIGSEGV"), (35, "SIGRTMIN+1")])
def test_exit_codes_follow_the_shell_with_the_signals_name(make_native: MakeNative, number: int, name: str) -> None:
    result = make_native().run(f"sh -c 'ulimit -c 0; kill -{number} $$'")
    assert (result.exit_code, result.signal) == (128 + number, name)
    control = subprocess.run(["sh", "-c", f"sh -c 'ulimit -c 0; kill -{number} $$'; echo $?"], capture_output=True, check=True)
    assert control.stdout == f"{result.exit_code}\n".encode()


def test_an_exit_code_above_128_is_not_taken_for_a_signal(make_native: MakeNative) -> None:
    result = make_native().run("sh -c 'exit 137'")
    assert (result.exit_code, result.signal) == (137, None)


def test_standard_input_may_be_bytes_or_text(make_native: MakeNative) -> None:
    shell = make_native()
    assert shell.run("cat", stdin="grüß").stdout == "grüß"
    assert shell.run("cat", stdin=b"\0\xff").stdout_bytes == b"\0\xff"
    assert shell.run("wc -c", stdin=bytearray(b"abc")).stdout.strip() == "3"
    with pytest.raises(InvalidArgument, match="stdin"):
        shell.run("cat", stdin=7)  # type: ignore[arg-type]


def test_input_that_the_program_does_not_read_is_no_error(make_native: MakeNative) -> None:
    assert make_native().run("true", stdin=b"x" * 3_000_000).check().exit_code == 0
    assert make_native().run("sh -c 'exec <&-; sleep 0.1'", stdin=b"x" * 3_000_000).check().exit_code == 0


# -- timeouts and groups -------------------------------------------------------------------------------------------


def test_a_timeout_kills_the_whole_group_and_returns_what_was_printed(make_native: MakeNative, tmp_path: Path) -> None:
    line = f"sh -c 'sleep 1000 & echo $!; sleep 1001 & echo $!; echo so far; wait; echo {tmp_path}'"
    begun = time.monotonic()
    result = make_native().run(line, timeout=0.5)
    assert time.monotonic() - begun < 5
    assert result.timed_out
    assert not result.ok
    assert (result.exit_code, result.signal) == (137, "SIGKILL")
    one, two, rest = result.stdout.split("\n", 2)
    assert rest == "so far\n"
    assert gone(int(one))
    assert gone(int(two))
    with pytest.raises(CommandFailed, match=r"timed out after 0\.5"):
        result.check()


def test_a_program_that_ignores_signals_is_killed_all_the_same(make_native: MakeNative) -> None:
    result = make_native().run("sh -c 'trap \"\" TERM INT HUP; echo armed; while :; do sleep 1; done'", timeout=0.5)
    assert result.timed_out
    assert result.stdout == "armed\n"


def test_a_command_ends_when_its_program_ends_and_what_it_left_is_killed(make_native: MakeNative) -> None:
    begun = time.monotonic()
    result = make_native().run("sh -c 'sleep 1000 & echo $!'").check()
    assert time.monotonic() - begun < 5
    assert gone(int(result.stdout))


def test_a_daemon_that_left_the_session_cannot_hold_a_command_up(make_native: MakeNative) -> None:
    result = make_native().run("sh -c 'echo early; setsid sh -c \"echo \\$\\$; exec sleep 1000\" & sleep 0.2'")
    lines = result.stdout.split()
    assert lines[0] == "early"
    assert result.duration < 1
    # It is out of reach, as the docs say; this test ends it.
    os.kill(int(lines[1]), signal.SIGKILL)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "1", True])
def test_a_timeout_that_makes_no_sense_is_an_error_before_anything_runs(
    make_native: MakeNative, timeout: Any, tmp_path: Path
) -> None:
    with pytest.raises(InvalidArgument, match="timeout"):
        make_native().run("touch canary", timeout=timeout)
    assert not (tmp_path / "canary").exists()


# -- processes -----------------------------------------------------------------------------------------------------


def test_exec_creates_and_start_starts(make_native: MakeNative, tmp_path: Path) -> None:
    process = make_native().exec("touch canary")
    assert process.pid is None
    assert process.returncode is None
    assert not (tmp_path / "canary").exists()
    process.start()
    assert process.wait() == 0
    assert (tmp_path / "canary").exists()
    with pytest.raises(ProcessStateError, match='Cannot start: the process of "touch canary" is started already'):
        process.start()


@pytest.mark.parametrize("operation", ["poll", "wait", "signal", "write_stdin", "read"])
def test_operations_before_the_start_are_typed_errors(make_native: MakeNative, operation: str) -> None:
    process = make_native().exec("cat")
    with pytest.raises(ProcessStateError, match=r"is not started; call start\(\) first"):
        do(process, operation)
    process.close()


@pytest.mark.parametrize("operation", ["start", "poll", "wait", "signal", "write_stdin", "read", "stdout_stream", "stderr_stream"])
@pytest.mark.parametrize("started", [True, False])
def test_operations_on_a_closed_process_are_typed_errors(make_native: MakeNative, operation: str, started: bool) -> None:
    process = make_native().exec("cat")
    stream = process.stdout_stream()
    if started:
        process.start()
    process.close()
    process.close()
    with pytest.raises(ProcessStateError, match="is closed"):
        if operation == "read":
            stream.read()
        else:
            do(process, operation)


def do(process: Any, operation: str) -> Any:
    calls: dict[str, Callable[[], Any]] = {
        "signal": lambda: process.signal(15),
        "write_stdin": lambda: process.write_stdin(b"x"),
        "read": lambda: process.stdout_stream().read(1),
    }
    return calls.get(operation, getattr(process, operation, None))()  # type: ignore[misc]


def test_operations_after_the_exit_are_typed_errors(make_native: MakeNative) -> None:
    process = make_native().exec("sh -c 'exit 4'")
    process.start()
    assert process.wait() == 4
    assert process.poll() == process.wait() == process.returncode == 4
    with pytest.raises(ProcessStateError, match=r"Cannot send a signal: .* has exited with 4"):
        process.signal(15)
    with pytest.raises(ProcessStateError, match=r"Cannot write to stdin: .* has exited with 4"):
        process.write_stdin("x")


def test_wait_has_a_timeout_after_which_the_process_runs_on(make_native: MakeNative) -> None:
    with make_native().exec("cat") as process:
        process.start()
        with pytest.raises(ProcessTimeout, match=r"has not ended within 0\.05 s and runs on"):
            process.wait(timeout=0.05)
        assert process.poll() is None
        process.write_stdin("")
        assert process.wait(timeout=30) == 0


def test_a_signal_reaches_the_whole_group(make_native: MakeNative) -> None:
    with make_native().exec("sh -c 'sleep 1000 & echo $!; wait; echo waited'") as process:
        out = process.stdout_stream()
        process.start()
        child = int(read_until(out, b"\n"))
        process.signal(signal.SIGUSR1)
        assert process.wait(30) == 128 + signal.SIGUSR1
        assert process.signal_name == "SIGUSR1"
        assert gone(child)


def test_a_signal_can_be_handled_by_the_program(make_native: MakeNative) -> None:
    line = "sh -c 'trap \"echo got it; exit 7\" USR1; echo ready; while :; do sleep 0.01; done'"
    with make_native().exec(line) as process:
        out = process.stdout_stream()
        process.start()
        read_until(out, b"ready\n")
        process.signal(signal.SIGUSR1)
        assert process.wait(30) != 0
        assert out.read() in (b"got it\n", b"")


@pytest.mark.parametrize("number", [0, -1, 65, 1000, 9.0, "SIGTERM", None, True])
def test_a_signal_that_does_not_exist_is_an_error_and_the_process_runs_on(make_native: MakeNative, number: Any) -> None:
    with make_native().exec("cat") as process:
        process.start()
        with pytest.raises(InvalidArgument, match="the number of a signal, from 1 to 64"):
            process.signal(number)
        assert process.poll() is None


def test_close_asks_first_and_kills_after_the_grace_period(make_native: MakeNative, tmp_path: Path) -> None:
    polite = make_native(grace_period=20).exec(
        "sh -c 'trap \"echo bye > said; exit 0\" TERM; echo ready; while :; do sleep 0.01; done'"
    )
    out = polite.stdout_stream()
    polite.start()
    read_until(out, b"ready\n")
    begun = time.monotonic()
    polite.close()
    assert time.monotonic() - begun < 10
    assert (tmp_path / "said").read_text() == "bye\n"

    stubborn = make_native(grace_period=0.2).exec("sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.01; done'")
    out = stubborn.stdout_stream()
    stubborn.start()
    read_until(out, b"ready\n")
    begun = time.monotonic()
    stubborn.close()
    assert 0.2 <= time.monotonic() - begun < 10
    assert stubborn.returncode == 137


def test_close_with_force_kills_straight_away(make_native: MakeNative, tmp_path: Path) -> None:
    process = make_native(grace_period=60).exec(
        "sh -c 'trap \"touch asked; exit 0\" TERM; echo ready; while :; do sleep 0.01; done'"
    )
    out = process.stdout_stream()
    process.start()
    read_until(out, b"ready\n")
    process.close(force=True)
    assert process.returncode == 137
    assert not (tmp_path / "asked").exists()


def test_closing_the_executor_ends_everything_and_twice_is_fine(make_native: MakeNative) -> None:
    shell = make_native()
    processes = [shell.exec("sleep 1000") for _ in range(5)]
    for process in processes[:4]:
        process.start()
    pids = [process.pid for process in processes[:4] if process.pid]
    begun = time.monotonic()
    shell.close()
    shell.close()
    assert time.monotonic() - begun < 2
    assert all(gone(pid) for pid in pids)
    with pytest.raises(ProcessStateError, match="is closed"):
        processes[4].start()
    with pytest.raises(ExecutorClosed, match='Cannot run a command with entry "app:shell": its executor is closed'):
        shell.exec("true")
    with pytest.raises(ExecutorClosed):
        shell.run("true")


def test_a_process_that_nobody_keeps_frees_its_folder(make_native: MakeNative) -> None:
    shell = make_native()
    shell.run("true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        shell.exec("true")
    gc.collect()
    # Fewer when something that another test has dropped goes, too; if any of the fifty stayed, it would be all of them.
    assert len(os.listdir("/proc/self/fd")) < before + 10


def test_many_threads_share_one_executor(make_native: MakeNative) -> None:
    shell = make_native()
    results: list[str] = []

    def work(number: int) -> None:
        results.extend(shell.run(f"echo {number}-{turn}").check().stdout.strip() for turn in range(5))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == sorted(f"{number}-{turn}" for number in range(32) for turn in range(5))


def test_descriptors_threads_and_zombies_do_not_pile_up(make_native: MakeNative) -> None:
    shell = make_native()
    shell.run("true")
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(100):
        shell.run("sh -c 'echo x; echo y >&2'", stdin="z")
        with shell.exec("cat") as process:
            process.start()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert threading.active_count() == threads
    zombies = [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]
    assert zombies == []


def test_a_forked_child_neither_disturbs_nor_kills(make_native: MakeNative) -> None:
    shell = make_native()
    with shell.exec("cat") as process:
        out = process.stdout_stream()
        process.start()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                shell.close()
                # The child has an own pump and spawner.
                with make_fresh(shell) as fresh:
                    code = 0 if fresh.run("echo child").stdout == "child\n" else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        process.write_stdin("still here\n")
        assert read_until(out, b"\n") == b"still here\n"
        process.write_stdin("")
        assert process.wait(30) == 0


def make_fresh(shell: CommandExecutor) -> CommandExecutor:
    from pytest_sandbox.commands.kinds import make_executor

    return make_executor(shell.loaded)


# -- asyncio -------------------------------------------------------------------------------------------------------


def test_arun_does_the_same_without_blocking_the_loop(make_native: MakeNative) -> None:
    shell = make_native()

    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticker = asyncio.create_task(tick())
        result = await shell.arun("sh -c 'cat; sleep 0.3; echo err >&2; exit 5'", stdin="in")
        ticker.cancel()
        assert (result.exit_code, result.stdout, result.stderr) == (5, "in", "err\n")
        assert ticks > 5
        late = await shell.arun("sh -c 'echo so far; sleep 1000'", timeout=0.3)
        assert late.timed_out
        assert late.stdout == "so far\n"

    asyncio.run(main())


def test_more_aruns_than_threads_run_at_the_same_time(make_native: MakeNative) -> None:
    shell = make_native()

    async def main() -> None:
        begun = time.monotonic()
        results = await asyncio.gather(*(shell.arun(f"sh -c 'sleep 0.5; echo {n}'") for n in range(40)))
        assert [result.stdout for result in results] == [f"{n}\n" for n in range(40)]
        assert time.monotonic() - begun < 5

    asyncio.run(main())


def test_cancelling_arun_kills_the_command(make_native: MakeNative, tmp_path: Path) -> None:
    shell = make_native()

    async def main() -> int:
        task = asyncio.create_task(shell.arun("sh -c 'echo $$ > pid.tmp; mv pid.tmp pid; exec sleep 1000'"))
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return int((tmp_path / "pid").read_text())

    assert gone(asyncio.run(main()))


def test_arun_without_a_running_loop_is_a_typed_error(make_native: MakeNative) -> None:
    coroutine = make_native().arun("true")
    with pytest.raises(AsyncioRequired):
        coroutine.send(None)


# -- the end of the test run -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("death", ["sys.exit(0)", "os._exit(1)", "os.kill(os.getpid(), 9)", "raise KeyboardInterrupt"])
def test_nothing_is_left_running_when_the_test_run_dies(tmp_path: Path, death: str) -> None:
    program = f"""
import os, sys
from pytest_sandbox.entries import EntryRegistry, NativeEntry
shell = EntryRegistry.of(NativeEntry(name="shell")).get("shell")
process = shell.exec("sh -c 'sleep 1000 & echo $$ $!; wait'")
out = process.stdout_stream()
process.start()
print(out.read(1000).decode(), flush=True)
{death}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2, done.stderr.decode()
    assert all(gone(pid, 12) for pid in pids)


def test_a_bad_entry_made_in_python_is_refused(make_native: MakeNative) -> None:
    with pytest.raises(EntriesInvalid):
        make_native(command_whitelist=("echo 'x",))


def test_memory_is_that_of_the_command_and_all_below_it_and_not_of_the_test_run(make_native: MakeNative) -> None:
    shell = make_native()
    hoard = "import time; hoard = b'x' * 60_000_000; time.sleep(0.3)"
    large = shell.run(f'/bin/sh -c "{sys.executable} -I -S -c \\"{hoard}\\"; true"').check().usage.memory
    small = shell.run("/bin/sleep 0.3").check().usage.memory
    assert large is not None and 60_000_000 < large < 120_000_000
    # The kernel's own count of this one begins with the memory of the process that has started it: with ours.
    assert small is not None and small < 8_000_000 < psutil.Process().memory_info().rss
