"""An engine over its socket: Docker's API, spoken by Docker and by Podman, through the Docker SDK.

Importing this module imports the SDK (about 0.1 s): do it only when an engine is needed.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

from pytest_sandbox.engines.apiconfig import container_config, parse_container, parse_image, parse_listed
from pytest_sandbox.engines.attachment import ExecAttachment, SocketAttachment
from pytest_sandbox.engines.base import DEFAULT_TIMEOUT, ContainerState, Created, EngineInfo, ImageInfo, PullProgress, Stats
from pytest_sandbox.engines.cgroups import read_stats
from pytest_sandbox.engines.hijack import Endpoint, hijack
from pytest_sandbox.engines.managed import LOAD_TIMEOUT, PULL_SILENCE, ManagedEngine
from pytest_sandbox.engines.owner import OWNER_LABEL, owner_label
from pytest_sandbox.engines.pulling import PullTracker, failure_reason, split_reference
from pytest_sandbox.engines.quirks import is_for_now, is_local, require_sources, stray_proxies, with_podman_ulimits
from pytest_sandbox.engines.sdkclient import SdkClient
from pytest_sandbox.engines.sdkfacts import engine_info, parse_stats, spoken_version
from pytest_sandbox.engines.spec import ContainerSpec
from pytest_sandbox.errors import (
    ContainerGone,
    EngineError,
    EngineRefused,
    ImageNotFound,
    PullFailed,
)
from pytest_sandbox.processes.watchdog import ContainerRemover

__all__ = ["SdkEngine"]


class SdkEngine(ManagedEngine):
    """An engine over its socket; see `Engine` for what each method does.

    Args:
        url: ``unix:///path``, ``tcp://host:port`` (without TLS) or ``ssh://[user@]host``.
        environ: the environment of ssh clients; None is this process's.
        timeout: seconds in which the engine must answer the first questions.

    Raises:
        EngineError: when nobody answers there, or the wrong thing does.
    """

    def __init__(self, url: str, *, environ: Mapping[str, str] | None = None, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._sdk = SdkClient(Endpoint(url, environ), f"the engine at {url}")
        with self._sdk.translated("reach it", timeout), contextlib.ExitStack() as stack:
            stack.callback(self._sdk.drop)
            # Podman needs 0.4 s each to tell its version and its facts; who it is comes with the answer to a ping.
            answer = self._client.get(self._client.base_url + "/_ping")
            answer.raise_for_status()
        self.name: Literal["docker", "podman"] = "podman" if "Libpod-Api-Version" in answer.headers else "docker"
        self._sdk.label = f"{self.name} over socket"
        try:
            self._sdk.api_version = spoken_version(answer.headers.get("Api-Version", ""))
        except ValueError as error:
            raise EngineError(self._sdk.label, "reach it", str(error)) from error
        super().__init__(self._make_remover())

    @functools.cached_property
    def is_local(self) -> bool:
        return is_local(self._sdk.endpoint.url)

    @functools.cached_property
    def info(self) -> EngineInfo:
        with self._sdk.translated("ask for its facts", None):
            return engine_info(self._sdk.endpoint.url, self._sdk.api_version, self._client.version(), self._client.info())

    @property
    def _client(self) -> Any:
        return self._sdk.api

    def _make_remover(self) -> ContainerRemover:
        if not self._sdk.endpoint.url.startswith("ssh://"):
            return ContainerRemover(address=self._sdk.endpoint.url)
        environment = tuple((self._sdk.endpoint.environment or os.environ).items())
        return ContainerRemover(command=(*self._sdk.endpoint.ssh_argv, "docker", "rm", "-f", "-v"), environment=environment)

    def create(self, spec: ContainerSpec, *, timeout: float | None = None) -> Created:
        if self.name == "podman" and self.is_local:
            spec = with_podman_ulimits(spec)
        require_sources(self, spec)
        config = container_config(spec, {OWNER_LABEL: owner_label()}, self.name)
        with self._minding.creating() as name, self._sdk.translated("create a container", timeout, image=spec.image):
            answer = self._client.create_container_from_config(config, name=name, platform=spec.platform)
            if self.name == "podman":
                self._require_runtime(spec, name)
                strays = stray_proxies(spec, self.inspect(name).env)
                if strays:
                    # An empty value keeps the engine from filling in its own.
                    self._client.remove_container(name, force=True, v=True)
                    config["Env"] += [f"{stray}=" for stray in strays]
                    answer = self._client.create_container_from_config(config, name=name, platform=spec.platform)
        return self._created(Created(answer["Id"], name, tuple(answer.get("Warnings") or ())), spec)

    def _prepare(self, container: str) -> None:
        """Make all that a container of Podman needs, and run nothing in it yet."""
        with self._sdk.translated("start a container", None, container=container):
            answer = self._client.post(f"{self._client.base_url}/v4.0.0/libpod/containers/{quote(container, safe='')}/init")
            answer.raise_for_status()

    def _require_runtime(self, spec: ContainerSpec, name: str) -> None:
        """Refuse a runtime that Podman did not take: its imitation of Docker's API ignores the field (4.3), and tells "oci"."""
        if spec.runtime is None:
            return
        answer = self._client.get(f"{self._client.base_url}/v4.0.0/libpod/containers/{name}/json")
        answer.raise_for_status()
        taken = answer.json().get("OCIRuntime")
        if taken != spec.runtime:
            raise EngineRefused(
                self._sdk.label,
                "create a container",
                f'runtime="{spec.runtime}" was ignored, the container would run with "{taken}"; set the runtime in the'
                " containers.conf of Podman's service, or use Podman's command line (CONTAINER_RUNTIME=/usr/bin/podman)",
            )

    def start(self, container: str, *, timeout: float | None = None) -> None:
        self._oom.starting(container)
        with self._sdk.translated("start a container", timeout, container=container):
            self._client.start(container)

    def open(self, container: str, *, timeout: float | None = None) -> SocketAttachment:
        seconds = DEFAULT_TIMEOUT if timeout is None else timeout
        with self._sdk.translated("attach to a container", timeout, container=container):
            query = urlencode({"stream": 1, "stdin": 1, "stdout": 1, "stderr": 1})
            path = f"/v{self._sdk.api_version}/containers/{quote(container, safe='')}/attach?{query}"
            connection = hijack(self._sdk.endpoint, path, timeout=seconds)
        attachment = SocketAttachment(connection, stdin=True, engine=self._sdk.label)
        try:
            self.start(container, timeout=timeout)
        except BaseException:
            attachment.close()
            raise
        return attachment

    def exec(
        self,
        container: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        work_dir: str | None = None,
        stdin: bool = False,
        timeout: float | None = None,
    ) -> ExecAttachment:
        seconds = DEFAULT_TIMEOUT if timeout is None else timeout
        with self._sdk.translated("run a process in a container", timeout, container=container):
            created = self._client.exec_create(
                container,
                list(argv),
                stdin=stdin,
                environment=[f"{name}={value}" for name, value in (env or {}).items()],
                workdir=work_dir,
                user=user or "",
            )
            number = str(created["Id"])
            body = {"Detach": False, "Tty": False}
            connection = hijack(self._sdk.endpoint, f"/v{self._sdk.api_version}/exec/{number}/start", body, timeout=seconds)

        def exit_code(limit: float) -> int:
            def look() -> int | None:
                facts = self._client.exec_inspect(number)
                return None if facts.get("Running") else facts.get("ExitCode")

            return self._sdk.poll("wait for a process in a container", limit, container, look)

        return ExecAttachment(SocketAttachment(connection, stdin=stdin, engine=self._sdk.label), exit_code)

    def wait(self, container: str, *, timeout: float | None) -> ContainerState:
        # Not the API's own wait: Podman looks only four times a second, and never answers for a container that is gone.
        def look() -> ContainerState | None:
            state = self.inspect(container)
            if state.status == "created" and state.error:
                raise EngineRefused(self._sdk.label, "start a container", state.error)
            return state if state.has_ended else None

        return self._sdk.poll("wait for a container", timeout, container, look)

    def kill(self, container: str, signal: int = 9, *, timeout: float | None = None) -> bool:
        try:
            with self._sdk.translated("send a signal to a container", timeout, container=container):
                self._client.kill(container, signal)
        except EngineRefused as error:
            if error.status == 409 or "can only kill running containers" in error.detail:
                return False
            raise
        return True

    def _remove(self, container: str, seconds: float) -> bool:
        action = "remove a container"

        def look() -> bool | None:
            try:
                with self._sdk.translated(action, seconds, container=container):
                    self._client.remove_container(container, v=True, force=True)
            except ContainerGone:
                return False
            except EngineRefused as error:
                if error.status == 409 or is_for_now(error):  # somebody else is at it
                    return None
                raise
            return True

        return self._sdk.poll(action, seconds, container, look)

    def inspect(self, container: str, *, timeout: float | None = None) -> ContainerState:
        with self._sdk.translated("inspect a container", timeout, container=container):
            return self._oom.completed(parse_container(self._client.inspect_container(container)))

    def find(self, label: str, *, timeout: float | None = None) -> list[ContainerState]:
        with self._sdk.translated("list containers", timeout):
            if self.name == "podman":
                # Its imitation of Docker's API gives no list at all while one of the containers is being removed, or is damaged.
                query = urlencode({"all": "true", "filters": json.dumps({"label": [label]})})
                answer = self._client.get(f"{self._client.base_url}/v4.0.0/libpod/containers/json?{query}")
                answer.raise_for_status()
                found = answer.json()
            else:
                found = self._client.containers(all=True, filters={"label": [label]})
        # One without a name is none: Docker (20.10) can go on listing what it has removed, until it is restarted.
        return [parse_listed(each) for each in found or () if each.get("Names")]

    def logs(self, container: str, *, tail: int = 100, timeout: float | None = None) -> bytes:
        with self._sdk.translated("read the log of a container", timeout, container=container):
            return bytes(self._client.logs(container, stdout=True, stderr=True, tail=tail))

    def stats(self, container: str, *, timeout: float | None = None) -> Stats:
        state = self.inspect(container, timeout=timeout)
        if not state.pid:
            return Stats()
        if self.is_local and (stats := read_stats(state.pid, state.id)) is not None:
            return stats
        with self._sdk.translated("read the usage of a container", timeout, container=container):
            facts: dict[str, Any] = self._client.stats(container, decode=False, stream=False)
        return parse_stats(facts)

    def _pull(
        self, image: str, platform: str | None, on_progress: Callable[[PullProgress], None] | None, timeout: float | None
    ) -> ImageInfo:
        repository, tag = split_reference(image)
        tracker = PullTracker()
        try:
            with self._sdk.translated("pull an image", PULL_SILENCE if timeout is None else timeout):
                for message in self._client.pull(repository, tag=tag, stream=True, decode=True, platform=platform):
                    if "error" in message:
                        raise PullFailed(self._sdk.label, image, failure_reason(str(message["error"])), str(message["error"]))
                    if on_progress is not None:
                        on_progress(tracker.take(message))
        except (EngineRefused, ImageNotFound) as error:
            raise PullFailed(self._sdk.label, image, failure_reason(error.detail), error.detail) from error
        if on_progress is not None:
            on_progress(tracker.finish("pulled"))
        return self.inspect_image(image)

    def load(self, archive: Path | Iterable[bytes], *, timeout: float | None = None) -> None:
        with contextlib.ExitStack() as stack:
            # A list would be taken for the fields of a form.
            source = stack.enter_context(archive.open("rb")) if isinstance(archive, Path) else (piece for piece in archive)
            stack.enter_context(self._sdk.translated("load an image", LOAD_TIMEOUT if timeout is None else timeout))
            for message in self._client.load_image(source) or ():
                if "error" in message:
                    raise EngineRefused(self._sdk.label, "load an image", str(message["error"]))

    def inspect_image(self, image: str, *, timeout: float | None = None) -> ImageInfo:
        with self._sdk.translated("inspect an image", timeout, image=image):
            return parse_image(self._client.inspect_image(image))

    def list_images(self, label: str, *, timeout: float | None = None) -> list[ImageInfo]:
        with self._sdk.translated("list images", timeout):
            found = self._client.images(filters={"label": [label]})
        return [parse_image(each) for each in found]

    def remove_image(self, image: str, *, timeout: float | None = None) -> bool:
        try:
            with self._sdk.translated("remove an image", timeout, image=image):
                self._client.remove_image(image)
        except ImageNotFound:
            return False
        return True

    def close(self) -> None:
        self._minding.remove_doubtful()
        self._sdk.close()
