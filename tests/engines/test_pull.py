"""Pulling: from a registry of our own on the loopback interface, with progress, and with honest reasons when it fails."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import itertools
import json
import os
import secrets
import tarfile
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from pytest_sandbox.engines.base import Engine, PullProgress
from pytest_sandbox.engines.detect import detect_engine
from pytest_sandbox.engines.pulling import PullTracker, failure_reason, split_reference
from pytest_sandbox.errors import EngineError, EngineTimeout, PullFailed
from tests.real_engines import COMBINATIONS, TEST_LABEL, engine_named

from .conftest import TOKEN, podman_service

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


class Registry(http.server.BaseHTTPRequestHandler):
    """As much of a registry as a pull needs: two layers, a config, a manifest."""

    blobs: ClassVar[dict[str, bytes]] = {}
    manifest: ClassVar[bytes] = b""
    refusal: ClassVar[tuple[int, str, str] | None] = None
    asked: ClassVar[list[str]] = []
    hangs_up: ClassVar[Any] = staticmethod(lambda: False)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if "/manifests/" in self.path and self.hangs_up():
            self.close_connection = True
            return
        if self.refusal is not None and self.path != "/v2/":
            status, code, message = self.refusal
            self._answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), "application/json")
        elif self.path == "/v2/":
            self._answer(200, b"{}", "application/json")
        elif "/manifests/" in self.path and "/known/" in self.path:
            self._answer(200, self.manifest, "application/vnd.docker.distribution.manifest.v2+json")
        elif "/blobs/" in self.path and (blob := self.blobs.get(self.path.rpartition("/")[2])) is not None:
            self._answer(200, blob, "application/octet-stream")
        else:
            body = json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}).encode()
            self._answer(404, body, "application/json")

    do_HEAD = do_GET  # noqa: N815  # named by http.server

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(body).hexdigest()}")
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def layer(name: str, size: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = size
        tar.addfile(info, io.BytesIO(secrets.token_bytes(size)))
    return stream.getvalue()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def registry() -> Iterator[str]:
    layers = [layer("one", 300_000), layer("two", 200_000)]
    packed = [gzip.compress(each) for each in layers]
    config = json.dumps(
        {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": {"Labels": {TEST_LABEL: TOKEN}, "Cmd": ["/one"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(each) for each in layers]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": digest(config)},
        "layers": [
            {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": len(each), "digest": digest(each)}
            for each in packed
        ],
    }
    Registry.blobs = {digest(each): each for each in (config, *packed)}
    Registry.manifest = json.dumps(manifest).encode()
    Registry.refusal = None
    Registry.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def puller(engine_name: str, registry: str, tmp_path: Any) -> Iterator[Engine]:
    """The engine, willing to speak plain HTTP with a registry on loopback: Docker is, Podman's command line must be told."""
    engine_named(engine_name)
    kind, transport = COMBINATIONS[engine_name]
    settings = tmp_path / "registries.conf"
    settings.write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
    environ = {**os.environ, "CONTAINERS_REGISTRIES_CONF": str(settings)}
    if engine_name == "podman-sdk":
        with podman_service(tmp_path, environ) as service:
            yield service
        return
    engine = detect_engine(kind, transport=transport, environ=environ)
    yield engine
    engine.close()


