"""What a container is to be: plain data, the same for every engine and transport."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pytest_sandbox.errors import InvalidArgument

__all__ = ["PROXY_VARIABLES", "ContainerSpec", "Mount", "Ulimit"]

PROXY_VARIABLES: Final = tuple(
    spelling for name in ("http", "https", "ftp", "no", "all") for spelling in (f"{name}_proxy".upper(), f"{name}_proxy")
)
"""Variables that engines and their clients put into containers unless they are told not to."""

_SMALLEST_MEMORY: Final = 6 * 1024 * 1024
_ABSOLUTE: Final = re.compile(r"/[^\0]*\Z")
_NAME: Final = re.compile(r"[^=\0]+\Z")
_NETWORK: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.:-]*\Z")


@dataclass(frozen=True, kw_only=True)
class Mount:
    """One file, folder or volume of the engine's host inside the container.

    Attributes:
        source: an absolute path (kind "bind") or a volume's name (kind "volume"); a path that does not exist is an error.
        target: an absolute path in the container.
        read_only: whether writing is refused.
        kind: "bind" or "volume".
    """

    source: str
    target: str
    read_only: bool = True
    kind: Literal["bind", "volume"] = "bind"

    def __post_init__(self) -> None:
        if self.kind == "bind" and not _ABSOLUTE.match(self.source):
            raise InvalidArgument("mount source", self.source, "an absolute path on the engine's host")
        if not self.source or "\0" in self.source:
            raise InvalidArgument("mount source", self.source, "a volume's name")
        if not _ABSOLUTE.match(self.target):
            raise InvalidArgument("mount target", self.target, "an absolute path in the container")


@dataclass(frozen=True, kw_only=True)
class Ulimit:
    """A resource limit of every process in the container.

    Attributes:
        name: as the engines know it: "core", "nofile", "nproc", "fsize" ...
        soft: the limit that binds, in the resource's own unit.
        hard: up to where a process may raise it.
    """

    name: str
    soft: int
    hard: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]+", self.name):
            raise InvalidArgument("ulimit", self.name, 'a lower-case name such as "nofile"')
        if self.soft > self.hard >= 0:
            raise InvalidArgument(f"ulimit {self.name}", self.soft, f"a soft limit up to the hard limit of {self.hard}")


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """One container to create. None leaves a setting to the engine or the image; nothing is inherited from this process.

    The engine is never asked to remove a container by itself: its exit code and out-of-memory mark would be gone with it, and a
    wait for a container that has already been removed never returns (measured on Podman). We remove.

    Attributes:
        image: an image id (preferred) or reference; it must be present, creating never pulls.
        command: arguments; the program, too, where `entrypoint` is None and the image has none.
        entrypoint: replaces the image's; an empty tuple clears it.
        env: the variables that are set on top of the image's.
        user: name or uid, optionally with ":" and group.
        work_dir: an absolute path in the container.
        network: "none", "bridge", "host", or the name of a network.
        read_only: whether the root filesystem refuses writes.
        cap_drop: capabilities taken away; "ALL" is all.
        cap_add: capabilities given.
        no_new_privileges: whether set-user-id programs gain nothing.
        security: further security options, such as "seccomp=unconfined".
        tmpfs: path in the container to mount options.
        mounts: what is mounted from the engine's host.
        memory: bytes of memory.
        memory_swap: bytes of memory and swap together; equal to `memory` means no swap; -1 is unlimited.
        cpus: how many CPUs' worth of time; alternative to `cpu_quota`.
        cpu_quota: microseconds of CPU time in each 100,000.
        pids_limit: how many processes and threads.
        ulimits: resource limits.
        ipc: the ipc mode: "none" (no /dev/shm at all), "private", "host" ...
        shm_size: bytes of /dev/shm.
        log: whether the engine keeps what the container prints; False is its log driver "none".
        labels: on top of those that name the owner.
        init: whether the engine's own init becomes process 1.
        runtime: the OCI runtime, such as "runsc" or "kata".
        platform: such as "linux/arm64".
        stdin: whether standard input is open; it ends when the one attached client closes it.
        healthcheck: whether the image's health check runs.
        hostname: the host name inside.

    Raises:
        InvalidArgument: when a value makes no sense (the caller's fault).
    """

    image: str
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    work_dir: str | None = None
    network: str = "none"
    read_only: bool = False
    cap_drop: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    no_new_privileges: bool = False
    security: tuple[str, ...] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    memory: int | None = None
    memory_swap: int | None = None
    cpus: float | None = None
    cpu_quota: int | None = None
    pids_limit: int | None = None
    ulimits: tuple[Ulimit, ...] = ()
    ipc: str | None = None
    shm_size: int | None = None
    log: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    init: bool = False
    runtime: str | None = None
    platform: str | None = None
    stdin: bool = False
    healthcheck: bool = False
    hostname: str | None = None

    def __post_init__(self) -> None:
        if not self.image or self.image.startswith("-") or any(ord(char) <= 32 for char in self.image):
            raise InvalidArgument("image", self.image, "an image id or reference")
        for argument in (*self.command, *(self.entrypoint or ())):
            if "\0" in argument:
                raise InvalidArgument("command", argument, "text without NUL")
        for name, value in self.env.items():
            if not _NAME.match(name):
                raise InvalidArgument("env", name, 'a variable name that is not empty and has neither "=" nor NUL')
            if "\0" in value:
                raise InvalidArgument(f"env {name}", value, "text without NUL")
        for path in (*self.tmpfs, *([self.work_dir] if self.work_dir is not None else [])):
            if not _ABSOLUTE.match(path):
                raise InvalidArgument("path in the container", path, "an absolute path")
        if not _NETWORK.match(self.network):
            raise InvalidArgument("network", self.network, '"none", "bridge", "host", or the name of a network')
        self._check_numbers()

    def _check_numbers(self) -> None:
        if self.memory is not None and self.memory < _SMALLEST_MEMORY:
            raise InvalidArgument("memory", self.memory, f"at least {_SMALLEST_MEMORY} bytes, the least that engines accept")
        if self.memory_swap not in (None, -1) and (self.memory is None or self.memory_swap < self.memory):
            raise InvalidArgument("memory_swap", self.memory_swap, f"at least memory ({self.memory} bytes), or -1 for no limit")
        if self.cpus is not None and self.cpu_quota is not None:
            raise InvalidArgument("cpu_quota", self.cpu_quota, f"one of cpus and cpu_quota, not both (cpus is {self.cpus})")
        most = os.cpu_count() or 1
        if self.cpus is not None and not 0.01 <= self.cpus < 10_000:
            raise InvalidArgument("cpus", self.cpus, f"a number from 0.01 to the engine's CPUs (this machine has {most})")
        if self.cpu_quota is not None and self.cpu_quota < 1000:
            raise InvalidArgument("cpu_quota", self.cpu_quota, "at least 1000 microseconds in each 100,000")
        for name in ("pids_limit", "shm_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidArgument(name, value, "a whole number greater than 0, or None for no limit")
