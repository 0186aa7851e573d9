"""The working folder of a native command: opened once, checked by what was opened, and entered by descriptor.

A path is looked at only once. What is behind it afterwards, a symbolic link put there in between, say, does not matter: the check
asks the kernel where the open folder really is, and the process enters that very folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from pytest_sandbox.commands.whitelist import Whitelist
from pytest_sandbox.errors import InvalidArgument, InvalidCommand, WorkDirNotAllowed

__all__ = ["fd_path", "open_work_dir"]


def fd_path(fd: int) -> str:
    """Return a path by which this process, or a child before it closes its descriptors, reaches what a descriptor holds."""
    return f"/proc/self/fd/{fd}"


def open_work_dir(
    asked: object, default: str | None, *, base_dir: Path | None, whitelist: Whitelist | None, command: str, entry: str
) -> int:
    """Open the folder in which a command is to run.

    Args:
        asked: the call's work_dir, or None; a relative one starts at the entry's folder.
        default: the entry's default_work_dir, or None for the current folder.
        base_dir: where a relative default starts.
        whitelist: the entry's whitelist; with one, the folder must be inside the default.
        command: the command, for messages.
        entry: the entry's id, for messages.

    Returns:
        A descriptor, to be closed by the caller.

    Raises:
        WorkDirNotAllowed: when it is outside the entry's folder (the caller's fault).
        InvalidCommand: when there is no such folder (the caller's fault, or the entry's).
        InvalidArgument: when it is no path (the caller's fault).
    """
    base = os.getcwd() if default is None else os.path.join(base_dir or "", default)
    base_fd = _open(base, "default_work_dir" if default is not None else "the current folder", command, entry)
    if asked is None:
        return base_fd
    try:
        if isinstance(asked, bytes) or not isinstance(asked, str | os.PathLike):
            raise InvalidArgument("work_dir", asked, "a path as text")
        path = str.__str__(os.fspath(asked))
        fd = _open(os.path.join(base, path), "work_dir", command, entry)
        if whitelist is not None and default is not None:
            try:
                _check_inside(fd, base_fd, path, whitelist, command, entry)
            except BaseException:
                os.close(fd)
                raise
        return fd
    finally:
        os.close(base_fd)


def _check_inside(fd: int, base_fd: int, path: str, whitelist: Whitelist, command: str, entry: str) -> None:
    resolved, base = os.readlink(fd_path(fd)), os.readlink(fd_path(base_fd))
    if resolved != base and not resolved.startswith(base.rstrip("/") + "/"):
        raise WorkDirNotAllowed(command, entry, whitelist.commands, path, resolved, base)


def _open(path: str, what: str, command: str, entry: str) -> int:
    shown = ascii(path)[1:-1]
    if "\0" in path:
        raise InvalidCommand(command, entry, f'{what} "{shown}" contains a NUL character; expected the path of a folder')
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError:
        raise InvalidCommand(command, entry, f'{what} "{shown}" is not a folder; name one') from None
    except (OSError, UnicodeEncodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidCommand(command, entry, f'{what} "{shown}" cannot be opened ({reason}); create it or name another') from None
    # A removed folder can still be opened through /proc; and entering one needs the right to search it.
    if os.fstat(fd).st_nlink == 0 or not os.access(fd_path(fd), os.X_OK):
        os.close(fd)
        raise InvalidCommand(command, entry, f'{what} "{shown}" cannot be entered; create it or name another')
    return fd
