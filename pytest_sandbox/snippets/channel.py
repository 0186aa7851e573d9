"""One runner process, and the loop that carries an execution through it.

The loop runs in the caller's thread and never waits for anything but the pipes: requests are written as the runner takes them, its
output is read as it comes, tools run elsewhere and ring a bell. So no amount of data on one pipe can block another, and the clock,
the memory watch and cancellation always get their turn.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final

import msgspec

from pytest_sandbox.errors import ExecutorBroken
from pytest_sandbox.processes.spawn import end_group, end_group_soon
from pytest_sandbox.processes.usage import Meter
from pytest_sandbox.result import ExecuteResult, printable
from pytest_sandbox.snippets import protocol
from pytest_sandbox.snippets.base import Request
from pytest_sandbox.snippets.execution import Execution

__all__ = ["START_TIMEOUT", "Runner"]

START_TIMEOUT: Final = 30.0
"""Seconds that a runner may take until it is ready; normally a tenth of one, but machines are shared."""

_TICK: Final = 0.02
"""Seconds between looks at memory and CPU time."""

_READ: Final = 1 << 18
_STDERR_KEPT: Final = 4096
_DRAIN: Final = 1.0
"""Seconds that a dead runner's pipes may stay open (a grandchild can hold them) before they are given up."""


