from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_sandbox.commands import CommandExecutor
from pytest_sandbox.commands.docker import DockerExecutor
from pytest_sandbox.commands.whitelist import Whitelist
from pytest_sandbox.engines.base import Engine
from pytest_sandbox.engines.layers import ImageFile, ImageRecipe
from pytest_sandbox.entries import DockerEntry, EntryRegistry, NativeEntry
from tests.real_engines import COMBINATIONS, TEST_LABEL, busybox_program, engine_named

MakeNative = Callable[..., CommandExecutor]

TOKEN = secrets.token_hex(8)
# Within a script, its shell knows all others.
APPLETS = ("cat", "env", "head", "id", "pwd", "sh", "sleep", "tee", "true", "wc")


@pytest.fixture
def make_native(tmp_path: Path) -> Iterator[MakeNative]:
    """Make an executor of an `exec.native` entry with these fields; afterwards no process with the test's mark is left."""
    registries: list[EntryRegistry] = []

    def make(**fields: Any) -> CommandExecutor:
        fields.setdefault("default_work_dir", str(tmp_path))
        registries.append(EntryRegistry.of(NativeEntry(name="shell", **fields), namespace="app"))
        return registries[-1].get("app:shell")

    before = set(os.listdir("/proc/self/fd"))
    yield make
    for registry in registries:
        registry.close()
    # What was killed takes a moment to go.
    end = time.monotonic() + 10
    while left := children_with(str(tmp_path)):
        assert time.monotonic() < end, left
        time.sleep(0.01)
    after = set(os.listdir("/proc/self/fd"))
    # The pump, the spawner and the watchdog keep theirs for the whole run.
    assert len(after - before) <= 4


def children_with(mark: str) -> list[int]:
    """Return the processes that carry a mark in their command line, wherever they hang in the process tree."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        if process.pid != os.getpid() and mark in " ".join(process.info["cmdline"] or ()):
            found.append(process.pid)
    return found


# -- engines ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=list(COMBINATIONS), scope="session")
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def engine(engine_name: str) -> Engine:
    """One of the four; skipped where it is not, unless the environment says that it must be here."""
    return engine_named(engine_name)


@pytest.fixture(scope="session")
def busybox(engine: Engine) -> Iterator[str]:
    """The tag of an image with a shell, on this engine; gone after the tests."""
    binary = busybox_program()
    files = {
        "/bin/busybox": ImageFile(binary, 0o755),
        "/etc/passwd": ImageFile(b"root:x:0:0::/:/bin/sh\nnode:x:1000:1000::/:/bin/sh\n", 0o444),
        "/etc/secret": ImageFile(b"secret of the image\n", 0o400),
        "/made-by": ImageFile(b"the tests\n", 0o444),
        "/etc/plain": ImageFile(b"no program\n", 0o644),
        "/home/inner/deep": ImageFile(None, 0o777),
        "/tmp": ImageFile(None, 0o1777),
    }
    for applet in APPLETS:
        files[f"/bin/{applet}"] = ImageFile(binary, 0o755)
    init = shutil.which("docker-init")
    if init is not None:
        # A set-user-id program that does not give its rights away by itself, as busybox does.
        files["/bin/suid-init"] = ImageFile(Path(init).resolve(), 0o4755)
    config = {"Env": ["PATH=/bin", "OF_THE_IMAGE=yes"], "Entrypoint": ["/bin/sh", "-c", "echo entrypoint"], "WorkingDir": "/home"}
    recipe = ImageRecipe(files=files, architecture=os.uname().machine, config=config)
    tag = f"localhost/pytest-sandbox-test/commands:{TOKEN}"
    engine.load(recipe.archive(tag, {TEST_LABEL: TOKEN}))
    yield tag
    engine.remove_image(tag)


class Boxes:
    """Make executors of `exec.docker` entries on one engine."""

    def __init__(self, engine: Engine, image: str) -> None:
        self.engine = engine
        self.image = image
        self.id = f"test:{secrets.token_hex(6)}"
        self.made: list[DockerExecutor] = []

    def make(self, *, running: Any = None, **fields: Any) -> DockerExecutor:
        if running is None and "container" not in fields:
            fields.setdefault("image", self.image)
        elif running is not None:
            fields.setdefault("container", "given")
        namespace, name = self.id.split(":")
        loaded = EntryRegistry.of(DockerEntry(name=name, **fields), namespace=namespace).entry(self.id)
        commands = loaded.entry.command_whitelist
        whitelist = None if commands is None else Whitelist(commands)
        self.made.append(DockerExecutor(loaded, whitelist=whitelist, container=running, engine=self.engine))
        return self.made[-1]

    def left(self) -> list[str]:
        """Return the containers of these executors that exist now."""
        return [state.name for state in self.engine.find(f"pytest-sandbox.entry={self.id}")]


@pytest.fixture
def boxes(engine: Engine, busybox: str) -> Iterator[Boxes]:
    """Make executors whose containers are all gone when they are closed."""
    made = Boxes(engine, busybox)
    yield made
    for executor in made.made:
        executor.close()
    left = made.left()
    for name in left:
        engine.remove(name)
    assert left == []
