"""Which engine is chosen, and what is said when none answers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_sandbox.engines import detect as detect_module
from pytest_sandbox.engines.cli import CliEngine
from pytest_sandbox.engines.detect import detect_engine
from pytest_sandbox.engines.layers import ImageFile, ImageRecipe
from pytest_sandbox.engines.sdk import SdkEngine
from pytest_sandbox.engines.spec import ContainerSpec
from pytest_sandbox.errors import EngineError, EngineGone, EngineTimeout, EngineUnavailable
from tests.real_engines import COMBINATIONS, TEST_LABEL, busybox_program, engine_named

from .conftest import TOKEN, Containers


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment in which nothing is found: no socket, no command."""
    monkeypatch.setattr(detect_module, "_worth_trying", lambda urls: [])
    return {"PATH": str(tmp_path), "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(tmp_path / "relay.sock")
    yield relay
    relay.stop()


class Relay:
    """A socket in front of Docker's, which can fall silent or vanish; over TCP, too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.silent = False
        self.deaf = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._stopped = False
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(str(path))
        tcp = socket.create_server(("127.0.0.1", 0))
        self.port = tcp.getsockname()[1]
        for listener in (unix, tcp):
            listener.listen()
            self._sockets.append(listener)
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if self._stopped:
                    client.close()
                    return
                self._sockets.append(client)
                if self.silent:
                    continue
                engine = socket.socket(socket.AF_UNIX)
                self._sockets.append(engine)
                engine.connect("/var/run/docker.sock")
            for source, target, is_answer in ((client, engine, False), (engine, client, True)):
                threading.Thread(target=self._copy, args=(source, target, is_answer), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        try:
            while data := source.recv(65536):
                if not self.silent and not (self.deaf and is_answer):
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def stop(self) -> None:
        self.path.unlink(missing_ok=True)
        with self._lock:
            self._stopped = True
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()


@pytest.fixture(scope="module")
def small_image() -> Iterator[str]:
    """An image on Docker that has ``cat`` and nothing else."""
    engine = engine_named("docker-sdk")
    tag = f"localhost/pytest-sandbox-test/cat:{TOKEN}"
    recipe = ImageRecipe(files={"/bin/cat": ImageFile(busybox_program(), 0o755)}, architecture=os.uname().machine)
    engine.load(recipe.archive(tag, {TEST_LABEL: TOKEN}))
    yield tag
    engine.remove_image(tag)


@pytest.mark.parametrize("name", list(COMBINATIONS))
def test_the_runtime_decides_the_engine_and_sockets_come_first(name: str) -> None:
    engine_named(name)
    kind, transport = COMBINATIONS[name]
    found = detect_engine(environ={**os.environ, "CONTAINER_RUNTIME": kind})
    assert found.name == kind
    if transport == "socket":
        assert isinstance(found, SdkEngine)


@pytest.mark.parametrize("name", ["docker-cli", "podman-cli"])
def test_a_path_is_that_very_command(name: str) -> None:
    engine_named(name)
    path = shutil.which(COMBINATIONS[name][0])
    assert path is not None
    found = detect_engine(environ={**os.environ, "CONTAINER_RUNTIME": path})
    assert isinstance(found, CliEngine)
    assert found.info.endpoint == path


def test_without_any_word_docker_over_its_socket_is_first() -> None:
    engine_named("docker-sdk")
    environ = {name: value for name, value in os.environ.items() if name not in ("CONTAINER_RUNTIME", "DOCKER_HOST")}
    found = detect_engine(environ=environ)
    assert (found.name, found.info.transport) == ("docker", "socket")


def test_without_a_socket_the_command_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    engine_named("docker-cli")
    monkeypatch.setattr(detect_module, "_worth_trying", lambda urls: ["unix:///no/such.sock"])
    assert detect_engine("docker").info.transport == "command line"


def test_without_the_sdk_the_command_is_taken_and_the_socket_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    engine_named("docker-cli")
    monkeypatch.setitem(sys.modules, "pytest_sandbox.engines.sdk", None)
    assert detect_engine("docker").info.transport == "command line"
    with pytest.raises(EngineUnavailable, match=r"Docker SDK cannot be imported.*pytest-sandbox\[docker\]"):
        detect_engine("docker", transport="socket")


def test_an_address_by_tcp_is_used_and_streams_work_over_it(relay: Relay, small_image: str) -> None:
    found = detect_engine(
        environ={**os.environ, "DOCKER_HOST": f"tcp://127.0.0.1:{relay.port}", "HTTP_PROXY": "http://127.0.0.1:9"}
    )
    containers = Containers(found, small_image)
    try:
        assert isinstance(found, SdkEngine) and found.info.endpoint == f"tcp://127.0.0.1:{relay.port}"
        assert not found.is_local
        created = containers.create(command=("/bin/cat",), stdin=True)
        streams = found.open(created.id)
        assert streams.collect(b"over tcp", timeout=20) == (b"over tcp", b"")
        streams.close()
        assert found.wait(created.id, timeout=10).exit_code == 0
    finally:
        for created in containers.made:
            found.remove(created.id)
        found.close()


def test_an_address_by_ssh_goes_through_the_ssh_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_named("docker-sdk")
    # Stands for ssh: says what it was called with, and runs the command here.
    docker = shutil.which("docker")
    program(
        tmp_path,
        "ssh",
        f'echo "$@" >> {tmp_path}/called\nwhile [ "$1" != docker ]; do shift; done\nshift\nunset DOCKER_HOST\nexec {docker} "$@"',
    )
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "DOCKER_HOST": "ssh://somebody@example.invalid:2222"}
    monkeypatch.setenv("PATH", environ["PATH"])
    found = detect_engine(environ=environ, transport="socket")
    assert isinstance(found, SdkEngine) and not found.is_local
    number = next(iter(found.find("no-such-label")), None)
    assert number is None
    with pytest.raises(EngineError):
        found.open("no-such-container")
    called = (tmp_path / "called").read_text()
    assert "somebody" in called and "2222" in called and "example.invalid" in called and "system dial-stdio" in called
    assert found.remover.command[-3:] == ("rm", "-f", "-v") and not found.remover.address
    found.close()
    engine.inspect  # noqa: B018  # Docker itself is what answered


def test_a_tcp_address_with_tls_is_left_to_the_command(nowhere: dict[str, str]) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        detect_engine(environ={**nowhere, "DOCKER_HOST": "tcp://127.0.0.1:1", "DOCKER_TLS_VERIFY": "1"})
    assert "over TLS" in caught.value.tried[0][1]
    assert "command docker" in caught.value.tried[1][0]


def test_the_address_of_dockers_context_is_tried(tmp_path: Path) -> None:
    import hashlib

    settings = tmp_path / ".docker"
    meta = settings / "contexts" / "meta" / hashlib.sha256(b"mine").hexdigest()
    meta.mkdir(parents=True)
    (settings / "config.json").write_text(json.dumps({"currentContext": "mine"}))
    (meta / "meta.json").write_text(json.dumps({"Name": "mine", "Endpoints": {"docker": {"Host": "unix:///run/mine.sock"}}}))
    assert detect_module._context_address({"HOME": str(tmp_path)}) == "unix:///run/mine.sock"
    assert detect_module._context_address({"HOME": str(tmp_path), "DOCKER_CONTEXT": "default"}) == ""
    (settings / "config.json").write_text("{broken")
    assert detect_module._context_address({"HOME": str(tmp_path)}) == ""


def test_no_engine_at_all_lists_every_way_that_was_tried(nowhere: dict[str, str]) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        detect_engine(environ=nowhere)
    ways = dict(caught.value.tried)
    assert ways["command docker"] == '"docker" is not on PATH'
    assert ways["command podman"] == '"podman" is not on PATH'
    assert "CONTAINER_RUNTIME" in str(caught.value)


def test_sockets_that_do_not_exist_are_named(tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path), "HOME": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    with pytest.raises(EngineUnavailable, match=r"DOCKER_HOST unix://.*none\.sock: there is no such socket"):
        detect_engine(environ=environ)


def test_an_unknown_name_says_so_with_a_near_miss_and_its_source(nowhere: dict[str, str]) -> None:
    with pytest.raises(EngineUnavailable, match=r'chosen by CONTAINER_RUNTIME.*"podmann" is not on PATH.*did you mean "podman"'):
        detect_engine(environ={**nowhere, "CONTAINER_RUNTIME": "podmann"})
    with pytest.raises(EngineUnavailable, match='"/no/such/docker" is not an executable file'):
        detect_engine(environ={**nowhere, "CONTAINER_RUNTIME": "/no/such/docker"})


def test_a_client_whose_daemon_is_down_is_unavailable_with_that_reason(nowhere: dict[str, str], tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("docker command: not on PATH")
    with pytest.raises(EngineUnavailable) as caught:
        detect_engine(docker, host=f"unix://{tmp_path}/down.sock", environ=nowhere)
    assert len(caught.value.tried) == 1
    reason = caught.value.tried[0][1]
    assert "the client works, but no engine answers" in reason
    assert "down.sock" in reason


def test_a_client_that_only_answers_to_version_is_unavailable(nowhere: dict[str, str], tmp_path: Path) -> None:
    path = program(
        tmp_path, "mydocker", 'if [ "$1" = --version ]; then echo Docker version 99; exit 0; fi; echo broken >&2; exit 1'
    )
    with pytest.raises(EngineUnavailable, match="broken"):
        detect_engine(str(path), environ=nowhere)
    path = program(tmp_path, "other", "echo something else entirely")
    with pytest.raises(EngineUnavailable, match="it is no container engine"):
        detect_engine("other", environ=nowhere)


def test_a_client_that_hangs_is_given_up_and_killed(nowhere: dict[str, str], tmp_path: Path) -> None:
    path = program(tmp_path, "slow", f"echo $$ > {tmp_path}/pid; sleep 600")
    nowhere["PATH"] += f":{os.environ['PATH']}"
    begin = time.monotonic()
    with pytest.raises(EngineUnavailable, match=r"no answer within 1 s"):
        detect_engine(str(path), environ=nowhere, timeout=1)
    assert time.monotonic() - begin < 8
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_a_socket_that_hangs_is_given_up(relay: Relay) -> None:
    relay.silent = True
    begin = time.monotonic()
    with pytest.raises(EngineUnavailable, match=r"no answer within 1 s"):
        detect_engine(host=f"unix://{relay.path}", transport="socket", timeout=1)
    assert time.monotonic() - begin < 8


def test_a_socket_without_permission_says_so(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody without permission")
    path = tmp_path / "locked.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_mode & 0o005 != 0o005 and folder.owner() == "root" and str(folder).startswith("/tmp/"):
                folder.chmod(0o755)
        path.chmod(0o600)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setuid(65534)
                try:
                    detect_engine(host=f"unix://{path}", transport="socket", timeout=2)
                except EngineUnavailable as error:
                    code = 0 if "Permission denied" in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_address_of_an_unknown_kind_is_refused(nowhere: dict[str, str]) -> None:
    with pytest.raises(EngineUnavailable, match="expected unix:///path, tcp://host:port or ssh://"):
        detect_engine(host="ftp://example.invalid", transport="socket", environ=nowhere)


def test_something_else_behind_a_socket_is_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(EngineUnavailable, match="this is no container engine"):
            detect_engine(host=f"unix://{path}", transport="socket")
        thread.join()


def test_an_engine_that_vanishes_is_an_error_and_its_return_is_noticed(relay: Relay, tmp_path: Path) -> None:
    engine_named("docker-sdk")
    engine = detect_engine(host=f"unix://{relay.path}", transport="socket")
    assert engine.find("no-such-label") == []
    relay.stop()
    with pytest.raises(EngineGone, match="list containers"):
        engine.find("no-such-label")
    again = Relay(relay.path)
    try:
        assert engine.find("no-such-label") == []
    finally:
        engine.close()
        again.stop()


def test_an_engine_that_falls_silent_is_given_up_at_the_deadline(relay: Relay) -> None:
    engine_named("docker-sdk")
    engine = detect_engine(host=f"unix://{relay.path}", transport="socket")
    relay.silent = True
    for action in (
        lambda: engine.find("x", timeout=0.5),
        lambda: engine.inspect("x", timeout=0.5),
        lambda: engine.open("x", timeout=0.5),
    ):
        begin = time.monotonic()
        with pytest.raises(EngineTimeout, match=r"0\.5 s"):
            action()
        assert time.monotonic() - begin < 5
    engine.close()


def test_the_streams_end_when_the_engine_vanishes(relay: Relay, small_image: str) -> None:
    direct = engine_named("docker-sdk")
    engine = detect_engine(host=f"unix://{relay.path}", transport="socket")
    created = Containers(engine, small_image).create(command=("/bin/cat",), stdin=True)
    streams = engine.open(created.id)
    try:
        assert streams.collect(b"alive\n", timeout=20, until=b"alive\n")[0] == b"alive\n"
        relay.stop()
        begin = time.monotonic()
        with contextlib.suppress(EngineError):  # a broken connection is one of the two ways in which they may end
            streams.collect(timeout=20)
        assert time.monotonic() - begin < 10
        assert streams.read_descriptors == ()
    finally:
        streams.close()
        engine.close()
        direct.remove(created.name)


def test_a_container_that_the_engine_makes_after_the_deadline_is_removed_when_it_answers_again(
    relay: Relay, small_image: str
) -> None:
    direct = engine_named("docker-sdk")
    engine = detect_engine(host=f"unix://{relay.path}", transport="socket")
    value = os.urandom(8).hex()
    spec = ContainerSpec(image=small_image, command=("/bin/cat",), labels={TEST_LABEL: value})
    relay.deaf = True  # what is asked arrives, what is answered does not
    with pytest.raises(EngineTimeout, match="create a container"):
        engine.create(spec, timeout=0.5)
    deadline = time.monotonic() + 10
    while not direct.find(f"{TEST_LABEL}={value}"):
        assert time.monotonic() < deadline, "the engine has been asked, so it makes the container"
    relay.deaf = False
    engine.close()
    assert direct.find(f"{TEST_LABEL}={value}") == []
