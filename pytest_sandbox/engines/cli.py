"""An engine through the ``docker`` or ``podman`` command: where no socket, or no SDK, is at hand.

Attaching is the client's own ``start --attach``: its pipes are the container's streams. A client that is killed leaves its
container running, so a container is always ended by name.
"""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pytest_sandbox.engines.apiconfig import parse_container, parse_image, parse_listed
from pytest_sandbox.engines.arguments import create_arguments, split_environment
from pytest_sandbox.engines.attachment import ExecAttachment, PipeAttachment
from pytest_sandbox.engines.base import DEFAULT_TIMEOUT, ContainerState, Created, EngineInfo, ImageInfo, PullProgress, Stats
from pytest_sandbox.engines.cache import cache_folder
from pytest_sandbox.engines.cgroups import read_stats
from pytest_sandbox.engines.clientconfig import proxy_free_config
from pytest_sandbox.engines.clifacts import ask_info, ask_name, docker_address, parse_stats
from pytest_sandbox.engines.commandline import Client
from pytest_sandbox.engines.managed import LOAD_TIMEOUT, PULL_SILENCE, ManagedEngine
from pytest_sandbox.engines.owner import OWNER_LABEL, owner_label
from pytest_sandbox.engines.pulling import PullTracker, failure_reason
from pytest_sandbox.engines.quirks import is_for_now, is_local, require_sources, with_podman_ulimits
from pytest_sandbox.engines.spec import ContainerSpec
from pytest_sandbox.errors import ContainerGone, EngineError, EngineRefused, EngineTimeout, ImageNotFound, PullFailed
from pytest_sandbox.processes.spawn import end_group
from pytest_sandbox.processes.watchdog import ContainerRemover

__all__ = ["CliEngine"]

_CLIENT_BELIEVED: Final = 2.0  # seconds between two looks at a container whose client still runs
_REMOVER_VARIABLES: Final = ("PATH", "HOME", "USER", "TMPDIR", "LD_LIBRARY_PATH", "SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS")
_REMOVER_PREFIXES: Final = ("DOCKER_", "CONTAINER", "XDG_", "STORAGE_", "_CONTAINERS_")


