"""A command line split into words, as a POSIX shell splits it, and nothing else that a shell does."""

from __future__ import annotations

import os
import shlex

__all__ = ["split_words"]


def split_words(command: str) -> list[str]:
    """Split a command into program and arguments: blanks, quotes and backslashes count; ``;``, ``|``, ``$`` and ``*`` do not.

    Raises:
        ValueError: when nothing can be run; the message says why, and what to do (the caller's fault).
    """
    if "\0" in command:
        raise ValueError("it contains a NUL character, which no program can be given")
    try:
        os.fsencode(command)
    except UnicodeEncodeError as error:
        raise ValueError(f"it cannot be encoded: {error.reason} at character {error.start}") from error
    try:
        words = shlex.split(command)
    except ValueError as error:
        fix = {"No closing quotation": "a quote is opened and never closed", "No escaped character": "it ends with a backslash"}
        raise ValueError(f"{fix.get(str(error), str(error))}; there is no shell, and words are split as POSIX does") from error
    if not words:
        raise ValueError("it is empty; expected a program and its arguments")
    if not words[0]:
        raise ValueError("its first word, the program, is empty")
    return words
