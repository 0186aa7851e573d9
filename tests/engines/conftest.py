"""Real engines: Docker and Podman, each over its socket and over its command line."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox.engines.base import Created, Engine
from pytest_sandbox.engines.detect import detect_engine
from pytest_sandbox.engines.layers import ImageFile, ImageRecipe
from pytest_sandbox.engines.spec import ContainerSpec
from tests.real_engines import COMBINATIONS, TEST_LABEL, busybox_program, engine_named

TOKEN = secrets.token_hex(8)
APPLETS = ("cat", "dd", "env", "grep", "head", "id", "ls", "printf", "rm", "sh", "sleep", "touch", "true", "wc", "yes")


@contextlib.contextmanager
def podman_service(folder: Path, environ: Mapping[str, str]) -> Iterator[Engine]:
    """Run a Podman service of our own, with an environment of our own, and yield the engine at its socket."""
    podman = shutil.which("podman")
    assert podman is not None
    path = folder / "podman.sock"
    service = subprocess.Popen(
        [podman, "system", "service", "--time=0", f"unix://{path}"],
        env=dict(environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while not path.exists():
            assert time.monotonic() < deadline and service.poll() is None
            time.sleep(0.05)
        found = detect_engine("podman", host=f"unix://{path}", transport="socket", environ=environ)
        yield found
        found.close()
    finally:
        service.terminate()
        service.wait(10)


@pytest.fixture(params=list(COMBINATIONS), scope="session")
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def engine(engine_name: str) -> Iterator[Engine]:
    """One of the four; after its last test none of our containers is left on it."""
    engine = engine_named(engine_name)
    yield engine
    left = [state.name for state in engine.find(f"{TEST_LABEL}={TOKEN}")]
    for name in left:
        engine.remove(name)
    assert not left, f"containers that a test left behind: {left}"


@pytest.fixture(scope="session")
def busybox_recipe() -> ImageRecipe:
    program = busybox_program()
    files = {
        "/bin/busybox": ImageFile(program, 0o755),
        "/etc/passwd": ImageFile(b"root:x:0:0::/:/bin/sh\nnode:x:1000:1000::/:/bin/sh\n", 0o444),
        "/tmp": ImageFile(None, 0o1777),
    }
    shell = program.read_bytes()
    for applet in APPLETS:
        files[f"/bin/{applet}"] = ImageFile(shell, 0o755)
    config = {"Env": ["PATH=/bin"], "Cmd": ["/bin/true"]}
    return ImageRecipe(files=files, architecture=os.uname().machine, config=config)


@pytest.fixture(scope="session")
def busybox(engine: Engine, busybox_recipe: ImageRecipe) -> Iterator[str]:
    """The id of an image with a shell, on this engine; gone after the tests."""
    tag = f"localhost/pytest-sandbox-test/busybox:{TOKEN}"
    engine.load(busybox_recipe.archive(tag, {TEST_LABEL: TOKEN}))
    yield engine.inspect_image(tag).id
    engine.remove_image(tag)


class Containers:
    """Make containers that do not survive the test."""

    def __init__(self, engine: Engine, image: str) -> None:
        self.engine = engine
        self.image = image
        self.made: list[Created] = []

    def create(self, script: str = "", **settings: Any) -> Created:
        settings.setdefault("image", self.image)
        if script:
            settings["command"] = ("/bin/sh", "-c", script)
        settings["labels"] = {**settings.get("labels", {}), TEST_LABEL: TOKEN}
        self.made.append(self.engine.create(ContainerSpec(**settings)))
        return self.made[-1]

    def run(self, script: str, stdin: bytes = b"", **settings: Any) -> tuple[int, str, str]:
        """Run a script to its end; return exit code and both streams."""
        created = self.create(script, stdin=bool(stdin), **settings)
        streams = self.engine.open(created.id)
        try:
            out, err = streams.collect(stdin, timeout=30)
        finally:
            streams.close()
        code = self.engine.wait(created.id, timeout=10).exit_code
        assert code is not None
        return code, out.decode(), err.decode()


@pytest.fixture
def containers(engine: Engine, busybox: str) -> Iterator[Containers]:
    made = Containers(engine, busybox)
    yield made
    for created in made.made:
        engine.remove(created.id)


@pytest.fixture
def gone_within(engine: Engine) -> Callable[[float, str], bool]:
    """Wait until no container bears a label any more."""

    def wait(seconds: float, label: str) -> bool:
        deadline = time.monotonic() + seconds
        while engine.find(label):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    return wait