class CliEngine(ManagedEngine):
    """An engine through its command-line client; see `Engine` for what each method does.

    Args:
        program: the client: an absolute path.
        url: the engine's address; None leaves it to the client's own settings.
        environ: the client's whole environment.
        timeout: seconds in which the engine must answer the first question.

    Raises:
        EngineError: when the client cannot be started, or no engine answers behind it.
    """

    def __init__(
        self, program: str, *, environ: Mapping[str, str], url: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        self._client = Client(program, (), dict(environ), label=f"the engine behind {program}")
        if url is not None:
            # Both understand the variables; the options differ, and which of the two it is must be asked first.
            self._client.environment = {**environ, "DOCKER_HOST": url, "CONTAINER_HOST": url}
        self.name: Literal["docker", "podman"] = ask_name(self._client, timeout)
        self._client.label = f"{self.name} over its command line"
        if url is not None:
            self._client.reach = ("--url", url) if self.name == "podman" else ("--host", url)
        if self.name == "podman":
            # Its monitor puts a file called "oom" where it was started when a container runs out of memory.
            self._client.folder = cache_folder(environ)
            with contextlib.suppress(OSError):
                self._client.folder.mkdir(parents=True, exist_ok=True)
        self._attached: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        variables = tuple(
            (name, value)
            for name, value in self._client.environment.items()
            if name in _REMOVER_VARIABLES or name.startswith(_REMOVER_PREFIXES)
        )
        # Podman (4.3) removes none of several containers, and succeeds, when one of them does not exist.
        options = ("-f", "-v", "--ignore") if self.name == "podman" else ("-f", "-v")
        super().__init__(ContainerRemover("", (program, *self._client.reach, "rm", *options), variables))

    @functools.cached_property
    def is_local(self) -> bool:
        if self.name == "docker":
            return is_local(docker_address(self._client))
        variables = self._client.environment
        return is_local(variables.get("CONTAINER_HOST", "")) and not variables.get("CONTAINER_CONNECTION")

    @functools.cached_property
    def info(self) -> EngineInfo:
        return ask_info(self._client, self.name, DEFAULT_TIMEOUT)

    def _ask(self, action: str, timeout: float | None, *arguments: str, container: str = "", image: str = "") -> bytes:
        seconds = DEFAULT_TIMEOUT if timeout is None else timeout
        return self._client.ask(arguments, timeout=seconds, action=action, container=container, image=image).stdout

    def create(self, spec: ContainerSpec, *, timeout: float | None = None) -> Created:
        require_sources(self, spec)
        if self.name == "podman":
            spec = with_podman_ulimits(spec)
        with self._minding.creating() as name:
            labels = {OWNER_LABEL: owner_label()}
            arguments, environment = create_arguments(spec, name, labels, self._client.environment, self.name)
            finished = self._client.ask(
                [*self._create_options(), *arguments],
                timeout=DEFAULT_TIMEOUT if timeout is None else timeout,
                action="create a container",
                image=spec.image,
                environment=environment,
            )
        number = finished.stdout.decode().split()[-1]
        warnings = tuple(line.strip() for line in finished.stderr.decode("utf-8", "replace").splitlines() if line.strip())
        return self._created(Created(number, name, warnings), spec)

    def _prepare(self, container: str) -> None:
        """Make all that a container of Podman needs, and run nothing in it yet."""
        self._ask("start a container", None, "init", "--", container, container=container)

    def _create_options(self) -> list[str]:
        if self.name != "docker":
            return []
        try:
            folder = proxy_free_config(self._client.environment)
        except OSError as error:
            raise EngineError(self._client.label, "create a container without the client's proxies", str(error)) from error
        return [] if folder is None else ["--config", str(folder)]

    def start(self, container: str, *, timeout: float | None = None) -> None:
        self._oom.starting(container)
        self._ask("start a container", timeout, "start", "--", container, container=container)

    def open(self, container: str, *, timeout: float | None = None) -> PipeAttachment:
        self._oom.starting(container)
        # Without keys to detach: Podman looks for them in every input, not only in that of a terminal.
        keys = ["--detach-keys="] if self.name == "podman" else []
        process = self._client.popen(["start", "--attach", "--interactive", *keys, "--", container])
        with self._lock:
            self._attached[container] = process
        return PipeAttachment(process, engine=self._client.label)

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
        action = "run a process in a container"
        state = self.inspect(container, timeout=timeout)
        if not state.is_running:
            # The client's exit code would be 1, as if the program had ended with it.
            raise EngineRefused(self._client.label, action, f"the container is {state.status}, not running")
        variables, environment = split_environment(env or {}, self._client.environment)
        options = [*variables, *(["--interactive"] if stdin else [])]
        options += [f"--user={user}"] if user else []
        options += [f"--workdir={work_dir}"] if work_dir else []
        process = self._client.popen(["exec", *options, "--", container, *argv], environment=environment)
        streams = PipeAttachment(process, engine=self._client.label)
        if not stdin:
            streams.end_input()

        def exit_code(limit: float) -> int:
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                raise EngineTimeout(self._client.label, f"wait for {action[4:]}", limit, "it still runs") from None

        return ExecAttachment(streams, exit_code)

    def wait(self, container: str, *, timeout: float | None) -> ContainerState:
        action = "wait for a container"
        deadline = None if timeout is None else time.monotonic() + timeout

        def left() -> float | None:
            return None if deadline is None else max(0.0, deadline - time.monotonic())

        with self._lock:
            process = self._attached.get(container)
        while True:
            if process is not None:
                # Podman's client can stay for 20 s after its container has ended, so it is not believed for long.
                limit = left()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_CLIENT_BELIEVED if limit is None else min(limit, _CLIENT_BELIEVED))
            state = self.inspect(container)
            if state.has_ended:
                return state
            if process is not None and process.poll() is None:
                if left() == 0.0:
                    raise EngineTimeout(self._client.label, action, timeout or 0.0, "it still runs")
                continue
            if state.status == "created" and (state.error or process is not None):
                words = state.error or "the engine could not start it; its words are in the container's standard error"
                raise EngineRefused(self._client.label, "start a container", words)
            # The client blocks until the container has ended: no looking again and again.
            waiter = self._client.popen(["wait", "--", container], stdin=subprocess.DEVNULL)
            try:
                waiter.communicate(timeout=left())
            except subprocess.TimeoutExpired:
                raise EngineTimeout(self._client.label, action, timeout or 0.0, "it still runs") from None
            finally:
                end_group(waiter)

    def kill(self, container: str, signal: int = 9, *, timeout: float | None = None) -> bool:
        try:
            self._ask("send a signal to a container", timeout, "kill", f"--signal={signal}", "--", container, container=container)
        except EngineRefused as error:
            if "is not running" in error.detail or "can only kill running" in error.detail:
                return False
            raise
        return True

    def _remove(self, container: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        action = "remove a container"
        while True:
            finished = self._client.run(["rm", "--force", "--volumes", "--", container], timeout=seconds, action=action)
            error = self._client.failure(finished, action, container=container)
            if not finished.code or not is_for_now(error) or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if finished.code and not isinstance(error, ContainerGone):
            raise error
        with self._lock:
            self._attached.pop(container, None)
        # "rm --force" succeeds for a container that does not exist; it prints the name of one that it has removed.
        return finished.code == 0 and container.encode() in finished.stdout

    def inspect(self, container: str, *, timeout: float | None = None) -> ContainerState:
        found = self._ask("inspect a container", timeout, "container", "inspect", "--", container, container=container)
        return self._oom.completed(parse_container(json.loads(found)[0]))

    def find(self, label: str, *, timeout: float | None = None) -> list[ContainerState]:
        action = "list containers"
        # The value is compared here: Podman takes a filter apart at its commas.
        key, _, value = label.partition("=")
        arguments = ("ps", "--all", "--no-trunc", f"--filter=label={key}")
        if self.name == "podman":
            # It inspects none of several containers when one of them is damaged.
            listed = json.loads(self._ask(action, timeout, *arguments, "--format=json") or "[]")
            found = [parse_listed(each) for each in listed or () if each.get("Names")]
        else:
            numbers = self._ask(action, timeout, *arguments, "--quiet").decode().split()
            found = [parse_container(each) for each in self._inspect_all("container", numbers, action, timeout)]
        return [state for state in found if not value or state.labels.get(key) == value]

    def _inspect_all(self, kind: str, numbers: Sequence[str], action: str, timeout: float | None) -> list[dict[str, Any]]:
        if not numbers:
            return []
        seconds = DEFAULT_TIMEOUT if timeout is None else timeout
        # One that has gone meanwhile makes the client fail, but it tells about the others.
        finished = self._client.run([kind, "inspect", "--", *numbers], timeout=seconds, action=action)
        try:
            found: list[dict[str, Any]] = json.loads(finished.stdout)
        except ValueError:
            raise self._client.failure(finished, action) from None
        return found

    def logs(self, container: str, *, tail: int = 100, timeout: float | None = None) -> bytes:
        seconds = DEFAULT_TIMEOUT if timeout is None else timeout
        finished = self._client.ask(
            ["logs", f"--tail={tail}", "--", container],
            timeout=seconds,
            action="read the log of a container",
            container=container,
        )
        return finished.stdout + finished.stderr

    def stats(self, container: str, *, timeout: float | None = None) -> Stats:
        state = self.inspect(container, timeout=timeout)
        if not state.pid:  # the client would take two seconds to say nothing
            return Stats()
        # Told apart from a process of this machine by the id in the name of its group, so asking where it runs is not needed.
        if (stats := read_stats(state.pid, state.id)) is not None:
            return stats
        line = self._ask(
            "read the usage of a container",
            timeout,
            "stats",
            "--no-stream",
            "--format={{json .}}",
            "--",
            container,
            container=container,
        )
        return parse_stats(line)

    def _pull(
        self, image: str, platform: str | None, on_progress: Callable[[PullProgress], None] | None, timeout: float | None
    ) -> ImageInfo:
        silence = PULL_SILENCE if timeout is None else timeout
        tracker = PullTracker()
        said: list[str] = []
        options = [f"--platform={platform}"] if platform else []

        def hear(line: str) -> None:
            said.append(line)
            if on_progress is not None:
                on_progress(tracker.take_line(line))

        if self._client.follow(["pull", *options, "--", image], hear, silence=silence, action=f'pull image "{image}"'):
            words = "; ".join(line for line in said if "rror" in line) or "; ".join(said[-3:])
            raise PullFailed(self._client.label, image, failure_reason(words), words)
        if on_progress is not None:
            on_progress(tracker.finish("pulled"))
        return self.inspect_image(image)

    def load(self, archive: Path | Iterable[bytes], *, timeout: float | None = None) -> None:
        seconds = LOAD_TIMEOUT if timeout is None else timeout
        self._client.ask(["load"], timeout=seconds, action="load an image", stdin=archive)

    def inspect_image(self, image: str, *, timeout: float | None = None) -> ImageInfo:
        found = self._ask("inspect an image", timeout, "image", "inspect", "--", image, image=image)
        return parse_image(json.loads(found)[0])

    def list_images(self, label: str, *, timeout: float | None = None) -> list[ImageInfo]:
        action = "list images"
        listed = self._ask(action, timeout, "images", "--quiet", "--no-trunc", f"--filter=label={label}").decode().split()
        return [parse_image(each) for each in self._inspect_all("image", list(dict.fromkeys(listed)), action, timeout)]

    def remove_image(self, image: str, *, timeout: float | None = None) -> bool:
        try:
            self._ask("remove an image", timeout, "rmi", "--", image, image=image)
        except ImageNotFound:
            return False
        return True

    def close(self) -> None:
        self._minding.remove_doubtful()
