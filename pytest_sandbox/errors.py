"""Every exception that pytest-sandbox raises, in one place.

Five faults are kept apart, because five different people mend them:

* the caller asked for something that makes no sense (also a `ValueError`),
* a backend is missing on this machine (`ExecutorUnavailable`),
* a backend broke before the untrusted code ran (`ExecutorBroken`),
* the untrusted code failed (`SnippetFailed`, `CommandFailed`: raised only by `check()`),
* a guarantee did not hold (`GuaranteeViolated`, also an `AssertionError`).

The classes take facts, keep them as attributes, and word the message themselves.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_sandbox.commands.result import CommandResult
    from pytest_sandbox.entries.model import EntryProblem
    from pytest_sandbox.lua.result import LuaResult
    from pytest_sandbox.result import ExecuteResult

__all__ = [
    "AsyncioRequired",
    "CommandExecutorClosed",
    "CommandFailed",
    "CommandNotAllowed",
    "CommandNotStarted",
    "ContainerGone",
    "EngineError",
    "EngineGone",
    "EngineRefused",
    "EngineTimeout",
    "EngineUnavailable",
    "EntriesInvalid",
    "EnvironmentNotAllowed",
    "ExecutorBroken",
    "ExecutorClosed",
    "ExecutorUnavailable",
    "GuaranteeViolated",
    "ImageNotFound",
    "InvalidArgument",
    "InvalidCommand",
    "InvalidPlugin",
    "LuaFailed",
    "LuaSandboxClosed",
    "NodeImageImpossible",
    "NotConfined",
    "PolicyInvalid",
    "ProcessStateError",
    "ProcessTimeout",
    "PullFailed",
    "ReportImpossible",
    "SandboxError",
    "SnippetFailed",
    "UnknownEntry",
    "UnknownExecutor",
    "UnknownGuarantee",
    "UnsupportedLimit",
    "WorkDirNotAllowed",
    "near_miss",
    "short_repr",
]


def near_miss(value: str, known: Iterable[str]) -> str:
    """Return ``' (did you mean "x"?)'`` for the closest known name, or an empty string."""
    folded = {name.casefold(): name for name in known}
    matches = difflib.get_close_matches(value.casefold(), list(folded), n=1)
    return f' (did you mean "{folded[matches[0]]}"?)' if matches else ""


def short_repr(value: object, most: int = 120) -> str:
    """Return the repr of a value for a message, cut; never raises, as the repr of a stranger's object, or of a huge int, may."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__} that cannot be shown>"
    return text if len(text) <= most else f"{text[: most - 3]}..."


class SandboxError(Exception):
    """Base of every exception raised by pytest-sandbox."""


class InvalidArgument(SandboxError, ValueError):
    """An argument makes no sense. The caller's fault.

    Attributes:
        argument: the name of the argument.
        value: what was given.
        expected: what would have been accepted.
    """

    def __init__(self, argument: str, value: object, expected: str) -> None:
        self.argument = argument
        self.value = value
        self.expected = expected
        super().__init__(f"Cannot use {argument}={short_repr(value)}: expected {expected}")


class UnknownExecutor(SandboxError, ValueError):
    """No executor of that name is registered. The caller's fault.

    Attributes:
        name: the name that was asked for.
        known: the registered names, in priority order.
        source: where the name came from, such as ``--executor`` or ``EXECUTOR_TYPE``.
        problems: plugins that could not be asked for executors, each as one sentence.
    """

    def __init__(self, name: str, known: Iterable[str], source: str | None = None, problems: Iterable[str] = ()) -> None:
        self.name = name
        self.known = tuple(known)
        self.source = source
        self.problems = tuple(problems)
        origin = f" (from {source})" if source else ""
        missing = "".join(f"; {problem}" for problem in self.problems)
        super().__init__(
            f'Unknown executor "{name}"{origin}{near_miss(name, self.known)}: known executors are {", ".join(self.known)}{missing}'
        )


class UnsupportedLimit(SandboxError, ValueError):
    """A limit was set explicitly that this executor cannot enforce. The caller's fault.

    Attributes:
        executor: the executor's name.
        limit: the field of `Limits`.
        value: what was asked for.
        reason: why it cannot be enforced.
    """

    def __init__(self, executor: str, limit: str, value: object, reason: str) -> None:
        self.executor = executor
        self.limit = limit
        self.value = value
        self.reason = reason
        super().__init__(
            f'Cannot enforce limit {limit}={value!r} on executor "{executor}": {reason}; leave it unset or choose another executor'
        )


