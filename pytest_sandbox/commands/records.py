"""What is kept of a command for failure reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pytest_sandbox.result import Usage

__all__ = ["CommandRecord", "Excerpt"]

_EXCERPT: Final = 8 * 1024
"""Bytes that are kept of the beginning of a stream, and of its end."""


class Excerpt:
    """The first and the last bytes of a stream, kept for failure reports whatever becomes of the rest."""

    __slots__ = ("head", "tail", "total")

    def __init__(self) -> None:
        self.head = b""
        self.tail = b""
        self.total = 0

    def add(self, chunk: bytes) -> None:
        """Note the next bytes of the stream."""
        missing = _EXCERPT - len(self.head)
        self.total += len(chunk)
        if missing > 0:
            self.head += chunk[:missing]
            chunk = chunk[missing:]
        if chunk:
            self.tail = chunk[-_EXCERPT:] if len(chunk) >= _EXCERPT else (self.tail + chunk)[-_EXCERPT:]

    @property
    def omitted(self) -> int:
        """Bytes between head and tail that were not kept."""
        return self.total - len(self.head) - len(self.tail)


@dataclass(slots=True)
class CommandRecord:
    """What failure reports show of a command, kept when its process is long forgotten.

    Attributes:
        command: the command as it was given.
        stdout: the beginning and the end of its standard output.
        stderr: the same of its standard error.
        started: whether it was started.
        exit_code: as a shell reports it, or None.
        signal: the name of the signal that has ended it, or None.
        timed_out: whether it was killed because its time was up.
        duration: seconds from the start to the exit.
        usage: what it used; None before its end.
        error: why it could not be started, or an empty text.
    """

    command: str
    stdout: Excerpt
    stderr: Excerpt
    started: bool = False
    exit_code: int | None = None
    signal: str | None = None
    timed_out: bool = False
    duration: float = 0.0
    usage: Usage | None = None
    error: str = ""

    def outcome(self) -> str:
        """Return in words how it ended."""
        if self.error:
            return f"not started: {self.error}"
        if self.exit_code is None:
            return "still running" if self.started else "not started"
        signal = f" ({self.signal})" if self.signal else ""
        timed_out = ", killed because its time was up" if self.timed_out else ""
        return f"exit code {self.exit_code}{signal}{timed_out} after {self.duration:.3f} s"
