"""`exec.docker` on every engine: each field by its effect, with the reference's defaults, and the life of containers."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox.commands.docker import DockerExecutor
from pytest_sandbox.engines.base import Engine
from pytest_sandbox.entries import DockerEntry, EntryRegistry, Mount
from pytest_sandbox.errors import (
    CommandNotAllowed,
    CommandNotStarted,
    EngineError,
    EngineUnavailable,
    EnvironmentNotAllowed,
    ExecutorClosed,
    InvalidArgument,
    InvalidCommand,
    ProcessStateError,
    ProcessTimeout,
    WorkDirNotAllowed,
)
from tests.real_engines import ACROSS, engine_named

from .conftest import Boxes

MIB = 1 << 20
STRICT: dict[str, Any] = {
    "network_mode": "none",
    "read_only_rootfs": True,
    "cap_drop": ("ALL",),
    "no_new_privileges": True,
    "pids_limit": 64,
    "memory_limit": 256 * MIB,
    "user": "1000:1000",
    "auto_remove": True,
}


def script(text: str) -> str:
    """A command line that runs a shell script."""
    quoted = text.replace("'", "'\"'\"'")
    return f"sh -c '{quoted}'"


def read_until(stream: Any, mark: bytes) -> bytes:
    text = b""
    while mark not in text:
        piece = stream.read(1000)
        assert piece, f"the stream ended after {text!r}"
        text += piece
    return text


def test_a_command_runs_and_comes_back_with_streams_and_exit_code(boxes: Any) -> None:
    box = boxes.make(auto_remove=True)
    result = box.run(script("cat; echo err >&2; exit 5"), stdin="grüß")
    assert (result.exit_code, result.signal, result.stdout, result.stderr) == (5, None, "grüß", "err\n")
    assert (result.stdout_size, result.usage.output, result.truncated, result.oom_killed) == (6, 10, False, False)
    assert box.run("cat").check().stdout == ""


# -- each field by its effect ------------------------------------------------------------------------------------------


@ACROSS
def test_image_is_what_runs_without_its_entrypoint(boxes: Any) -> None:
    box = boxes.make(auto_remove=True)
    assert box.run("cat /made-by").check().stdout == "the tests\n"
    with pytest.raises(CommandNotStarted, match="is not present and nothing is pulled unasked"):
        boxes.make(image="localhost/no-such-image:x", pull="never").run("true")


def test_host_is_the_engine_that_is_used(engine: Engine, busybox: str) -> None:
    other = "podman" if engine.name == "docker" else "docker"
    url = engine_named(f"{engine.name}-sdk").info.endpoint
    entry = DockerEntry(name="box", image=busybox, host=url, auto_remove=True)
    with EntryRegistry.of(entry) as registry:
        box = registry.get("box")
        assert isinstance(box, DockerExecutor)
        assert box.engine.name == engine.name
        assert box.run("cat /made-by").check().stdout == "the tests\n"
    nowhere = EntryRegistry.of(DockerEntry(name="box", image="x", host=f"unix:///no/such/{other}.sock"))
    with nowhere, pytest.raises(EngineUnavailable, match="no such socket"):
        nowhere.get("box").run("true")


@ACROSS
def test_default_work_dir_and_the_calls_work_dir(boxes: Any) -> None:
    # The default: the image's own.
    assert boxes.make(auto_remove=True).run("pwd").stdout == "/home\n"
    box = boxes.make(default_work_dir="/home/inner", auto_remove=True)
    assert box.run("pwd").stdout == "/home/inner\n"
    assert box.run("pwd", work_dir="deep").stdout == "/home/inner/deep\n"
    assert box.run("pwd", work_dir="/etc").stdout == "/etc\n"
    with pytest.raises(InvalidCommand, match="is relative, and the entry has no default_work_dir"):
        boxes.make().exec("pwd", work_dir="deep")


@ACROSS
def test_default_env_is_merged_with_the_call_and_lies_over_the_images(boxes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_OF_THE_HOST", "seen")
    box = boxes.make(default_env={"A": "entry", "B": "entry"}, auto_remove=True)
    lines = box.run("env", env={"B": "call", "C": "a=b c"}).stdout.splitlines()
    assert {"A=entry", "B=call", "C=a=b c", "OF_THE_IMAGE=yes", "PATH=/bin"} <= set(lines)
    assert not [line for line in lines if "CANARY" in line or "proxy" in line.lower()]


@ACROSS
def test_command_whitelist_is_exact_and_binds_environment_and_folder(boxes: Any) -> None:
    box = boxes.make(command_whitelist=("pwd", "env"), env_allow=("A",), default_work_dir="/home/inner", auto_remove=True)
    assert box.run("pwd", work_dir="deep").check().stdout == "/home/inner/deep\n"
    assert "A=1" in box.run("env", env={"A": "1"}).stdout
    for command in ("pwd ", " pwd", "pwd;id", "PWD", "pwd\n", "id"):
        with pytest.raises(CommandNotAllowed):
            box.exec(command)
    for name in ("PATH", "LD_PRELOAD", "B"):
        with pytest.raises(EnvironmentNotAllowed):
            box.exec("env", env={name: "x"})
    for folder in ("..", "/", "/home/inner-twin", "deep/../..", "../inner/../..", "/home/inner/../../etc"):
        with pytest.raises(WorkDirNotAllowed):
            box.exec("pwd", work_dir=folder)
    assert boxes.left() == []


@ACROSS
def test_a_link_that_a_command_left_in_a_volume_leads_no_command_out(boxes: Any, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/link").symlink_to("/etc")
    (tmp_path / "inside/real").mkdir()
    fields: dict[str, Any] = {"default_work_dir": "/data", "volumes": (f"{tmp_path}:/data",), "auto_remove": True}
    # The positive control: without a whitelist the link leads to /etc of the container.
    assert boxes.make(**fields).run("pwd -P", work_dir="inside/link").stdout == "/etc\n"
    bound = boxes.make(command_whitelist=("pwd -P",), **fields)
    assert bound.run("pwd -P", work_dir="inside/real").check().stdout == "/data/inside/real\n"
    with pytest.raises(WorkDirNotAllowed, match=r"/data/inside/link -> /etc \(a symbolic link in a volume\)"):
        bound.run("pwd -P", work_dir="inside/link")


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
                connection.sendall(b"welcome\n")
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], visitors


@ACROSS
def test_network_mode_decides_what_can_be_reached(boxes: Any, knocked: tuple[int, list[str]]) -> None:
    port, visitors = knocked
    knock = script(f"echo trying; ls /sys/class/net; nc -w 2 127.0.0.1 {port} </dev/null; echo $?")
    none = boxes.make(network_mode="none", auto_remove=True).run(knock).stdout.split()
    assert (none[0], none[1:-1], none[-1] != "0") == ("trying", ["lo"], True)
    # The default is a bridge: a network, but not the host's.
    bridge = boxes.make(auto_remove=True).run(knock).stdout.split()
    assert bridge[0] == "trying"
    assert len(bridge[1:-1]) >= 2
    assert "lo" in bridge[1:-1]
    assert bridge[-1] != "0"
    assert visitors == []
    host = boxes.make(network_mode="host", auto_remove=True).run(knock).stdout
    assert "welcome" in host
    assert visitors == ["127.0.0.1"]


@ACROSS
def test_volumes_are_mounted_writable_or_read_only(boxes: Any, tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    (tmp_path / "file").write_text("of the host\n")
    (tmp_path / "rw").mkdir()
    box = boxes.make(
        volumes=(
            f"{tmp_path}/rw:/rw",
            f"{tmp_path}/file:/etc/file:ro",
            Mount(source=f"{tmp_path}/a:b", target="/c:d"),
            Mount(source=f"{tmp_path}/a:b", target="/readonly", read_only=True),
        ),
        auto_remove=True,
    )
    result = box.run(script("cat /etc/file; touch /rw/new /c:d/new; echo x >/etc/file; touch /readonly/no; echo done"))
    assert result.stdout == "of the host\ndone\n"
    assert result.stderr.count("Read-only file system") == 2
    assert (tmp_path / "rw/new").exists()
    assert sorted(os.listdir(tmp_path / "a:b")) == ["new"]
    assert (tmp_path / "file").read_text() == "of the host\n"


@ACROSS
def test_a_volume_whose_source_is_missing_is_an_error_and_is_not_made(boxes: Any, tmp_path: Path) -> None:
    with pytest.raises(CommandNotStarted, match="missing"):
        boxes.make(volumes=(f"{tmp_path}/missing:/data",)).run("true")
    assert list(tmp_path.iterdir()) == []
    assert boxes.left() == []


@ACROSS
def test_user_is_who_runs_inside(boxes: Any) -> None:
    reading = script("id -u; id -g; cat /etc/secret")
    # The default: the image's own, here root.
    assert boxes.make(auto_remove=True).run(reading).stdout == "0\n0\nsecret of the image\n"
    refused = boxes.make(user="node", auto_remove=True).run(reading)
    assert (refused.stdout, "Permission denied" in refused.stderr) == ("1000\n1000\n", True)
    assert boxes.make(user="1234:55", auto_remove=True).run(reading).stdout == "1234\n55\n"


def test_a_user_that_the_image_does_not_know_is_an_error_and_nothing_is_left(boxes: Any) -> None:
    with pytest.raises(CommandNotStarted, match="nobody-knows-me"):
        boxes.make(user="nobody-knows-me", auto_remove=True).run("true")
    assert boxes.left() == []


@ACROSS
def test_memory_limit_ends_what_takes_more(boxes: Any) -> None:
    # dd takes a buffer of its block size at once.
    hungry = script("echo trying; exec dd if=/dev/zero of=/dev/null bs=100M count=1")
    # The default, 0, is unlimited.
    assert boxes.make(auto_remove=True).run(hungry).exit_code == 0
    result = boxes.make(memory_limit=32 * MIB, auto_remove=True).run(hungry)
    assert result.stdout == "trying\n"
    assert (result.exit_code, result.oom_killed) == (137, True)
    assert "ran out of memory" in result.outcome()
    killed = boxes.make(memory_limit=32 * MIB, auto_remove=True).run(script("kill -9 $$"))
    assert (killed.exit_code, killed.oom_killed) == (137, False)


@ACROSS
def test_cpu_quota_slows_a_command_down(boxes: Any) -> None:
    work = script(
        "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; cat /sys/fs/cgroup/cpu.stat /sys/fs/cgroup/cpu/cpu.stat 2>/dev/null; true"
    )

    def throttled(**fields: Any) -> int:
        facts = dict(line.split() for line in boxes.make(auto_remove=True, **fields).run(work).check().stdout.splitlines())
        return int(facts["nr_throttled"])

    # The default, 0, is unlimited.
    assert throttled() == 0
    assert throttled(cpu_quota=5000) > 0


@ACROSS
def test_pids_limit_stops_further_processes(boxes: Any) -> None:
    many = script("echo trying; i=0; while [ $i -lt 30 ]; do sleep 5 & i=$((i+1)); done; echo all")
    # The default, 0, is unlimited.
    assert boxes.make(auto_remove=True).run(many).stdout == "trying\nall\n"
    limited = boxes.make(pids_limit=10, auto_remove=True).run(many)
    assert limited.stdout.startswith("trying\n")
    assert "can't fork" in limited.stderr


@ACROSS
def test_auto_remove_decides_when_the_container_goes(boxes: Any, engine: Engine) -> None:
    boxes.make(auto_remove=True).run("true").check()
    assert boxes.left() == []
    # The default: it is kept for inspection until the executor is closed.
    kept = boxes.make()
    kept.run(script("echo x >/tmp/evidence; exit 3"))
    kept.run("true")
    (one, two) = boxes.left()
    assert sorted([engine.inspect(one).exit_code, engine.inspect(two).exit_code]) == [0, 3]  # type: ignore[type-var]
    kept.close()
    assert boxes.left() == []


@ACROSS
def test_keep_leaves_the_container_behind(boxes: Any, engine: Engine) -> None:
    from pytest_sandbox.engines.owner import KEPT_LABEL

    box = boxes.make(keep=True)
    box.run(script("echo for later")).check()
    box.close()
    (name,) = boxes.left()
    state = engine.inspect(name)
    assert state.exit_code == 0
    assert KEPT_LABEL in state.labels
    assert b"for later" in engine.logs(name)
    engine.remove(name)


@ACROSS
def test_read_only_rootfs_and_tmpfs(boxes: Any, engine: Engine) -> None:
    writing = script("echo trying; touch /new && echo root; touch /tmp/new && echo tmp; touch /scratch/new && echo scratch")
    # The default: everything can be written to. There is no /scratch.
    assert boxes.make(auto_remove=True).run(writing).stdout == "trying\nroot\ntmp\n"
    # Podman puts a file system in memory on the /tmp of a container whose root is read-only, whether one wants it or not.
    tmp = "tmp\n" if engine.name == "podman" else ""
    assert boxes.make(read_only_rootfs=True, auto_remove=True).run(writing).stdout == f"trying\n{tmp}"
    box = boxes.make(read_only_rootfs=True, tmpfs={"/scratch": "rw,noexec,size=1m"}, auto_remove=True)
    options = script(
        "touch /scratch/new && echo scratch; dd if=/dev/zero of=/scratch/big bs=64k count=32; rm /scratch/big; cp /bin/busybox /scratch/busybox; /scratch/busybox true; "
        "grep ' /scratch ' /proc/mounts"
    )
    result = box.run(options)
    assert "No space left on device" in result.stderr
    assert "Permission denied" in result.stderr
    assert result.stdout.startswith("scratch\n")
    assert "noexec" in result.stdout


@ACROSS
def test_no_new_privileges_takes_the_power_of_set_user_id_programs(boxes: Any) -> None:
    # The parent of the inner shell is the set-user-id program.
    effective = "suid-init -s -- sh -c 'grep ^Uid: /proc/$PPID/status'"
    # The default: it becomes root.
    first = boxes.make(user="1000", auto_remove=True).run(effective)
    assert first.check().stdout.split()[1:3] == ["1000", "0"]
    second = boxes.make(user="1000", no_new_privileges=True, auto_remove=True).run(effective)
    assert second.check().stdout.split()[1:3] == ["1000", "1000"]


@ACROSS
def test_cap_drop_and_cap_add(boxes: Any) -> None:
    attempt = script("echo trying; chown 7 /made-by && echo changed; grep CapEff /proc/self/status")
    # The default: the engine's own set, in which is CAP_CHOWN.
    assert "changed" in boxes.make(auto_remove=True).run(attempt).stdout
    dropped = boxes.make(cap_drop=("ALL",), auto_remove=True).run(attempt)
    assert dropped.stdout.split() == ["trying", "CapEff:", "0000000000000000"]
    assert "Operation not permitted" in dropped.stderr
    added = boxes.make(cap_drop=("ALL",), cap_add=("CHOWN",), auto_remove=True).run(attempt)
    assert added.stdout.split() == ["trying", "changed", "CapEff:", "0000000000000001"]


@ACROSS
def test_runtime_is_the_one_that_starts_the_container(boxes: Any) -> None:
    assert boxes.make(runtime="runc", auto_remove=True).run("true").check()
    with pytest.raises(CommandNotStarted, match="no-such-runtime"):
        boxes.make(runtime="no-such-runtime", auto_remove=True).run("true")
    assert boxes.left() == []


@ACROSS
def test_a_platform_that_the_image_is_not_for_is_an_error(boxes: Any) -> None:
    mine = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[os.uname().machine]
    assert boxes.make(platform=mine, auto_remove=True).run("true").check()
    other = "linux/s390x"
    with pytest.raises(CommandNotStarted):
        boxes.make(platform=other, pull="never", auto_remove=True).run("true")
    assert boxes.left() == []


@ACROSS
def test_pull_missing_is_the_default_and_says_why_it_failed(boxes: Any) -> None:
    # Nobody listens on port 1: a registry that is not there.
    missing = "127.0.0.1:1/no/such:image"
    with pytest.raises(CommandNotStarted, match=r"Cannot pull image|no route"):
        boxes.make(image=missing).run("true")
    with pytest.raises(CommandNotStarted, match="nothing is pulled unasked"):
        boxes.make(image=missing, pull="never").run("true")


@ACROSS
def test_pull_always_asks_the_registry_even_for_an_image_that_is_there(boxes: Any) -> None:
    with pytest.raises(CommandNotStarted, match="Cannot pull image"):
        boxes.make(pull="always").run("true")


@pytest.fixture
def registry(boxes: Any, engine: Engine, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a registry on this machine that has the image "box:1", and the paths that it was asked for."""
    if engine.name != "docker":
        pytest.skip("only Docker takes a registry of this machine without TLS")
    archive = tmp_path / "image.tar"
    subprocess.run(["docker", "save", "-o", str(archive), boxes.image], check=True)
    blobs: dict[str, bytes] = {}

    def blob(kind: str, data: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        blobs[digest] = data
        return {"mediaType": f"application/vnd.docker.{kind}", "size": len(data), "digest": digest}

    with tarfile.open(archive) as tar:

        def member(name: str) -> bytes:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()

        listing = json.loads(member("manifest.json"))[0]
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": blob("container.image.v1+json", member(listing["Config"])),
            "layers": [blob("image.rootfs.diff.tar.gzip", gzip.compress(member(name), 1)) for name in listing["Layers"]],
        }
    body = json.dumps(manifest).encode()
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            kind, data = "application/octet-stream", blobs.get(self.path.rpartition("/")[2], b"{}")
            if "/manifests/" in self.path:
                kind, data = str(manifest["mediaType"]), body
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(data).hexdigest()}")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        yield address, asked
        server.shutdown()
    engine.remove_image(f"{address}/box:1")


