"""Errors of the Lua sandbox and its policy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_sandbox.errors.base import SandboxError
from pytest_sandbox.errors.executors import ExecutorClosed
from pytest_sandbox.errors.wording import one_line

if TYPE_CHECKING:
    from pytest_sandbox.lua.result import LuaResult


class LuaFailed(SandboxError):
    """Raised by `LuaResult.check()` when a Lua script did not succeed. The script's fault.

    Attributes:
        result: the whole `LuaResult`.
    """

    def __init__(self, result: LuaResult) -> None:
        self.result = result
        super().__init__(f"Lua script {one_line(result.chunk_name)} failed: {result.error}")

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
