"""The contract of an engine, and the facts that it reports: the same over a socket and over a command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pytest_sandbox.engines.attachment import Attachment, ExecAttachment
from pytest_sandbox.engines.spec import ContainerSpec
from pytest_sandbox.processes.watchdog import ContainerRemover

__all__ = [
    "DEFAULT_TIMEOUT",
    "ContainerState",
    "Created",
    "Engine",
    "EngineInfo",
    "ImageInfo",
    "PullProgress",
    "Stats",
]

DEFAULT_TIMEOUT = 30.0
"""Seconds that an engine may take for one operation, unless the operation has its own deadline."""


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """Which engine answers, and how it is reached.

    Attributes:
        name: "docker" or "podman": what answers, not what the program is called.
        version: the engine's version.
        api_version: the API version that is spoken, or "" over a command line without one.
        transport: "socket" or "command line".
        endpoint: the URL or the path of the program.
        rootless: whether the engine runs without root.
        cgroup_version: "1", "2", or "" if unknown.
        runtime: the default OCI runtime with its version, such as "runc 1.1.5".
        architecture: of the engine's host, as "x86_64", "aarch64" ...
        is_local: whether its containers' processes run on this machine's kernel, as far as the address tells.
    """

    name: str
    version: str
    api_version: str
    transport: Literal["socket", "command line"]
    endpoint: str
    rootless: bool
    cgroup_version: str
    runtime: str
    architecture: str
    is_local: bool

    def describe(self) -> str:
        """Return one line for headers and reports."""
        root = "rootless" if self.rootless else "rootful"
        api = f", API {self.api_version}" if self.api_version else ""
        cgroups = f", cgroups v{self.cgroup_version}" if self.cgroup_version else ""
        return f"{self.name} {self.version} over {self.transport} ({self.endpoint}){api}, {root}, {self.runtime}{cgroups}"


@dataclass(frozen=True)
class Created:
    """A container that was created.

    Attributes:
        id: the engine's id, 64 hexadecimal digits.
        name: the unique name that we gave it.
        warnings: what the engine said about settings that it could not apply: to be taken seriously.
    """

    id: str
    name: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ContainerState:
    """What an engine says about a container.

    Attributes:
        id: the container's id.
        name: its name, without a leading slash.
        image: the id of its image.
        status: "created", "running", "exited" ...
        exit_code: of its main process once it has ended, else None.
        oom_killed: whether something in it was killed for want of memory, as the engine or its control group tells; where
            Podman runs elsewhere, with version 1 of the control groups, nobody does.
        pid: of its main process on the engine's host; 0 when it does not run.
        error: why it could not be started, in the engine's words.
        labels: all labels.
        env: all variables, as "NAME=value".
    """

    id: str
    name: str
    image: str
    status: str
    exit_code: int | None
    oom_killed: bool
    pid: int
    error: str
    labels: Mapping[str, str] = field(default_factory=dict)
    env: tuple[str, ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether its main process runs."""
        return self.status in ("running", "paused", "restarting", "stopping")

    @property
    def has_ended(self) -> bool:
        """Whether its main process has run and ended."""
        return self.exit_code is not None


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """An image that is present.

    Attributes:
        id: the engine's id, without "sha256:".
        tags: its references.
        labels: all labels.
        architecture: as "x86_64", "aarch64" ...
        size: bytes.
        env: variables, as "NAME=value".
        user: the default user.
    """

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    architecture: str
    size: int
    env: tuple[str, ...]
    user: str


@dataclass(frozen=True, kw_only=True)
class Stats:
    """What a container has used, as its cgroup counts it; None where the engine does not say.

    Attributes:
        memory: bytes that it uses now, without the page cache that can be dropped.
        memory_peak: most bytes that it ever used.
        cpu: seconds of CPU time.
        oom_kills: how many of its processes the kernel killed for want of memory.
        pids: processes and threads that exist now.
    """

    memory: int | None = None
    memory_peak: int | None = None
    cpu: float | None = None
    oom_kills: int | None = None
    pids: int | None = None


