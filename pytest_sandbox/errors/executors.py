"""Errors of executors, and of the snippets that they run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_sandbox.errors.base import SandboxError
from pytest_sandbox.errors.wording import near_miss

if TYPE_CHECKING:
    from pytest_sandbox.result import ExecuteResult


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


class SnippetFailed(SandboxError):
    """Raised by `ExecuteResult.check()` when the snippet did not succeed. The snippet's fault.

    Attributes:
        result: the whole `ExecuteResult`.
    """

    def __init__(self, result: ExecuteResult) -> None:
        self.result = result
        super().__init__(f"Snippet failed on executor {result.executor!r}: {result.error}")
