"""What is kept of a command for failure reports."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_sandbox.commands.streams import Excerpt
from pytest_sandbox.result import Usage

__all__ = ["CommandRecord"]


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
