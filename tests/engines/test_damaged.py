"""Podman after it was killed while it removed a container: what is half gone hides nothing, and goes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_sandbox.engines import owner
from pytest_sandbox.engines.base import Engine
from pytest_sandbox.engines.cli import CliEngine
from pytest_sandbox.engines.layers import ImageRecipe
from pytest_sandbox.engines.owner import OWNER_LABEL, sweep
from pytest_sandbox.engines.spec import ContainerSpec
from tests.real_engines import engine_named

from .conftest import podman_service


@pytest.fixture
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The store of a Podman of our own, and a program that uses it."""
    engine_named("podman-cli")
    real = shutil.which("podman")
    folder = tmp_path_factory.mktemp("p")
    program = folder / "podman"
    program.write_text(f'#!/bin/sh\nexec {real} --root={folder}/root --runroot={folder}/run --tmpdir={folder}/tmp "$@"\n')
    program.chmod(0o755)
    yield folder, str(program)
    # Podman leaves the folder of its store mounted on itself.
    subprocess.run(["umount", "--lazy", folder / "root/overlay"], check=False, capture_output=True)


@pytest.fixture(params=["command line", "socket"])
def own(request: pytest.FixtureRequest, podman: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    folder, program = podman
    if request.param == "command line":
        yield CliEngine(program, environ=os.environ)
        return
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    with podman_service(folder, os.environ) as engine:
        yield engine


def test_a_damaged_container_hides_no_other_and_is_swept(
    own: Engine, podman: tuple[Path, str], busybox_recipe: ImageRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = f"localhost/pytest-sandbox-test/damaged:{secrets.token_hex(4)}"
    own.load(busybox_recipe.archive(tag, {}))
    monkeypatch.setattr(owner, "_here", lambda: ("a boot", "1"))
    created = [own.create(ContainerSpec(image=tag)) for _ in range(3)]
    # As a "podman rm" leaves it that is killed halfway: known to Podman, and no longer to its store.
    store = podman[0] / "root/overlay-containers/containers.json"
    store.write_text(json.dumps([each for each in json.loads(store.read_text()) if each["id"] != created[1].id]))
    assert {state.name for state in own.find(OWNER_LABEL)} == {each.name for each in created}
    monkeypatch.setattr(owner, "is_dead", lambda label: True)
    assert sorted(sweep(own)) == sorted(each.name for each in created)
    assert own.find(OWNER_LABEL) == []
