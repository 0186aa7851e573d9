"""Where the program of a native command is: on the entry's PATH, else the host's, never the call's."""

from __future__ import annotations

import os
import stat

from pytest_sandbox.errors import InvalidCommand

__all__ = ["find_program"]


def find_program(word: str, entry_path: str | None, dir_fd: int, *, command: str, entry: str) -> str:
    """Return the path of a program.

    Args:
        word: the first word of the command; with a slash it is a path, relative to the working folder.
        entry_path: PATH in the entry's default_env, or None for the host's; only its absolute folders are searched.
        dir_fd: the working folder.
        command: the whole command, for messages.
        entry: the entry's id, for messages.

    Raises:
        InvalidCommand: when there is none, or it cannot be executed (the caller's fault, or the entry's).
    """
    shown = ascii(word)[1:-1]
    if "/" in word:
        wrong = _wrong(word, dir_fd)
        if wrong:
            raise InvalidCommand(command, entry, f'program "{shown}" {wrong}')
        return word
    where = os.environ.get("PATH", os.defpath) if entry_path is None else entry_path
    unusable = ""
    for folder in where.split(os.pathsep):
        if not folder.startswith("/"):
            continue
        path = os.path.join(folder, word)
        wrong = _wrong(path, dir_fd)
        if wrong is None:
            return path
        if wrong != _MISSING:
            unusable = unusable or f"; {path} {wrong}"
    whose = "the host's PATH" if entry_path is None else "the PATH of the entry's default_env"
    raise InvalidCommand(
        command,
        entry,
        f'program "{shown}" was not found on {whose} ({where}){unusable}; install it, or give its path',
    )


_MISSING = "does not exist"


def _wrong(path: str, dir_fd: int) -> str | None:
    try:
        mode = os.stat(path, dir_fd=dir_fd).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return _MISSING
    except OSError as error:
        return f"cannot be reached: {error.strerror}"
    if not stat.S_ISREG(mode):
        return "is not a file"
    if not os.access(path, os.X_OK, dir_fd=dir_fd):
        return "is not executable; allow it with chmod +x"
    return None
