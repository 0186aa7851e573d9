"""Where attacks run: what runs JavaScript, and what became of it. Here, as a snippet on an executor."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pytest_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from pytest_sandbox.result import ExecuteResult
    from pytest_sandbox.snippets.base import SnippetExecutor

__all__ = ["Ran", "SnippetSubject", "Subject", "Tools", "Vantage"]

Vantage = Literal["snippet", "process", "command"]
Tools = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What became of a piece of code.

    Attributes:
        ended: "returned", "threw", "timeout" (it was ended by whoever minds the time), or how else it ended: "memory", "output",
            "limit", "crash", "syntax", "refused" (it never began).
        value: what it returned.
        error: what it threw, or what ended it.
        limit: the limit that ended it.
        logs: what it logged, by the line.
        duration: seconds, by the host's clock.
        memory: peak of resident bytes, where that was measured.
    """

    ended: str
    value: Any = None
    error: str = ""
    limit: str = ""
    logs: tuple[str, ...] = ()
    duration: float = 0.0
    memory: int | None = None

    @property
    def everything(self) -> str:
        """All that came back, as one text."""
        return "\n".join([json.dumps(self.value, default=repr), self.error, *self.logs])

    def __str__(self) -> str:
        what = self.error or json.dumps(self.value, default=repr)
        return f"{self.ended}: {what}"[:500]


class Subject(ABC):
    """Something that runs JavaScript.

    Attributes:
        name: who it is, in words.
        runtime: "node" or "deno": which APIs there would be, if nothing was in the way.
        vantage: how far outside of the realm the code runs.
    """

    vantage: ClassVar[Vantage]

    def __init__(self, name: str, runtime: str) -> None:
        self.name = name
        self.runtime = runtime

    @abstractmethod
    def run(self, code: str, tools: Tools | None = None, *, timeout: float = 10.0) -> Ran:
        """Run the body of an async function; never raises for what it does.

        Args:
            code: the code.
            tools: what it reaches as ``codemode``; commands have none.
            timeout: seconds until it is ended.
        """

    def renew(self) -> None:  # noqa: B027 - not every subject has something to renew
        """Begin anew where one process serves several runs by itself: what earlier attacks did to it must not count."""

    def pids(self) -> tuple[int, ...]:
        """Return the processes, by their ids on the host, in which code runs now; empty where that is not known."""
        return ()

    def close(self) -> None:  # noqa: B027 - nor to close
        """End what was started."""


class SnippetSubject(Subject):
    """A snippet executor, which stays its owner's."""

    vantage = "snippet"

    def __init__(self, executor: SnippetExecutor) -> None:
        super().__init__(executor.name, executor.control_runtime)
        self.executor = executor

    def run(self, code: str, tools: Tools | None = None, *, timeout: float = 10.0) -> Ran:
        """See `Subject`."""
        began = time.monotonic()
        try:
            result = self.executor.execute(code, tools, timeout=timeout)
        except SandboxError as error:
            return Ran(ended="refused", error=f"{type(error).__name__}: {error}", duration=time.monotonic() - began)
        return self.ran(result, time.monotonic() - began)

    @staticmethod
    def ran(result: ExecuteResult, duration: float) -> Ran:
        """Return an executor's result in our terms."""
        error = result.error
        kind = "returned" if error is None else {"runtime": "threw"}.get(error.kind, error.kind)
        return Ran(
            ended=kind,
            value=result.value,
            error="" if error is None else f"{error.name}: {error.message}",
            limit="" if error is None else error.limit or "",
            logs=tuple(line for entry in result.logs for line in entry.text.split("\n")),
            duration=duration,
            memory=result.usage.memory,
        )

    def pids(self) -> tuple[int, ...]:
        """See `Subject`."""
        return self.executor.processes()
