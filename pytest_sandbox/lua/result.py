"""What running a Lua script gives back. A script's failure is data here, never an exception."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from pytest_sandbox.errors import LuaFailed, short_repr
from pytest_sandbox.result import ErrorKind, LogEntry, Usage, printable

__all__ = ["ERROR_KINDS", "LuaError", "LuaErrorObject", "LuaResult"]

ERROR_KINDS: Final = (
    "ALREADY_EXISTS",
    "CANCELED",
    "CONFLICT",
    "INTERNAL",
    "INVALID",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "RATE_LIMITED",
    "TIMEOUT",
    "UNAVAILABLE",
    "UNKNOWN",
)
"""The kinds in the Lua module ``errors``."""


@dataclass(frozen=True, slots=True)
class LuaErrorObject:
    """An error object of Lua, as a value.

    Attributes:
        kind: such as "INVALID"; a script may use kinds of its own.
        message: in words.
        retryable: whether it makes sense to try again.
    """

    kind: str
    message: str
    retryable: bool = False

    def __str__(self) -> str:
        return printable(f"{self.kind}: {self.message}")


@dataclass(frozen=True, slots=True)
class LuaError:
    """Why a script did not succeed.

    Attributes:
        kind: who or what ended it: "syntax", "runtime", "timeout", "memory", "output", "limit", or "crash".
        message: as Lua words it, with file and line where Lua adds them.
        error_kind: the kind of the error object that was raised or returned, such as "NOT_FOUND"; None for other errors.
        retryable: what the error object says about trying again.
        returned: whether the script returned ``nil, err`` and did not raise.
        traceback: Lua's, without frames of our own.
        line: the line in the script that was run, from 1, as far as it is known.
        limit: the field of `Limits` that was exceeded, or None.
    """

    kind: ErrorKind
    message: str
    error_kind: str | None = None
    retryable: bool = False
    returned: bool = False
    traceback: str = ""
    line: int | None = None
    limit: str | None = None

    def __str__(self) -> str:
        kind = "" if self.kind == "runtime" else f"[{self.kind}] "
        name = "" if self.error_kind is None else f"{self.error_kind}: "
        return printable(f"{kind}{name}{self.message}")


@dataclass(frozen=True, slots=True, repr=False)
class LuaResult:
    """The outcome of one run.

    Attributes:
        ok: whether the script came to its end and did not return ``nil, err``.
        chunk_name: the name of the script.
        duration: seconds from the request to the result, by the host's clock.
        value: the first value that it returned.
        values: all of them.
        error: why it failed, or None.
        logs: what it printed, in order.
        output: the text of all log entries, one per line.
        usage: what it used.
        truncated: whether printed text was dropped because of the limit ``output``.
    """

    ok: bool
    chunk_name: str
    duration: float
    values: tuple[Any, ...] = ()
    error: LuaError | None = None
    logs: Sequence[LogEntry] = ()
    usage: Usage = field(default_factory=lambda: Usage(wall=0.0))
    truncated: bool = False

    @property
    def value(self) -> Any:
        """The first value that the script returned, or None."""
        return self.values[0] if self.values else None

    @property
    def output(self) -> str:
        """The text of all log entries, one per line."""
        return "".join(entry.text + "\n" for entry in self.logs)

    def check(self) -> Self:
        """Return this result when the script succeeded.

        Raises:
            LuaFailed: when it did not (the script's fault).
        """
        if not self.ok:
            raise LuaFailed(self)
        return self

    def __repr__(self) -> str:
        shown = f"ok value={short_repr(self.value, 200)}" if self.ok else f"failed {short_text(str(self.error))}"
        logs = "".join(f"\n  {entry.level}: {short_text(printable(entry.text))}" for entry in self.logs[:3])
        more = f"\n  … {len(self.logs) - 3} more log entries" if len(self.logs) > 3 else ""
        return f"<LuaResult {printable(self.chunk_name)} {shown} in {self.duration * 1000:.1f} ms{logs}{more}>"


def short_text(text: str, most: int = 200) -> str:
    """Return a text, cut."""
    return text if len(text) <= most else f"{text[:most]}… {len(text) - most} more characters"
