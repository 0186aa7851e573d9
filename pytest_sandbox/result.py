"""What an execution gives back. A snippet's failure is data here, never an exception."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pytest_sandbox.errors import SnippetFailed, short_repr

__all__ = ["ErrorKind", "ExecuteResult", "LogEntry", "LogLevel", "SnippetError", "Usage", "printable"]

ErrorKind = Literal["syntax", "runtime", "timeout", "memory", "output", "limit", "cancelled", "crash"]
LogLevel = Literal["log", "info", "warn", "error", "debug"]


def printable(text: str) -> str:
    r"""Return text that is safe on a terminal: control, bidi and other invisible characters become ``\x1b``-like escapes."""
    if text.isprintable():
        return text
    return "".join(char if char in "\n\t" or char.isprintable() or char == "\u3000" else _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One call of ``console.*``.

    Attributes:
        level: "log", "info", "warn", "error" or "debug".
        text: the formatted arguments, exactly as the snippet wrote them (it may hold control characters).
        time: seconds since the execution started, by the host's clock.
    """

    level: LogLevel
    text: str
    time: float


@dataclass(frozen=True, slots=True)
class SnippetError:
    """Why an execution did not succeed.

    Attributes:
        kind: who or what ended it, see `ErrorKind`.
        name: the error's name, such as "TypeError".
        message: its message.
        stack: the stack, with the snippet's own line numbers; empty where the engine hides it.
        cause: the error's ``cause``, if that was an error, too.
        limit: the field of `Limits` that was exceeded, or None.
        line: for a syntax error, the snippet's line, from 1.
        column: for a syntax error, the column in that line, from 1.
    """

    kind: ErrorKind
    name: str
    message: str
    stack: str = ""
    cause: SnippetError | None = None
    limit: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        where = f" (line {self.line}, column {self.column})" if self.line is not None else ""
        kind = "" if self.kind == "runtime" else f"[{self.kind}] "
        return printable(f"{kind}{self.name}: {self.message}{where}")


@dataclass(frozen=True, slots=True)
class Usage:
    """What an execution used, measured from outside; None where it cannot be attributed to this execution.

    Attributes:
        wall: seconds from the request to the result.
        cpu: seconds of CPU time of the runner, or of the command and its children; None for commands in containers.
        memory: peak resident bytes of the runner, or of the command and all below it, sampled; None for commands in containers, and
            for those that end before the first look, 20 ms after their start.
        tool_calls: how many tool calls were made.
        output: bytes of log text, or of both output streams, dropped ones included.
    """

    wall: float
    cpu: float | None = None
    memory: int | None = None
    tool_calls: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class ExecuteResult:
    """The outcome of one execution.

    Attributes:
        ok: whether the snippet returned a value.
        value: what it returned, as a Python value; None when it failed or returned ``undefined``.
        is_undefined: whether it returned ``undefined``.
        error: why it failed, or None.
        logs: what it wrote to the console, in order.
        output: the text of all log entries, one per line.
        duration: seconds from the request to the result, by the host's clock.
        usage: what it used.
        truncated: whether log text was dropped because of the limit ``output``.
        executor: the name of the executor that ran it.
    """

    ok: bool
    executor: str
    duration: float
    value: Any = None
    is_undefined: bool = False
    error: SnippetError | None = None
    logs: Sequence[LogEntry] = ()
    usage: Usage = field(default_factory=lambda: Usage(wall=0.0))
    truncated: bool = False

    @property
    def output(self) -> str:
        """The text of all log entries, one per line."""
        return "".join(entry.text + "\n" for entry in self.logs)

    def check(self) -> Self:
        """Return this result when the snippet succeeded.

        Raises:
            SnippetFailed: when it did not (the snippet's fault).
        """
        if not self.ok:
            raise SnippetFailed(self)
        return self

    def __repr__(self) -> str:
        if self.ok:
            shown = "undefined" if self.is_undefined else short_repr(self.value, 200)
            head = f"ok value={shown}"
        else:
            head = f"failed {_short(str(self.error))}"
        logs = "".join(f"\n  {entry.level}: {_short(printable(entry.text))}" for entry in self.logs[:3])
        more = f"\n  … {len(self.logs) - 3} more log entries" if len(self.logs) > 3 else ""
        return f"<ExecuteResult {self.executor} {head} in {self.duration * 1000:.1f} ms{logs}{more}>"


def _short(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}… {len(text) - most} more characters"