class Runner:
    """A runner process; serves one execution at a time.

    Args:
        name: the executor's name, for errors.
        process: the process, as it is being started.
        on_ready: called when it is ready, and no snippet has run in it.
        on_end: called when it has ended; not necessarily in the same thread.
    """

    def __init__(
        self,
        name: str,
        process: Future[subprocess.Popen[bytes]],
        *,
        on_ready: Callable[[], None] = lambda: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._starting = process
        self._on_ready = on_ready
        self._on_end = on_end
        self._process: subprocess.Popen[bytes] | None = None
        self._nonce = "-"
        self._input = bytearray()
        self._searched = 0
        self._output = bytearray()
        self._stderr = bytearray()
        self._stdout_open = self._stderr_open = True
        self._closing = False
        self._interrupted = False
        self.is_ready = False
        self.is_idle = False
        self.versions: dict[str, str] = {}

    # -- life -----------------------------------------------------------------------------------------------

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait for the runner's first message.

        Args:
            timeout: seconds.

        Raises:
            ExecutorBroken: when it does not come (the machine's fault, or ours).
        """
        deadline = time.monotonic() + timeout
        try:
            self._process = process = self._starting.result(timeout)
        except FutureTimeoutError:
            self._starting.cancel()
            raise ExecutorBroken(self._name, f"the process was not started within {timeout:g} s") from None
        except OSError as error:
            raise ExecutorBroken(self._name, f"the process cannot be started: {error}") from error
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self._stdin, self._stdout, self._stderr_fd = (pipe.fileno() for pipe in (process.stdin, process.stdout, process.stderr))
        for descriptor in (self._stdin, self._stdout, self._stderr_fd):
            os.set_blocking(descriptor, False)
        self._bell_out, self._bell_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.poll()
        for descriptor in (self._stdout, self._stderr_fd, self._bell_out):
            self._poll.register(descriptor, select.POLLIN)
        self._meter = Meter(process.pid)
        try:
            self._read_ready(deadline, timeout)
            self._on_ready()
        except BaseException:
            self.kill()
            raise

    def _read_ready(self, deadline: float, timeout: float) -> None:
        while True:
            self._wait(max(0.0, deadline - time.monotonic()))
            for line in self._lines(1 << 20):
                try:
                    message = protocol.decode(line)
                except (msgspec.DecodeError, RecursionError):
                    message = None
                if not isinstance(message, protocol.Ready) or message.protocol != protocol.PROTOCOL:
                    raise ExecutorBroken(
                        self._name, f"its first message is not the expected one: {line[:200]!r}", self._last_words()
                    )
                self.versions = message.versions
                self.is_ready = self.is_idle = True
                return
            if not self._stdout_open:
                code = self.kill()
                raise ExecutorBroken(
                    self._name, f"the process ended before it was ready ({_how_it_ended(code)})", self._last_words()
                )
            if time.monotonic() >= deadline:
                raise ExecutorBroken(self._name, f"it was not ready within {timeout:g} s", self._last_words())

    @property
    def pid(self) -> int | None:
        """The process id, once the process is there."""
        return None if self._process is None else self._process.pid

    def is_reusable(self) -> bool:
        """Whether an idle runner is alive and silent: one that speaks unasked is not to be trusted again."""
        process = self._process
        if process is None or self._closing:
            return False
        return process.poll() is None and not self._input and not self._poll.poll(0)

    def kill(self) -> int | None:
        """End the process and everything in its group; safe to call twice, and from another thread.

        Returns:
            Its return code, or None when it was never started.
        """
        self._closing = True
        if self._process is None:
            if not self._starting.cancel():
                with contextlib.suppress(Exception):
                    end_group(self._starting.result(START_TIMEOUT))
            self._on_end()
            return None
        with contextlib.suppress(OSError):
            self._drain_stderr()
        code = end_group(self._process)
        self._close_bell()
        self._on_end()
        return code

    def _close_bell(self) -> None:
        for name in ("_bell_in", "_bell_out"):
            descriptor = self.__dict__.pop(name, None)
            if descriptor is not None:
                os.close(descriptor)

    def retire(self) -> None:
        """End an idle process without waiting for the kernel to be done with it."""
        if self._process is None or self._closing:
            self.kill()
        else:
            self.interrupt()
            self._close_bell()
            end_group_soon(self._process, self._on_end)

    def interrupt(self) -> None:
        """Kill the process from another thread, while `run` is waiting for it: `run` then ends, and cleans up."""
        self._closing = self._interrupted = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    # -- one execution ----------------------------------------------------------------------------------------

    def run(self, request: Request) -> ExecuteResult | None:
        """Carry one execution through; afterwards, `is_idle` says whether the runner can be used again.

        Returns:
            The result, or None when the runner was interrupted.
        """
        self.is_idle = False
        self._nonce = secrets.token_hex(16)
        execution = Execution(self._name, request, self._nonce)
        execution.sampled(self._meter.sample())
        request.tools.attach(self._ring)
        self._output += execution.begin(time.monotonic())
        try:
            self._carry(execution)
        except BaseException:
            self.kill()
            raise
        finally:
            request.tools.attach(None)
            execution.finished(time.monotonic())
        execution.sampled(self._meter.sample())
        self.is_idle = execution.is_over and execution.is_clean and not self._output and not self._closing
        if not self.is_idle:
            code = self.kill()
            if not execution.is_over:
                if self._interrupted:
                    return None
                execution.explain_death(_how_it_ended(code), self._last_words())
        return execution.result()

    def _carry(self, execution: Execution) -> None:
        """Move messages until the execution is over, or the runner is gone."""
        silent_since: float | None = None
        next_sample = time.monotonic() + _TICK
        while True:
            self._write()
            now = time.monotonic()
            heard = self._wait(min(execution.next_check(now), next_sample - now))
            now = time.monotonic()
            for line in self._lines(execution.line_most):
                execution.receive(line, now)
                if execution.is_over:
                    return
            self._output += execution.tool_frames(now)
            if len(self._input) > execution.line_most:
                execution.overflowed(len(self._input))
            sample = None
            if now >= next_sample:
                sample = self._meter.sample()
                next_sample = now + _TICK
            execution.check(now, sample)
            # A grandchild can hold the pipes open after the runner's own end.
            if not heard and self._process is not None and self._process.poll() is not None:
                silent_since = silent_since or now
            gone = not self._stdout_open or (silent_since is not None and now - silent_since > _DRAIN)
            if execution.is_over or gone:
                return

    # -- pipes ------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Write what the runner takes now; ask to be woken for the rest."""
        if not self._output:
            return
        try:
            while self._output:
                written = os.write(self._stdin, memoryview(self._output)[: 1 << 20])
                del self._output[:written]
        except BlockingIOError:
            self._poll.register(self._stdin, select.POLLOUT)
            return
        except BrokenPipeError:
            self._output.clear()  # it is dying: its stdout tells
        with contextlib.suppress(KeyError):
            self._poll.unregister(self._stdin)

    def _wait(self, timeout: float) -> bool:
        """Wait for something to read or write; return whether there was anything."""
        events = self._poll.poll(max(0.0, timeout) * 1000)
        for descriptor, _event in events:
            if descriptor == self._stdout:
                self._read_stdout()
            elif descriptor == self._stderr_fd:
                self._drain_stderr()
            elif descriptor == self._bell_out:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._bell_out, 4096)
        return bool(events)

    def _read_stdout(self) -> None:
        try:
            data = os.read(self._stdout, _READ)
        except BlockingIOError:
            return
        self._input += data
        if not data:
            self._stdout_open = False
            self._poll.unregister(self._stdout)

    def _drain_stderr(self) -> None:
        while self._stderr_open:
            try:
                data = os.read(self._stderr_fd, _READ)
            except BlockingIOError:
                return
            if not data:
                self._stderr_open = False
                self._poll.unregister(self._stderr_fd)
            self._stderr += data
            del self._stderr[:-_STDERR_KEPT]

    def _lines(self, most: int) -> list[bytes]:
        """Take all complete lines out of the buffer, without their stamps; unstamped ones are dropped."""
        stamp = self._nonce.encode() + b" "
        lines: list[bytes] = []
        start = 0
        while (end := self._input.find(b"\n", max(start, self._searched))) != -1:
            if end > start:
                if self._input.startswith(stamp, start) and end - start <= most:
                    lines.append(bytes(self._input[start + len(stamp) : end]))
                else:
                    lines.append(b"")
            start = end + 1
        del self._input[:start]
        self._searched = len(self._input)
        return lines

    def _ring(self) -> None:
        bell = self.__dict__.get("_bell_in")
        if bell is not None:
            with contextlib.suppress(BlockingIOError, OSError):
                os.write(bell, b"!")

    def _last_words(self) -> str:
        return printable(self._stderr.decode("utf-8", "replace")).strip()


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "it could not be ended"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"by signal {signal.Signals(-code).name}"
        return f"by signal {-code}"
    return f"with exit code {code}"
