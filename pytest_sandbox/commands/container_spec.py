"""What a container of an `exec.docker` entry is: the fields of the entry in the engines' words."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Final

from pytest_sandbox.commands.calls import Prepared
from pytest_sandbox.commands.whitelist import Whitelist
from pytest_sandbox.engines.owner import KEPT_LABEL
from pytest_sandbox.engines.spec import ContainerSpec, Mount
from pytest_sandbox.entries.model import DockerEntry
from pytest_sandbox.entries.mounts import parse_volume
from pytest_sandbox.errors import InvalidArgument, InvalidCommand, WorkDirNotAllowed

__all__ = ["ENTRY_LABEL", "container_spec", "container_work_dir", "is_inside"]

ENTRY_LABEL: Final = "pytest-sandbox.entry"
"""Bears the id of the entry that a container was made for."""


def container_spec(
    entry: DockerEntry, entry_id: str, call: Prepared, *, image: str, work_dir: str | None, base_dir: Path | None
) -> ContainerSpec:
    """Return the container for a call.

    Args:
        entry: the entry.
        entry_id: its id.
        call: the checked call.
        image: the id of the image.
        work_dir: the working folder inside, or None for the image's.
        base_dir: where relative sources of volumes start.
    """
    mounts = [parse_volume(volume) for volume in entry.volumes]
    return ContainerSpec(
        image=image,
        # The command is all that runs: an image's entrypoint would make another command of it than the whitelist allows.
        entrypoint=(),
        command=tuple(call.words),
        env=call.env,
        user=entry.user,
        work_dir=work_dir,
        network=entry.network_mode,
        read_only=entry.read_only_rootfs,
        cap_drop=entry.cap_drop,
        cap_add=entry.cap_add,
        no_new_privileges=entry.no_new_privileges,
        tmpfs=entry.tmpfs,
        mounts=tuple(
            Mount(source=_source(mount.source, base_dir), target=mount.target, read_only=mount.read_only) for mount in mounts
        ),
        memory=entry.memory_limit or None,
        # Or else engines add as much swap again.
        memory_swap=entry.memory_limit or None,
        cpu_quota=entry.cpu_quota or None,
        pids_limit=entry.pids_limit or None,
        # An unread log grows without limit; one that is kept is there to be read.
        log=entry.keep,
        labels={ENTRY_LABEL: entry_id, **({KEPT_LABEL: "true"} if entry.keep else {})},
        init=True,
        runtime=entry.runtime,
        platform=entry.platform,
        stdin=call.stdin,
    )


def container_work_dir(entry: DockerEntry, entry_id: str, call: Prepared, whitelist: Whitelist | None) -> str | None:
    """Return the folder inside the container in which a command is to run, or None for the image's own.

    Raises:
        WorkDirNotAllowed: when the entry has a whitelist and the path leads out of its default_work_dir (the caller's fault).
        InvalidCommand: when it is no absolute path and there is nothing that it could start at (the caller's fault).
        InvalidArgument: when it is no path (the caller's fault).
    """
    base = entry.default_work_dir
    if call.work_dir is None:
        return base
    if isinstance(call.work_dir, bytes) or not isinstance(call.work_dir, str | os.PathLike):
        raise InvalidArgument("work_dir", call.work_dir, "a path as text")
    asked = str.__str__(os.fspath(call.work_dir))
    shown = ascii(asked)[1:-1]
    if "\0" in asked:
        raise InvalidCommand(call.command, entry_id, f'work_dir "{shown}" contains a NUL character; expected the path of a folder')
    if base is None and not asked.startswith("/"):
        reason = f'work_dir "{shown}" is relative, and the entry has no default_work_dir; give an absolute path'
        raise InvalidCommand(call.command, entry_id, reason)
    path = posixpath.join(base or "/", asked)
    if whitelist is not None and base is not None and not is_inside(path, base):
        raise WorkDirNotAllowed(call.command, entry_id, whitelist.commands, asked, posixpath.normpath(path), base)
    return path


def is_inside(path: str, base: str) -> bool:
    """Return whether a path, taken literally, stays below a folder at every step.

    A path that leaves and comes back is refused, too: where ``..`` leads is known only where it is looked up.
    """
    base_parts = [part for part in base.split("/") if part not in ("", ".")]
    walked: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if len(walked) <= len(base_parts):
                return False
            walked.pop()
        elif part not in ("", "."):
            walked.append(part)
    return walked[: len(base_parts)] == base_parts


def _source(source: str, base_dir: Path | None) -> str:
    return posixpath.normpath(source if source.startswith("/") else posixpath.join(str(base_dir or Path.cwd()), source))
