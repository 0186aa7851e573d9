"""Errors of commands, and of their processes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_sandbox.errors.base import SandboxError
from pytest_sandbox.errors.executors import ExecutorClosed
from pytest_sandbox.errors.wording import one_line

if TYPE_CHECKING:
    from pytest_sandbox.commands.result import CommandResult


class InvalidCommand(SandboxError, ValueError):
    """A command, its environment, or its working folder makes no sense. The caller's fault.

    Attributes:
        command: the command as it was given.
        entry: the id of the entry that was to run it.
        reason: what is wrong, what was expected, and what to do next.
    """

    def __init__(self, command: str, entry: str, reason: str) -> None:
        self.command = command
        self.entry = entry
        self.reason = reason
        super().__init__(f'Cannot run command {one_line(command)} with entry "{entry}": {reason}')

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.command, self.entry, self.reason))


class CommandNotAllowed(SandboxError):
    """A command is not in the whitelist of its entry. The caller's fault.

    Attributes:
        command: the command as it was given.
        entry: the id of the entry.
        allowed: the whitelist.
        closest: the allowed command that looks most like it, or None when the whitelist is empty.
    """

    def __init__(self, command: str, entry: str, allowed: Iterable[str]) -> None:
        self.command = command
        self.entry = entry
        self.allowed = tuple(allowed)
        # A long command is compared by its beginning only: finding the closest takes quadratic time.
        close = difflib.get_close_matches(command[:300], self.allowed, n=1, cutoff=0.0)
        self.closest = close[0] if close else None
        super().__init__(f'Cannot run command {one_line(command)} with entry "{entry}": {self._reason()}')

    def _reason(self) -> str:
        if self.closest is None:
            return "its command_whitelist is empty and allows nothing; add the command to the entry"
        return (
            f"it is not in the entry's command_whitelist of {len(self.allowed)}, which is compared character by character; "
            f"the closest allowed command is {one_line(self.closest)}"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.command, self.entry, self.allowed))


class EnvironmentNotAllowed(CommandNotAllowed):
    """A call sets environment variables that an entry with a whitelist does not allow. The caller's fault.

    Attributes:
        names: the variables that are not allowed.
        env_allow: the names that the entry allows.
    """

    def __init__(self, command: str, entry: str, allowed: Iterable[str], names: Iterable[str], env_allow: Iterable[str]) -> None:
        self.names = tuple(names)
        self.env_allow = tuple(env_allow)
        super().__init__(command, entry, allowed)

    def _reason(self) -> str:
        names = ", ".join(one_line(name, 60) for name in self.names)
        known = ", ".join(self.env_allow) or "none"
        return (
            f"an entry with a command_whitelist lets a call set only the variables in env_allow ({known}), never PATH or LD_*; "
            f"the call sets {names}"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.command, self.entry, self.allowed, self.names, self.env_allow))


class WorkDirNotAllowed(CommandNotAllowed):
    """A call's working folder is outside the folder of an entry with a whitelist. The caller's fault.

    Attributes:
        work_dir: what was asked for.
        resolved: where that leads.
        base: the entry's default_work_dir.
    """

    def __init__(self, command: str, entry: str, allowed: Iterable[str], work_dir: str, resolved: str, base: str) -> None:
        self.work_dir = work_dir
        self.resolved = resolved
        self.base = base
        super().__init__(command, entry, allowed)

    def _reason(self) -> str:
        return (
            f"an entry with a command_whitelist runs commands inside its default_work_dir {one_line(self.base)} only; "
            f"work_dir {one_line(self.work_dir)} leads to {one_line(self.resolved)}"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.command, self.entry, self.allowed, self.work_dir, self.resolved, self.base))


class CommandNotStarted(SandboxError):
    """A sound command could not be started. The machine's or the engine's fault, or the entry's.

    Attributes:
        command: the command as it was given.
        entry: the id of the entry.
        reason: what was tried, what came back, and what to do next.
    """

    def __init__(self, command: str, entry: str, reason: str) -> None:
        self.command = command
        self.entry = entry
        self.reason = reason
        super().__init__(f'Cannot start command {one_line(command)} of entry "{entry}": {reason}')

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.command, self.entry, self.reason))


class CommandExecutorClosed(ExecutorClosed):
    """A command executor was closed (in Lua: released) before this call. The caller's fault."""

    def __init__(self, name: str) -> None:
        self.name = name
        SandboxError.__init__(self, f'Cannot run a command with entry "{name}": its executor is closed; get a new one by the id')


class ProcessStateError(SandboxError):
    """An operation does not fit the state of a process or stream. The caller's fault.

    Attributes:
        operation: what was asked for, such as "write to stdin".
        command: the command of the process.
        state: what the process or stream is, such as "is not started".
        fix: what to do instead.
    """

    def __init__(self, operation: str, command: str, state: str, fix: str) -> None:
        self.operation = operation
        self.command = command
        self.state = state
        self.fix = fix
        super().__init__(f"Cannot {operation}: the process of {one_line(command)} {state}; {fix}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.operation, self.command, self.state, self.fix))


class ProcessTimeout(SandboxError, TimeoutError):
    """A process has not ended in the time that `Process.wait` was given; it goes on running. Nobody's fault.

    Attributes:
        command: the command of the process.
        timeout: seconds that were waited.
    """

    def __init__(self, command: str, timeout: float) -> None:
        self.command = command
        self.timeout = timeout
        super().__init__(f"Process of {one_line(command)} has not ended within {timeout:g} s and runs on; end it with close()")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.command, self.timeout))


class CommandFailed(SandboxError):
    """Raised by `CommandResult.check()` when a command did not exit with 0. The command's fault.

    Attributes:
        result: the whole `CommandResult`.
    """

    def __init__(self, result: CommandResult) -> None:
        self.result = result
        super().__init__(f"Command {one_line(result.command)} of entry {result.entry!r} failed: {result.outcome()}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.result,))


class NotConfined(UserWarning):
    """A warning: commands of an entry run without the confinement that it asks for, because this machine has none.

    Attributes:
        entry: the entry's id.
        reason: why they cannot be confined.
        fix: what to do about it.
    """

    def __init__(self, entry: str, reason: str, fix: str) -> None:
        self.entry = entry
        self.reason = reason
        self.fix = fix
        super().__init__(f'Commands of entry "{entry}" run without a jail: {reason}; {fix}, or add `strict: true` to refuse them')
