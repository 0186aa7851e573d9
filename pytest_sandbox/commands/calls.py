"""A call of a command executor, and the checks before anything is started.

They come in this order: the executor is open; the command is in the whitelist, as it was given; the command can be split into
words; the environment; the working folder, which only the kind of the executor can check.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

from pytest_sandbox.commands.environment import merge_environment
from pytest_sandbox.commands.whitelist import Whitelist
from pytest_sandbox.commands.words import split_words
from pytest_sandbox.errors import InvalidArgument, InvalidCommand

if TYPE_CHECKING:
    from pytest_sandbox.entries.registry import LoadedEntry

__all__ = ["Prepared", "Stdin", "input_bytes", "prepare"]

Stdin = bytes | bytearray | memoryview | str


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A call that was checked.

    Attributes:
        command: the command as it was given.
        words: program and arguments.
        env: the whole environment.
        work_dir: the call's work_dir, not checked yet, or None.
        stdin: whether the program gets an input; otherwise it is empty.
    """

    command: str
    words: list[str]
    env: dict[str, str]
    work_dir: str | PathLike[str] | None
    stdin: bool


def prepare(
    cmd: object, work_dir: str | PathLike[str] | None, env: object, *, stdin: bool, loaded: LoadedEntry, whitelist: Whitelist | None
) -> Prepared:
    """Check a call, all but its working folder.

    Args:
        cmd: program and arguments.
        work_dir: the call's working folder.
        env: variables that are added to the entry's default_env.
        stdin: whether the program gets an input.
        loaded: the entry.
        whitelist: what the entry allows, or None for everything.

    Raises:
        CommandNotAllowed: when the whitelist does not allow the command or its environment (the caller's fault).
        InvalidCommand: when the command or its environment makes no sense (the caller's fault).
        InvalidArgument: when the command is no text (the caller's fault).
    """
    if not isinstance(cmd, str):
        raise InvalidArgument("cmd", cmd, "a text: program and arguments")
    # A plain copy: a subclass could compare equal to what it is not.
    command = str.__str__(cmd)
    if whitelist is not None:
        whitelist.check(command, loaded.id)
    try:
        words = split_words(command)
    except ValueError as error:
        raise InvalidCommand(command, loaded.id, str(error)) from None
    entry = loaded.entry
    merged = merge_environment(
        entry.default_env, env, whitelist=whitelist, env_allow=entry.env_allow, command=command, entry=loaded.id
    )
    return Prepared(command=command, words=words, env=merged, work_dir=work_dir, stdin=stdin)


def input_bytes(stdin: Stdin | None) -> bytes | None:
    """Return what a program is to read as bytes, None for an empty input.

    Raises:
        InvalidArgument: when it is neither bytes nor text (the caller's fault).
    """
    if stdin is None:
        return None
    if isinstance(stdin, str):
        return stdin.encode("utf-8", "surrogateescape")
    if isinstance(stdin, bytes | bytearray | memoryview):
        return bytes(stdin)
    raise InvalidArgument("stdin", stdin, "bytes, a text, or None for an empty input")
