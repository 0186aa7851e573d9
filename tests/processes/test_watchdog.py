"""The watchdog: whatever way a test run dies, its process groups die with it, and then the watchdog goes, too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox.processes import watchdog
from pytest_sandbox.processes.watchdog import start_ticks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the watchdog is tested on Linux")

ROOT = Path(watchdog.__file__).parents[2]

PRELUDE = """
import json, os, signal, subprocess, sys, threading, time
from pytest_sandbox.processes import watchdog

SPIN = [sys.executable, "-I", "-S", "-c", "print('up', flush=True)\\nwhile True: pass"]
REST = [sys.executable, "-I", "-S", "-c", "print('up', flush=True)\\nimport time\\ntime.sleep(600)"]

def start(argv=REST, **options):
    options.setdefault("start_new_session", True)
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, **options)
    child.stdout.readline()
    return child

def facts(*pids):
    return [[pid, watchdog.start_ticks(pid)] for pid in pids]

def say(**values):
    print(json.dumps(values), flush=True)
"""


class Run:
    """A Python process that uses the watchdog, and what it has told about its children."""

    def __init__(self, body: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(body)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.told: dict[str, Any] = {}

    def listen(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process under test died before it said anything: see its traceback above"
        self.told.update(json.loads(line))
        return self.told

    def everybody(self) -> list[tuple[int, int]]:
        return [(pid, ticks) for value in self.told.values() if isinstance(value, list) for pid, ticks in value]


@pytest.fixture
def run() -> Iterator[Callable[[str], Run]]:
    """Start Python processes that use the watchdog; whatever survives the test is killed."""
    runs: list[Run] = []

    def start(body: str) -> Run:
        runs.append(Run(body))
        return runs[-1]

    yield start
    for each in runs:
        each.process.kill()
        for pid, ticks in each.everybody():
            if start_ticks(pid) == ticks:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        each.process.wait()
        for pipe in (each.process.stdin, each.process.stdout):
            if pipe is not None:  # not communicate(): a survivor may hold the other end
                pipe.close()


def is_alive(pid: int, ticks: int) -> bool:
    """Return whether this very process still runs: a zombie has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[19]) == ticks and fields[0] not in "ZX"
    return False


