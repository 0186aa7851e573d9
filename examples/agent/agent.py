"""An agent that acts by writing code: each step, a model writes a snippet, and reads what became of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_sandbox import ExecuteResult, SnippetExecutor

Tools = Mapping[str, Callable[..., Any]]
Model = Callable[[list[str]], str | None]
"""Takes the observations so far; returns the next snippet, or None when the task is done."""


@dataclass
class Agent:
    """Run the snippets of a model until it is done.

    Attributes:
        executor: where the snippets run.
        tools: what they reach as ``codemode.<name>``.
        tool_timeout: seconds that one tool call may take.
        observations: what the model was told after each step.
    """

    executor: SnippetExecutor
    tools: Tools
    tool_timeout: float | None = None
    observations: list[str] = field(default_factory=list)

    def run(self, model: Model, *, most_steps: int = 10) -> list[str]:
        """Work until the model is done, or has used up its steps; return all observations."""
        for _ in range(most_steps):
            snippet = model(self.observations)
            if snippet is None:
                break
            self.step(snippet)
        return self.observations

    def step(self, snippet: str) -> ExecuteResult:
        """Run one snippet, and note what the model is told about it."""
        result = self.executor.execute(snippet, self.tools, tool_timeout=self.tool_timeout)
        self.observations.append(observation(result))
        return result


def observation(result: ExecuteResult) -> str:
    """Word the outcome of a snippet for the model that wrote it."""
    lines = [f"[{entry.level}] {entry.text}" for entry in result.logs]
    if result.error is not None:
        lines.append(f"failed: {result.error}")
    elif result.is_undefined:
        lines.append("done, nothing returned")
    else:
        lines.append(f"returned: {json.dumps(result.value, default=str)}")
    return "\n".join(lines)
