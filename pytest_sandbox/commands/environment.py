"""The environment of a command: what its entry gives, and what the call adds; nothing is inherited."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pytest_sandbox.commands.whitelist import Whitelist
from pytest_sandbox.errors import EnvironmentNotAllowed, InvalidArgument, InvalidCommand

__all__ = ["merge_environment", "never_allowed"]


def never_allowed(name: str) -> bool:
    """Return whether no call may set this variable where there is a whitelist: it decides what a program's name means."""
    return name == "PATH" or name.startswith("LD_")


def merge_environment(
    default: Mapping[str, str],
    call: object,
    *,
    whitelist: Whitelist | None,
    env_allow: tuple[str, ...],
    command: str,
    entry: str,
) -> dict[str, str]:
    """Return the whole environment of a command; the call's variables win.

    Raises:
        EnvironmentNotAllowed: when there is a whitelist and the call sets what the entry does not allow (the caller's fault).
        InvalidCommand: when a name or value cannot be passed to a program (the caller's fault).
        InvalidArgument: when the call's environment is not a mapping of texts (the caller's fault).
    """
    if call is None:
        return dict(default)
    if not isinstance(call, Mapping):
        raise InvalidArgument("env", call, "a mapping of variable names to texts")
    added: dict[str, str] = {}
    for name, value in call.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidArgument(f"env[{name!r}]", value, "a text as name, and a text as value")
        # A plain copy: a subclass could compare equal to what it is not.
        added[str.__str__(name)] = str.__str__(value)
    if whitelist is not None:
        refused = [name for name in added if never_allowed(name) or name not in env_allow]
        if refused:
            raise EnvironmentNotAllowed(command, entry, whitelist.commands, refused, env_allow)
    for name, value in added.items():
        wrong = _wrong(name, value)
        if wrong:
            raise InvalidCommand(command, entry, wrong)
    return {**default, **added}


def _wrong(name: str, value: str) -> str | None:
    if not name or "=" in name or "\0" in name:
        return f"{name!r} cannot be the name of an environment variable: expected a text that is not empty, without = and NUL"
    if "\0" in value:
        return f"the value of environment variable {name!r} contains a NUL character, which no program can be given"
    try:
        os.fsencode(name)
        os.fsencode(value)
    except UnicodeEncodeError as error:
        return f"environment variable {name!r} cannot be encoded: {error.reason} at character {error.start}"
    return None
