"""The whitelist of an entry: which commands it allows, and which of them were ever asked for."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_sandbox.errors import CommandNotAllowed

__all__ = ["Whitelist"]


class Whitelist:
    """Commands that are allowed, compared character by character, before anything is parsed or started.

    Args:
        commands: the allowed commands; none of them means that nothing is allowed.
        parent: a whitelist that counts what is used of this one, too.
    """

    def __init__(self, commands: Iterable[str], *, parent: Whitelist | None = None) -> None:
        self.commands = tuple(dict.fromkeys(commands))
        # A str subclass with a __eq__ and __hash__ of its own must not be able to pass for one of these.
        self._allowed = frozenset(self.commands)
        self._used: set[str] = set()
        self._parent = parent

    def check(self, command: str, entry: str) -> None:
        """Return when the command is allowed.

        Raises:
            CommandNotAllowed: when it is not (the caller's fault).
        """
        if type(command) is not str or command not in self._allowed:
            raise CommandNotAllowed(str(command), entry, self.commands)
        self.mark(command)

    def mark(self, command: str) -> None:
        """Note that a command was asked for."""
        self._used.add(command)
        if self._parent is not None:
            self._parent.mark(command)

    def unused(self) -> tuple[str, ...]:
        """Return the commands that were never asked for, in order."""
        return tuple(command for command in self.commands if command not in self._used)
