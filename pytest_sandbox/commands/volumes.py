"""Working folders inside volumes: where a path leads in a folder of the host that commands can write to.

A container's root filesystem is new for each command, and its image is trusted as its entry is. A volume is neither: a command may
have put a symbolic link there, which the next command's work_dir would follow out of the folder that binds it.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable

from pytest_sandbox.engines.spec import Mount

__all__ = ["find_link"]


def find_link(path: str, mounts: Iterable[Mount]) -> tuple[str, str] | None:
    """Return the first symbolic link on the way to a folder inside a container, and its target; None when there is none.

    Only what lies in a mount is looked at, on this machine, which must be the engine's.

    Args:
        path: an absolute path in the container.
        mounts: the mounts of the container.
    """
    path = posixpath.normpath(path)
    for mount in mounts:
        target = posixpath.normpath(mount.target)
        if path == target or path.startswith(target + "/"):
            at = mount.source
            for part in path[len(target) :].strip("/").split("/"):
                at = os.path.join(at, part) if part else at
                try:
                    if part and stat.S_ISLNK(os.lstat(at).st_mode):
                        return posixpath.join(target, os.path.relpath(at, mount.source)), os.readlink(at)
                except OSError:
                    break  # not there: the engine says so, or makes the folder
    return None
