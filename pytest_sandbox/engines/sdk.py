"""An engine over its socket: Docker's API, spoken by Docker and by Podman, through the Docker SDK.

Importing this module imports the SDK (about 0.1 s): do it only when an engine is needed.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote, urlencode

import docker.errors
import requests.exceptions
import urllib3.exceptions
from docker.api.client import APIClient

from pytest_sandbox.engines.apiconfig import container_config, parse_container, parse_image, parse_listed
from pytest_sandbox.engines.attachment import ExecAttachment, SocketAttachment
from pytest_sandbox.engines.base import DEFAULT_TIMEOUT, ContainerState, Created, EngineInfo, ImageInfo, PullProgress, Stats
from pytest_sandbox.engines.cgroups import read_stats
from pytest_sandbox.engines.dialing import DialingAdapter
from pytest_sandbox.engines.hijack import Endpoint, HijackRefused, hijack
from pytest_sandbox.engines.minding import Minding
from pytest_sandbox.engines.oom import OomWatches
from pytest_sandbox.engines.owner import OWNER_LABEL, owner_label
from pytest_sandbox.engines.pulling import PullTracker, failure_reason, pull_again, split_reference
from pytest_sandbox.engines.quirks import is_for_now, is_local, require_sources, stray_proxies, with_podman_ulimits
from pytest_sandbox.engines.sdkfacts import engine_info, innermost, spoken_version, was_refused
from pytest_sandbox.engines.spec import ContainerSpec
from pytest_sandbox.errors import (
    ContainerGone,
    EngineError,
    EngineGone,
    EngineRefused,
    EngineTimeout,
    ImageNotFound,
    PullFailed,
)
from pytest_sandbox.processes.watchdog import ContainerRemover

__all__ = ["SdkEngine"]

_Found = TypeVar("_Found")

PULL_SILENCE: Final = 120.0
LOAD_TIMEOUT: Final = 300.0
_FIRST_VERSION: Final = "1.40"  # for the first question only; its answer tells the version that is spoken from then on
_FIRST_LOOK, _LONGEST_PAUSE = 0.002, 0.1  # seconds between two looks at a container that is waited for


class _Client(APIClient):
    """The SDK's client with a deadline of its own for each request, instead of one for all."""

    deadline = threading.local()

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> Any:
        seconds = getattr(self.deadline, "seconds", None)
        if seconds is not None:
            kwargs["timeout"] = seconds
        return super().request(method, url, *args, **kwargs)