class ExecutorUnavailable(SandboxError):
    """An executor cannot run on this machine. Nobody's fault: install what is missing.

    Attributes:
        name: the executor's name, or ``auto`` when no executor at all is available.
        reason: what was looked for, where, and what was found.
        fix: what to do next.
        source: where the choice of this executor came from, if it was forced.
    """

    def __init__(self, name: str, reason: str, fix: str, source: str | None = None) -> None:
        self.name = name
        self.reason = reason
        self.fix = fix
        self.source = source
        origin = f" (forced by {source})" if source else ""
        super().__init__(f'Cannot use executor "{name}"{origin}: {reason}; {fix}')

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.name, self.reason, self.fix, self.source))


class ExecutorClosed(SandboxError):
    """The executor was closed before, or during, this call. The caller's fault."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f'Cannot execute on executor "{name}": it is closed; create a new one with create_executor("{name}")')


class AsyncioRequired(SandboxError, RuntimeError):
    """`aexecute` or `arun` was awaited where no asyncio loop runs. The caller's fault."""

    def __init__(self) -> None:
        super().__init__("Cannot run here: no asyncio event loop is running; call execute() instead, under trio in a worker thread")


class ExecutorBroken(SandboxError):
    """A backend broke before the untrusted code could run. The machine's fault, or ours.

    Attributes:
        name: the executor's name.
        reason: what happened.
        stderr: the runner's last lines on standard error, without control characters.
    """

    def __init__(self, name: str, reason: str, stderr: str = "") -> None:
        self.name = name
        self.reason = reason
        self.stderr = stderr
        tail = f"\nThe runner's last words:\n{stderr}" if stderr else ""
        super().__init__(f'Cannot start a runner for executor "{name}": {reason}{tail}')


class InvalidPlugin(SandboxError, ValueError):
    """A plugin registers something that makes no sense. The fault of the plugin's author.

    Attributes:
        plugin: which plugin, as a person would look for it.
        reason: what is wrong, with the offending value.
        fix: what to do next.
        what: "executors" or "guarantees".
    """

    def __init__(self, plugin: str, reason: str, fix: str, what: str = "executors") -> None:
        self.plugin = plugin
        self.reason = reason
        self.fix = fix
        self.what = what
        super().__init__(f"Cannot register {what} of {plugin}: {reason}; {fix}")


class UnknownGuarantee(SandboxError, ValueError):
    """No guarantee of that id is defined. The caller's fault.

    Attributes:
        id: the id that was asked for.
        known: the ids that are defined.
        problems: plugins that could not be asked for guarantees, each as one sentence.
    """

    def __init__(self, id: object, known: Iterable[str], problems: Iterable[str] = ()) -> None:
        self.id = id
        self.known = tuple(known)
        self.problems = tuple(problems)
        missing = "".join(f"; {problem}" for problem in self.problems)
        hint = near_miss(str(id), self.known)
        super().__init__(f"Unknown guarantee {short_repr(id)}{hint}: known guarantees are {', '.join(self.known)}{missing}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.id, self.known, self.problems))


class GuaranteeViolated(SandboxError, AssertionError):
    """A guarantee that a test relies on is not held: it is violated, could not be proved, or is not promised at all.

    The fault of the executor, of how it is set up, or (inconclusive) of the machine.

    Attributes:
        guarantee: its id.
        executor: the executor's name.
        verdict: "violated", "inconclusive" or "not promised".
        report: what the attacks came to, and what to do next, in several lines.
    """

    def __init__(self, guarantee: str, executor: str, verdict: str, report: str) -> None:
        self.guarantee = guarantee
        self.executor = executor
        self.verdict = verdict
        self.report = report
        super().__init__(f'Guarantee "{guarantee}" is {verdict} on executor "{executor}"\n{report}')

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.guarantee, self.executor, self.verdict, self.report))


class SnippetFailed(SandboxError):
    """Raised by `ExecuteResult.check()` when the snippet did not succeed. The snippet's fault.

    Attributes:
        result: the whole `ExecuteResult`.
    """

    def __init__(self, result: ExecuteResult) -> None:
        self.result = result
        super().__init__(f"Snippet failed on executor {result.executor!r}: {result.error}")


