"""How fast a command runs, against the same without us."""

from __future__ import annotations

import os
import secrets
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_sandbox import DockerEntry, EntryRegistry, NativeEntry
from pytest_sandbox.engines.detect import detect_engine
from pytest_sandbox.engines.layers import ImageFile, ImageRecipe
from pytest_sandbox.entries import Confine
from pytest_sandbox.errors import EngineUnavailable

from .conftest import Meter

GIGABYTE = 1_000_000_000


def medians(first: Callable[[], object], second: Callable[[], object], *, rounds: int) -> tuple[float, float]:
    """Return the median durations of two things in seconds, measured in turn: what else the machine does hits both alike."""
    durations: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 2):
        for work, kept in zip((first, second), durations, strict=True):
            started = time.perf_counter()
            work()
            if turn >= 2:
                kept.append(time.perf_counter() - started)
    return statistics.median(durations[0]), statistics.median(durations[1])


def test_a_native_command(meter: Meter) -> None:
    bare = ["true"]
    with EntryRegistry.of(NativeEntry(name="shell"), NativeEntry(name="jail", confine=Confine(strict=True))) as registry:
        shell, jail = registry.get("shell"), registry.get("jail")

        def without_us() -> None:
            subprocess.run(bare, capture_output=True, env={}, start_new_session=True, check=True)

        ours, theirs = medians(lambda: shell.run("true").check(), without_us, rounds=400)
        meter.note("exec.native: run('true'), p50", ours * 1000, "ms", baseline=theirs * 1000, aim=2.0)
        confined, theirs = medians(lambda: jail.run("true").check(), without_us, rounds=50)
        meter.note("exec.native, confined: run('true'), p50", confined * 1000, "ms", baseline=theirs * 1000)

        def step_by_step() -> None:
            process = shell.exec("true")
            process.start()
            process.wait()
            process.close()

        meter.note("exec.native: exec, start, wait, close, p50", meter.seconds(step_by_step, rounds=400) * 1000, "ms")


def test_getting_and_closing_executors(meter: Meter) -> None:
    registry = EntryRegistry.of(NativeEntry(name="shell"))

    def pairs() -> None:
        for _ in range(1000):
            registry.get("shell").close()

    meter.note("1000 pairs of get and close", meter.seconds(pairs, rounds=10) * 1000, "ms", aim=50.0)


def test_a_gigabyte_from_a_native_command(meter: Meter) -> None:
    line = f"head -c {GIGABYTE} /dev/zero"
    with EntryRegistry.of(NativeEntry(name="shell")) as registry:
        shell = registry.get("shell")
        me = psutil.Process()
        most = before = me.memory_info().rss

        def stream() -> None:
            nonlocal most
            process = shell.exec(line)
            out = process.stdout_stream()
            process.start()
            total = 0
            for piece in out:
                total += len(piece)
                most = max(most, me.memory_info().rss)
            assert (total, process.wait()) == (GIGABYTE, 0)

        seconds = meter.seconds(stream, rounds=5, warm_up=1)
    meter.note("exec.native: 1 GB streamed (2 s is 500 MB/s)", seconds, "s", aim=2.0)
    meter.note("exec.native: memory while 1 GB is streamed", (most - before) / 1e6, "MB", aim=40.0)


FLAGS = [
    *("--init", "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=65534:65534"),
    *("--memory=256m", "--memory-swap=256m", "--pids-limit=64", "--log-driver=none", "--pull=never", "--entrypoint="),
]
STRICT: dict[str, Any] = {
    "network_mode": "none",
    "read_only_rootfs": True,
    "cap_drop": ("ALL",),
    "no_new_privileges": True,
    "user": "65534:65534",
    "memory_limit": 256 << 20,
    "pids_limit": 64,
}


@pytest.fixture
def image() -> Iterator[str]:
    """The tag of an image with a few programs, on Docker; gone afterwards."""
    busybox = shutil.which("busybox")
    if busybox is None or shutil.which("docker") is None:
        pytest.skip("busybox or docker is not installed")
    try:
        engine = detect_engine("docker", transport="socket")
    except EngineUnavailable as error:
        pytest.skip(str(error))
    files = {f"/bin/{name}": ImageFile(Path(busybox).resolve(), 0o755) for name in ("true", "head", "sleep", "sh")}
    recipe = ImageRecipe(files=files, architecture=os.uname().machine, config={"Env": ["PATH=/bin"]})
    tag = f"localhost/pytest-sandbox-benchmark/busybox:{secrets.token_hex(6)}"
    engine.load(recipe.archive(tag, {"pytest-sandbox.test": "benchmark"}))
    yield tag
    engine.remove_image(tag)


def test_a_command_in_a_container(meter: Meter, image: str) -> None:
    entry = DockerEntry(name="box", image=image, auto_remove=True, **STRICT)
    with EntryRegistry.of(entry) as registry, registry.get("box") as box:
        run = ["docker", "run", "--rm", *FLAGS, image, "true"]
        ours, theirs = medians(lambda: box.run("true").check(), lambda: subprocess.run(run, check=True), rounds=15)
    meter.note("exec.docker: run('true'), p50", ours * 1000, "ms", baseline=theirs * 1000, aim=1.0)


def test_a_command_in_a_running_container(meter: Meter, image: str) -> None:
    with EntryRegistry.of(DockerEntry(name="box", image=image)) as registry, registry.get("box").exec("sleep 1000") as process:
        process.start()
        inside = registry.get("box", container=process.container)  # type: ignore[attr-defined]
        run = ["docker", "exec", process.container, "true"]  # type: ignore[attr-defined]
        ours, theirs = medians(lambda: inside.run("true").check(), lambda: subprocess.run(run, check=True), rounds=15)
    meter.note("exec.docker, running container: run('true'), p50", ours * 1000, "ms", baseline=theirs * 1000)


def test_much_output_of_a_container(meter: Meter, image: str) -> None:
    size = 200_000_000
    entry = DockerEntry(name="box", image=image, auto_remove=True, **STRICT)
    with EntryRegistry.of(entry) as registry, registry.get("box") as box:

        def ours() -> None:
            process = box.exec(f"head -c {size} /dev/zero")
            out = process.stdout_stream()
            process.start()
            assert sum(map(len, out)) == size
            process.wait()
            process.close()

        def theirs() -> None:
            command = ["docker", "run", "--rm", *FLAGS, image, "head", "-c", str(size), "/dev/zero"]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                total = 0
                while piece := process.stdout.read(1 << 20):
                    total += len(piece)
            assert total == size

        mine, docker = medians(ours, theirs, rounds=3)
    meter.note("exec.docker: 200 MB streamed", mine, "s", baseline=docker, aim=1.0)
