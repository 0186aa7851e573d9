"""Processes whose streams come from an engine: bytes between an attachment and the outputs of a process."""

from __future__ import annotations

import contextlib
import threading
from abc import abstractmethod
from typing import Final

from pytest_sandbox.commands.process import Process
from pytest_sandbox.commands.pump import READ, WRITE, pump
from pytest_sandbox.engines.attachment import Attachment
from pytest_sandbox.errors import EngineError, SandboxError

__all__ = ["AttachedProcess"]

_SETTLE: Final = 30.0
"""Seconds that an engine is given to tell the end of a process, and to remove its container."""


class AttachedProcess(Process):
    """A process that an engine runs.

    Both streams may share one connection: a reader that lets one stream wait holds up the other, too.
    """

    _streams: Attachment | None = None
    _watched: dict[int, int]
    _settling: threading.Thread | None = None

    # -- what a backend provides ------------------------------------------------------------------------------

    @abstractmethod
    def _settle(self) -> tuple[int, int | None]:
        """Wait until the program has really ended; return exit code and signal number. In a thread of its own, without the lock.

        Raises:
            SandboxError: when that cannot be known.
        """

    def _tidy(self) -> None:
        """Free what the program leaves behind; in the same thread, after `_settle`."""

    # -- streams ----------------------------------------------------------------------------------------------

    def _attach(self, streams: Attachment, *, stdin: bool) -> None:
        """Begin to move bytes; called when the program runs."""
        with self._condition:
            self._watched = {}
            self._streams = streams
            self._state = "running"
            self._stdin_open = stdin
            if not stdin:
                streams.end_input()
            for output in (self._stdout, self._stderr):
                output.resume = self._watch
            self._watch()

    def _watch(self) -> None:
        """Have the pump wait for whatever can happen now."""
        streams = self._streams
        if streams is None:
            return
        wanted: dict[int, int] = {}
        if self._stdout.room() and self._stderr.room():
            wanted = dict.fromkeys(streams.read_descriptors, READ)
        if self._input.pending is not None and streams.write_descriptor is not None:
            wanted[streams.write_descriptor] = wanted.get(streams.write_descriptor, 0) | WRITE
        for fd in self._watched.keys() - wanted.keys():
            pump().unwatch(fd)
        for fd, events in wanted.items():
            if fd not in self._watched:
                pump().watch(fd, events, self._on_ready)
            elif self._watched[fd] != events:
                pump().change(fd, events)
        self._watched = wanted

    def _on_ready(self) -> None:
        with self._condition:
            if self._streams is None or self._settling is not None:
                return
            try:
                if self._input.pending is not None:
                    self._push_now()
                self._pull(self._streams)
            except EngineError:
                # What has become of the program, the engine is asked for next.
                self._streams_ended()
            else:
                self._watch()
            self._condition.notify_all()

    def _pull(self, streams: Attachment) -> None:
        for fd in streams.read_descriptors:
            # The pipes of a client end one after the other: a descriptor at its end is forgotten before its number is used again.
            for name, data in streams.read(fd) if self._stdout.room() and self._stderr.room() else ():
                (self._stdout if name == "stdout" else self._stderr).feed(self._filtered(name, data))
        if not streams.read_descriptors:
            self._streams_ended()

    def _filtered(self, name: str, data: bytes) -> bytes:
        """Return the bytes that are the program's own."""
        return data

    def _streams_ended(self) -> None:
        self._unwatch()
        if self._settling is None:
            self._settling = threading.Thread(target=self._finish_up, name="pytest-sandbox-settle", daemon=True)
            self._settling.start()

    def _unwatch(self) -> None:
        for fd in self._watched:
            with contextlib.suppress(OSError):
                pump().unwatch(fd)
        self._watched = {}

    # -- the end ----------------------------------------------------------------------------------------------

    def _finish_up(self) -> None:
        failure: SandboxError | None = None
        ending: tuple[int, int | None] = (0, None)
        try:
            ending = self._settle()
        except SandboxError as error:
            failure = error
        with self._condition:
            streams, self._streams = self._streams, None
            self._input.drop()
        if streams is not None:
            streams.close()
        try:
            self._tidy()
        except SandboxError as error:
            failure = failure or error
        with self._condition:
            if failure is not None:
                self._failed(failure)
            else:
                self._stdout.end()
                self._stderr.end()
                self._exited(*ending)

    def _abandon(self) -> None:
        with self._condition:
            if self._streams is not None:
                self._streams_ended()
            settling = self._settling
        if settling is not None and settling is not threading.current_thread():
            settling.join(_SETTLE)

    def _discard(self) -> None:
        """Nothing is held before the start."""

    # -- input ------------------------------------------------------------------------------------------------

    def _push(self) -> None:
        self._push_now()
        if self._settling is None:
            self._watch()

    def _push_now(self) -> None:
        """Write what the connection takes now."""
        if self._input.push(self._to_connection):
            if self._input.is_over:
                self._close_stdin()
            self._condition.notify_all()

    def _to_connection(self, data: memoryview) -> int:
        if self._streams is None:
            raise BrokenPipeError
        return self._streams.write(data)

    def _reads_no_more(self) -> bool:
        return self._streams is None

    def _close_stdin(self) -> None:
        if self._streams is not None:
            descriptor = self._streams.write_descriptor
            if descriptor in self._watched and descriptor not in self._streams.read_descriptors:
                pump().unwatch(descriptor)
                del self._watched[descriptor]
            self._streams.end_input()
