"""What engines do unasked, and how it is undone."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_sandbox.engines.spec import PROXY_VARIABLES, ContainerSpec, Ulimit
from pytest_sandbox.errors import EngineError, EngineRefused

if TYPE_CHECKING:
    from pytest_sandbox.engines.base import Engine

__all__ = ["is_for_now", "is_local", "require_sources", "stray_proxies", "with_podman_ulimits"]

_PODMAN_DEFAULT = 1_048_576


# The last one is Podman's, of a container that ends by itself while it is being killed.
_FOR_NOW = ("already in progress", "being removed", "container state improper")


def is_for_now(error: EngineError) -> bool:
    """Return whether a container that could not be removed can be a moment later."""
    return any(sign in error.detail for sign in _FOR_NOW)


def is_local(url: str) -> bool:
    """Return whether an engine at this address runs its containers on this machine, as far as the address tells."""
    return sys.platform == "linux" and (url.startswith("unix://") or "://" not in url)


def stray_proxies(spec: ContainerSpec, env: Sequence[str]) -> list[str]:
    """Return the proxy variables with a value that nobody asked for: they come from the engine's own environment or settings.

    Args:
        spec: what was asked for.
        env: the container's variables, as "NAME=value".
    """
    values = dict(variable.partition("=")[::2] for variable in env)
    return [name for name in PROXY_VARIABLES if values.get(name) and name not in spec.env]


def require_sources(engine: Engine, spec: ContainerSpec) -> None:
    """Refuse a mount whose source does not exist, where that can be seen: over its socket Podman makes a folder of that name.

    Raises:
        EngineRefused: naming the source (the caller's fault).
    """
    for mount in spec.mounts:
        if mount.kind == "bind" and engine.is_local and not os.path.lexists(mount.source):
            raise EngineRefused(engine.name, "create a container", f'the source "{mount.source}" of a mount does not exist')
        path = mount.source + mount.target
        if engine.name == "podman" and "," in path and ":" in path:
            words = f'Podman cannot mount "{mount.source}" at "{mount.target}": a path may have commas or colons, not both'
            raise EngineRefused(engine.name, "create a container", words)


def with_podman_ulimits(spec: ContainerSpec) -> ContainerSpec:
    """Name the limits that Podman would make up.

    As soon as one limit is given, Podman sets the number of files and of processes to 1,048,576 where they are not, and cannot
    start the container on a machine whose own hard limits are lower.
    """
    if not spec.ulimits:
        return spec
    import resource

    given = {limit.name for limit in spec.ulimits}
    added = []
    for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        hard = resource.getrlimit(number)[1]
        if name == "nproc":
            hard = min(hard if hard >= 0 else _PODMAN_DEFAULT, int(Path("/proc/sys/kernel/pid_max").read_text()))
        if name not in given and 0 <= hard < _PODMAN_DEFAULT:
            added.append(Ulimit(name=name, soft=hard, hard=hard))
    return dataclasses.replace(spec, ulimits=(*spec.ulimits, *added))
