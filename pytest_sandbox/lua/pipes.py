"""The pipes of a Lua process: whole messages in, messages out, without ever being stuck in either."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Final

from pytest_sandbox.limits import MIB
from pytest_sandbox.snippets.link import Link

__all__ = ["FRAME_ROOM", "Pipes", "TooLarge"]

FRAME_ROOM: Final = 1 * MIB
"""Bytes that a message may have beyond the limit on what is in it."""

_WRITE: Final = 1 << 20
_DRAIN: Final = 1.0
"""Seconds that the pipes of a dead process may stay open before they are given up."""


class TooLarge(Exception):
    """The process has sent more than it may."""


class Pipes:
    """The pipes of a Lua process that is ready.

    Args:
        link: the process.
        most: bytes of the largest legal message.
        is_done: whether nobody waits for messages any more.
    """

    def __init__(self, link: Link, most: int, is_done: Callable[[], bool]) -> None:
        self._link = link
        self._most = most
        self._is_done = is_done
        self._input: bytes | bytearray = b""
        self._at = 0
        self._poll = select.poll()
        for descriptor in link.read_descriptors:
            self._poll.register(descriptor, select.POLLIN)
        self._polls_output = False
        self.last_words = b""
        """The end of what it has written to standard error."""

    def receive(self) -> bytes | bytearray | None:
        """Return the next message, or None at the end.

        Raises:
            TooLarge: when it is larger than any legal one.
        """
        while True:
            data, at = self._input, self._at
            there = len(data) - at
            if there >= 4:
                size = int.from_bytes(data[at : at + 4], "big")
                if size > self._most:
                    raise TooLarge(f"its process sent a message of {size} bytes, more than any legal one")
                if there >= 4 + size:
                    self._at = at + 4 + size
                    return data[at + 4 : self._at]
            if not self._wait(select.POLLIN):
                return None

    def send(self, data: bytes) -> None:
        """Write a message, or as much of it as the process takes before it ends.

        Raises:
            TooLarge: when the process does nothing but write meanwhile.
        """
        try:
            written = self._link.write(data)
            if written == len(data):
                return
            rest = memoryview(data)[written:]
            while len(rest) and not self._is_done() and self._wait(select.POLLIN | select.POLLOUT):
                rest = rest[self._link.write(rest[:_WRITE]) :]
        except BrokenPipeError:
            pass  # it is dying: the end of its output tells

    def _wait(self, events: int) -> bool:
        """Wait for something to read, or to write; return False when there is nothing more to come."""
        gone_since: float | None = None
        link = self._link
        while not self._is_done():
            wants_to_write = bool(events & select.POLLOUT)
            if wants_to_write != self._polls_output:
                self._poll_output(wants_to_write)
            ready = self._poll.poll(200)
            if ready:
                if self._read(ready):
                    return True
            elif link.has_ended():
                gone_since = gone_since or time.monotonic()
                if time.monotonic() - gone_since > _DRAIN:
                    return False
            if not link.read_descriptors:
                return False
        return False

    def _poll_output(self, wanted: bool) -> None:
        self._polls_output = wanted
        descriptor = self._link.write_descriptor
        if descriptor is not None and wanted:
            self._poll.register(descriptor, select.POLLOUT)
        elif descriptor is not None:
            self._poll.unregister(descriptor)

    def _read(self, ready: list[tuple[int, int]]) -> bool:
        """Take what has arrived; return whether the caller can go on."""
        useful = False
        for descriptor, _ in ready:
            if descriptor == self._link.write_descriptor:
                useful = True
                continue
            pieces = self._link.read(descriptor)
            if not pieces and descriptor not in self._link.read_descriptors:
                self._poll.unregister(descriptor)  # its end
            for stream, data in pieces:
                if stream == "stdout":
                    self._keep(data)
                    useful = True
                else:
                    self.last_words = (self.last_words + data)[-4096:]
        return useful

    def _keep(self, data: bytes) -> None:
        if self._at == len(self._input):
            self._input, self._at = data, 0  # all that came before was taken: the usual case, without copies
            return
        if self._at:
            self._input, self._at = self._input[self._at :], 0
        if not isinstance(self._input, bytearray):
            self._input = bytearray(self._input)
        self._input += data
        if len(self._input) > self._most + 2 * FRAME_ROOM:
            raise TooLarge(f"its process sent {len(self._input)} bytes that nobody asked for")
