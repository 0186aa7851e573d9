"""What a test holds: a view of an executor that records what runs, and ends with the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Never

from pytest_sandbox.errors import ExecutorClosed
from pytest_sandbox.limits import UNSET, Limits, Unset
from pytest_sandbox.snippets.base import ExecutorInfo, Language, SnippetExecutor

if TYPE_CHECKING:
    from pytest_sandbox.plugin.records import Recorder
    from pytest_sandbox.result import ExecuteResult

__all__ = ["Lease"]


class Lease(SnippetExecutor):
    """Pass everything on to an executor until it is closed.

    Args:
        executor: the executor, which other tests may share.
        recorder: keeps what is executed.
        timeout: seconds for an execution that does not set a timeout; unset is the executor's limit.
        tool_timeout: seconds for a tool call of an execution that does not set it.
        owned: close the executor together with this lease.
    """

    def __init__(
        self,
        executor: SnippetExecutor,
        recorder: Recorder,
        *,
        timeout: float | None | Unset = UNSET,
        tool_timeout: float | None = None,
        owned: bool = False,
    ) -> None:
        # Nothing of the base class is initialized: nothing but the type is inherited.
        self._leased = executor
        self._recorder = recorder
        self._timeout = timeout
        self._tool_timeout = tool_timeout
        self._owned = owned
        self._ended = False
        self.name = executor.name  # type: ignore[misc]  # a class variable of every other executor
        self.limits = Limits(timeout=timeout).over(executor.limits)

    @property
    def info(self) -> ExecutorInfo:
        """What really runs."""
        return self._leased.info

    @property
    def guarantees(self) -> frozenset[str]:
        """The ids of the guarantees that the executor promises."""
        return self._leased.guarantees

    def execute(
        self,
        code: str,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        *,
        language: Language = "js",
        timeout: float | None | Unset = UNSET,
        tool_timeout: float | None = None,
    ) -> ExecuteResult:
        """Run a snippet, see `SnippetExecutor.execute`; the timeouts default to those of marker and options."""
        self._check()
        with self._recorder.record(self.name, code) as execution:
            execution.result = self._leased.execute(
                code, tools, language=language, timeout=self._own(timeout), tool_timeout=self._own_tool_timeout(tool_timeout)
            )
            return execution.result

    async def aexecute(
        self,
        code: str,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        *,
        language: Language = "js",
        timeout: float | None | Unset = UNSET,
        tool_timeout: float | None = None,
    ) -> ExecuteResult:
        """Run a snippet, see `SnippetExecutor.aexecute`; the timeouts default to those of marker and options."""
        self._check()
        with self._recorder.record(self.name, code) as execution:
            execution.result = await self._leased.aexecute(
                code, tools, language=language, timeout=self._own(timeout), tool_timeout=self._own_tool_timeout(tool_timeout)
            )
            return execution.result

    def close(self) -> None:
        """End the lease; the executor itself stays open if other tests share it."""
        if not self._ended:
            self._ended = True
            if self._owned:
                self._leased.close()

    async def aclose(self) -> None:
        """Do the same as `close` without blocking the running loop."""
        if not self._ended:
            self._ended = True
            if self._owned:
                await self._leased.aclose()

    def __getattr__(self, attribute: str) -> Any:
        # Only asked for what neither this class nor the contract has: an executor's own additions.
        if attribute.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no attribute {attribute!r}")
        return getattr(self._leased, attribute)

    def __repr__(self) -> str:
        return f"<Lease of {self._leased!r}{' ended' if self._ended else ''}>"

    def _check(self) -> None:
        if self._ended:
            raise ExecutorClosed(self.name)

    def _own(self, timeout: float | None | Unset) -> float | None | Unset:
        return self._timeout if timeout is UNSET else timeout

    def _own_tool_timeout(self, tool_timeout: float | None) -> float | None:
        return self._tool_timeout if tool_timeout is None else tool_timeout

    def _run(self, request: Any) -> Never:
        raise NotImplementedError("a lease passes whole calls on")

    def _shut_down(self) -> Never:
        raise NotImplementedError("a lease passes whole calls on")
