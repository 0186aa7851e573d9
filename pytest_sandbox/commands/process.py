"""A process of a command executor: what both kinds have in common, whatever runs behind it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from abc import abstractmethod
from typing import Final, Self

from pytest_sandbox.commands.input import Input
from pytest_sandbox.commands.lifecycle import Lifecycle
from pytest_sandbox.commands.output import Output
from pytest_sandbox.commands.streams import Stream
from pytest_sandbox.errors import EngineError, InvalidArgument, ProcessStateError, ProcessTimeout
from pytest_sandbox.limits import check_seconds
from pytest_sandbox.processes.makers import Maker, making
from pytest_sandbox.result import printable

__all__ = ["KILL_TIMEOUT", "Process"]

KILL_TIMEOUT: Final = 5.0
"""Seconds that the kernel or an engine is given to let a killed process go."""


class Process(Lifecycle):
    """A command that was created by `CommandExecutor.exec`; a context manager that closes it.

    Attributes:
        command: the command as it was given.
        entry: the id of the entry that runs it.
    """

    def __init__(self, *, command: str, entry: str, output_limit: int, grace_period: float) -> None:
        super().__init__(command=command, entry=entry, output_limit=output_limit)
        self.grace_period = grace_period
        self.oom_killed = False
        self._life = threading.RLock()
        self._owner = os.getpid()
        self._input = Input()
        self._maker: Maker | None = None

    # -- what a backend provides ------------------------------------------------------------------------------

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """The process id on the host, or None before the start and where the host cannot see it."""

    @abstractmethod
    def _launch(self) -> None:
        """Start the program; called once, without the lock."""

    @abstractmethod
    def _send_signal(self, number: int) -> None:
        """Deliver a signal; called without the lock while the process runs."""

    @abstractmethod
    def _push(self) -> None:
        """Write what `_input` has as far as the program takes it now, and see to the rest; called with the lock held."""

    @abstractmethod
    def _reads_no_more(self) -> bool:
        """Return whether the input is gone for good; called with the lock held."""

    @abstractmethod
    def _close_stdin(self) -> None:
        """Signal the end of input; called with the lock held."""

    @abstractmethod
    def _abandon(self) -> None:
        """Give up on what the streams may still bring and free everything; called without the lock, once it has exited."""

    @abstractmethod
    def _discard(self) -> None:
        """Free what a process holds that was never started."""

    # -- what users call --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the program.

        Raises:
            ProcessStateError: when it was started or closed already (the caller's fault).
            CommandNotStarted: when it cannot be started (the machine's fault, or the entry's).
        """
        with self._life:
            if self._state != "created":
                state = "is closed" if self._state == "closed" else "is started already"
                raise ProcessStateError("start", self.command, state, "create another with exec()")
            self._started_at = time.monotonic()
            self.record.started = True
            try:
                with making(self._maker):
                    self._launch()
            except BaseException as error:
                self.record.error = str(error)
                with self._condition:
                    self._state = "closed"
                    self._condition.notify_all()
                raise

    def poll(self) -> int | None:
        """Return the exit code, or None while the program runs.

        Raises:
            ProcessStateError: when the process is not started, or closed (the caller's fault).
            InvalidCommand: on `exec.docker`, when the container has no such program (the caller's fault).
            EngineError: when the engine cannot tell any more what became of it (the engine's fault).
        """
        self._check_started("poll")
        if self._failure is not None:
            raise self._failure
        return self._returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the program to end and return its exit code. Output that nobody has read yet is kept.

        Args:
            timeout: seconds to wait; None is for ever.

        Raises:
            ProcessTimeout: when it has not ended in time; it goes on running.
            InvalidCommand: as for `poll`, like EngineError.
            ProcessStateError: when the process is not started, or closed (the caller's fault).
        """
        limit = check_seconds("timeout", timeout)
        self._check_started("wait")
        with self._condition:
            if not self._wait_for(self._has_ended, limit):
                raise ProcessTimeout(self.command, limit or 0.0)
            if self._failure is not None:
                raise self._failure
            assert self._returncode is not None
            return self._returncode

    def stdout_stream(self) -> Stream:
        """Return the stream of standard output; always the same data, however often it is called.

        Raises:
            ProcessStateError: when the process is closed (the caller's fault).
        """
        return self._stream(self._stdout)

    def stderr_stream(self) -> Stream:
        """Return the stream of standard error.

        Raises:
            ProcessStateError: when the process is closed (the caller's fault).
        """
        return self._stream(self._stderr)

    def write_stdin(self, data: bytes | bytearray | memoryview | str) -> None:
        """Write to standard input, and return when the program, or its pipe, has taken everything.

        Args:
            data: bytes, or text that is encoded as UTF-8; empty data signals the end of input.

        Raises:
            ProcessStateError: when the process is not started, has exited or is closed, or its input has ended (the caller's fault,
                or the program's).
            InvalidArgument: when the data is neither bytes nor text (the caller's fault).
        """
        operation = "write to stdin"
        view = _as_bytes(data)
        self._check_running(operation)
        with self._condition:
            if not self._stdin_open:
                if not len(view):
                    return
                raise ProcessStateError(operation, self.command, "has had the end of its input", "write before the empty write")
            if not len(view):
                self._stdin_open = False
                self._close_stdin()
                return
        try:
            self._write(view)
        except BrokenPipeError:
            state = "does not read its input any more" if self._returncode is None else "has exited"
            raise ProcessStateError(operation, self.command, state, "write while it runs and reads") from None

    def signal(self, n: int) -> None:
        """Send a signal: on `exec.native` to the whole process group, on `exec.docker` to the container's program.

        Args:
            n: the number of the signal, or a member of `signal.Signals`.

        Raises:
            InvalidArgument: when there is no such signal (the caller's fault).
            ProcessStateError: when the process is not started, has exited or is closed (the caller's fault).
        """
        if isinstance(n, bool) or not isinstance(n, int) or n not in signal.valid_signals():
            raise InvalidArgument("signal", n, f"the number of a signal, from 1 to {max(signal.valid_signals())}")
        self._check_running("send a signal")
        try:
            self._send_signal(int(n))
        except ProcessLookupError:
            raise ProcessStateError("send a signal", self.command, "has exited", "send it while the program runs") from None

    def close(self, force: bool = False) -> None:
        """End the process and free what it holds: SIGTERM, then SIGKILL after the entry's grace period. Safe to call twice.

        Args:
            force: send SIGKILL straight away.
        """
        if os.getpid() != self._owner:
            return  # in a forked child: it is the parent's
        with self._life:
            state = self._state
            if state == "closed":
                return
            if state == "created":
                self._discard()
            else:
                self._end(force=force)
                self._abandon()
            with self._condition:
                self._state = "closed"
                self._finish()
                self._condition.notify_all()
            if self._maker is not None:
                self._maker.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        code = "" if self._returncode is None else f" exit {self._returncode}"
        return f"<{type(self).__name__} {self.entry} {self.command!r} {self._state}{code}>"

    # -- what executors call ----------------------------------------------------------------------------------

    def made_by(self, executor: Maker, command: str) -> None:
        """Note what this process holds and makes to its own name, which belongs to an executor's.

        Args:
            executor: whose it is.
            command: the command as it may be shown.
        """
        self._shown = command
        shown = printable(command.replace("\n", " "))
        self._maker = Maker(self, f'command "{shown[:80]}{"…" if len(shown) > 80 else ""}" of {executor.what}', executor)
        for descriptor in self._held():
            self._maker.add_descriptor(descriptor)

    def _held(self) -> tuple[int, ...]:
        """Return the descriptors that are held from the creation on."""
        return ()

    def kill(self) -> None:
        """Send SIGKILL if it runs; return at once."""
        if not self._has_ended() and self._state == "running":
            # An engine that does not answer: the container is registered, and goes with its executor or with us.
            with contextlib.suppress(ProcessLookupError, EngineError):
                self._send_signal(signal.SIGKILL)

    def write_soon(self, data: bytes) -> None:
        """Write the data in the background, and then signal the end of input; whether the program reads it does not matter."""
        with self._condition:
            self._input.ends_after = True
            self._input.pending = memoryview(data)
            self._push()

    # -- helpers ----------------------------------------------------------------------------------------------

    def _write(self, data: memoryview) -> None:
        """Write all of the data to standard input, blocking.

        Raises:
            BrokenPipeError: when the program does not read any more.
        """
        with self._condition:
            # Several threads may write; one after the other.
            self._wait_for(self._may_write)
            self._input.pending = data
            self._push()
            self._wait_for(self._may_write)
            if self._input.failed or self._input.pending is not None:
                self._input.pending = None
                raise BrokenPipeError

    def _may_write(self) -> bool:
        return self._input.pending is None or self._reads_no_more()

    def _end(self, *, force: bool) -> None:
        if not force and not self._has_ended():
            with contextlib.suppress(ProcessLookupError, EngineError):
                self._send_signal(signal.SIGTERM)
            self._wait_exit(self.grace_period)
        if not self._has_ended():
            self.kill()
            self._wait_exit(KILL_TIMEOUT)

    def _wait_exit(self, timeout: float) -> None:
        with self._condition:
            self._wait_for(self._has_ended, timeout)

    def _stream(self, output: Output) -> Stream:
        with self._condition:
            if self._state == "closed":
                raise ProcessStateError(f"take {output.name}", self.command, "is closed", "take streams before close()")
            output.taken = True
            other = self._stderr if output is self._stdout else self._stdout
            return Stream(output, other, self._condition, self.command, lambda: self._state)


def _as_bytes(data: object) -> memoryview:
    if isinstance(data, str):
        return memoryview(data.encode("utf-8", "surrogateescape"))
    if isinstance(data, bytes | bytearray | memoryview):
        return memoryview(data).cast("B")
    raise InvalidArgument("data", data, "bytes, or a text")
