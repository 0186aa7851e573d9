"""One runner, and the loop that carries an execution through it.

The loop runs in the caller's thread and never waits for anything but the pipes: requests are written as the runner takes them, its
output is read as it comes, tools run elsewhere and ring a bell. So no amount of data on one pipe can block another, and the clock,
the memory watch and cancellation always get their turn. While the loop waits, the thread of a tool that has returned writes the
answer itself: that spares each tool call the way through another thread.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec

from pytest_sandbox.errors import ExecutorBroken
from pytest_sandbox.processes.usage import Sample
from pytest_sandbox.result import ExecuteResult, printable
from pytest_sandbox.snippets import protocol
from pytest_sandbox.snippets.base import Request
from pytest_sandbox.snippets.execution import Execution
from pytest_sandbox.snippets.link import Death, Link, StartingRunner

__all__ = ["START_TIMEOUT", "Runner"]

START_TIMEOUT: Final = 30.0
"""Seconds that a runner may take until it is ready; normally a tenth of one, but machines are shared."""

_LOOK: Final = 0.25
"""Seconds between looks at whether a runner that is not ready can still become so."""

_TICK: Final = 0.02
"""Seconds between looks at memory and CPU time."""

_WRITE: Final = 1 << 20
_STDERR_KEPT: Final = 4096
_DRAIN: Final = 1.0
"""Seconds that a dead runner's pipes may stay open (a grandchild can hold them) before they are given up."""


