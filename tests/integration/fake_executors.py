"""Executors for tests of the plugin itself: they run nothing, and write down what is done to them.

Copied into the folder of an inner test run. ``FAKE_LOG`` names the file they write to, one line for each event; the
executors that are named in ``FAKE_MISSING`` are unavailable.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

from pytest_sandbox import ExecuteResult, ExecutorInfo, ExecutorOptions, ExecutorUnavailable, Limits, LogEntry, SnippetError
from pytest_sandbox.snippets.base import Request, SnippetExecutor


def log(event: str) -> None:
    with open(os.environ["FAKE_LOG"], "a", encoding="utf-8") as file:
        file.write(event + "\n")


class Fake(SnippetExecutor):
    """Answer a few fixed snippets."""

    name = "fake"

    def __init__(self, *, limits: Limits | None = None, **options: Any) -> None:
        super().__init__(limits=limits, **options)
        if self.name in os.environ.get("FAKE_MISSING", "").split(","):
            log(f"refuse {self.name}")
            raise ExecutorUnavailable(self.name, f"no {self.name} binary in /nowhere", f"install {self.name}")
        log(f"create {self.name}")

    @property
    def info(self) -> ExecutorInfo:
        loosened = ("network open",) if self.name in os.environ.get("FAKE_LOOSE", "").split(",") else ()
        return ExecutorInfo(
            name=self.name,
            runtime="node 99.1",
            path="/fake/node",
            backend=f"{self.name}-engine 1.2",
            fresh="realm",
            max_runners=1,
            loosened=loosened,
        )

    @property
    def guarantees(self) -> frozenset[str]:
        return frozenset({"network"})

    def own_addition(self) -> str:
        return f"only {self.name} has this"

    def _run(self, request: Request) -> ExecuteResult:
        source = request.source
        log(f"run {self.name} {source!r}")
        value: Any = source
        if source == "return 1+1":
            value = 2
        elif source == "limits":
            value = dataclasses.asdict(request.limits)
        elif source == "options":
            value = dataclasses.asdict(self.options)
        elif source == "tool_timeout":
            value = request.tool_timeout
        elif source.startswith("throw"):
            logs = [LogEntry("warn", f"entry {number} \x1b[31mred\nsecond line", number / 1000) for number in range(30)]
            error = SnippetError("runtime", "TypeError", "no \x1b[2J luck", stack="at <snippet>:1:7\u202e")
            return ExecuteResult(False, self.name, 0.0123, error=error, logs=logs, truncated=True)
        return ExecuteResult(True, self.name, 0.0042, value=value)

    def _shut_down(self) -> None:
        log(f"close {self.name}")


class Alpha(Fake):
    name = "alpha"


@dataclass(frozen=True, kw_only=True)
class BetaOptions(ExecutorOptions):
    colour: str = "blue"


class Beta(Fake):
    name = "beta"
    options_class = BetaOptions


class Gamma(Fake):
    name = "gamma"
    unsupported_limits = {"memory": "it has none"}  # noqa: RUF012  # as any executor would write it