@dataclass(frozen=True)
class PullProgress:
    """How far a pull is.

    Attributes:
        layers_done: layers that are complete.
        layers: layers known so far.
        bytes_done: bytes loaded of the layers whose size is known.
        bytes_all: the sum of those sizes; 0 where the engine does not say.
        text: the engine's last line.
    """

    layers_done: int
    layers: int
    bytes_done: int
    bytes_all: int
    text: str


class Engine(Protocol):
    """A container engine. Usable from several threads; every call has a deadline and raises `EngineError` or a subclass.

    A container that was created here is registered with the watchdog until `remove`, so that it does not outlive this process.
    `timeout` is in seconds; None is `DEFAULT_TIMEOUT`, except where a method says otherwise.
    """

    @property
    def name(self) -> Literal["docker", "podman"]:
        """Return what answers, not what the program is called."""

    @property
    def is_local(self) -> bool:
        """Return whether its containers run on this machine's kernel, as far as its address tells."""

    @property
    def info(self) -> EngineInfo:
        """Return which engine this is; asked for once, when it is first needed (Podman takes 0.7 s to tell)."""

    @property
    def remover(self) -> ContainerRemover:
        """Return how the watchdog can reach the engine."""

    def create(self, spec: ContainerSpec, *, timeout: float | None = None) -> Created:
        """Create a container; it does not run yet.

        Raises:
            ImageNotFound: when the image is not present: nothing is pulled.
            EngineRefused: when the engine does not accept a setting (its words are in the message).
        """

    def start(self, container: str, *, timeout: float | None = None) -> None:
        """Start a container that nobody attaches to."""

    def open(self, container: str, *, timeout: float | None = None) -> Attachment:
        """Attach to a created container and start it: nothing it prints is lost.

        Over a command line this returns before the container runs; when it cannot be started, its streams end and `wait` raises.

        Raises:
            EngineRefused: when the engine cannot start it, such as for a program that is not in the image.
        """

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
        """Start a further process in a running container. Closing the attachment does not end that process."""

    def wait(self, container: str, *, timeout: float | None) -> ContainerState:
        """Wait until a container's main process has ended; None waits without limit.

        Raises:
            EngineTimeout: when it still runs after `timeout` seconds.
            ContainerGone: when the engine no longer knows it.
        """

    def kill(self, container: str, signal: int = 9, *, timeout: float | None = None) -> bool:
        """Send a signal to a container's main process; return False when it does not run."""

    def remove(self, container: str, *, timeout: float | None = None) -> bool:
        """Kill and remove a container with its anonymous volumes; return False when it was already gone."""

    def inspect(self, container: str, *, timeout: float | None = None) -> ContainerState:
        """Return a container's state."""

    def find(self, label: str, *, timeout: float | None = None) -> list[ContainerState]:
        """Return all containers, running or not, that bear a label ("name" or "name=value"); ids, names, labels, status only."""

    def logs(self, container: str, *, tail: int = 100, timeout: float | None = None) -> bytes:
        """Return the last lines of both streams, mixed; empty when the container does not log."""

    def stats(self, container: str, *, timeout: float | None = None) -> Stats:
        """Return what a running container has used."""

    def pull(
        self,
        image: str,
        *,
        platform: str | None = None,
        on_progress: Callable[[PullProgress], None] | None = None,
        timeout: float | None = None,
    ) -> ImageInfo:
        """Fetch an image from its registry. `timeout` limits the silence between two lines of progress (None: 120 s).

        Raises:
            PullFailed: with the reason ("not found", "denied", "rate limited", "no route" ...).
        """

    def load(self, archive: Path | Iterable[bytes], *, timeout: float | None = None) -> None:
        """Load an image archive (the format of ``docker save``), from a file or piece by piece; None for `timeout` is 300 s."""

    def inspect_image(self, image: str, *, timeout: float | None = None) -> ImageInfo:
        """Return an image that is present.

        Raises:
            ImageNotFound: when it is not.
        """

    def list_images(self, label: str, *, timeout: float | None = None) -> list[ImageInfo]:
        """Return the images that bear a label ("name" or "name=value")."""

    def remove_image(self, image: str, *, timeout: float | None = None) -> bool:
        """Remove an image that no container uses; return False when it was already gone."""

    def close(self) -> None:
        """Drop connections. Containers are not touched."""