class ReportImpossible(SandboxError):
    """A report of this format cannot be written here. The fault of the installation.

    Attributes:
        format: the format, such as "HTML".
        reason: why not.
        fix: what to do about that.
    """

    def __init__(self, format: str, reason: str, fix: str) -> None:
        self.format = format
        self.reason = reason
        self.fix = fix
        super().__init__(f"Cannot write a report as {format}: {reason}; {fix}")


def _shown(command: str, most: int = 200) -> str:
    """Return a command as it can be printed on one line: look-alikes and control characters are escaped."""
    text = ascii(command[: most + 1])[1:-1]
    return f'"{text}"' if len(command) <= most else f'"{text[:most]}…" ({len(command)} characters)'


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
        super().__init__(f'Cannot run command {_shown(command)} with entry "{entry}": {reason}')

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
        super().__init__(f'Cannot run command {_shown(command)} with entry "{entry}": {self._reason()}')

    def _reason(self) -> str:
        if self.closest is None:
            return "its command_whitelist is empty and allows nothing; add the command to the entry"
        return (
            f"it is not in the entry's command_whitelist of {len(self.allowed)}, which is compared character by character; "
            f"the closest allowed command is {_shown(self.closest)}"
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
        names = ", ".join(_shown(name, 60) for name in self.names)
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
            f"an entry with a command_whitelist runs commands inside its default_work_dir {_shown(self.base)} only; "
            f"work_dir {_shown(self.work_dir)} leads to {_shown(self.resolved)}"
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
        super().__init__(f'Cannot start command {_shown(command)} of entry "{entry}": {reason}')

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
        super().__init__(f"Cannot {operation}: the process of {_shown(command)} {state}; {fix}")

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
        super().__init__(f"Process of {_shown(command)} has not ended within {timeout:g} s and runs on; end it with close()")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.command, self.timeout))


class CommandFailed(SandboxError):
    """Raised by `CommandResult.check()` when a command did not exit with 0. The command's fault.

    Attributes:
        result: the whole `CommandResult`.
    """

    def __init__(self, result: CommandResult) -> None:
        self.result = result
        super().__init__(f"Command {_shown(result.command)} of entry {result.entry!r} failed: {result.outcome()}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.result,))


class EntriesInvalid(SandboxError, ValueError):
    """Entries files have errors. The fault of whoever wrote them.

    Attributes:
        problems: every problem that was found, each with file, line, field and message.
    """

    def __init__(self, problems: Iterable[EntryProblem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"Cannot load entries: {count} found{lines}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.problems,))


class UnknownEntry(SandboxError, ValueError):
    """No entry of that id is loaded. The caller's fault.

    Attributes:
        id: the id that was asked for.
        known: the ids that are loaded.
    """

    def __init__(self, id: str, known: Iterable[str]) -> None:
        self.id = id
        self.known = tuple(known)
        ids = ", ".join(self.known) or "none"
        super().__init__(f"Unknown entry {_shown(id)}{near_miss(id, self.known)}: loaded entries are {ids}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.id, self.known))


class EngineError(SandboxError):
    """A container engine failed at something. The engine's or the machine's fault, unless a subclass says otherwise.

    Attributes:
        engine: which engine, such as "docker over socket".
        action: what was to be done.
        detail: what happened, in the engine's words where it had some.
    """

    def __init__(self, engine: str, action: str, detail: str) -> None:
        self.engine = engine
        self.action = action
        self.detail = detail
        super().__init__(f"Cannot {action} with {engine}: {detail}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.engine, self.action, self.detail))


class EngineUnavailable(EngineError):
    """No container engine answers. Nobody's fault: start or install one.

    Attributes:
        tried: each way that was tried, with the reason why it failed.
        source: where the choice of an engine came from, such as "CONTAINER_RUNTIME", or None.
    """

    def __init__(self, tried: Iterable[tuple[str, str]], source: str | None = None) -> None:
        self.tried = tuple(tried)
        self.source = source
        ways = "; ".join(f"{way}: {reason}" for way, reason in self.tried) or "nothing to try"
        origin = f" (chosen by {source})" if source else ""
        hint = "start Docker or Podman, or name another with CONTAINER_RUNTIME or DOCKER_HOST"
        super().__init__(f"a container engine{origin}", "run containers", f"none answers. {ways}. To go on, {hint}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.tried, self.source))


class EngineGone(EngineError):
    """The engine stopped answering in the middle of something: it was restarted, or has died. The machine's fault.

    Attributes:
        was_asked: whether it may have heard what was asked of it; False where it could not even be reached.
    """

    def __init__(self, engine: str, action: str, detail: str, *, was_asked: bool = True) -> None:
        self.was_asked = was_asked
        super().__init__(engine, action, detail)


class EngineTimeout(EngineError, TimeoutError):
    """An engine did not finish something in time.

    Attributes:
        seconds: how long it was given.
    """

    def __init__(self, engine: str, action: str, seconds: float, detail: str = "") -> None:
        self.seconds = seconds
        self.reason = detail
        text = f"not finished after {seconds:g} s" + (f": {detail}" if detail else "")
        super().__init__(engine, action, text)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.engine, self.action, self.seconds, self.reason))


class EngineRefused(EngineError):
    """The engine does not accept what it was asked for. The caller's fault, most often.

    Attributes:
        status: the HTTP status or the exit code that said so.
    """

    def __init__(self, engine: str, action: str, detail: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(engine, action, detail)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.engine, self.action, self.detail, self.status))


class ContainerGone(EngineError):
    """The engine no longer knows a container: somebody has removed it.

    Attributes:
        container: its name or id.
    """

    def __init__(self, engine: str, action: str, container: str) -> None:
        self.container = container
        super().__init__(engine, action, f'the engine has no container "{container}"')

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.engine, self.action, self.container))


class ImageNotFound(EngineError):
    """An image is not present, and nobody asked for it to be pulled. The caller's fault.

    Attributes:
        image: the image that was asked for.
    """

    def __init__(self, engine: str, image: str) -> None:
        self.image = image
        super().__init__(
            engine, f'use image "{image}"', "it is not present and nothing is pulled unasked; pull it first, or check its name"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.engine, self.image))


