"""An engine that vanishes in the middle of things, or whose disk is full: clear errors, no hang, and recovery where there can be one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox import ExecutorBroken, ExecutorUnavailable
from pytest_sandbox.commands.docker import DockerExecutor
from pytest_sandbox.engines.detect import detect_engine
from pytest_sandbox.engines.layers import ImageRecipe
from pytest_sandbox.engines.owner import OWNER_LABEL, owner_label
from pytest_sandbox.entries import DockerEntry, EntryRegistry
from pytest_sandbox.errors import CommandNotStarted, ContainerGone, EngineError, ExecutorClosed
from pytest_sandbox.snippets.container import ContainerExecutor
from tests.real_engines import engine_named

from .test_detect import Relay


def test_a_snippet_whose_engine_vanishes_ends_and_the_executor_works_again_with_it(tmp_path: Path) -> None:
    direct = engine_named("docker-sdk")
    relay = Relay(tmp_path / "engine.sock")
    executor = ContainerExecutor(host=f"unix://{relay.path}", transport="socket", spares=0)
    results: list[Any] = []
    running = threading.Thread(
        target=lambda: results.append(executor.execute("await codemode.begun(); for (;;) {}", {"begun": begun.set}))
    )
    begun = threading.Event()
    try:
        running.start()
        assert begun.wait(30)
        (runner,) = executor._pool._lent
        container = runner._link._container  # type: ignore[union-attr]
        assert direct.inspect(container).is_running
        relay.stop()
        running.join(15)
        assert not running.is_alive(), "it hangs"
        assert results[0].error.kind == "crash"
        assert "the engine cannot say how" in results[0].error.message
        with pytest.raises(ExecutorBroken, match="Cannot create a container with docker over socket"):
            executor.execute("return 1")
        relay = Relay(relay.path)
        assert executor.execute("return 1+1").check().value == 2
        # What was out of reach while the engine was away has been removed since.
        with pytest.raises(ContainerGone):
            direct.inspect(container)
    finally:
        executor.close()
        relay.stop()


class OwnDocker:
    """A Docker of our own on a disk of 100 MB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/d.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # In a network of its own: without a bridge it takes away Docker's, and there may be another Docker that needs it.
        command = [
            "unshare",
            "--net",
            "dockerd",
            f"--data-root={self.folder}/disk/data",
            f"--exec-root={self.folder}/exec",
            f"--host={self.url}",
        ]
        command += [f"--pidfile={self.folder}/pid", "--bridge=none", "--iptables=false", "--log-level=error"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(EngineError):
                detect_engine(host=self.url, transport="socket", timeout=5).close()
                return
            assert self._process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.1)

    def kill(self) -> None:
        """End it without a word, and all that it has started with it, as when a machine goes down."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            containerd = self.folder / "exec/containerd/containerd.pid"
            os.kill(int(containerd.read_text()), signal.SIGKILL)
            containerd.unlink()  # where nobody reaps it, its number would still be taken for a process that runs
        (self.folder / "pid").unlink(missing_ok=True)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnDocker]:
    engine_named("docker-sdk")
    if os.getuid() != 0 or None in (shutil.which("dockerd"), shutil.which("unshare")):
        pytest.skip("needs root, dockerd and unshare, for an engine of our own")
    folder = tmp_path_factory.mktemp("d")
    (folder / "disk").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", folder / "disk"], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    docker = OwnDocker(folder)
    try:
        docker.start()
        yield docker
    finally:
        docker.stop()
        subprocess.run(["umount", "--lazy", "--recursive", folder / "disk"], check=False, capture_output=True)


@pytest.mark.parametrize("transport", ["socket", "command line"])
def test_an_image_that_does_not_fit_on_the_disk_is_an_error_with_the_engines_words(own: OwnDocker, transport: Any) -> None:
    with pytest.raises(
        ExecutorUnavailable, match="Cannot load an image with docker.*no space left on device; mend what the engine says"
    ):
        ContainerExecutor(host=own.url, transport=transport)


@pytest.fixture
def image(own: OwnDocker, busybox_recipe: ImageRecipe) -> str:
    tag = "localhost/pytest-sandbox-test/small:1"
    engine = detect_engine(host=own.url, transport="socket")
    engine.load(busybox_recipe.archive(tag, {}))
    engine.close()
    return tag


def test_commands_on_a_full_disk_fail_and_leave_nothing(own: OwnDocker, image: str) -> None:
    entry = DockerEntry(name="box", image=image, host=own.url, network_mode="none", auto_remove=True)
    with EntryRegistry.of(entry) as registry, registry.get("box") as box:
        assert isinstance(box, DockerExecutor)
        filled = box.run("sh -c 'echo trying; dd if=/dev/zero of=/big bs=1M count=200'")
        assert (filled.stdout, filled.exit_code) == ("trying\n", 1)
        assert "No space left on device" in filled.stderr
        # What filled the disk is gone with its container.
        assert box.run("sh -c 'echo room >/file; cat /file'").check().stdout == "room\n"
        ballast = own.folder / "disk" / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        try:
            with pytest.raises(CommandNotStarted, match="no space left on device"):
                box.run("true")
        finally:
            ballast.unlink()
        assert box.engine.find(OWNER_LABEL) == []
        assert box.run("true").check().exit_code == 0


@pytest.mark.parametrize("transport", ["socket", "command line"])
def test_a_command_whose_engine_dies_ends_and_so_does_the_next(own: OwnDocker, image: str, transport: Any) -> None:
    entry = DockerEntry(name="box", image=image, network_mode="none", auto_remove=True)
    loaded = next(iter(EntryRegistry.of(entry)))
    box = DockerExecutor(loaded, engine=detect_engine("docker", host=own.url, transport=transport))
    process = box.exec("sh -c 'echo up; sleep 600'")
    out = process.stdout_stream()
    process.start()
    assert out.read(3) == b"up\n"
    own.kill()
    begun = time.monotonic()
    with pytest.raises(EngineError):
        process.wait(30)
    with pytest.raises(CommandNotStarted, match="(?i)cannot create a container with docker"):
        box.run("true")
    assert time.monotonic() - begun < 30
    own.start()
    # The same executor works again, and what the engine still knew of the past is removed with it.
    assert box.run("true").check().exit_code == 0
    with contextlib.suppress(EngineError):
        process.close(force=True)
    box.close()
    with pytest.raises(ExecutorClosed):
        box.run("true")
    engine = detect_engine(host=own.url, transport="socket")
    assert engine.find(f"{OWNER_LABEL}={owner_label()}") == []
    engine.close()