def test_a_missing_image_is_pulled_with_progress_and_only_then(
    boxes: Any, engine: Engine, registry: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    address, asked = registry
    image = f"{address}/box:1"
    with pytest.raises(CommandNotStarted, match="nothing is pulled unasked"):
        boxes.make(image=image, pull="never").run("true")
    assert asked == []
    assert boxes.make(image=image, auto_remove=True).run("cat /made-by").check().stdout == "the tests\n"
    assert any("/manifests/" in path for path in asked)
    assert f"pulling {image}: " in capsys.readouterr().err
    asked.clear()
    boxes.make(image=image, auto_remove=True).run("true").check()
    assert asked == []
    boxes.make(image=image, pull="always", auto_remove=True).run("true").check()
    assert any("/manifests/" in path for path in asked)


# -- programs, signals, ends -------------------------------------------------------------------------------------------


def test_a_program_that_cannot_run_is_a_typed_error_and_nothing_is_left(boxes: Any, engine_name: str) -> None:
    box = boxes.make(auto_remove=True)
    # The others come to the same end by another way in the same program, the engine's init.
    others = ["/etc", "./nothing"] if engine_name in ("docker-sdk", "podman-cli") else []
    for command in ["no-such-program -x", "/etc/plain", *others]:
        with pytest.raises(InvalidCommand, match="the container cannot run its program"):
            box.run(command)
    assert boxes.left() == []


@ACROSS
def test_exit_codes_follow_the_shell(boxes: Any) -> None:
    box = boxes.make(auto_remove=True)
    result = box.run(script("kill -11 $$"))
    assert (result.exit_code, result.signal) == (139, "SIGSEGV")
    assert box.run(script("exit 42")).exit_code == 42


def test_a_signal_reaches_a_program_that_is_not_made_to_be_process_1(boxes: Any) -> None:
    with boxes.make(auto_remove=True).exec("sleep 1000") as process:
        process.start()
        process.signal(signal.SIGTERM)
        assert process.wait(30) == 143
        assert process.signal_name == "SIGTERM"


@ACROSS
def test_a_program_can_handle_a_signal(boxes: Any) -> None:
    line = script("trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 0.05; done")
    with boxes.make(auto_remove=True).exec(line) as process:
        out = process.stdout_stream()
        process.start()
        read_until(out, b"ready\n")
        process.signal(signal.SIGUSR1)
        assert process.wait(30) == 7
        assert out.read() == b"got it\n"


def test_a_timeout_kills_everything_and_returns_what_was_printed(boxes: Any) -> None:
    result = boxes.make(auto_remove=True).run(script("trap '' TERM; sleep 1000 & echo so far; wait"), timeout=2)
    assert result.timed_out
    assert (result.exit_code, result.signal, result.stdout) == (137, "SIGKILL", "so far\n")
    assert boxes.left() == []


@ACROSS
def test_close_asks_first_and_kills_after_the_grace_period(boxes: Any, tmp_path: Path) -> None:
    volume = (f"{tmp_path}:/data",)
    polite = boxes.make(volumes=volume, grace_period=20.0).exec(
        script("trap 'echo bye >/data/said; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    )
    out = polite.stdout_stream()
    polite.start()
    read_until(out, b"ready\n")
    polite.close()
    assert (tmp_path / "said").read_text() == "bye\n"
    stubborn = boxes.make(grace_period=0.3).exec(script("trap '' TERM; echo ready; while :; do sleep 0.05; done"))
    out = stubborn.stdout_stream()
    stubborn.start()
    read_until(out, b"ready\n")
    stubborn.close()
    assert stubborn.returncode == 137


@ACROSS
def test_the_state_of_a_process_is_checked(boxes: Any) -> None:
    process = boxes.make(auto_remove=True).exec("cat")
    for operation in (process.poll, process.wait, lambda: process.signal(15), lambda: process.write_stdin("x")):
        with pytest.raises(ProcessStateError, match="is not started"):
            operation()
    stream = process.stdout_stream()
    process.start()
    with pytest.raises(ProcessStateError, match="is started already"):
        process.start()
    assert process.poll() is None
    assert process.container
    with pytest.raises(ProcessTimeout):
        process.wait(0.1)
    process.write_stdin("in")
    process.write_stdin("")
    assert stream.read() == b"in"
    assert process.wait(30) == 0
    with pytest.raises(ProcessStateError, match="has exited with 0"):
        process.write_stdin("x")
    process.close()
    for operation in (process.poll, process.start, stream.read, process.stdout_stream):
        with pytest.raises(ProcessStateError, match="is closed"):
            operation()
    assert boxes.left() == []


@ACROSS
def test_nothing_is_lost_when_wait_comes_first(boxes: Any) -> None:
    with boxes.make(auto_remove=True).exec(script("head -c 3000000 /dev/zero; head -c 2000000 /dev/zero >&2")) as process:
        process.start()
        assert process.wait(60) == 0
        assert len(process.stdout_stream().read()) == 3_000_000
        assert len(process.stderr_stream().read()) == 2_000_000


@ACROSS
def test_much_on_both_streams_while_input_is_written_does_not_deadlock(boxes: Any) -> None:
    line = script("head -c 20000000 /dev/zero & head -c 20000000 /dev/zero >&2 & wc -c; wait")
    result = boxes.make(auto_remove=True, output_limit=MIB).run(line, stdin=b"x" * 5_000_000)
    assert result.exit_code == 0
    assert result.stdout_size == 20_000_000 + len("5000000\n")
    assert result.stderr_size == 20_000_000
    assert result.truncated
    assert len(result.stdout_bytes) == len(result.stderr_bytes) == MIB


@ACROSS
def test_a_stream_is_read_while_the_process_runs_and_loses_nothing(boxes: Any) -> None:
    with boxes.make(auto_remove=True, output_limit=1000).exec(script("head -c 30000000 /dev/zero")) as process:
        out = process.stdout_stream()
        process.start()
        time.sleep(0.5)  # not a synchronisation: a reader that is late
        assert sum(map(len, out)) == 30_000_000
        assert process.wait(30) == 0


@ACROSS
def test_closing_the_executor_ends_everything(boxes: Any) -> None:
    box = boxes.make()
    processes = [box.exec("sleep 1000") for _ in range(3)]
    for process in processes[:2]:
        process.start()
    box.run("true")
    assert len(boxes.left()) == 3
    box.close()
    box.close()
    assert boxes.left() == []
    with pytest.raises(ExecutorClosed):
        box.run("true")
    with pytest.raises(ProcessStateError):
        processes[2].start()


@ACROSS
def test_several_commands_run_at_the_same_time(boxes: Any) -> None:
    box = boxes.make(auto_remove=True)

    async def main() -> list[str]:
        lines = [script(f"sleep 0.2; echo {number}") for number in range(4)]
        return [result.stdout for result in await asyncio.gather(*(box.arun(line) for line in lines))]

    assert asyncio.run(main()) == [f"{number}\n" for number in range(4)]
    assert boxes.left() == []


@ACROSS
def test_cancelling_arun_removes_the_container(boxes: Any) -> None:
    box = boxes.make(auto_remove=True)

    async def main() -> None:
        task = asyncio.create_task(box.arun("sleep 1000"))
        while not boxes.left():
            await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert boxes.left() == []


@ACROSS
def test_a_container_that_somebody_removes_is_a_typed_outcome_and_no_hang(boxes: Any, engine: Engine) -> None:
    box = boxes.make()
    process = box.exec("sleep 1000")
    process.start()
    assert process.container is not None
    subprocess.run([engine.name, "rm", "-f", process.container], check=True, capture_output=True)
    begun = time.monotonic()
    # Which of the two it is depends on who is faster, the end of the program or that of the container.
    code: int | None = None
    with contextlib.suppress(EngineError):
        code = process.wait(30)
    assert code in (None, 137)
    assert time.monotonic() - begun < 20
    box.close()


@ACROSS
def test_a_forked_child_leaves_the_containers_to_its_parent(boxes: Any) -> None:
    box = boxes.make()
    with box.exec("cat") as process:
        out = process.stdout_stream()
        process.start()
        pid = os.fork()
        if pid == 0:
            try:
                process.close(force=True)
                box.close()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        process.write_stdin("still here\n")
        assert read_until(out, b"\n") == b"still here\n"
        process.write_stdin("")
        assert process.wait(30) == 0


# -- a container that is running already --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(engine: Engine, busybox: str) -> Iterator[str]:
    """The id of a container that runs."""
    home = Boxes(engine, busybox)
    box = home.make(default_env={"OWN": "yes"})
    with box.exec("sleep 1000") as process:
        process.start()
        yield process.container  # type: ignore[attr-defined]
    box.close()
    assert home.left() == []


@ACROSS
def test_commands_run_in_a_running_container(boxes: Any, running: str) -> None:
    box = boxes.make(container=running, default_env={"A": "1"}, default_work_dir="/home/inner")
    result = box.run(script("cat; pwd; echo $A $OWN; echo err >&2; exit 5"), stdin="in\n")
    assert (result.exit_code, result.stdout, result.stderr) == (5, "in\n/home/inner\n1 yes\n", "err\n")
    assert box.run("pwd", work_dir="/etc").stdout == "/etc\n"
    assert boxes.make(container=running, user="node").run("id -u").stdout == "1000\n"
    assert boxes.left() == [], "no further container is made"


@ACROSS
def test_the_whitelist_binds_in_a_running_container_too(boxes: Any, running: str) -> None:
    assert boxes.make(container=running).run(script("ln -sfn /etc /home/inner/link")).exit_code == 0
    box = boxes.make(container=running, command_whitelist=("pwd -P",), default_work_dir="/home/inner")
    assert box.run("pwd -P", work_dir="deep").check().stdout == "/home/inner/deep\n"
    with pytest.raises(CommandNotAllowed):
        box.exec("pwd")
    for folder in ("/etc", "..", "deep/../.."):
        with pytest.raises(WorkDirNotAllowed):
            box.exec("pwd -P", work_dir=folder)
    # Seen from inside only.
    with pytest.raises(WorkDirNotAllowed, match='leads to "/etc"'):
        box.run("pwd -P", work_dir="link")
    with pytest.raises(InvalidCommand, match="cannot be entered in the container"):
        box.run("pwd -P", work_dir="none")


@ACROSS
def test_a_timeout_kills_the_whole_group_in_a_running_container(boxes: Any, running: str) -> None:
    box = boxes.make(container=running)
    result = box.run(script("sleep 1234 & echo so far; wait"), timeout=3)
    assert result.timed_out
    assert (result.exit_code, result.stdout) == (137, "so far\n")
    survivors = box.run(script("grep -l 1234 /proc/[0-9]*/cmdline 2>/dev/null | grep -v self")).stdout.split()
    own = box.run(script("for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done")).stdout
    assert "sleep 1234" not in own, survivors


@ACROSS
def test_a_signal_reaches_the_group_in_a_running_container(boxes: Any, running: str) -> None:
    line = script("trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 0.05; done")
    with boxes.make(container=running).exec(line) as process:
        out = process.stdout_stream()
        process.start()
        assert process.pid
        read_until(out, b"ready\n")
        process.signal(signal.SIGTERM)
        assert process.wait(30) == 143


@ACROSS
def test_a_program_that_a_running_container_does_not_have_is_an_error(boxes: Any, running: str) -> None:
    with pytest.raises(InvalidCommand, match='the container has no program "no-such"'):
        boxes.make(container=running).run("no-such --x")


@ACROSS
def test_a_container_that_does_not_run_or_exist_is_an_error_before_start(boxes: Any) -> None:
    box = boxes.make()
    process = box.exec("true")
    process.start()
    process.wait(30)
    with pytest.raises(CommandNotStarted, match="is not running but exited; start it first"):
        boxes.make(container=process.container).exec("true")
    with pytest.raises(CommandNotStarted, match="no-such-container"):
        boxes.make(container="no-such-container").exec("true")


@ACROSS
def test_what_cannot_be_killed_is_an_error_before_start(boxes: Any) -> None:
    with boxes.make().exec(script("busybox rm /bin/sh; echo gone; exec sleep 1000")) as process:
        out = process.stdout_stream()
        process.start()
        read_until(out, b"gone\n")
        with pytest.raises(CommandNotStarted, match="could not be killed there: that takes a POSIX shell"):
            boxes.make(container=process.container).exec("sleep 1")


@ACROSS
def test_a_container_of_the_docker_sdk_serves(boxes: Any, running: str, engine: Engine) -> None:
    docker = pytest.importorskip("docker")
    client = docker.DockerClient(base_url=engine_named(f"{engine.name}-sdk").info.endpoint)
    try:
        container = client.containers.get(running)
        assert boxes.make(running=container).run("id -u").check().stdout == "0\n"
    finally:
        client.close()


# -- the end of the test run -----------------------------------------------------------------------------------------


@ACROSS
def test_no_container_is_left_when_a_test_run_ends_without_closing(boxes: Any, engine: Engine) -> None:
    program = f"""
from pytest_sandbox.commands.docker import DockerExecutor
from pytest_sandbox.engines.detect import detect_engine
from pytest_sandbox.entries import DockerEntry, EntryRegistry
engine = detect_engine({engine.name!r}, transport={engine.info.transport!r})
entry = DockerEntry(name={boxes.id.split(":")[1]!r}, image={boxes.image!r})
loaded = EntryRegistry.of(entry, namespace="test").entry({boxes.id!r})
box = DockerExecutor(loaded, engine=engine)
box.run("true")
process = box.exec("sleep 1000")
process.start()
print("ready", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60)
    assert done.stdout == b"ready\n", done.stderr.decode()
    end = time.monotonic() + 15
    while boxes.left():
        assert time.monotonic() < end, boxes.left()
        time.sleep(0.2)


def test_a_container_of_testcontainers_serves(boxes: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its own janitor is an image that only a registry has.
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    if engine.name != "docker":
        pytest.skip("testcontainers speaks to Docker here")
    core = pytest.importorskip("testcontainers.core.container")
    monkeypatch.setattr("testcontainers.core.config.testcontainers_config.ryuk_disabled", True)
    container = core.DockerContainer(boxes.image, entrypoint="").with_command("sleep 1000").with_env("OWN", "yes")
    with pytest.raises(InvalidArgument, match="a container that was started"):
        boxes.make(running=container).exec("true")
    with container:
        box = boxes.make(running=container, command_whitelist=("sh -c 'echo $OWN; exit 3'", "sleep 1000"))
        result = box.run("sh -c 'echo $OWN; exit 3'")
        assert (result.exit_code, result.stdout) == (3, "yes\n")
        assert box.run("sleep 1000", timeout=2).timed_out
        with pytest.raises(CommandNotAllowed):
            box.run("id")


@ACROSS
def test_a_container_for_an_entry_that_describes_one_is_an_argument_error(boxes: Any) -> None:
    # Its limits would be a promise that nobody keeps.
    with pytest.raises(InvalidArgument, match=r"which describes a container of its own \(memory_limit, network_mode\)"):
        boxes.make(running="abc", container=None, image="x", memory_limit=1 << 28, network_mode="none")


@pytest.mark.parametrize("wrong", [7, object(), "", b"abc"])
def test_what_is_no_container_is_an_argument_error(boxes: Any, wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match="container"):
        boxes.make(running=wrong).exec("true")
