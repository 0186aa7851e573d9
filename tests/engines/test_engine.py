"""What every engine must do, over every transport: against real Docker and real Podman."""

from __future__ import annotations

import hashlib
import os
import re
import selectors
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox.engines.base import Engine
from pytest_sandbox.engines.cli import CliEngine
from pytest_sandbox.engines.detect import detect_engine
from pytest_sandbox.engines.spec import ContainerSpec, Mount, Ulimit
from pytest_sandbox.errors import ContainerGone, EngineRefused, EngineTimeout, ImageNotFound
from tests.real_engines import COMBINATIONS, TEST_LABEL

from .conftest import TOKEN, Containers

MIB = 1024 * 1024

STRICT: dict[str, Any] = {
    "user": "node",
    "network": "none",
    "read_only": True,
    "cap_drop": ("ALL",),
    "no_new_privileges": True,
    "tmpfs": {"/tmp": "rw,noexec,nosuid,size=64m"},
    "pids_limit": 64,
    "memory": 256 * MIB,
    "memory_swap": 256 * MIB,
    "cpus": 1.0,
}


def test_it_says_who_answers(engine: Engine, engine_name: str) -> None:
    kind, _, way = engine_name.partition("-")
    assert engine.name == engine.info.name == kind
    assert engine.info.transport == {"sdk": "socket", "cli": "command line"}[way]
    assert re.match(r"\d+\.\d+", engine.info.version)
    assert engine.info.architecture == os.uname().machine
    assert engine.info.cgroup_version in ("1", "2")
    assert re.match(r"(runc|crun) \d", engine.info.runtime)
    assert engine.is_local and engine.info.is_local
    assert kind in engine.info.describe() and engine.info.runtime in engine.info.describe()


def test_both_streams_and_the_exit_code_come_back(containers: Containers) -> None:
    assert containers.run("echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")


def test_streams_that_are_hung_up_are_at_their_end_for_whoever_waits_for_them(engine: Engine, containers: Containers) -> None:
    created = containers.create("cat; echo ready; exec sleep 1000", stdin=True)
    streams = engine.open(created.id)
    try:
        assert streams.collect(b"in ", timeout=30, until=b"in ") == (b"in ", b"")
        with ThreadPoolExecutor(1) as other:
            rest = other.submit(streams.collect, timeout=30)
            while rest.running() and streams.write_descriptor is not None:
                time.sleep(0.001)
            streams.hang_up()
            assert rest.result(20)[0] in (b"", b"ready\n")
        streams.hang_up()
    finally:
        streams.close()
    streams.hang_up()
    assert engine.inspect(created.id).is_running, "what runs at the other end is not stopped"


def test_standard_input_arrives_and_ends(containers: Containers) -> None:
    assert containers.run("cat; echo end", stdin=b"hello\n") == (0, "hello\nend\n", "")


def test_every_byte_arrives_unchanged_both_ways(engine: Engine, containers: Containers) -> None:
    # Among them Ctrl-P Ctrl-Q, by which the clients let a person detach.
    data = bytes(range(256)) * 4 + b"\x10\x11" * 20 + os.urandom(3 * MIB) + b"\x10\x11"
    created = containers.create("cat", stdin=True)
    streams = engine.open(created.id)
    out, err = streams.collect(data, timeout=60)
    streams.close()
    assert hashlib.sha256(out).hexdigest() == hashlib.sha256(data).hexdigest()
    assert err == b""
    assert engine.wait(created.id, timeout=10).exit_code == 0


def test_much_output_on_both_streams_at_once_neither_blocks_nor_gets_lost(engine: Engine, containers: Containers) -> None:
    created = containers.create("yes out | head -c 8000000 & yes err | head -c 8000000 >&2; wait")
    streams = engine.open(created.id)
    out, err = streams.collect(timeout=60)
    streams.close()
    assert (len(out), len(err)) == (8_000_000, 8_000_000)
    assert set(out) == set(b"out\n") and set(err) == set(b"err\n")


def test_an_answer_can_be_waited_for_with_poll_while_the_container_runs(engine: Engine, containers: Containers) -> None:
    created = containers.create("while read line; do echo got $line; done", stdin=True)
    streams = engine.open(created.id)
    for word in (b"one", b"two"):
        out, _ = streams.collect(word + b"\n", timeout=20, until=b"got " + word + b"\n")
        assert out == b"got " + word + b"\n"
    with selectors.DefaultSelector() as selector:
        for descriptor in streams.read_descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        assert selector.select(0) == [], "nothing was written, so nothing may be readable"
    assert all(streams.read(descriptor) == [] for descriptor in streams.read_descriptors), "reading never blocks"
    streams.end_input()
    with pytest.raises(BrokenPipeError):
        streams.write(b"late")
    assert engine.wait(created.id, timeout=20).exit_code == 0
    streams.close()
    streams.close()
    assert streams.read_descriptors == ()