def gone_within(seconds: float, processes: list[list[int]]) -> bool:
    """Return whether all of them end in time; polling is the only way to watch processes that are not our children."""
    deadline = time.monotonic() + seconds
    while any(is_alive(*process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


WATCH_ONE = """
    child = start(SPIN)
    assert watchdog.watch_group(child.pid)
    say(child=facts(child.pid), dog=facts(watchdog.watchdog_pid()))
"""


def test_a_spinning_child_in_its_own_session_is_gone_after_sigkill_and_so_is_the_watchdog(run: Callable[[str], Run]) -> None:
    one = run(WATCH_ONE + "    time.sleep(600)")
    told = one.listen()
    assert is_alive(*told["child"][0]), "the child must run before we die, or its end proves nothing"
    assert is_alive(*told["dog"][0])
    one.process.kill()
    assert gone_within(10, told["child"] + told["dog"])


def test_without_the_watchdog_the_same_child_survives_the_same_sigkill(run: Callable[[str], Run]) -> None:
    one = run("child = start()\nsay(child=facts(child.pid))\ntime.sleep(600)")
    told = one.listen()
    one.process.kill()
    one.process.wait()
    assert not gone_within(1, told["child"])


@pytest.mark.parametrize(
    "death",
    ["os._exit(3)", "sys.exit(0)", "raise SystemError('planned')", "os.kill(os.getpid(), signal.SIGTERM)", "os.abort()"],
)
def test_every_way_to_die_ends_the_children(run: Callable[[str], Run], death: str) -> None:
    one = run(WATCH_ONE + f"    sys.stderr = open(os.devnull, 'w')\n    {death}")
    told = one.listen()
    one.process.wait(10)
    assert gone_within(10, told["child"] + told["dog"])


def test_a_group_whose_leader_is_already_gone_is_killed(run: Callable[[str], Run]) -> None:
    one = run(
        """
        script = "import subprocess, sys; p = subprocess.Popen(['/bin/sleep', '600']); print(p.pid, flush=True); sys.stdin.read()"
        leader = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        stayed = int(leader.stdout.readline())
        watchdog.watch_group(leader.pid)
        leader.stdin.close()
        leader.wait()
        say(child=facts(stayed), dog=facts(watchdog.watchdog_pid()), group=os.getpgid(stayed), leader=leader.pid)
        time.sleep(600)
        """
    )
    told = one.listen()
    assert told["group"] == told["leader"]
    assert start_ticks(told["leader"]) == -1
    assert is_alive(*told["child"][0])
    one.process.kill()
    assert gone_within(10, told["child"] + told["dog"])


def test_a_number_that_belongs_to_another_process_by_now_is_spared(run: Callable[[str], Run]) -> None:
    one = run(
        """
        spared, killed = start(), start()
        watchdog.watch_group(killed.pid)
        # As if the registered leader had ended and its number had been given to somebody who started later.
        watchdog._watchdog.tell(watchdog._group_line(spared.pid, watchdog.start_ticks(spared.pid) - 1))
        say(spared=facts(spared.pid), killed=facts(killed.pid), dog=facts(watchdog.watchdog_pid()))
        time.sleep(600)
        """
    )
    told = one.listen()
    one.process.kill()
    assert gone_within(10, told["killed"] + told["dog"])
    assert is_alive(*told["spared"][0])


def test_many_groups_are_all_killed(run: Callable[[str], Run]) -> None:
    one = run(
        """
        children = [subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) for _ in range(300)]
        assert all(watchdog.watch_group(child.pid) for child in children)
        say(children=facts(*(child.pid for child in children)), dog=facts(watchdog.watchdog_pid()))
        time.sleep(600)
        """
    )
    told = one.listen()
    assert all(is_alive(*child) for child in told["children"])
    one.process.kill()
    assert gone_within(10, told["children"] + told["dog"])


def test_a_group_that_is_no_longer_watched_is_left_alone(run: Callable[[str], Run]) -> None:
    one = run(
        """
        freed, kept = start(), start()
        watchdog.watch_group(freed.pid)
        watchdog.watch_group(kept.pid)
        watchdog.unwatch_group(freed.pid)
        watchdog.unwatch_group(999_999_999)
        say(freed=facts(freed.pid), kept=facts(kept.pid), dog=facts(watchdog.watchdog_pid()))
        time.sleep(600)
        """
    )
    told = one.listen()
    one.process.kill()
    assert gone_within(10, told["kept"] + told["dog"])
    assert is_alive(*told["freed"][0])


def test_a_forked_child_that_lives_on_does_not_keep_the_watchdog_waiting(run: Callable[[str], Run]) -> None:
    one = run(
        """
        child = start()
        watchdog.watch_group(child.pid)
        fork = os.fork()
        if fork == 0:
            assert watchdog.watchdog_pid() is None
            time.sleep(600)
            os._exit(0)
        say(child=facts(child.pid), fork=facts(fork), dog=facts(watchdog.watchdog_pid()))
        time.sleep(600)
        """
    )
    told = one.listen()
    one.process.kill()
    assert gone_within(10, told["child"] + told["dog"])
    assert is_alive(*told["fork"][0])


def test_a_forked_child_has_a_watchdog_of_its_own_and_its_death_spares_the_parents_children(run: Callable[[str], Run]) -> None:
    one = run(
        """
        mine = start()
        watchdog.watch_group(mine.pid)
        mine_dog = watchdog.watchdog_pid()
        if os.fork() == 0:
            theirs = start()
            watchdog.watch_group(theirs.pid)
            assert watchdog.watchdog_pid() not in (None, mine_dog)
            say(theirs=facts(theirs.pid), their_dog=facts(watchdog.watchdog_pid()))
            os._exit(0)
        os.wait()
        say(mine=facts(mine.pid), my_dog=facts(mine_dog))
        time.sleep(600)
        """
    )
    one.listen()
    told = one.listen()
    assert gone_within(10, told["theirs"] + told["their_dog"])
    assert is_alive(*told["mine"][0])
    assert is_alive(*told["my_dog"][0])
    one.process.kill()
    assert gone_within(10, told["mine"] + told["my_dog"])


def test_a_child_that_inherits_every_descriptor_does_not_get_the_link(run: Callable[[str], Run]) -> None:
    one = run(
        """
        child = start()
        watchdog.watch_group(child.pid)
        heir = start(close_fds=False)
        say(child=facts(child.pid), heir=facts(heir.pid), dog=facts(watchdog.watchdog_pid()))
        time.sleep(600)
        """
    )
    told = one.listen()
    one.process.kill()
    assert gone_within(10, told["child"] + told["dog"])
    assert is_alive(*told["heir"][0])


def test_a_dead_watchdog_is_replaced_and_told_the_whole_set(run: Callable[[str], Run]) -> None:
    one = run(
        """
        first, second = start(), start()
        watchdog.watch_group(first.pid)
        old = watchdog.watchdog_pid()
        os.kill(old, signal.SIGKILL)
        os.waitid(os.P_PID, old, os.WEXITED | os.WNOWAIT)
        assert watchdog.watch_group(second.pid)
        assert watchdog.watchdog_pid() != old
        say(children=facts(first.pid, second.pid), dog=facts(watchdog.watchdog_pid()))
        time.sleep(600)
        """
    )
    told = one.listen()
    one.process.kill()
    assert gone_within(10, told["children"] + told["dog"])


def test_a_watchdog_that_no_longer_reads_is_replaced_and_nothing_registered_is_lost(run: Callable[[str], Run]) -> None:
    one = run(
        """
        child = start()
        watchdog.watch_group(child.pid)
        old = watchdog.watchdog_pid()
        os.kill(old, signal.SIGSTOP)
        began = time.monotonic()
        while watchdog.watchdog_pid() == old:  # until the link is full
            watchdog.watch_group(child.pid)
        say(child=facts(child.pid), dog=facts(watchdog.watchdog_pid()), took=time.monotonic() - began)
        time.sleep(600)
        """
    )
    told = one.listen()
    assert told["took"] < 5
    assert is_alive(*told["child"][0]), "replacing the watchdog must not end what it minded"
    one.process.kill()
    assert gone_within(10, told["child"] + told["dog"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_signals_of_a_terminal_do_not_end_the_watchdog_first(run: Callable[[str], Run], number: signal.Signals) -> None:
    one = run(
        f"""
        signal.signal({int(number)}, signal.SIG_IGN)
        child = start()
        watchdog.watch_group(child.pid)
        os.kill(watchdog.watchdog_pid(), {int(number)})  # at once: it may not even have started to ignore it
        say(child=facts(child.pid), dog=facts(watchdog.watchdog_pid()))
        time.sleep(600)
        """
    )
    told = one.listen()
    assert not gone_within(0.3, told["dog"])
    assert os.getsid(told["dog"][0][0]) == told["dog"][0][0], "it must be in a session of its own"
    one.process.kill()
    assert gone_within(10, told["child"] + told["dog"])


def test_shutting_down_ends_what_is_registered_and_the_next_registration_starts_anew(run: Callable[[str], Run]) -> None:
    one = run(
        """
        first = start()
        watchdog.watch_group(first.pid)
        dog = watchdog.watchdog_pid()
        before = facts(first.pid, dog)
        watchdog.shut_down()
        watchdog.shut_down()
        first.wait(5)
        assert watchdog.watchdog_pid() is None
        assert watchdog.start_ticks(dog) == -1, "it must be reaped"
        second = start()
        watchdog.watch_group(second.pid)
        say(before=before, child=facts(second.pid), dog=facts(watchdog.watchdog_pid()))
        time.sleep(600)
        """
    )
    told = one.listen()
    assert gone_within(0, told["before"])
    one.process.kill()
    assert gone_within(10, told["child"] + told["dog"])


def test_thirty_two_threads_share_one_watchdog(run: Callable[[str], Run]) -> None:
    one = run(
        """
        children, pids = [], set()
        def work():
            mine = [subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) for _ in range(4)]
            for child in mine:
                watchdog.watch_group(child.pid)
                pids.add(watchdog.watchdog_pid())
            watchdog.unwatch_group(mine[0].pid)
            mine[0].kill()
            mine[0].wait()
            children.extend(mine[1:])
        threads = [threading.Thread(target=work) for _ in range(32)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert len(pids) == 1, pids
        say(children=facts(*(child.pid for child in children)), dog=facts(*pids))
        time.sleep(600)
        """
    )
    told = one.listen()
    assert len(told["children"]) == 96
    one.process.kill()
    assert gone_within(10, told["children"] + told["dog"])


def test_importing_it_starts_nothing(run: Callable[[str], Run]) -> None:
    one = run("say(pid=watchdog.watchdog_pid(), children=[])\nsys.stdin.read()")
    assert one.listen()["pid"] is None
    children = Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text().split()
    assert children == []


def test_it_holds_nothing_of_ours_open_and_inherits_no_secret(run: Callable[[str], Run]) -> None:
    one = run(
        """
        os.environ["CANARY"] = "planted"
        read, write = os.pipe()
        os.set_inheritable(write, True)
        child = start()
        watchdog.watch_group(child.pid)
        say(child=facts(child.pid), dog=facts(watchdog.watchdog_pid()))
        sys.stdin.readline()
        """
    )
    told = one.listen()
    dog = told["dog"][0][0]
    # Wait until it listens: then it is past its start, during which Python itself opens files.
    deadline = time.monotonic() + 5
    while "recv" not in (wchan := Path(f"/proc/{dog}/wchan").read_text()) and "stream" not in wchan and "read" not in wchan:
        assert time.monotonic() < deadline, wchan
    descriptors = sorted(int(name) for name in os.listdir(f"/proc/{dog}/fd"))
    assert descriptors == [0, 1, 2]
    assert b"planted" not in Path(f"/proc/{dog}/environ").read_bytes()
    assert os.readlink(f"/proc/{dog}/cwd") == "/"


def test_a_registration_costs_microseconds() -> None:
    child = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    try:
        watchdog.watch_group(child.pid)
        begin = time.perf_counter()
        for _ in range(200):
            watchdog.watch_group(child.pid)
        each = (time.perf_counter() - begin) / 200
        assert each < 0.002, f"{each * 1e6:.0f} microseconds for one registration"
    finally:
        child.kill()
        child.wait()
        watchdog.unwatch_group(child.pid)


def test_a_folder_that_comes_back_after_the_end_is_removed_again(run: Callable[[str], Run], tmp_path: Path) -> None:
    folder, done = tmp_path / "home", tmp_path / "done"
    folder.mkdir()
    # As a runner that was started in the last moment, and is registered by nobody: it writes there before it notices the end.
    late = f"import os, sys, time; sys.stdin.read(); time.sleep(0.5); os.makedirs({str(folder)!r}); open({str(done)!r}, 'w')"
    body = f"""
        from pathlib import Path
        watchdog.watch_folder(Path({str(folder)!r}))
        subprocess.Popen([sys.executable, "-I", "-S", "-c", {late!r}], stdin=subprocess.PIPE, start_new_session=True)
        say(me=facts(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    run(body).listen()
    deadline = time.monotonic() + 20
    while not done.exists():
        assert time.monotonic() < deadline, "the late one has not written"
        time.sleep(0.02)
    while folder.exists():
        assert time.monotonic() < deadline, "the folder has come back to stay"
        time.sleep(0.02)
