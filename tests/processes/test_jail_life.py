"""The life of what is in a jail: it ends with its jail, and with us, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import pytest_sandbox
from pytest_sandbox.processes.confinement import Confinement
from pytest_sandbox.processes.host_ids import claim, mapped_ids
from pytest_sandbox.processes.jail import Jail, exit_code
from pytest_sandbox.processes.spawn import end_group, end_group_soon
from pytest_sandbox.processes.tree import TreeMeter, children, descendants
from pytest_sandbox.processes.watchdog import start_ticks

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/ns"), reason="the jail is for Linux")

ROOT = Path(pytest_sandbox.__file__).parents[1]
WHOLE = {"forks": True, "sockets": True}

# A daemon as they come: forked twice, in a session of its own, deaf to all signals that can be ignored.
DAEMON = """
for number in range(1, 32):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(0)
        os.write(1, b"daemon\\n")
        while True: time.sleep(60)
while True: time.sleep(60)
"""


def is_alive(pid: int, ticks: int) -> bool:
    """Return whether this very process is there, as a zombie if need be."""
    return start_ticks(pid) == ticks


def state(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "gone"


def gone_within(seconds: float, processes: list[tuple[int, int]], *, zombies_count: bool = True) -> float | None:
    """Return after how long all of them were gone, or None; polling is the only way to watch what is not our child."""
    started = time.monotonic()
    while any(is_alive(*process) and (zombies_count or state(process[0]) != "Z") for process in processes):
        if time.monotonic() - started > seconds:
            return None
        time.sleep(0.001)
    return time.monotonic() - started


def start_daemon(python: Any) -> tuple[Any, subprocess.Popen[bytes], list[tuple[int, int]]]:
    """Start a jail with a daemon, and return all processes in it."""
    confined = python.start(DAEMON, **WHOLE)
    process = confined.start().result()
    assert [process.stdout.readline() for _ in range(2)] == [b"trying\n", b"daemon\n"]
    inside = [(pid, start_ticks(pid)) for pid in descendants(process.pid)]
    assert len(inside) >= 3 and all(ticks > 0 for _, ticks in inside)
    sessions = {os.getsid(pid) for pid, _ in inside}
    assert len(sessions) == 2, "the daemon has left the session"
    return confined, process, inside


def test_killing_what_is_inside_ends_it_all_and_bubblewrap_reaps_it(python: Any) -> None:
    confined, process, inside = start_daemon(python)
    code = end_group(process, kill_inside=confined.kill)
    # Not "soon": bubblewrap has ended after the first process of the namespace, and that one after all others.
    assert [pid for pid, ticks in inside if is_alive(pid, ticks)] == []
    assert code is not None and exit_code(code) == -signal.SIGKILL
    assert confined.kill() is False
    confined.release()


def test_killing_the_process_group_ends_what_has_left_it(python: Any) -> None:
    confined, process, inside = start_daemon(python)
    os.killpg(process.pid, signal.SIGKILL)
    assert gone_within(2, inside, zombies_count=False) is not None
    end_group(process)
    confined.release()


def test_killing_only_bubblewrap_ends_what_is_inside(python: Any) -> None:
    confined, process, inside = start_daemon(python)
    os.kill(process.pid, signal.SIGKILL)
    assert gone_within(2, inside, zombies_count=False) is not None
    end_group(process)
    confined.release()


def test_killing_only_bubblewrap_ends_a_runner(python: Any) -> None:
    # The runner is the first process of its namespace here; its death signal has survived the change of user.
    confined = python.start("while True: time.sleep(60)")
    process = confined.start().result()
    assert process.stdout.readline() == b"trying\n"
    pid = confined.program_pid()
    assert pid is not None
    runner = [(pid, start_ticks(pid))]
    os.kill(process.pid, signal.SIGKILL)
    assert gone_within(2, runner, zombies_count=False) is not None
    end_group(process)
    confined.release()


def test_a_runner_that_is_retired_is_reaped_in_another_thread(python: Any) -> None:
    confined, process, inside = start_daemon(python)
    end_group_soon(process, confined.release, kill_inside=confined.kill)
    assert gone_within(5, inside) is not None
    assert process.wait(5) == 128 + signal.SIGKILL


PARENT = """
    import json, os, signal, sys, time
    sys.path.insert(0, {root!r})
    from pytest_sandbox.processes import watchdog
    from pytest_sandbox.processes.confinement import Confinement
    from pytest_sandbox.processes.jail_probe import find_jail
    from pytest_sandbox.processes.spawn import spawn
    from pytest_sandbox.processes.tree import descendants
    command, files, jailed = json.loads(sys.argv[1])
    if jailed:
        inside = Confinement(read_only=tuple(files), forks=True, sockets=True)
        process = find_jail().confine(command, {{}}, inside).start().result()
    else:
        process = spawn(command, env={{}})
    assert [process.stdout.readline() for _ in range(2)] == [b"trying\\n", b"daemon\\n"]
    os.kill(watchdog.watchdog_pid(), signal.SIGKILL)  # this is about the jail alone
    print(json.dumps([[pid, watchdog.start_ticks(pid)] for pid in [process.pid, *descendants(process.pid)]]), flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("jailed", [True, False], ids=["in the jail", "without a jail"])
def test_nothing_outlives_a_parent_that_is_killed(python: Any, jailed: bool) -> None:
    told = json.dumps([[*python.command, python.prelude(DAEMON)], list(python.files), jailed])
    script = textwrap.dedent(PARENT.format(root=str(ROOT)))
    parent = subprocess.Popen([sys.executable, "-c", script, told], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        family = [(pid, ticks) for pid, ticks in json.loads(parent.stdout.readline())]
        # Outside, the daemon is nobody's child: it is found by what it runs.
        if not jailed:
            marker = python.prelude(DAEMON).encode()
            family = [(pid, start_ticks(pid)) for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if runs(pid, marker)]
        assert len(family) >= 2 and all(is_alive(*process) for process in family)
        parent.kill()
        parent.wait()
        after = gone_within(5 if jailed else 0.5, family, zombies_count=False)
        assert (after is not None) == jailed
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
        for pid, ticks in family:
            if is_alive(pid, ticks):
                os.kill(pid, signal.SIGKILL)


def runs(pid: int, marker: bytes) -> bool:
    with suppress(OSError):
        return marker in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


# -- user ids, descriptors ----------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_command_can_run_as_the_owner_of_the_files_that_it_writes(python: Any, open_folder: Path) -> None:
    os.chown(open_folder, 12345, 23456)
    code = f"open({str(open_folder / 'made')!r}, 'w').close(); told([os.getuid(), os.getgid(), os.getgroups()])"
    assert python.inside(code, writable=(str(open_folder),)).code == 1
    assert not (open_folder / "made").exists()
    assert python.inside(code, writable=(str(open_folder),), owner=(12345, 23456)).value == [12345, 23456, []]
    assert (open_folder / "made").stat().st_uid == 12345
    with pytest.raises(ValueError, match="root"):
        python.start(code, owner=(0, 0))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends user ids")
def test_a_user_id_is_lent_to_one_jail_at_a_time_on_the_whole_machine() -> None:
    one = claim()
    try:
        assert one.number in mapped_ids()
        code = f"""
            import sys
            sys.path.insert(0, {str(ROOT)!r})
            from pytest_sandbox.processes import host_ids
            host_ids.secrets.choice = lambda ids: {one.number}
            try: print("claimed", host_ids.claim().number)
            except OSError as error: print(error)
        """
        command = [sys.executable, "-c", textwrap.dedent(code)]
        assert "all are taken" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
        one.release()
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"claimed {one.number}\n"
    finally:
        one.release()


def test_the_random_numbers_of_the_tests_are_left_alone(python: Any) -> None:
    state = random.getstate()
    python.inside("told(1)")
    assert random.getstate() == state


def descriptors() -> set[str]:
    return {
        f"{name} {os.readlink(f'/proc/self/fd/{name}')}"
        for name in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{name}")
    }


def test_no_descriptor_stays_with_us(python: Any) -> None:
    python.inside("told(1)")
    before = descriptors()
    python.inside("told(1)", copies={"/tmp/file": b"x" * 1_000_000})
    python.start("told(1)", copies={"/tmp/file": b"x"}).release()  # never started
    with pytest.raises(ValueError, match="equals sign"):
        python.jail.confine(["/a=b"], {"LD_PRELOAD": "x"}, Confinement())
    assert descriptors() - before == set()


def test_a_copied_file_is_private(python: Any) -> None:
    content = "before" * 100_000
    code = "file = open('/tmp/copy', 'r+'); text = file.read(); file.write('after'); file.flush(); told([text, open('/tmp/copy').read()])"
    for _ in range(2):
        assert python.inside(code, copies={"/tmp/copy": content.encode()}).value == [content, content + "after"]


# -- measuring ----------------------------------------------------------------------------------------------------


def test_the_command_is_found_behind_its_gate(python: Any) -> None:
    for options in ({}, WHOLE):
        confined = python.start("sys.stdin.read(1)", **options)
        assert confined.program_pid() is None
        process = confined.start().result()
        assert process.stdout.readline() == b"trying\n"
        pid = confined.program_pid()
        assert pid is not None and Path(f"/proc/{pid}/cmdline").read_bytes().startswith(python.command[0].encode())
        assert children(pid) == []
        end_group(process, kill_inside=confined.kill)
        confined.release()
        assert confined.program_pid() is None


def test_a_tree_is_measured_as_a_whole(python: Any) -> None:
    code = """
keep = b"x" * (30 << 20)
for _ in range(3):
    if os.fork() == 0:
        keep = bytearray(50 << 20)
        for at in range(0, len(keep), 4096): keep[at] = 1
        os.write(1, b"child\\n")
        time.sleep(600)
end = time.process_time() + 0.3
while time.process_time() < end: pass
os.write(1, b"done\\n")
time.sleep(600)
"""
    confined = python.start(code, **WHOLE)
    process = confined.start().result()
    try:
        lines = sorted(process.stdout.readline() for _ in range(5))
        assert lines == [b"child\n"] * 3 + [b"done\n", b"trying\n"]
        sample = TreeMeter(process.pid).sample()
        assert sample is not None and sample.memory > 180 << 20 and 0.3 <= sample.cpu < 20
    finally:
        end_group(process, kill_inside=confined.kill)
        confined.release()
    assert TreeMeter(process.pid).sample() is None


@pytest.mark.parametrize(
    ("code", "expected"), [(0, 0), (1, 1), (128, 128), (134, -6), (137, -9), (159, -31), (200, 200), (255, 255)]
)
def test_exit_codes_are_told_apart_from_signals(code: int, expected: int) -> None:
    assert exit_code(code) == expected


def test_a_command_tells_its_exit_code(python: Any) -> None:
    assert python.inside("sys.exit(7)", **WHOLE).code == 7
    assert python.inside("os.kill(os.getpid(), 15)", **WHOLE).code == -15
    assert python.inside("os.abort()", **WHOLE).code == -6


def test_a_runner_can_abort(python: Any) -> None:
    # As the first process of its namespace it is spared signals that it does not handle; abort() then has another way.
    assert python.inside("os.abort()").code == (-6 if python.jail.own_ids else -11)


@pytest.mark.parametrize("number", [2, 3, 6, 9, 11, 13, 15])
def test_a_command_that_dies_of_a_signal_says_nothing_but_its_own_words(python: Any, number: int) -> None:
    told = python.inside(
        f"os.write(2, b'own words'); signal.signal({number}, signal.SIG_DFL) if {number} != 9 else None; os.kill(os.getpid(), {number}); time.sleep(60)",
        **WHOLE,
    )
    assert (told.code, told.errors) == (-number, "own words")


def test_a_command_reads_its_standard_input(python: Any) -> None:
    confined = python.start("told(sys.stdin.read())", **WHOLE)
    process = confined.start().result()
    output, errors = process.communicate(b"some input", timeout=30)
    end_group(process, kill_inside=confined.kill)
    confined.release()
    assert (output, errors) == (b'trying\n"some input"\n', b"")


# -- commands -------------------------------------------------------------------------------------------------------


def test_ordinary_commands_run_with_the_view_of_the_system(jail: Jail, open_folder: Path) -> None:
    from pytest_sandbox.processes.system_view import system_view

    read_only, symlinks = system_view()
    open_folder.chmod(0o777)
    inside = Confinement(
        read_only=read_only, symlinks=symlinks, writable=(str(open_folder),), work_dir=str(open_folder), forks=True, sockets=True
    )
    script = (
        "pwd; echo hello | tr a-z A-Z > made; ls /usr/bin | wc -l; ls /etc/shadow /root /home 2>&1 | grep -c 'No such file'; id -un"
    )
    confined = jail.confine(["/bin/sh", "-c", script], {"PATH": "/usr/bin:/bin"}, inside)
    process = confined.start(stdin=subprocess.DEVNULL).result()
    output, errors = process.communicate(timeout=30)
    end_group(process)
    confined.release()
    lines = output.decode().splitlines()
    assert lines[0] == str(open_folder) and int(lines[1]) > 50 and lines[2] == "3", (lines, errors)
    assert (open_folder / "made").read_text() == "HELLO\n"


def test_what_is_nearest_decides_whether_a_path_can_be_written(python: Any, open_folder: Path) -> None:
    open_folder.chmod(0o777)
    (open_folder / "kept").mkdir()
    (open_folder / "kept").chmod(0o777)
    code = f"""
answers = {{}}
for name in ("new", "kept/new"):
    path = os.path.join({str(open_folder)!r}, name)
    try: open(path, "w").close(); os.unlink(path); answers[name] = "written"
    except OSError as error: answers[name] = errno.errorcode[error.errno]
told(answers)
"""
    kept = str(open_folder / "kept")
    assert python.inside(code, writable=(str(open_folder),)).value == {"new": "written", "kept/new": "written"}
    assert python.inside(code, writable=(str(open_folder),), read_only=(kept,)).value == {"new": "written", "kept/new": "EROFS"}
    assert python.inside(code, writable=(kept,), read_only=(str(open_folder),)).value == {"new": "EROFS", "kept/new": "written"}