def test_output_of_a_container_that_ends_at_once_is_complete(containers: Containers) -> None:
    for number in range(3):
        assert containers.run(f"echo {number}") == (0, f"{number}\n", "")


def test_a_container_goes_from_created_through_running_to_exited(engine: Engine, containers: Containers) -> None:
    created = containers.create("read line; exit 3", stdin=True)
    assert created.name.startswith("pytest-sandbox-")
    state = engine.inspect(created.id)
    assert (state.status, state.is_running, state.has_ended, state.exit_code) == ("created", False, False, None)
    assert (state.id, state.name) == (created.id, created.name)
    streams = engine.open(created.id)
    streams.write(b"")
    deadline = time.monotonic() + 10
    while not (state := engine.inspect(created.name)).is_running:  # a command line starts it meanwhile
        assert time.monotonic() < deadline, state
    assert state.pid > 0 and Path(f"/proc/{state.pid}").exists()
    streams.end_input()
    state = engine.wait(created.id, timeout=10)
    assert (state.is_running, state.has_ended, state.exit_code, state.oom_killed) == (False, True, 3, False)
    streams.close()


def test_waiting_has_a_deadline_and_the_container_runs_on(engine: Engine, containers: Containers) -> None:
    created = containers.create("sleep 60")
    engine.start(created.id)
    begin = time.monotonic()
    with pytest.raises(EngineTimeout, match=r"wait for a container.*0\.5 s"):
        engine.wait(created.id, timeout=0.5)
    assert time.monotonic() - begin < 5
    assert engine.inspect(created.id).is_running


def test_waiting_works_before_and_after_the_end_for_a_container_nobody_attached_to(engine: Engine, containers: Containers) -> None:
    created = containers.create("sleep 0.3; exit 4")
    engine.start(created.id)
    assert engine.wait(created.id, timeout=20).exit_code == 4
    assert engine.wait(created.id, timeout=0).exit_code == 4


def test_closing_the_streams_leaves_the_container_running(engine: Engine, containers: Containers) -> None:
    created = containers.create("echo up; sleep 60")
    streams = engine.open(created.id)
    streams.collect(timeout=20, until=b"up\n")
    streams.close()
    assert engine.inspect(created.id).is_running


def test_a_signal_reaches_the_main_process(engine: Engine, containers: Containers) -> None:
    created = containers.create("trap 'echo caught; exit 9' TERM; echo up; while :; do sleep 0.05; done")
    streams = engine.open(created.id)
    streams.collect(timeout=20, until=b"up\n")
    assert engine.kill(created.id, signal.SIGTERM) is True
    assert streams.collect(timeout=20)[0] == b"caught\n"
    streams.close()
    assert engine.wait(created.id, timeout=10).exit_code == 9


def test_a_kill_of_ours_is_told_apart_from_memory_that_ran_out(engine: Engine, containers: Containers) -> None:
    killed = containers.create("echo up; sleep 60", memory=32 * MIB, memory_swap=32 * MIB)
    streams = engine.open(killed.id)
    streams.collect(timeout=20, until=b"up\n")
    assert engine.kill(killed.id) is True
    state = engine.wait(killed.id, timeout=10)
    assert (state.exit_code, state.oom_killed) == (137, False)
    streams.close()
    # One that runs out at once, one that only has a child that does, and one that comes close.
    # dd takes a buffer of its block size at once.
    greedy = "dd if=/dev/zero of=/dev/null count=1 bs"
    ends = {}
    for script in (f"exec {greedy}=100M", f"{greedy}=100M; sleep 0.1; exit 3", f"{greedy}=20M; exit 4"):
        full = containers.create(script, memory=32 * MIB, memory_swap=32 * MIB)
        streams = engine.open(full.id)
        out, _ = streams.collect(timeout=60)
        streams.close()
        # What the kernel knows of a group goes with the group, and somebody may ask later.
        group = Path(f"/sys/fs/cgroup/memory/libpod_parent/libpod-{full.id}")
        deadline = time.monotonic() + 20
        while group.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        state = engine.wait(full.id, timeout=10)
        assert out == b""
        ends[script] = (state.exit_code, state.oom_killed)
        assert engine.inspect(full.id).oom_killed == state.oom_killed
    assert list(ends.values()) == [(137, True), (3, True), (4, False)]


