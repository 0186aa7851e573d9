"""The field `confine` of `exec.native`: every wall with a witness before it, and the same command without it."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox.commands import CommandExecutor, confined
from pytest_sandbox.entries import Confine
from pytest_sandbox.errors import CommandNotStarted, ExecutorUnavailable, InvalidCommand, NotConfined
from pytest_sandbox.processes.jail import Jail
from pytest_sandbox.processes.jail_probe import NoJail, find_jail

MakeNative = Callable[..., CommandExecutor]


@pytest.fixture(autouse=True)
def jail(tmp_path: Path) -> Jail:
    found = find_jail()
    if isinstance(found, NoJail):
        if os.environ.get("PYTEST_SANDBOX_JAIL_MUST_WORK"):
            pytest.fail(f"no jail: {found.reason}; {found.fix}")
        pytest.skip(f"no jail: {found.reason}; {found.fix}")
    # Root's jails have a user of their own, who may do what everybody may.
    tmp_path.chmod(0o755)
    return found


@pytest.fixture
def knocked() -> Iterator[tuple[int, list[str]]]:
    """A listener on the host's loopback: its port, and who knocked."""
    visitors: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, address = server.accept()
                except OSError:
                    return
                visitors.append(address[0])
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], visitors
        server.shutdown(socket.SHUT_RDWR)


def test_a_confined_command_works_like_any_other(make_native: MakeNative) -> None:
    shell = make_native(confine=Confine(strict=True), default_env={"A": "1"})
    result = shell.run("sh -c 'cat; pwd; echo $A$B; echo err >&2; exit 5'", stdin="in\n", env={"B": "2"})
    assert (result.exit_code, result.stdout.splitlines()[0], result.stderr) == (5, "in", "err\n")
    assert result.stdout.splitlines()[2] == "12"
    killed = shell.run("sh -c 'ulimit -c 0; kill -11 $$'")
    assert (killed.exit_code, killed.signal) == (139, "SIGSEGV")