def test_an_image_is_fetched_with_progress(puller: Engine, registry: str) -> None:
    steps: list[PullProgress] = []
    reference = f"{registry}/known/image:1"
    image = puller.pull(reference, on_progress=steps.append, timeout=30)
    try:
        assert image.labels[TEST_LABEL] == TOKEN
        assert puller.inspect_image(reference).id == image.id
        assert steps and steps[-1].text, steps
        assert max(step.layers for step in steps) >= 2, steps
        assert max(step.layers_done for step in steps) >= 2
        assert all(earlier.layers_done <= later.layers_done for earlier, later in itertools.pairwise(steps))
        assert all(step.bytes_done <= step.bytes_all for step in steps)
    finally:
        assert puller.remove_image(reference) is True
    assert Registry.asked, "the registry must have been asked, or nothing was pulled"


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (None, "not found"),
        ((429, "TOOMANYREQUESTS", "You have reached your pull rate limit"), "rate limited"),
        ((401, "UNAUTHORIZED", "authentication required"), "denied"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_says_which(puller: Engine, registry: str, refusal: tuple[int, str, str] | None, reason: str) -> None:
    Registry.refusal = refusal
    if reason == "rate limited" and puller.name == "podman":
        # Its command tries again for minutes and says nothing meanwhile; what is promised then is a deadline.
        with pytest.raises(EngineTimeout, match="pull (an )?image.*not finished"):
            puller.pull(f"{registry}/missing/image:1", timeout=3)
        return
    with pytest.raises(PullFailed, match=reason) as caught:
        puller.pull(f"{registry}/missing/image:1", timeout=60)
    assert caught.value.reason == reason
    assert caught.value.image == f"{registry}/missing/image:1"
    assert caught.value.words


def test_a_pull_that_is_interrupted_is_tried_again(puller: Engine, registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[str] = []
    once: Any = type(puller)._pull  # type: ignore[attr-defined]

    def pull(engine: Engine, image: str, *arguments: Any) -> Any:
        attempts.append(image)
        return once(engine, image, *arguments)

    monkeypatch.setattr(type(puller), "_pull", pull)
    monkeypatch.setattr(Registry, "hangs_up", staticmethod(lambda: len(attempts) < 2))
    reference = f"{registry}/known/image:1"
    assert puller.pull(reference, timeout=30).labels[TEST_LABEL] == TOKEN
    assert len(attempts) == 2
    puller.remove_image(reference)


def test_a_registry_that_nobody_reaches_is_no_route(engine: Engine) -> None:
    # Port 1 of loopback: refused at once, and no packet leaves the machine.
    with pytest.raises(PullFailed) as caught:
        engine.pull("127.0.0.1:1/any/image:1", timeout=60)
    assert caught.value.reason == "no route"
    assert "127.0.0.1:1" in str(caught.value)
    assert "check the network" in str(caught.value)


def test_nothing_is_pulled_by_creating(engine: Engine, registry: str) -> None:
    from pytest_sandbox.engines.spec import ContainerSpec

    with pytest.raises(EngineError):
        engine.create(ContainerSpec(image=f"{registry}/known/image:1"))
    assert Registry.asked == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("Error response from daemon: manifest for x:1 not found: manifest unknown: manifest unknown", "not found"),
        (
            "pull access denied for x, repository does not exist or may require 'docker login': denied: requested access",
            "not found",
        ),
        (
            "toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit",
            "rate limited",
        ),
        ('Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on 1.1.1.1:53: no such host', "no route"),
        (
            'Get "https://registry-1.docker.io/v2/": net/http: request canceled (Client.Timeout exceeded while awaiting headers)',
            "no route",
        ),
        ("unauthorized: authentication required", "denied"),
        ("failed to register layer: write /x: no space left on device", "disk full"),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", "not found"),
        ("invalid reference format", "refused"),
        ('Get "http://registry/v2/x/manifests/1": EOF', "interrupted"),
        ("read tcp 10.0.0.1:443: read: connection reset by peer", "interrupted"),
    ],
)
def test_the_words_of_engines_are_understood(words: str, reason: str) -> None:
    assert failure_reason(words) == reason


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("node", ("node", "latest")),
        ("node:24-slim", ("node", "24-slim")),
        ("localhost:5000/node", ("localhost:5000/node", "latest")),
        ("localhost:5000/a/node:1", ("localhost:5000/a/node", "1")),
        ("node@sha256:abc", ("node", "sha256:abc")),
    ],
)
def test_references_are_taken_apart(reference: str, parts: tuple[str, str]) -> None:
    assert split_reference(reference) == parts


def test_progress_adds_up_layers_and_bytes() -> None:
    tracker = PullTracker()
    messages: list[dict[str, Any]] = [
        {"status": "Pulling from library/node", "id": "24"},
        {"status": "Pulling fs layer", "id": "a"},
        {"status": "Pulling fs layer", "id": "b"},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 40, "total": 100}},
        {"status": "Already exists", "id": "b"},
    ]
    steps = [tracker.take(message) for message in messages]
    assert [(step.layers_done, step.layers, step.bytes_done, step.bytes_all) for step in steps] == [
        (0, 0, 0, 0),
        (0, 1, 0, 0),
        (0, 2, 0, 0),
        (0, 2, 40, 100),
        (1, 2, 40, 100),
    ]
    tracker.take({"status": "Download complete", "id": "a"})
    last = tracker.take({"status": "Pull complete", "id": "a"})
    assert (last.layers_done, last.bytes_done) == (2, 100)
