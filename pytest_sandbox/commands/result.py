"""What a command gives back. A command's failure is data here, never an exception."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Self

from pytest_sandbox.commands.masking import Secrets
from pytest_sandbox.errors import CommandFailed
from pytest_sandbox.result import Usage, printable

__all__ = ["CommandResult", "signal_name"]


def signal_name(number: int) -> str:
    """Return a signal's name, such as "SIGKILL"; real-time signals count from SIGRTMIN."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


@dataclass(frozen=True, slots=True, repr=False)
class CommandResult:
    """The outcome of one command.

    Attributes:
        command: the command as it was given.
        entry: the id of the entry that ran it.
        exit_code: as a shell reports it: 128 + n for a program that signal n has ended.
        signal: the name of that signal, such as "SIGKILL", or None. On `exec.docker`, a program that exits with such a code itself
            cannot be told apart.
        stdout_bytes: what it wrote to standard output, the first ``output_limit`` bytes.
        stderr_bytes: the same of standard error.
        stdout_size: bytes that it wrote to standard output, dropped ones included.
        stderr_size: the same of standard error.
        duration: seconds from the start to the end.
        timed_out: whether it was killed because its time was up.
        usage: what it used.
        oom_killed: whether it, or something that it started, was killed for want of memory; on `exec.native` only with `confine`.
    """

    command: str
    entry: str
    exit_code: int
    signal: str | None
    stdout_bytes: bytes
    stderr_bytes: bytes
    stdout_size: int
    stderr_size: int
    duration: float
    timed_out: bool = False
    usage: Usage = field(default_factory=lambda: Usage(wall=0.0))
    oom_killed: bool = False
    secrets: Secrets = field(default_factory=Secrets, compare=False)
    """What messages about this result do not show; the streams themselves are as they were."""

    @property
    def ok(self) -> bool:
        """Whether it exited with 0 in time."""
        return self.exit_code == 0 and not self.timed_out

    @property
    def stdout(self) -> str:
        """What it wrote to standard output, as text; what is not UTF-8 becomes U+FFFD."""
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """What it wrote to standard error, as text; what is not UTF-8 becomes U+FFFD."""
        return self.stderr_bytes.decode("utf-8", "replace")

    @property
    def truncated(self) -> bool:
        """Whether bytes of one of the streams were not kept."""
        return self.stdout_size > len(self.stdout_bytes) or self.stderr_size > len(self.stderr_bytes)

    def check(self) -> Self:
        """Return this result when the command succeeded.

        Raises:
            CommandFailed: when it did not exit with 0, or not in time (the command's fault).
        """
        if not self.ok:
            raise CommandFailed(self)
        return self

    def outcome(self) -> str:
        """Return in words how it ended, with the last line of its standard error."""
        how = f"exit code {self.exit_code}" + (f" ({self.signal})" if self.signal else "")
        if self.timed_out:
            how = f"timed out after {self.duration:.2f} s and was killed, {how}"
        if self.oom_killed:
            how = f"ran out of memory, {how}"
        lines = self.secrets.mask(self.stderr_bytes[-20_000:])[-2000:].decode("utf-8", "replace").strip().splitlines()
        return f"{how}; last line of stderr: {_short(printable(lines[-1]))}" if lines else how

    def __repr__(self) -> str:
        streams = self._shown("stdout", self.stdout_bytes, self.stdout_size) + self._shown(
            "stderr", self.stderr_bytes, self.stderr_size
        )
        timed_out = " timed out" if self.timed_out else ""
        signal_ = f" {self.signal}" if self.signal else ""
        return (
            f"<CommandResult {self.entry} {_short(ascii(self.command), 100)} exit {self.exit_code}{signal_}{timed_out} "
            f"in {self.duration * 1000:.1f} ms{streams}>"
        )

    def _shown(self, name: str, data: bytes, size: int) -> str:
        text = self.secrets.mask(data[:4000])[:400].decode("utf-8", "replace").rstrip()
        return f"\n  {name} ({size} bytes): {_short(printable(text))}" if size else ""


def _short(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}… {len(text) - most} more characters"
