"""What the executors share whose runner is a process on this machine: isolated-vm, deno, vm2."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Final

from pytest_sandbox.errors import ExecutorClosed, UnsupportedLimit
from pytest_sandbox.limits import MIB, Limits
from pytest_sandbox.processes.makers import making
from pytest_sandbox.result import ExecuteResult, SnippetError
from pytest_sandbox.snippets.base import Request, SnippetExecutor
from pytest_sandbox.snippets.channel import Runner
from pytest_sandbox.snippets.pool import RunnerPool
from pytest_sandbox.snippets.tools import inside_tool_of

__all__ = ["ENVIRONMENT", "RUNNERS", "RunnerExecutor"]

RUNNERS: Final = Path(__file__).parent / "runners"
"""The folder of our JavaScript programs."""

_NO_MEMORY_LIMIT: Final = 4096 * MIB  # what V8 gives a heap at most on its own is less than that
ENVIRONMENT: Final = {"TZ": "UTC"}  # nothing is inherited; the time zone is the same on every executor and machine


class RunnerExecutor(SnippetExecutor):
    """A snippet executor over runner processes; a subclass says how they are started."""

    reuses_runners: bool
    spares: int = 0
    least_memory: ClassVar[int] = 32 * MIB
    """The least limit ``memory``, in bytes, with which ordinary small snippets run; measured with Node 24.19 and Deno 2.9. Below,
    an engine would end an execution for what it needs itself, or not even start."""

    def __init__(self, *, limits: Limits | None = None, **options: Any) -> None:
        super().__init__(limits=limits, **options)
        memory = self.limits.memory
        if isinstance(memory, int) and memory < self.least_memory:
            reason = f"its runner alone needs more; set at least {self.least_memory} bytes ({self.least_memory // MIB} MiB)"
            raise UnsupportedLimit(self.name, "memory", memory, reason)
        self._set_up()
        maker = self._maker
        self._pool = RunnerPool(
            self.name,
            self._start_ours,
            most=self.max_runners,
            reuse=self.reuses_runners,
            spares=self.spares,
            announce=lambda is_coming: maker.add_other("a runner that is about to be started", is_coming),
        )

    @abstractmethod
    def _set_up(self) -> None:
        """Find what the runner needs, or raise `ExecutorUnavailable`."""

    @property
    @abstractmethod
    def max_runners(self) -> int:
        """How many executions may run at the same time."""

    @property
    def heap_megabytes(self) -> int:
        """The limit ``memory`` in the megabytes that engines want."""
        memory = self.limits.memory
        return (memory if isinstance(memory, int) else _NO_MEMORY_LIMIT) // MIB

    def _start_ours(self) -> Runner:
        with making(self._maker):
            return self._start()

    @abstractmethod
    def _start(self) -> Runner:
        """Begin to start a runner, and wait for nothing."""

    def _run(self, request: Request) -> ExecuteResult:
        with self._pool.lend(request.tools, extra=inside_tool_of(self)) as runner:
            if runner is None:
                error = SnippetError("cancelled", "Cancelled", "the caller was cancelled before the snippet began")
                return ExecuteResult(ok=False, executor=self.name, duration=0.0, error=error)
            result = runner.run(request)
        if result is None:
            raise ExecutorClosed(self.name)
        return result

    def _shut_down(self) -> None:
        self._pool.close()

    def processes(self) -> tuple[int, ...]:
        """See `SnippetExecutor`."""
        return self._pool.pids()
