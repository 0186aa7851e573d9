"""``pytest-sandbox exec`` and ``pytest-sandbox entries``."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

ENTRIES = """\
namespace: app
entries:
  - name: shell
    kind: exec.native
    default_env: {LANG: C, PATH: "/usr/bin:/bin"}
  - name: bound
    kind: exec.native
    command_whitelist: [echo ok]
  - name: box
    kind: exec.docker
    image: busybox
    network_mode: host
"""


@pytest.fixture
def entries(tmp_path: Path) -> Path:
    file = tmp_path / "entries.yaml"
    file.write_text(ENTRIES)
    return file


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    options.setdefault("input", "")
    argv = [sys.executable, "-m", "pytest_sandbox.cli", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, **options)


def test_exec_passes_streams_and_exit_code_through(entries: Path) -> None:
    done = command("exec", "app:shell", "sh -c 'cat; echo err >&2; exit 7'", "--entries", str(entries), input="in")
    assert (done.returncode, done.stdout, done.stderr) == (7, "in", "err\n")


def test_exec_takes_entries_from_the_environment_and_variables_and_folder_from_options(entries: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTEST_SANDBOX_ENTRIES": str(entries)}
    line = ("exec", "app:shell", "sh -c 'echo $A; pwd'", "--env", "A=b=c", "--work-dir", str(tmp_path))
    done = command(*line, env=environment)
    assert (done.returncode, done.stdout) == (0, f"b=c\n{tmp_path}\n"), done.stderr


def test_exec_streams_more_than_fits_into_memory_buffers(entries: Path) -> None:
    done = command("exec", "app:shell", "head -c 50000000 /dev/zero", "--entries", str(entries))
    assert (done.returncode, len(done.stdout)) == (0, 50_000_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("app:shel", "true"), 'Unknown entry "app:shel" (did you mean "app:shell"?)'),
        (("app:bound", "echo no"), 'the closest allowed command is "echo ok"'),
        (("app:shell", "echo 'x"), "a quote is opened and never closed"),
        (("app:shell", "no-such-program"), 'program "no-such-program" was not found on the PATH of the entry'),
        (("app:shell", "true", "--env", "A"), "expected NAME=VALUE"),
        (("app:shell", "true", "--timeout", "never"), "--timeout"),
        (("app:shell", "true", "--work-dir", "/no/such"), "cannot be opened"),
    ],
)
def test_exec_names_what_makes_no_sense_and_exits_with_2(entries: Path, arguments: tuple[str, ...], message: str) -> None:
    done = command("exec", *arguments, "--entries", str(entries))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_exec_without_entries_says_how_to_name_them() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_SANDBOX_ENTRIES"}
    done = command("exec", "app:shell", "true", env=environment)
    assert done.returncode == 2
    assert "expected a file or folder with entries, here or in PYTEST_SANDBOX_ENTRIES" in done.stderr


def test_exec_kills_the_command_when_its_time_is_up(entries: Path) -> None:
    done = command("exec", "app:shell", "sh -c 'echo so far; sleep 1000'", "--timeout", "0.5", "--entries", str(entries))
    assert (done.returncode, done.stdout) == (124, "so far\n")
    assert "0.5 s are up, and the command was killed" in done.stderr


def test_exec_ends_the_command_when_it_is_interrupted(entries: Path) -> None:
    argv = [sys.executable, "-m", "pytest_sandbox.cli", "exec", "app:shell", "sh -c 'echo $$; exec sleep 1000'"]
    with subprocess.Popen([*argv, "--entries", str(entries)], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    end = time.monotonic() + 12
    while psutil.pid_exists(pid):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_exec_does_not_let_a_command_drive_a_terminal(entries: Path) -> None:
    ours, theirs = pty.openpty()
    argv = [
        sys.executable,
        "-m",
        "pytest_sandbox.cli",
        "exec",
        "app:shell",
        r"printf '\033]0;owned\007text\n'",
        "--entries",
        str(entries),
    ]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=theirs, check=False, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 1000)
    os.close(ours)
    assert done.returncode == 0
    assert b"text" in shown
    assert b"\x1b" not in shown


def test_check_names_every_error_with_file_line_and_field(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("- {name: a, kind: exec.nativ}\n- name: b\n  kind: exec.docker\n  memory_limit: -1\n")
    done = command("entries", "check", str(file))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f'error: {file}:1: entry "a", kind: unknown kind "exec.nativ" (did you mean "exec.native"?): expected exec.native or exec.docker',
        f'error: {file}:2: entry "b", image: is missing: expected an image such as "python:3.11-slim", or a running "container"',
        f'error: {file}:4: entry "b", memory_limit: expected a whole number of bytes that is at least 0, such as 536870912, or a size '
        'such as "512m", got -1 (YAML reads it as a number)',
    ]
    assert done.stderr == "3 errors\n"


def test_check_warns_about_each_loose_setting(entries: Path) -> None:
    done = command("entries", "check", str(entries))
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert f'danger: {entries}:12: entry "box", network_mode: `host` shares the host\'s network, local services included' in lines
    assert f'warning: {entries}:9: entry "box", memory_limit: memory is unlimited; write a size such as `256m`' in lines
    assert (
        f'warning: {entries}:3: entry "shell", command_whitelist: any command may be run; list the commands that are needed'
        in lines
    )
    assert done.stderr == f"3 entries, {len(lines)} loose settings\n"
    assert command("entries", "check", "--strict", str(entries)).returncode == 1


def test_check_of_a_tight_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "tight.yaml"
    file.write_text(
        "- {name: a, kind: exec.native, default_work_dir: /, command_whitelist: ['true'], confine: {memory: 1g, strict: true}}\n"
    )
    done = command("entries", "check", "--strict", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "1 entry, 0 loose settings\n")


def test_schema_prints_the_published_schema() -> None:
    done = command("entries", "schema")
    assert json.loads(done.stdout)["title"] == "pytest-sandbox entries"