class PullFailed(EngineError):
    """An image could not be fetched from its registry.

    Attributes:
        image: the image that was asked for.
        reason: "not found", "denied", "rate limited", "no route", "disk full", "interrupted" or "refused".
        words: what the engine said.
    """

    def __init__(self, engine: str, image: str, reason: str, words: str) -> None:
        self.image = image
        self.reason = reason
        self.words = words
        advice = {
            "not found": "check the image's name and tag",
            "denied": "log in to the registry with the engine's own login command, or check the image's name",
            "rate limited": "log in to the registry, wait, or name a mirror",
            "no route": "check the network, the proxy settings of the engine, and the registry's name",
            "disk full": "free space where the engine keeps its images",
        }.get(reason, "try again")
        super().__init__(engine, f'pull image "{image}"', f"{reason}: {words}; {advice}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.engine, self.image, self.reason, self.words))


class NodeImageImpossible(EngineError):
    """Our own image cannot be built here, so an image must be named. Nobody's fault.

    Attributes:
        architecture: that of the engine.
    """

    def __init__(self, engine: str, architecture: str, reason: str) -> None:
        self.architecture = architecture
        self.reason = reason
        super().__init__(
            engine,
            f"build the image for {architecture}",
            f"{reason}; install one with 'pip install \"pytest-sandbox[node]\"', or name an image that has Node with image= or "
            "--sandbox-image",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.engine, self.architecture, self.reason))


class LuaFailed(SandboxError):
    """Raised by `LuaResult.check()` when a Lua script did not succeed. The script's fault.

    Attributes:
        result: the whole `LuaResult`.
    """

    def __init__(self, result: LuaResult) -> None:
        self.result = result
        super().__init__(f"Lua script {_shown(result.chunk_name)} failed: {result.error}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.result,))


class LuaSandboxClosed(ExecutorClosed):
    """A `LuaSandbox` was closed before this call. The caller's fault."""

    def __init__(self) -> None:
        self.name = "lua"
        SandboxError.__init__(self, "Cannot run a Lua script: the sandbox is closed; create a new LuaSandbox")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), ())


class PolicyInvalid(SandboxError, ValueError):
    """A policy of a `LuaSandbox` has errors. The fault of whoever wrote it.

    Attributes:
        name: the file, or "policy" when it was given as data.
        problems: every problem that was found, each as one sentence.
    """

    def __init__(self, name: str, problems: Iterable[str]) -> None:
        self.name = name
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "".join(f"\n  {name}: {problem}" for problem in self.problems)
        super().__init__(f"Cannot read the policy: {count} found{lines}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.name, self.problems))


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
