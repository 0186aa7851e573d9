"""Proxy settings, with their passwords, never get from an engine's client or service into a container."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_sandbox.engines.base import Engine
from pytest_sandbox.engines.clientconfig import proxy_free_config
from pytest_sandbox.engines.detect import detect_engine
from pytest_sandbox.engines.spec import PROXY_VARIABLES, ContainerSpec
from tests.real_engines import TEST_LABEL

from .conftest import TOKEN, podman_service

CANARY = "http://user:planted-password@127.0.0.1:9"


def environment_inside(engine: Engine, image: str, **settings: object) -> dict[str, str]:
    spec = ContainerSpec(
        image=image,
        command=("/bin/cat", "/proc/self/environ"),
        labels={TEST_LABEL: TOKEN},
        **settings,  # type: ignore[arg-type]
    )
    created = engine.create(spec)
    try:
        streams = engine.open(created.id)
        out, _ = streams.collect(timeout=30)
        streams.close()
        assert engine.wait(created.id, timeout=10).exit_code == 0
    finally:
        engine.remove(created.id)
    return dict(item.split("=", 1) for item in out.decode().split("\0") if item)


@pytest.fixture
def planted(engine_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Plant the canary wherever a client looks: in Docker's settings, in our environment, in Podman's settings."""
    docker = tmp_path / "docker"
    docker.mkdir()
    proxies = {"httpProxy": CANARY, "httpsProxy": CANARY, "ftpProxy": CANARY, "noProxy": CANARY, "allProxy": CANARY}
    (docker / "config.json").write_text(
        json.dumps({"proxies": {"default": proxies}, "auths": {"example.invalid": {"auth": "c2VjcmV0OnNlY3JldA=="}}})
    )
    monkeypatch.setenv("DOCKER_CONFIG", str(docker))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in PROXY_VARIABLES:
        monkeypatch.setenv(name, CANARY)
    environ = dict(os.environ)
    if engine_name == "podman-cli":
        environ["CONTAINERS_CONF"] = str(podman_settings(tmp_path))
    return environ


def podman_settings(folder: Path) -> Path:
    """Write Podman's present settings with the canary among the variables of every container."""
    path = folder / "containers.conf"
    present = Path(os.environ.get("CONTAINERS_CONF", "/etc/containers/containers.conf"))
    text = present.read_text() if present.exists() else ""
    variables = ", ".join(json.dumps(f"{name}={CANARY}") for name in PROXY_VARIABLES)
    line = f"env = [{variables}]"
    text = text.replace("[containers]", f"[containers]\n{line}") if "[containers]" in text else f"{text}\n[containers]\n{line}\n"
    path.write_text(text)
    return path


@pytest.fixture
def planted_engine(engine_name: str, engine: Engine, planted: dict[str, str], tmp_path: Path) -> Iterator[Engine]:
    """The engine as it is when the canary is planted; for Podman's socket a service of our own, which has it, too."""
    kind, _, way = engine_name.partition("-")
    if engine_name != "podman-sdk":
        found = detect_engine(kind, transport="socket" if way == "sdk" else "command line", environ=planted)
        yield found
        found.close()
        return
    with podman_service(tmp_path, {**planted, "CONTAINERS_CONF": str(podman_settings(tmp_path))}) as found:
        yield found


def test_no_proxy_variable_reaches_a_container(planted_engine: Engine, busybox: str) -> None:
    found = environment_inside(planted_engine, busybox, env={"WITNESS": "arrived"})
    assert found["WITNESS"] == "arrived"
    assert [name for name, value in found.items() if "planted-password" in value] == []


def test_a_proxy_variable_that_was_asked_for_arrives(planted_engine: Engine, busybox: str) -> None:
    found = environment_inside(planted_engine, busybox, env={"HTTP_PROXY": "http://chosen:1", "no_proxy": ""})
    assert (found["HTTP_PROXY"], found["no_proxy"]) == ("http://chosen:1", "")
    assert not any("planted-password" in value for value in found.values())


def test_a_plain_run_of_the_client_would_have_forwarded_it(
    engine_name: str, planted_engine: Engine, planted: dict[str, str], busybox: str
) -> None:
    program = shutil.which(engine_name.partition("-")[0])
    assert program is not None
    if engine_name == "podman-sdk":
        # Over a socket nobody's client is in between: what would be forwarded is the service's own.
        assert "planted-password" in plain_api_run(planted_engine, busybox)
        return
    finished = subprocess.run(
        [program, "run", "--rm", "--network=none", busybox, "/bin/env"],
        env=planted,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "planted-password" in finished.stdout


def plain_api_run(engine: Engine, image: str) -> str:
    """Create and run a container through the SDK as anybody would, without our precautions."""
    from docker.api.client import APIClient

    client = APIClient(base_url=engine.info.endpoint, timeout=30)
    try:
        number = client.create_container(image, ["/bin/env"], labels={TEST_LABEL: TOKEN})["Id"]
        try:
            client.start(number)
            engine.wait(number, timeout=20)
            return bytes(client.logs(number)).decode()
        finally:
            client.remove_container(number, force=True)
    finally:
        client.close()


def test_no_proxy_variable_reaches_a_further_process(planted_engine: Engine, busybox: str) -> None:
    created = planted_engine.create(ContainerSpec(image=busybox, command=("/bin/sleep", "60"), labels={TEST_LABEL: TOKEN}))
    try:
        planted_engine.start(created.id)
        process = planted_engine.exec(created.id, ["/bin/env"], env={"WITNESS": "arrived"})
        out, _ = process.streams.collect(timeout=30)
        process.close()
    finally:
        planted_engine.remove(created.id)
    assert b"WITNESS=arrived" in out
    assert b"planted-password" not in out


def test_the_settings_for_creating_keep_the_context_and_hold_neither_proxies_nor_credentials(tmp_path: Path) -> None:
    original = tmp_path / "original"
    (original / "contexts").mkdir(parents=True)
    settings: dict[str, object] = {
        "proxies": {"default": {"httpProxy": CANARY}},
        "auths": {"example.invalid": {"auth": "c2VjcmV0OnNlY3JldA=="}},
        "currentContext": "elsewhere",
    }
    (original / "config.json").write_text(json.dumps(settings))
    environ = {"DOCKER_CONFIG": str(original), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    folder = proxy_free_config(environ)
    assert folder is not None
    assert json.loads((folder / "config.json").read_text()) == {"currentContext": "elsewhere"}
    assert (folder / "contexts").resolve() == original / "contexts"
    assert folder.stat().st_mode & 0o077 == 0
    assert proxy_free_config(environ) == folder, "made once"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    folder.chmod(0o777)
    assert proxy_free_config(environ) != folder, "others may have put settings there"
    del settings["proxies"]
    (original / "config.json").write_text(json.dumps(settings))
    assert proxy_free_config(environ) is None


def test_settings_that_cannot_be_copied_anywhere_are_an_error_and_no_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": {"httpProxy": CANARY}}}))
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/proc/none")
    with pytest.raises(OSError, match="/proc/none"):
        proxy_free_config({"DOCKER_CONFIG": str(tmp_path), "XDG_CACHE_HOME": "/proc/none"})