class SdkEngine:
    """An engine over its socket; see `Engine` for what each method does.

    Args:
        url: ``unix:///path``, ``tcp://host:port`` (without TLS) or ``ssh://[user@]host``.
        environ: the environment of ssh clients; None is this process's.
        timeout: seconds in which the engine must answer the first questions.

    Raises:
        EngineError: when nobody answers there, or the wrong thing does.
    """

    def __init__(self, url: str, *, environ: Mapping[str, str] | None = None, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._endpoint = Endpoint(url, environ)
        self._label = f"the engine at {url}"
        self._clients: dict[int, _Client] = {}
        self._api_version = _FIRST_VERSION
        with self._translated("reach it", timeout), contextlib.ExitStack() as stack:
            stack.callback(self._drop_connections)
            # Podman needs 0.4 s each to tell its version and its facts; who it is comes with the answer to a ping.
            answer = self._client.get(self._client.base_url + "/_ping")
            answer.raise_for_status()
        self.is_local = is_local(url)
        self.name: Literal["docker", "podman"] = "podman" if "Libpod-Api-Version" in answer.headers else "docker"
        self._label = f"{self.name} over socket"
        try:
            self._api_version = spoken_version(answer.headers.get("Api-Version", ""))
        except ValueError as error:
            raise EngineError(self._label, "reach it", str(error)) from error
        self.remover: ContainerRemover = self._make_remover()
        self._minding = Minding(self.remover, self.remove)
        self._oom = OomWatches(
            lambda: self.name == "podman" and self.is_local, self._prepare, lambda container: self.inspect(container).pid
        )

    @functools.cached_property
    def info(self) -> EngineInfo:
        with self._translated("ask for its facts", None):
            return engine_info(self._endpoint.url, self._api_version, self._client.version(), self._client.info())

    @property
    def _client(self) -> Any:  # the SDK's type stubs lack half of what is used here
        # A forked child must not share connections with its parent.
        pid = os.getpid()
        client = self._clients.get(pid)
        if client is None:
            client = _Client(base_url="unix:///dialled/by/us", version=self._api_version, timeout=int(DEFAULT_TIMEOUT))
            client.mount("http+docker://", DialingAdapter(self._endpoint))
            client.trust_env = False  # no proxy between us and an engine
            self._clients = {pid: client}
        return client

    def _make_remover(self) -> ContainerRemover:
        if not self._endpoint.url.startswith("ssh://"):
            return ContainerRemover(address=self._endpoint.url)
        environment = tuple((self._endpoint.environment or os.environ).items())
        return ContainerRemover(command=(*self._endpoint.ssh_argv, "docker", "rm", "-f", "-v"), environment=environment)

    @contextlib.contextmanager
    def _translated(self, action: str, timeout: float | None, *, container: str = "", image: str = "") -> Iterator[None]:
        """Bound every request inside, and turn whatever the SDK raises into our own errors."""
        seconds = DEFAULT_TIMEOUT if timeout is None else timeout
        before = getattr(_Client.deadline, "seconds", None)
        _Client.deadline.seconds = seconds
        try:
            yield
        except EngineError:
            raise
        except docker.errors.ImageNotFound as error:
            raise ImageNotFound(self._label, image or str(error.explanation)) from error
        except docker.errors.NotFound as error:
            words = str(error.explanation or error)
            if container and "container" in words.lower():
                raise ContainerGone(self._label, action, container) from error
            if image and not container:
                raise ImageNotFound(self._label, image) from error
            raise EngineRefused(self._label, action, words, 404) from error
        except docker.errors.APIError as error:
            if image and "cannot specify 64-byte hexadecimal strings" in str(error.explanation):
                raise ImageNotFound(self._label, image) from error  # Podman, of an id that it does not know
            raise EngineRefused(self._label, action, str(error.explanation or error), error.status_code) from error
        except HijackRefused as error:
            if error.status == 404:
                raise ContainerGone(self._label, action, container) from error
            raise EngineRefused(self._label, action, error.message, error.status) from error
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
            raise EngineTimeout(self._label, action, seconds) from error
        except (
            requests.exceptions.RequestException,
            urllib3.exceptions.HTTPError,
            docker.errors.DockerException,
            OSError,
        ) as error:
            raise EngineGone(self._label, action, innermost(error), was_asked=not was_refused(error)) from error
        finally:
            _Client.deadline.seconds = before

    def create(self, spec: ContainerSpec, *, timeout: float | None = None) -> Created:
        if self.name == "podman" and self.is_local:
            spec = with_podman_ulimits(spec)
        require_sources(self, spec)
        config = container_config(spec, {OWNER_LABEL: owner_label()}, self.name)
        with self._minding.creating() as name, self._translated("create a container", timeout, image=spec.image):
            answer = self._client.create_container_from_config(config, name=name, platform=spec.platform)
            if self.name == "podman":
                self._require_runtime(spec, name)
                strays = stray_proxies(spec, self.inspect(name).env)
                if strays:
                    # An empty value keeps the engine from filling in its own.
                    self._client.remove_container(name, force=True, v=True)
                    config["Env"] += [f"{stray}=" for stray in strays]
                    answer = self._client.create_container_from_config(config, name=name, platform=spec.platform)
        self._minding.created(answer["Id"], name)
        self._oom.created(answer["Id"], name, spec.memory)
        return Created(answer["Id"], name, tuple(answer.get("Warnings") or ()))

    def _prepare(self, container: str) -> None:
        """Make all that a container of Podman needs, and run nothing in it yet."""
        with self._translated("start a container", None, container=container):
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
                self._label,
                "create a container",
                f'runtime="{spec.runtime}" was ignored, the container would run with "{taken}"; set the runtime in the'
                " containers.conf of Podman's service, or use Podman's command line (CONTAINER_RUNTIME=/usr/bin/podman)",
            )

    def start(self, container: str, *, timeout: float | None = None) -> None:
        self._oom.starting(container)
        with self._translated("start a container", timeout, container=container):
            self._client.start(container)

    def open(self, container: str, *, timeout: float | None = None) -> SocketAttachment:
        seconds = DEFAULT_TIMEOUT if timeout is None else timeout
        with self._translated("attach to a container", timeout, container=container):
            query = urlencode({"stream": 1, "stdin": 1, "stdout": 1, "stderr": 1})
            path = f"/v{self._api_version}/containers/{quote(container, safe='')}/attach?{query}"
            connection = hijack(self._endpoint, path, timeout=seconds)
        attachment = SocketAttachment(connection, stdin=True, engine=self._label)
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
        with self._translated("run a process in a container", timeout, container=container):
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
            connection = hijack(self._endpoint, f"/v{self._api_version}/exec/{number}/start", body, timeout=seconds)

        def exit_code(limit: float) -> int:
            def look() -> int | None:
                facts = self._client.exec_inspect(number)
                return None if facts.get("Running") else facts.get("ExitCode")

            return self._poll("wait for a process in a container", limit, container, look)

        return ExecAttachment(SocketAttachment(connection, stdin=stdin, engine=self._label), exit_code)

    def _poll(self, action: str, timeout: float | None, container: str, look: Callable[[], _Found | None]) -> _Found:
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_LOOK
        while True:
            with self._translated(action, None, container=container):
                found = look()
            if found is not None:
                return found
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise EngineTimeout(self._label, action, timeout or 0.0, "it still runs")
            time.sleep(pause if left is None else min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def wait(self, container: str, *, timeout: float | None) -> ContainerState:
        # Not the API's own wait: Podman looks only four times a second, and never answers for a container that is gone.
        def look() -> ContainerState | None:
            state = self.inspect(container)
            if state.status == "created" and state.error:
                raise EngineRefused(self._label, "start a container", state.error)
            return state if state.has_ended else None

        return self._poll("wait for a container", timeout, container, look)

    def kill(self, container: str, signal: int = 9, *, timeout: float | None = None) -> bool:
        try:
            with self._translated("send a signal to a container", timeout, container=container):
                self._client.kill(container, signal)
        except EngineRefused as error:
            if error.status == 409 or "can only kill running containers" in error.detail:
                return False
            raise
        return True

    def remove(self, container: str, *, timeout: float | None = None) -> bool:
        seconds = DEFAULT_TIMEOUT if timeout is None else timeout
        action = "remove a container"

        def look() -> bool | None:
            try:
                with self._translated(action, seconds, container=container):
                    self._client.remove_container(container, v=True, force=True)
            except ContainerGone:
                return False
            except EngineRefused as error:
                if error.status == 409 or is_for_now(error):  # somebody else is at it
                    return None
                raise
            return True

        with self._minding.removing(container):
            removed = self._poll(action, seconds, container, look)
        self._oom.gone(container)
        return removed

    def inspect(self, container: str, *, timeout: float | None = None) -> ContainerState:
        with self._translated("inspect a container", timeout, container=container):
            return self._oom.completed(parse_container(self._client.inspect_container(container)))

    def find(self, label: str, *, timeout: float | None = None) -> list[ContainerState]:
        with self._translated("list containers", timeout):
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
        with self._translated("read the log of a container", timeout, container=container):
            return bytes(self._client.logs(container, stdout=True, stderr=True, tail=tail))

    def stats(self, container: str, *, timeout: float | None = None) -> Stats:
        state = self.inspect(container, timeout=timeout)
        if not state.pid:
            return Stats()
        if self.is_local and (stats := read_stats(state.pid, state.id)) is not None:
            return stats
        with self._translated("read the usage of a container", timeout, container=container):
            facts: dict[str, Any] = self._client.stats(container, decode=False, stream=False)
        memory, cpu = facts.get("memory_stats") or {}, (facts.get("cpu_stats") or {}).get("cpu_usage") or {}
        details = memory.get("stats") or {}
        droppable = details.get("inactive_file", details.get("total_inactive_file", 0))
        return Stats(
            memory=max(0, memory["usage"] - droppable) if "usage" in memory else None,
            memory_peak=memory.get("max_usage") or None,
            cpu=cpu["total_usage"] / 1e9 if "total_usage" in cpu else None,
            pids=(facts.get("pids_stats") or {}).get("current"),
        )

    def pull(
        self,
        image: str,
        *,
        platform: str | None = None,
        on_progress: Callable[[PullProgress], None] | None = None,
        timeout: float | None = None,
    ) -> ImageInfo:
        return pull_again(lambda: self._pull(image, platform, on_progress, timeout))

    def _pull(
        self, image: str, platform: str | None, on_progress: Callable[[PullProgress], None] | None, timeout: float | None
    ) -> ImageInfo:
        repository, tag = split_reference(image)
        tracker = PullTracker()
        try:
            with self._translated("pull an image", PULL_SILENCE if timeout is None else timeout):
                for message in self._client.pull(repository, tag=tag, stream=True, decode=True, platform=platform):
                    if "error" in message:
                        raise PullFailed(self._label, image, failure_reason(str(message["error"])), str(message["error"]))
                    if on_progress is not None:
                        on_progress(tracker.take(message))
        except (EngineRefused, ImageNotFound) as error:
            raise PullFailed(self._label, image, failure_reason(error.detail), error.detail) from error
        if on_progress is not None:
            on_progress(tracker.finish("pulled"))
        return self.inspect_image(image)

    def load(self, archive: Path | Iterable[bytes], *, timeout: float | None = None) -> None:
        with contextlib.ExitStack() as stack:
            # A list would be taken for the fields of a form.
            source = stack.enter_context(archive.open("rb")) if isinstance(archive, Path) else (piece for piece in archive)
            stack.enter_context(self._translated("load an image", LOAD_TIMEOUT if timeout is None else timeout))
            for message in self._client.load_image(source) or ():
                if "error" in message:
                    raise EngineRefused(self._label, "load an image", str(message["error"]))

    def inspect_image(self, image: str, *, timeout: float | None = None) -> ImageInfo:
        with self._translated("inspect an image", timeout, image=image):
            return parse_image(self._client.inspect_image(image))

    def list_images(self, label: str, *, timeout: float | None = None) -> list[ImageInfo]:
        with self._translated("list images", timeout):
            found = self._client.images(filters={"label": [label]})
        return [parse_image(each) for each in found]

    def remove_image(self, image: str, *, timeout: float | None = None) -> bool:
        try:
            with self._translated("remove an image", timeout, image=image):
                self._client.remove_image(image)
        except ImageNotFound:
            return False
        return True

    def close(self) -> None:
        self._minding.remove_doubtful()
        self._drop_connections()

    def _drop_connections(self) -> None:
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()