class Runner:
    """A runner; serves one execution at a time.

    Args:
        name: the executor's name, for errors.
        starting: the runner, as it is being started.
        on_ready: called with its first message, when no snippet has run in it; what it raises refuses the runner.
        most_growth: bytes of resident memory that it may keep from one execution for the next; None is any number.
    """

    def __init__(
        self,
        name: str,
        starting: StartingRunner,
        *,
        on_ready: Callable[[protocol.Ready], None] = lambda _ready: None,
        most_growth: int | None = None,
    ) -> None:
        self._name = name
        self._starting = starting
        self._on_ready = on_ready
        self._most_growth = most_growth
        self._at_start: Sample | None = None
        self._at_end: Sample | None = None
        self._link: Link | None = None
        self._bell: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # held by the loop, except while it waits: what follows is its holder's
        self._execution: Execution | None = None
        self._failure: BaseException | None = None
        self._nonce = "-"
        self._input = bytearray()
        self._searched = 0
        self._output = bytearray()
        self._stderr = bytearray()
        self._polled: dict[int, int] = {}
        self._poll = select.poll()
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
            self._link = link = self._starting.wait(timeout)
        except TimeoutError:
            self._starting.abandon()
            raise ExecutorBroken(self._name, f"it was not started within {timeout:g} s") from None
        except OSError as error:
            raise ExecutorBroken(self._name, f"it cannot be started: {error}") from error
        try:
            self._bell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._poll.register(self._bell[0], select.POLLIN)
            with self._turn:
                ready = self._read_ready(link, deadline, timeout)
            self.versions = ready.versions
            self._on_ready(ready)
            self._at_start = link.sample()
            self.is_ready = self.is_idle = True
        except BaseException:
            self.kill()
            raise

    def _read_ready(self, link: Link, deadline: float, timeout: float) -> protocol.Ready:
        while True:
            self._wait(link, min(deadline - time.monotonic(), _LOOK))
            for line in self._lines(1 << 20):
                try:
                    message = protocol.decode(line)
                except (msgspec.DecodeError, RecursionError):
                    message = None
                if not isinstance(message, protocol.Ready) or message.protocol != protocol.PROTOCOL:
                    found = f"its first message is not the expected one: {line[:200]!r}"
                    raise ExecutorBroken(self._name, found, self._last_words())
                return message
            if not link.read_descriptors or link.has_ended():
                death = link.end()
                raise ExecutorBroken(self._name, f"it ended before it was ready ({death.how})", self._last_words())
            if link.is_stopped():  # it will never be, and somebody waits
                raise ExecutorBroken(self._name, "a signal has stopped it before it was ready", self._last_words())
            if time.monotonic() >= deadline:
                raise ExecutorBroken(self._name, f"it was not ready within {timeout:g} s", self._last_words())

    def is_reusable(self) -> bool:
        """Whether an idle runner is alive, silent (one that speaks unasked is not to be trusted again) and has not grown fat."""
        link = self._link
        if link is None or not self.is_idle or link.has_ended() or self._input or self._poll.poll(0):
            return False
        return not self._has_grown(link)

    def _has_grown(self, link: Link) -> bool:
        """Whether so much is left of earlier executions that the next one would be ended for it."""
        if self._most_growth is None or self._at_start is None or self._at_end is None:
            return False
        most = self._at_start.memory + self._most_growth
        # Where it looked too much right after the last one, garbage may have been collected since.
        return self._at_end.memory > most and ((now := link.sample()) is None or now.memory > most)

    @property
    def pid(self) -> int | None:
        """The process id on this host; None while it starts, when it has ended, or when it is somewhere else."""
        return self._link.pid if self._link is not None else None

    def kill(self) -> Death | None:
        """End the runner and all it started; safe to call twice.

        Returns:
            How it ended; None when it never ran.
        """
        self.is_idle = False
        if self._link is None:
            self._starting.abandon()
            return None
        death = self._link.end()
        self._close_bell()
        return death

    def retire(self) -> None:
        """End an idle runner without waiting for it."""
        if self._link is None or not self.is_idle:
            self.kill()
        else:
            self.is_idle = False
            self._link.end_soon()
            self._close_bell()

    def interrupt(self) -> None:
        """Kill the runner from another thread, while `run` is waiting for it: `run` then ends, and cleans up."""
        self._interrupted = True
        if self._link is not None:
            self._link.interrupt()

    # -- one execution ----------------------------------------------------------------------------------------

    def run(self, request: Request) -> ExecuteResult | None:
        """Carry one execution through; afterwards, `is_idle` says whether the runner can be used again.

        Returns:
            The result, or None when the runner was interrupted.
        """
        link = self._link
        assert link is not None, "run() comes after wait_until_ready()"
        self.is_idle = False
        self._nonce = secrets.token_hex(16)
        execution = Execution(self._name, request, self._nonce)
        execution.sampled(link.sample())
        request.tools.attach(self._answer, execution.calls.encode)
        try:
            with self._turn:
                self._output += execution.begin(time.monotonic())
                self._execution = execution
                self._carry(link, execution)
        except BaseException:
            request.tools.attach(None)
            self.kill()
            raise
        finally:
            request.tools.attach(None)
            self._execution = None
            execution.finished(time.monotonic())
        self._at_end = link.sample()
        execution.sampled(self._at_end)
        self.is_idle = execution.is_over and execution.is_clean and not self._output and not self._interrupted
        if not self.is_idle:
            death = link.end()
            self._close_bell()
            if not execution.is_over:
                if self._interrupted:
                    return None
                execution.explain_death(death, self._last_words())
        return execution.result()

    def _carry(self, link: Link, execution: Execution) -> None:
        """Move messages until the execution is over, or the runner is gone."""
        gone_since: float | None = None
        next_sample = time.monotonic() + _TICK
        while True:
            self._write(link)
            now = time.monotonic()
            heard = self._wait(link, min(execution.next_check(now), next_sample - now))
            now = time.monotonic()
            for line in self._lines(execution.line_most):
                execution.receive(line, now)
                if execution.is_over:
                    return
            self._output += execution.calls.take_frames(now, len(self._output))
            if self._failure is not None:
                raise self._failure
            if len(self._input) > execution.line_most:
                execution.overflowed(len(self._input))
            sample = None
            if now >= next_sample:
                sample = link.sample()
                next_sample = now + _TICK
            execution.check(now, sample)
            # Something that the runner started can hold its pipes open after its own end.
            if not heard and link.has_ended():
                gone_since = gone_since or now
            is_gone = not link.read_descriptors or (gone_since is not None and now - gone_since > _DRAIN)
            if execution.is_over or is_gone:
                return

    # -- pipes ------------------------------------------------------------------------------------------------

    def _write(self, link: Link) -> None:
        """Write what the runner takes now; the rest waits for the next turn."""
        try:
            while self._output:
                written = link.write(memoryview(self._output)[:_WRITE])
                if written == 0:
                    return
                del self._output[:written]
        except BrokenPipeError:
            # It is dying: the end of its output tells. The buffer cannot be cleared, as the error's frames still hold a view of it.
            self._output = bytearray()

    def _wait(self, link: Link, timeout: float) -> bool:
        """Wait for something to read or to write, and read; return whether there was anything."""
        wanted = dict.fromkeys(link.read_descriptors, select.POLLIN)
        if self._output and link.write_descriptor is not None:
            wanted[link.write_descriptor] = wanted.get(link.write_descriptor, 0) | select.POLLOUT
        if wanted != self._polled:
            for descriptor in self._polled.keys() - wanted.keys():
                self._poll.unregister(descriptor)
            for descriptor, events in wanted.items():
                self._poll.register(descriptor, events)
            self._polled = wanted
        self._turn.release()
        try:
            ready = self._poll.poll(max(0.0, timeout) * 1000)
        finally:
            self._regain_turn()
        for descriptor, events in ready:
            if self._bell is not None and descriptor == self._bell[0]:
                with contextlib.suppress(BlockingIOError):
                    os.read(descriptor, 4096)
            elif events & ~select.POLLOUT and descriptor in link.read_descriptors:
                for stream, data in link.read(descriptor):
                    if stream == "stdout":
                        self._input += data
                    else:
                        self._stderr += data
                        del self._stderr[:-_STDERR_KEPT]
        return bool(ready)

    def _regain_turn(self) -> None:
        try:
            self._turn.acquire()
        except BaseException:  # raised by a signal's handler: whoever gives the turn back has to have it
            self._turn.acquire()
            raise

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

    def _answer(self) -> None:
        """Take what a tool has returned to the runner, from the tool's thread, or tell the loop to do it."""
        if not self._turn.acquire(blocking=False):
            self._ring()
            return
        try:
            execution, link = self._execution, self._link
            if execution is None or link is None or execution.calls.must_be_watched:
                self._ring()
                return
            self._output += execution.calls.take_frames(time.monotonic(), len(self._output))
            self._write(link)
            if self._output:
                self._ring()
        except BaseException as error:
            self._failure = error  # for the caller's thread, not for the tool's
            self._ring()
        finally:
            self._turn.release()

    def _ring(self) -> None:
        with self._lock:
            if self._bell is not None:
                with contextlib.suppress(BlockingIOError):
                    os.write(self._bell[1], b"!")

    def _close_bell(self) -> None:
        with self._lock:
            bell, self._bell = self._bell, None
        for descriptor in bell or ():
            os.close(descriptor)

    def _last_words(self) -> str:
        return printable(self._stderr.decode("utf-8", "replace")).strip()