def test_a_signal_to_a_container_that_does_not_run_is_no_error(engine: Engine, containers: Containers) -> None:
    created = containers.create("true")
    assert engine.kill(created.id) is False
    engine.start(created.id)
    engine.wait(created.id, timeout=10)
    assert engine.kill(created.id) is False


def test_removing_is_forceful_quick_and_can_be_repeated(engine: Engine, containers: Containers) -> None:
    # The main process of a container ignores SIGTERM: an engine that asks politely first would take ten seconds.
    created = containers.create("sleep 600")
    engine.start(created.id)
    begin = time.monotonic()
    assert engine.remove(created.id) is True
    assert time.monotonic() - begin < 5
    assert engine.remove(created.id) is False
    assert engine.remove(created.name) is False


def test_a_container_that_ends_while_it_is_removed_is_removed(engine: Engine, containers: Containers) -> None:
    for _ in range(3):
        created = containers.create("cat", stdin=True)
        streams = engine.open(created.id)
        streams.collect(b"x", timeout=20, until=b"x")
        streams.close()  # the end of its input, and so its own
        assert engine.remove(created.id) is True
        with pytest.raises(ContainerGone):
            engine.inspect(created.id)


def test_a_container_that_somebody_removed_is_a_typed_error(engine: Engine, containers: Containers) -> None:
    created = containers.create("true")
    engine.remove(created.id)
    for action in (
        lambda: engine.inspect(created.id),
        lambda: engine.start(created.id),
        lambda: engine.kill(created.id),
        lambda: engine.wait(created.id, timeout=5),
        lambda: engine.logs(created.id),
        lambda: engine.exec(created.id, ["/bin/true"]),
    ):
        with pytest.raises(ContainerGone, match=created.id) as caught:
            action()
        assert caught.value.container == created.id


def test_an_image_that_is_not_present_is_an_error_and_nothing_is_pulled_or_left(engine: Engine, containers: Containers) -> None:
    with pytest.raises(ImageNotFound, match="localhost/no-such-image:1.*nothing is pulled"):
        containers.create("true", image="localhost/no-such-image:1")
    with pytest.raises(ImageNotFound):
        engine.inspect_image("localhost/no-such-image:1")
    assert engine.remove_image("localhost/no-such-image:1") is False


