"""The life of a process, from its creation until all its output is there: what it has come to, and who waits for that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from pytest_sandbox.commands.output import Output, wait_pressing
from pytest_sandbox.commands.records import CommandRecord
from pytest_sandbox.commands.result import signal_name
from pytest_sandbox.errors import ProcessStateError, SandboxError
from pytest_sandbox.observing import Ended, tell
from pytest_sandbox.result import Usage

__all__ = ["Lifecycle", "State"]

State = Literal["created", "running", "exited", "closed"]


class Lifecycle:
    """What is known of a process, under one lock: its state, its output, and how it has ended.

    It has exited when its exit code is known; it has finished when all its output is there, too.

    Attributes:
        command: the command as it was given.
        entry: the id of the entry that runs it.
        record: what failure reports show of it.
    """

    def __init__(self, *, command: str, entry: str, output_limit: int) -> None:
        self.command = command
        self.entry = entry
        self._condition = threading.Condition(threading.Lock())
        self._state: State = "created"
        self._stdout = Output("stdout", output_limit)
        self._stderr = Output("stderr", output_limit)
        self.record = CommandRecord(command, self._stdout.excerpt, self._stderr.excerpt)
        self._returncode: int | None = None
        self._signal: str | None = None
        self._failure: SandboxError | None = None
        self._started_at = 0.0
        self._exited_at = 0.0
        self._stdin_open = True
        self._finished = False
        self._when_finished: list[Callable[[], None]] = []
        self._shown = ""

    # -- for everybody ----------------------------------------------------------------------------------------

    @property
    def returncode(self) -> int | None:
        """The exit code as a shell reports it (128 + n for signal n), or None while there is none."""
        return self._returncode

    @property
    def signal_name(self) -> str | None:
        """The name of the signal that has ended the program, such as "SIGKILL", or None."""
        return self._signal

    @property
    def duration(self) -> float:
        """Seconds from the start to the exit, or to now; 0 before the start."""
        if not self._started_at:
            return 0.0
        return (self._exited_at or time.monotonic()) - self._started_at

    def wait_finished(self, timeout: float | None) -> bool:
        """Wait until it has exited and all output is there; return whether that is so."""
        with self._condition:
            return self._condition.wait_for(lambda: self._finished, timeout)

    @property
    def failure(self) -> SandboxError | None:
        """Why nobody knows how it has ended, or None."""
        return self._failure

    def when_finished(self, callback: Callable[[], None]) -> None:
        """Call the callback once it has finished, from any thread and with the lock held."""
        with self._condition:
            if self._finished:
                callback()
            else:
                self._when_finished.append(callback)

    # -- for backends, with the lock held ------------------------------------------------------------------------

    def _exited(self, code: int, signal_number: int | None = None) -> None:
        """Note how the program has ended."""
        self._exited_at = time.monotonic()
        self._returncode = code
        self._signal = None if signal_number is None else signal_name(signal_number)
        record = self.record
        record.exit_code, record.signal, record.duration = code, self._signal, self.duration
        self._stdin_open = False
        if self._state == "running":
            self._state = "exited"
        self._check_finished()
        self._condition.notify_all()

    def _failed(self, error: SandboxError) -> None:
        """Note that nobody knows how the program has ended."""
        self._failure = error
        self.record.error = str(error)
        self._exited_at = time.monotonic()
        self._stdin_open = False
        self._stdout.end()
        self._stderr.end()
        self._finish()
        self._condition.notify_all()

    def _wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait, with the lock held, for something that the process may be too stuck in its output to do."""
        return wait_pressing(self._condition, (self._stdout, self._stderr), predicate, timeout)

    def _has_ended(self) -> bool:
        return self._returncode is not None or self._failure is not None

    def _check_finished(self) -> None:
        """Note that everything is there, when it is."""
        if self._returncode is not None and self._stdout.ended and self._stderr.ended:
            self._finish()
            self._condition.notify_all()

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        if self._returncode is not None:
            self.record.usage = usage = self._usage()
            tell(lambda: Ended("command", self.entry, self._shown, usage))
        callbacks, self._when_finished = self._when_finished, []
        for callback in callbacks:
            callback()

    def _usage(self) -> Usage:
        return Usage(wall=self.duration, output=self._stdout.total + self._stderr.total)

    # -- what a call needs -------------------------------------------------------------------------------------

    def _check_started(self, operation: str) -> None:
        if self._state == "created":
            raise ProcessStateError(operation, self.command, "is not started", "call start() first")
        if self._state == "closed":
            raise ProcessStateError(operation, self.command, "is closed", "create another with exec()")

    def _check_running(self, operation: str) -> None:
        self._check_started(operation)
        if self._has_ended():
            code = "" if self._returncode is None else f" with {self._returncode}"
            raise ProcessStateError(operation, self.command, f"has exited{code}", "do so while it runs")