def test_files_of_the_host_are_not_there(make_native: MakeNative, tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere/secret"
    secret.parent.mkdir()
    secret.write_text("canary\n")
    (tmp_path / "work").mkdir()
    line = f"sh -c 'echo trying; cat {secret} /etc/shadow'"
    control = make_native(default_work_dir=str(tmp_path / "work")).run(line)
    assert control.stdout.startswith("trying\ncanary\n")
    result = make_native(default_work_dir=str(tmp_path / "work"), confine=Confine(strict=True)).run(line)
    assert result.stdout == "trying\n"
    assert result.stderr.count("No such file or directory") == 2
    shown = Confine(read_only=(str(secret),), strict=True)
    assert make_native(default_work_dir=str(tmp_path / "work"), confine=shown).run(line).stdout == "trying\ncanary\n"


def test_only_writable_folders_can_be_written_to(make_native: MakeNative, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    shell = make_native(confine=Confine(writable=("out",), strict=True))
    # Relative paths start at the current folder for an entry that was made in Python.
    with pytest.raises(CommandNotStarted, match="which does not exist"):
        shell.run("true")
    shell = make_native(confine=Confine(writable=(str(tmp_path / "out"),), strict=True))
    result = shell.run("sh -c 'echo trying; touch here; touch out/there; touch /tmp/private; ls /tmp/private'")
    assert result.stdout == "trying\n/tmp/private\n"
    assert "Read-only file system" in result.stderr
    assert (tmp_path / "out/there").exists()
    assert not (tmp_path / "here").exists()
    assert not Path("/tmp/private").exists()


def test_the_network_is_out_of_reach_unless_it_is_the_hosts(make_native: MakeNative, knocked: tuple[int, list[str]]) -> None:
    port, visitors = knocked
    program = f'import socket; print("trying", flush=True); socket.create_connection(("127.0.0.1", {port}), 3); print("through")'
    line = f"/usr/bin/env python3 -c '{program}'"
    python = {"default_env": {"PATH": "/usr/bin:/bin"}}
    if make_native(**python).run("python3 -c pass").exit_code != 0:
        pytest.skip("there is no Python in /usr/bin")
    refused = make_native(confine=Confine(strict=True), **python).run(line)
    assert refused.stdout == "trying\n"
    assert visitors == []
    assert make_native(confine=Confine(network="host", strict=True), **python).run(line).stdout == "trying\nthrough\n"
    assert visitors == ["127.0.0.1"]


def test_processes_of_the_host_are_not_seen(make_native: MakeNative) -> None:
    line = f"sh -c 'echo trying; ls -d /proc/{os.getpid()}; ls -d /proc/[0-9]* | wc -l'"
    control = make_native().run(line).stdout.split()
    assert control[1] == f"/proc/{os.getpid()}"
    result = make_native(confine=Confine(strict=True)).run(line).stdout.split()
    assert result[0] == "trying"
    assert int(result[1]) < 10


def test_memory_ends_what_takes_more(make_native: MakeNative) -> None:
    line = "sh -c 'echo trying; head -c 300000000 /dev/zero | tail -c 290000000 | (sleep 1; wc -c)'"
    assert make_native(confine=Confine(strict=True)).run(line).stdout == "trying\n290000000\n"
    result = make_native(confine=Confine(memory=100 << 20, strict=True)).run(line)
    assert (result.stdout, result.exit_code, result.oom_killed) == ("trying\n", 137, True)
    assert result.outcome().startswith("ran out of memory")


def test_processes_are_limited(make_native: MakeNative) -> None:
    line = "sh -c 'echo trying; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 0.5 & done; wait; echo all'"
    assert make_native(confine=Confine(strict=True)).run(line).stdout == "trying\nall\n"
    result = make_native(confine=Confine(processes=6, strict=True)).run(line)
    assert "all" not in result.stdout


def test_cpu_time_is_limited(make_native: MakeNative) -> None:
    result = make_native(confine=Confine(cpu_time=1.0, strict=True)).run("sh -c 'echo trying; while :; do :; done'", timeout=60)
    assert result.stdout == "trying\n"
    assert not result.timed_out
    assert result.signal in ("SIGXCPU", "SIGKILL")


def test_a_daemon_that_leaves_the_session_is_in_reach(make_native: MakeNative, tmp_path: Path) -> None:
    mark = f"{tmp_path}/daemon"
    line = f"sh -c 'setsid sh -c \"sleep 1000; : {mark}\" & sleep 0.2; echo early'"
    begun = make_native(confine=Confine(strict=True)).run(line)
    # The fixture looks for processes with this mark afterwards.
    assert begun.stdout == "early\n"


def test_a_timeout_and_signals_work_inside(make_native: MakeNative) -> None:
    shell = make_native(confine=Confine(strict=True))
    late = shell.run("sh -c 'trap \"\" TERM; echo so far; sleep 1000'", timeout=0.5)
    assert (late.timed_out, late.exit_code, late.stdout) == (True, 137, "so far\n")
    with shell.exec("sh -c 'trap \"echo got it; exit 7\" USR1; echo ready; while :; do sleep 0.01; done'") as process:
        out = process.stdout_stream()
        process.start()
        assert out.read(100) == b"ready\n"
        process.signal(signal.SIGUSR1)
        assert process.wait(30) == 7


def test_a_program_that_is_not_inside_is_an_error(make_native: MakeNative, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    tool = tmp_path / "tools/tool"
    tool.write_text("#!/bin/sh\necho tool\n")
    tool.chmod(0o755)
    (tmp_path / "work").mkdir()
    fields: dict[str, Any] = {
        "default_work_dir": str(tmp_path / "work"),
        "default_env": {"PATH": f"{tmp_path}/tools:/usr/bin:/bin"},
    }
    with pytest.raises(InvalidCommand, match=r"is not inside the jail; list it, or its folder, in confine\.read_only"):
        make_native(confine=Confine(strict=True), **fields).run("tool")
    shown = Confine(read_only=(str(tmp_path / "tools"),), strict=True)
    assert make_native(confine=shown, **fields).run("tool").check().stdout == "tool\n"


def test_a_folder_that_the_jails_user_may_not_use_is_an_error(make_native: MakeNative, tmp_path: Path, jail: Jail) -> None:
    if not jail.own_ids:
        pytest.skip("only root's jails have users of their own")
    (tmp_path / "closed").mkdir(mode=0o700)
    with pytest.raises(CommandNotStarted, match="who may not read and enter it"):
        make_native(default_work_dir=str(tmp_path / "closed"), confine=Confine(strict=True)).run("true")
    with pytest.raises(CommandNotStarted, match="who may not write to it"):
        make_native(confine=Confine(writable=(str(tmp_path / "closed"),), strict=True)).run("true")


def test_where_nothing_confines_strict_refuses_and_the_rest_warns(make_native: MakeNative, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined, "find_jail", lambda: NoJail("there is no bwrap on PATH", "install it"))
    with pytest.raises(ExecutorUnavailable, match="commands cannot be confined here: there is no bwrap on PATH; install it"):
        make_native(confine=Confine(strict=True)).exec("true")
    shell = make_native(confine=Confine())
    with pytest.warns(NotConfined, match='Commands of entry "app:shell" run without a jail'):
        assert shell.run("echo ran").stdout == "ran\n"
    # Said once for an executor.
    assert shell.run("echo ran").stdout == "ran\n"


def test_a_jail_leaves_no_descriptor_and_no_user_behind(make_native: MakeNative) -> None:
    shell = make_native(confine=Confine(strict=True))
    shell.run("true").check()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        shell.run("true").check()
    assert len(os.listdir("/proc/self/fd")) == before