def test_a_program_that_is_not_in_the_image_is_an_error_that_names_it(engine: Engine, containers: Containers) -> None:
    created = containers.create(command=("/bin/no-such-program",))

    def run() -> None:
        streams = engine.open(created.id)
        try:
            streams.collect(timeout=20)
        finally:
            streams.close()
        engine.wait(created.id, timeout=10)

    with pytest.raises(EngineRefused, match="no-such-program|could not start"):
        run()
    assert not engine.inspect(created.id).is_running


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"runtime": "no-such-runtime"}, "no-such-runtime"),
        ({"network": "no-such-network"}, "no-such-network"),
        ({"cap_drop": ("NO_SUCH_CAPABILITY",)}, "NO_SUCH_CAPABILITY"),
        ({"security": ("seccomp=/no/such/profile.json",)}, "profile"),
        ({"mounts": (Mount(source="/no/such/folder", target="/data"),)}, "/no/such/folder"),
        ({"user": "nobody-knows-me"}, "nobody-knows-me"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_setting_that_the_engine_cannot_apply_is_an_error_before_anything_runs(
    engine: Engine, containers: Containers, settings: dict[str, Any], words: str
) -> None:
    def run() -> None:
        created = containers.create("echo ran", **settings)
        streams = engine.open(created.id)
        try:
            out, err = streams.collect(timeout=20)
        finally:
            streams.close()
        assert out == b"", "it must not run"
        raised = err.decode()
        try:
            engine.wait(created.id, timeout=10)
        except EngineRefused as error:
            raise EngineRefused(error.engine, error.action, f"{error.detail} {raised}") from error

    with pytest.raises(EngineRefused, match=f"(?i){words}"):
        run()


def test_the_strict_settings_hold_inside(containers: Containers) -> None:
    script = "; ".join(
        [
            "id -u",
            "grep -E '^(NoNewPrivs|CapBnd|CapEff):' /proc/self/status",
            "touch /file 2>&1",
            "touch /tmp/file && echo tmp-writable",
            "grep ' /tmp ' /proc/mounts",
            "ls /sys/class/net",
        ]
    )
    code, out, _ = containers.run(
        script, **STRICT, ulimits=(Ulimit(name="core", soft=0, hard=0), Ulimit(name="nofile", soft=512, hard=512))
    )
    assert code == 0
    assert out.startswith("1000\n")
    facts = dict(re.findall(r"^(\w+):\s+(\S+)$", out, re.M))
    assert (facts["NoNewPrivs"], int(facts["CapBnd"], 16), int(facts["CapEff"], 16)) == ("1", 0, 0)
    assert "Read-only file system" in out
    assert "tmp-writable" in out
    mount = re.search(r"^tmpfs /tmp tmpfs (\S+)", out, re.M)
    assert mount and {"rw", "nosuid", "noexec"} <= set(mount[1].split(",")) and "size=65536k" in mount[1]
    assert out.rstrip().endswith("\nlo"), "only the loopback interface"


def test_without_the_strict_settings_the_same_script_finds_the_doors_open(containers: Containers) -> None:
    script = (
        "id -u; grep -E '^(NoNewPrivs|CapBnd):' /proc/self/status; touch /file && echo root-writable; grep -c ' /tmp ' /proc/mounts"
    )
    _, out, _ = containers.run(script)
    assert out.startswith("0\n")
    facts = dict(re.findall(r"^(\w+):\s+(\S+)$", out, re.M))
    assert facts["NoNewPrivs"] == "0"
    assert int(facts["CapBnd"], 16) != 0
    assert "root-writable" in out


def test_memory_processes_and_cpu_are_limited_by_control_groups(engine: Engine, containers: Containers) -> None:
    script = (
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes pids/pids.max"
        " cpu/cpu.cfs_quota_us cpu,cpuacct/cpu.cfs_quota_us memory.max pids.max cpu.max 2>/dev/null; true"
    )
    settings = {**STRICT, "memory": 64 * MIB, "memory_swap": 64 * MIB, "pids_limit": 40, "cpus": 0.5}
    _, out, _ = containers.run(script, **settings)
    numbers = out.split()
    assert str(64 * MIB) in numbers and "40" in numbers and "50000" in numbers
    _, out, _ = containers.run(script)
    assert str(64 * MIB) not in out.split() and "50000" not in out.split()


def test_a_cpu_quota_is_applied(containers: Containers) -> None:
    script = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; true"
    _, out, _ = containers.run(script, cpu_quota=25_000)
    assert "25000" in out.split()


def test_resource_limits_are_applied(containers: Containers) -> None:
    limits = (Ulimit(name="core", soft=0, hard=0), Ulimit(name="nofile", soft=300, hard=400))
    _, out, _ = containers.run("ulimit -c; ulimit -Sn; ulimit -Hn", ulimits=limits)
    assert out.split() == ["0", "300", "400"]


def test_one_resource_limit_alone_is_accepted(containers: Containers) -> None:
    assert containers.run("ulimit -Hc", ulimits=(Ulimit(name="core", soft=0, hard=0),))[:2] == (0, "0\n")


def test_shared_memory_can_be_taken_away(containers: Containers) -> None:
    assert containers.run("touch /dev/shm/x && echo there")[1] == "there\n"
    assert "there" not in containers.run("touch /dev/shm/x && echo there", ipc="none", read_only=True)[1]


def test_variables_arrive_exactly_and_are_the_only_ones_of_ours(containers: Containers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_SANDBOX_CANARY", "planted")
    values = {
        "PLAIN": "value",
        "EMPTY": "",
        "LINES": "one\ntwo",
        "QUOTES": "a'b\"c $HOME `id` \\ = # x",
        "PATH": "/bin:/elsewhere",
        "HOME": "/tmp",
        "DOCKER_HOST": "tcp://nowhere:1",
        "LD_PRELOAD": "",
        "TERM": "dumb",
        "SPACES": "  two  ",
    }
    code, out, _ = containers.run("cat /proc/self/environ", env=values)
    assert code == 0
    found = dict(item.split("=", 1) for item in out.split("\0") if item)
    assert {name: found.get(name) for name in values} == values
    assert set(found) - set(values) <= {"HOSTNAME", "container", "PWD", "SHLVL"}


def test_the_working_folder_the_host_name_and_the_entry_point_are_set(containers: Containers) -> None:
    _, out, _ = containers.run("pwd; echo $(cat /etc/hostname)", work_dir="/tmp", hostname="sandboxed")
    assert out == "/tmp\nsandboxed\n"
    engine = containers.engine
    created = containers.create(entrypoint=("/bin/sh", "-c"), command=("echo $0 $1", "zero", "one"))
    streams = engine.open(created.id)
    assert streams.collect(timeout=20)[0] == b"zero one\n"
    streams.close()


def test_an_init_is_process_one_only_when_asked_for(containers: Containers, engine: Engine) -> None:
    assert "sh" in containers.run("cat /proc/1/comm; true")[1]
    assert "sh" not in containers.run("cat /proc/1/comm; true", init=True)[1]


def test_mounts_work_read_only_and_writable_with_odd_names(containers: Containers, tmp_path: Path) -> None:
    # The clients take mounts apart at commas and colons.
    names = ["plain", "a,b c", "a:b c", "a,b:c"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(f"content of {name}\n")
    if containers.engine.name == "podman":
        with pytest.raises(EngineRefused, match="commas or colons, not both"):
            containers.create("true", mounts=(Mount(source=str(tmp_path / names.pop()), target="/data"),))
    mounts = [
        Mount(source=str(tmp_path / name), target=f"/{kind}{number}", read_only=kind == "r")
        for number, name in enumerate(names)
        for kind in "rw"
    ]
    _, out, err = containers.run("cat /r?/file; for folder in /r? /w?; do touch $folder/new; done", mounts=tuple(mounts))
    assert out == "".join(f"content of {name}\n" for name in names)
    assert err.count("Read-only") == len(names)
    assert [sorted(path.name for path in (tmp_path / name).iterdir()) for name in names] == [["file", "new"]] * len(names)


def test_a_further_process_runs_in_the_container(engine: Engine, containers: Containers) -> None:
    created = containers.create("echo up; sleep 60")
    streams = engine.open(created.id)
    streams.collect(timeout=20, until=b"up\n")
    process = engine.exec(
        created.id,
        ["/bin/sh", "-c", "id -u; pwd; echo $NAME; cat; exit 9"],
        env={"NAME": "v x"},
        user="1000",
        work_dir="/tmp",
        stdin=True,
    )
    assert process.streams.collect(b"input", timeout=20) == (b"1000\n/tmp\nv x\ninput", b"")
    assert process.exit_code(timeout=10) == 9
    process.close()
    slow = engine.exec(created.id, ["/bin/sleep", "60"])
    with pytest.raises(EngineTimeout, match="still runs"):
        slow.exit_code(timeout=0.2)
    slow.close()
    streams.close()


def test_no_output_of_a_quick_further_process_is_lost(engine: Engine, containers: Containers) -> None:
    created = containers.create("sleep 60")
    engine.start(created.id)
    for number in range(5):
        process = engine.exec(created.id, ["/bin/printf", f"{number}"])
        assert process.streams.collect(timeout=20) == (str(number).encode(), b"")
        assert process.exit_code(timeout=10) == 0
        process.close()


def test_no_further_process_runs_in_a_container_that_does_not_run(engine: Engine, containers: Containers) -> None:
    created = containers.create("true")
    with pytest.raises(EngineRefused, match=r"not running|running containers"):
        engine.exec(created.id, ["/bin/true"])


def test_what_is_printed_is_kept_only_when_asked_for(engine: Engine, containers: Containers) -> None:
    kept = containers.create("echo out; echo err >&2", log=True)
    engine.start(kept.id)
    engine.wait(kept.id, timeout=20)
    assert sorted(engine.logs(kept.id).split()) == [b"err", b"out"]


def test_usage_is_counted(engine: Engine, containers: Containers) -> None:
    created = containers.create(
        "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo up; sleep 60", memory=64 * MIB, memory_swap=64 * MIB
    )
    streams = engine.open(created.id)
    streams.collect(timeout=30, until=b"up\n")
    stats = engine.stats(created.id)
    assert stats.memory is not None and 0 < stats.memory < 64 * MIB
    assert stats.memory_peak is not None and stats.memory_peak >= stats.memory
    assert stats.cpu is not None and 0.001 < stats.cpu < 30
    assert stats.pids is not None and 1 <= stats.pids <= 10
    assert stats.oom_kills == 0
    engine.kill(created.id)
    engine.wait(created.id, timeout=10)
    streams.close()
    assert engine.stats(created.id).memory is None


def test_containers_are_found_by_label(engine: Engine, containers: Containers) -> None:
    token = os.urandom(6).hex()
    created = [containers.create("true", labels={"pytest-sandbox.probe": f"{token},with=signs"}) for _ in range(2)]
    containers.create("true", labels={"pytest-sandbox.probe": "another"})
    found = engine.find(f"pytest-sandbox.probe={token},with=signs")
    assert {state.id for state in found} == {each.id for each in created}
    assert {state.name for state in found} == {each.name for each in created}
    assert all(state.labels["pytest-sandbox.probe"] == f"{token},with=signs" for state in found)


def test_eight_threads_share_one_engine(engine: Engine, containers: Containers) -> None:
    results: dict[int, tuple[int, str, str]] = {}

    def work(number: int) -> None:
        results[number] = containers.run(f"cat; exit {number}", stdin=f"input {number}".encode())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: (number, f"input {number}", "") for number in range(8)}


def test_create_and_remove_leave_no_descriptor_behind(engine: Engine, containers: Containers) -> None:
    def once() -> None:
        created = containers.create("cat", stdin=True)
        streams = engine.open(created.id)
        streams.collect(b"x", timeout=20)
        engine.wait(created.id, timeout=10)
        streams.close()
        engine.remove(created.id)

    once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        once()
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.usefixtures("engine")
def test_what_comes_after_the_close_leaves_no_connection_behind(engine_name: str) -> None:
    kind, transport = COMBINATIONS[engine_name]
    own = detect_engine(kind, transport=transport)
    with ThreadPoolExecutor(8) as threads:  # whose connections are open at the same time
        list(threads.map(lambda _: own.find(f"{TEST_LABEL}=none"), range(8)))
        own.close()
        before = len(os.listdir("/proc/self/fd"))
        list(threads.map(lambda _: own.find(f"{TEST_LABEL}=none"), range(40)))
        assert len(os.listdir("/proc/self/fd")) <= before


def test_images_are_found_by_label_and_told_about(engine: Engine, busybox: str) -> None:
    (image,) = engine.list_images(f"{TEST_LABEL}={TOKEN}")
    assert image.id == busybox
    image = engine.inspect_image(busybox)
    assert image.labels[TEST_LABEL] == TOKEN
    assert image.architecture == os.uname().machine
    assert "PATH=/bin" in image.env
    assert image.size > 1000


def test_an_archive_that_is_none_is_refused(engine: Engine) -> None:
    with pytest.raises(EngineRefused, match="load an image"):
        engine.load([b"this is no archive" * 1000])


def test_the_specification_is_not_changed_by_the_engine(engine: Engine, busybox: str) -> None:
    spec = ContainerSpec(image=busybox, command=("/bin/true",), env={"A": "b"}, labels={"x": "y"})
    copy = ContainerSpec(image=busybox, command=("/bin/true",), env={"A": "b"}, labels={"x": "y"})
    engine.remove(engine.create(spec).id)
    assert spec == copy


def test_what_the_engine_warns_of_is_told(
    engine: Engine, engine_name: str, containers: Containers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = "Your kernel does not support swap limit capabilities"
    if isinstance(engine, CliEngine):
        # The real client, and one line more on its standard error.
        client = tmp_path / "client"
        client.write_text(f'#!/bin/sh\necho "WARNING: {warning}" >&2\nexec {shutil.which(engine.name)} "$@"\n')
        client.chmod(0o755)
        warned: Engine = CliEngine(str(client), environ=os.environ)
    else:
        from docker.api.client import APIClient

        original: Any = APIClient.create_container_from_config

        def create(self: Any, *args: Any, **kwargs: Any) -> Any:
            return {**original(self, *args, **kwargs), "Warnings": [warning]}

        monkeypatch.setattr(APIClient, "create_container_from_config", create)
        warned = engine
    created = Containers(warned, containers.image).create("true")
    try:
        assert any(warning in line for line in created.warnings)
    finally:
        warned.remove(created.id)
    monkeypatch.undo()
    assert containers.create("true").warnings == ()


def test_only_so_much_of_the_output_is_kept_as_was_asked_for(engine: Engine, containers: Containers) -> None:
    created = containers.create("yes | head -c 3000000; echo end >&2")
    streams = engine.open(created.id)
    out, err = streams.collect(timeout=30, limit=1000)
    streams.close()
    assert len(out) == 1000
    assert err == b"end\n"


def test_output_that_does_not_end_has_a_deadline(engine: Engine, containers: Containers) -> None:
    created = containers.create("echo up; sleep 60")
    streams = engine.open(created.id)
    streams.collect(timeout=20, until=b"up\n")
    with pytest.raises(EngineTimeout, match="streams are still open"):
        streams.collect(timeout=0.2)
    streams.close()
