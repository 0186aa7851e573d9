"""Pruning: what is ours and nobody's goes, everything else stays, and all of it is told."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_sandbox.cli import main
from pytest_sandbox.engines import cli, detect, owner, pruning, sdk
from pytest_sandbox.engines.base import Engine
from pytest_sandbox.engines.image import IMAGE_LABEL, REPOSITORY
from pytest_sandbox.engines.layers import ImageFile, ImageRecipe
from pytest_sandbox.engines.owner import KEPT_LABEL, OWNER_LABEL, owner_label
from pytest_sandbox.engines.pruning import prune
from pytest_sandbox.engines.spec import ContainerSpec
from pytest_sandbox.errors import EngineGone, EngineRefused, EngineUnavailable, ImageNotFound
from tests.real_engines import ACROSS, TEST_LABEL

BOOT, NAMESPACE, PID, TICKS = owner_label().split(":")
OWNERS = {
    # Dead only for these tests: the sweeps of other test runs leave one of another machine alone.
    "dead": f"{'1' * 36}:{NAMESPACE}:11:1",
    "living": owner_label(),
    "elsewhere": f"{'0' * 36}:{NAMESPACE}:12:1",
    "in another namespace": f"{BOOT}:1:13:1",
}


class Narrowed:
    """An engine on which only what one test has made is seen: the rest belongs to other tests."""

    def __init__(self, engine: Engine, value: str) -> None:
        self._engine = engine
        self.value = value
        self.names: dict[str, str] = {}
        self.failing: dict[str, Exception] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def find(self, label: str) -> Any:
        return [state for state in self._engine.find(label) if state.labels.get(TEST_LABEL) == self.value]

    def list_images(self, label: str) -> Any:
        return [image for image in self._engine.list_images(label) if image.labels.get(TEST_LABEL) == self.value]

    def remove(self, container: str) -> bool:
        if container in self.failing:
            raise self.failing[container]
        return self._engine.remove(container)

    def close(self) -> None:
        """Other tests use it, too."""


@pytest.fixture
def littered(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Narrowed]:
    """An engine with three images of ours and a container of each kind of owner; it tells their names."""
    for module in (owner, pruning):
        monkeypatch.setattr(module, "is_dead", lambda label: label == OWNERS["dead"])
    value = secrets.token_hex(6)
    narrowed = Narrowed(engine, value)
    ids: dict[str, str] = {}
    for name in ("free", "used", "shared"):
        recipe = ImageRecipe(files={f"/{name}": ImageFile(value.encode(), 0o444)}, architecture="x86_64", config={"Cmd": ["/x"]})
        tag = f"{REPOSITORY}:{name}-{value}"
        engine.load(recipe.archive(tag, {IMAGE_LABEL: value, TEST_LABEL: value}))
        ids[name] = engine.inspect_image(tag).id
    foreign = f"localhost/pytest-sandbox-test/mine:{value}"
    subprocess.run([engine.name, "tag", ids["shared"], foreign], check=True, capture_output=True)
    for kind, label in OWNERS.items():
        with monkeypatch.context() as patch:
            patch.setattr(sdk, "owner_label", lambda label=label: label)
            patch.setattr(cli, "owner_label", lambda label=label: label)
            image = ids["free" if kind == "dead" else "used"]
            narrowed.names[kind] = engine.create(ContainerSpec(image=image, labels={TEST_LABEL: value})).name
    with monkeypatch.context() as patch:
        patch.setattr(sdk, "owner_label", lambda: OWNERS["dead"])
        patch.setattr(cli, "owner_label", lambda: OWNERS["dead"])
        spec = ContainerSpec(image=ids["used"], labels={TEST_LABEL: value, KEPT_LABEL: "yes"})
        narrowed.names["kept"] = engine.create(spec).name
    yield narrowed
    for name in narrowed.names.values():
        engine.remove(name)
    for tag in (f"{REPOSITORY}:free-{value}", f"{REPOSITORY}:used-{value}", f"{REPOSITORY}:shared-{value}", foreign):
        engine.remove_image(tag)


def told(engine: Any, *, rehearse: bool) -> dict[str, tuple[str, str]]:
    return {each.name: (each.outcome, each.reason) for each in prune(engine, rehearse=rehearse)}


def test_what_is_nobodys_goes_and_everything_else_stays_with_its_reason(littered: Narrowed) -> None:
    names, value = littered.names, littered.value
    free, used, shared = (f"{REPOSITORY}:{name}-{value}" for name in ("free", "used", "shared"))
    expected = {
        names["dead"]: ("removed", "its owner is process 11, which is dead"),
        names["living"]: ("kept", f"its owner is process {PID}, which runs"),
        names["elsewhere"]: ("kept", "its owner is process 12 of another machine, or of this one before its last start"),
        names["in another namespace"]: ("kept", "its owner is process 13 of another pid namespace"),
        names["kept"]: ("kept", "an entry with keep: true has asked for it"),
        free: ("removed", "nothing uses it"),
        used: ("kept", "a container that is kept uses it"),
        shared: ("kept", f"somebody has named it localhost/pytest-sandbox-test/mine:{value}"),
    }
    rehearsed = told(littered, rehearse=True)
    assert rehearsed == {**expected, free: ("removed", "nothing of ours uses it")}
    assert len(littered.find(OWNER_LABEL)) == 5, "a rehearsal removes nothing"
    assert len(littered.list_images(IMAGE_LABEL)) == 3
    assert told(littered, rehearse=False) == expected
    assert {state.name for state in littered.find(OWNER_LABEL)} == set(names.values()) - {names["dead"]}
    with pytest.raises(ImageNotFound):
        littered.inspect_image(free)
    assert {tag for image in littered.list_images(IMAGE_LABEL) for tag in image.tags} >= {used, shared}


@ACROSS
def test_what_somebody_elses_container_uses_stays_with_the_engines_words(littered: Narrowed) -> None:
    # A container without our label: only the engine knows of it.
    image = f"{REPOSITORY}:free-{littered.value}"
    command = [littered.name, "create", "--network=none", image]
    number = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        outcome, reason = told(littered, rehearse=False)[image]
        assert outcome == "kept", reason
        assert number[:12] in reason
        assert littered.inspect_image(image).tags
    finally:
        subprocess.run([littered.name, "rm", "-f", number], check=True, capture_output=True)


@pytest.fixture
def only(littered: Narrowed, monkeypatch: pytest.MonkeyPatch) -> Narrowed:
    """The command line finds this engine, and no other."""

    def detect_engine(kind: str | None = None) -> Any:
        if kind not in (None, littered.name):
            raise EngineUnavailable([(f"command {kind}", "it is not on PATH")])
        return littered

    monkeypatch.setattr(detect, "detect_engine", detect_engine)
    monkeypatch.delenv("CONTAINER_RUNTIME", raising=False)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return littered


@ACROSS
def test_the_command_tells_each_thing_and_the_sum(only: Narrowed, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert f"  would remove container {only.names['dead']}: its owner is process" in out
    assert f"  would remove image {REPOSITORY}:free-{only.value} (" in out
    assert err == "would remove 1 container and 1 image (0 MB), kept 6\n"
    dead = next(state.id for state in only.find(OWNER_LABEL) if state.name == only.names["dead"])
    only.failing = {dead: EngineRefused("docker", "remove a container", "device or resource busy")}
    assert main(["prune"]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"{only.info.describe()}:"
    assert f"  failed container {only.names['dead']}: device or resource busy" in lines
    other = "podman" if only.name == "docker" else "docker"
    assert lines[-1] == f"{other}: command {other}: it is not on PATH"
    assert err.endswith("failed at 1\n")
    only.failing = {dead: EngineGone("docker", "remove a container", "connection refused")}
    assert main(["prune"]) == 1
    assert "  failed: Cannot remove a container with docker: connection refused" in capsys.readouterr().out
    only.failing = {}
    assert main(["prune"]) == 0
    assert f"  removed container {only.names['dead']}: " in capsys.readouterr().out
    assert only.names["dead"] not in {state.name for state in only.find(OWNER_LABEL)}


def test_no_engine_is_an_error_that_says_what_was_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such.sock")
    assert main(["prune"]) == 2
    assert "unix:///no/such.sock: there is no such socket" in capsys.readouterr().err
    monkeypatch.setenv("CONTAINER_RUNTIME", "podmann")
    assert main(["prune", "--dry-run"]) == 2
    assert "(chosen by CONTAINER_RUNTIME)" in capsys.readouterr().err
