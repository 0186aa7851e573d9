"""Volumes of a container: the reference's short form and the mapping form made one."""

from __future__ import annotations

import posixpath
from typing import Final

from pytest_sandbox.entries.model import Mount

__all__ = ["VOLUME_FORM", "check_mount", "is_dangerous", "parse_volume"]

VOLUME_FORM: Final = '"host:container", "host:container:ro", or a mapping of source, target and read_only'


def parse_volume(volume: str | Mount) -> Mount:
    """Return a volume as a mount.

    Args:
        volume: ``host:container[:ro|:rw]``, or a mount.

    Raises:
        ValueError: when the text is none; its message says what was expected (the entry's fault).
    """
    if isinstance(volume, Mount):
        return volume
    parts = volume.split(":")
    if len(parts) == 3 and parts[2] not in ("ro", "rw"):
        raise ValueError(f'expected the mode "ro" or "rw", got "{parts[2]}"; write a path with a colon in the mapping form')
    if len(parts) not in (2, 3) or not parts[0] or not parts[1]:
        raise ValueError(f'expected {VOLUME_FORM}, got "{volume}"')
    return Mount(source=parts[0], target=parts[1], read_only=parts[2:] == ["ro"])


def check_mount(mount: Mount) -> str | None:
    """Return what is wrong with a mount, or None."""
    if not mount.source.startswith(("/", "./", "../")) and mount.source not in (".", ".."):
        return f'expected a path as source, absolute or beginning with "./", got "{mount.source}" (named volumes are not supported)'
    if not mount.target.startswith("/"):
        return f'expected an absolute path inside the container, got "{mount.target}"'
    if posixpath.normpath(mount.target).strip("/") == "":
        return 'expected a folder below "/" inside the container, got "/"'
    return None


def is_dangerous(mount: Mount) -> str | None:
    """Return why a mount hands out the host, or None: the whole filesystem, or a socket that commands an engine."""
    source = posixpath.normpath(mount.source)
    if source.strip("/") == "":
        return "mounts the whole filesystem of the host"
    name = posixpath.basename(source)
    if name in ("docker.sock", "podman.sock", "containerd.sock", "crio.sock", "docker.sock.raw"):
        return f"mounts the engine socket {source}"
    if source in ("/run", "/var/run", "/run/docker", "/run/podman", "/var/lib/docker", "/proc", "/sys", "/dev", "/etc"):
        return f"mounts {source} of the host"
    return None
