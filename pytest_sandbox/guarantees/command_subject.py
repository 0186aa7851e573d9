"""Attacks as commands of a command executor."""

from __future__ import annotations

import json
import secrets
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pytest_sandbox.errors import SandboxError
from pytest_sandbox.guarantees.subjects import Ran, Subject, Tools

if TYPE_CHECKING:
    from pytest_sandbox.commands.base import CommandExecutor

__all__ = ["CommandSubject", "Done"]


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of a command.

    Attributes:
        stdout: what it printed, as far as that was kept.
        stderr: the same of standard error.
        exit_code: its exit code.
        timed_out: whether it was ended because its time was up.
        truncated: whether more was printed than was kept.
    """

    stdout: str
    stderr: str
    exit_code: int
    timed_out: bool = False
    truncated: bool = False


_AS_COMMAND: Final = """
const say = (text) => require("node:fs").writeSync(1, `${text}\\n`);
const console_ = { log: (...values) => say(values.map(String).join(" ")) };
new (async () => {}).constructor("console", "require", CODE)(console_, require).then(
  (value) => say(MARK + JSON.stringify({ value: value === undefined ? null : value })),
  (error) => say(MARK + JSON.stringify({ error: `${error?.name}: ${error?.message ?? error}` })),
).then(() => process.kill(process.pid, "SIGKILL")); // Node's own exit can hang for buffers that are still to be swept
"""


class CommandSubject(Subject):
    """A command executor, which stays its owner's: each piece of code is a command of Node.

    Args:
        executor: the executor; its entry must allow any command.
        name: who it is, in words.
        node: path of Node where its commands run.
    """

    vantage = "command"

    def __init__(self, executor: CommandExecutor, name: str, node: str) -> None:
        super().__init__(name, "node")
        self.executor = executor
        self.node = node

    def words(self, code: str, mark: str = "@") -> list[str]:
        """Return the command that runs a piece of code."""
        script = _AS_COMMAND.replace("CODE", json.dumps(code)).replace("MARK", json.dumps(mark))
        return [self.node, "-e", script]

    def invoke(self, words: Sequence[str], timeout: float) -> Done:
        """Run a command to its end.

        Raises:
            SandboxError: when it cannot be run.
        """
        result = self.executor.run(shlex.join(words), timeout=timeout)
        errors = f"{result.stderr}\nout of memory" if result.oom_killed else result.stderr
        return Done(
            stdout=result.stdout,
            stderr=errors,
            exit_code=result.exit_code,
            timed_out=result.timed_out,
            truncated=result.truncated,
        )

    def run(self, code: str, tools: Tools | None = None, *, timeout: float = 10.0) -> Ran:
        """See `Subject`."""
        began = time.monotonic()
        mark = f"@{secrets.token_hex(8)} "
        try:
            done = self.invoke(self.words(code, mark), timeout)
        except SandboxError as error:
            return Ran(ended="refused", error=f"{type(error).__name__}: {error}", duration=time.monotonic() - began)
        lines = done.stdout.split("\n")
        last = next((line for line in reversed(lines) if line.startswith(mark)), None)
        duration = time.monotonic() - began
        logs = tuple(line for line in lines if line is not last)
        if last is not None:
            told = json.loads(last[len(mark) :])
            if "error" in told:
                return Ran(ended="threw", error=told["error"], logs=logs, duration=duration)
            return Ran(ended="returned", value=told["value"], logs=logs, duration=duration)
        out_of_memory = "out of memory" in done.stderr
        ended = "timeout" if done.timed_out else "memory" if out_of_memory else "output" if done.truncated else "crash"
        limit = "" if ended == "crash" else ended
        return Ran(
            ended=ended,
            error=f"exit code {done.exit_code}, {done.stderr[-300:].strip()}",
            limit=limit,
            logs=logs,
            duration=duration,
        )
