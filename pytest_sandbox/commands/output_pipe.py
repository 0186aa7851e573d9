"""A pipe from a process to one of its outputs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
from typing import IO, Final

from pytest_sandbox.commands.output import CHUNK, Output
from pytest_sandbox.commands.pump import READ, Handler, pump

__all__ = ["OutputPipe"]

_SMALL_PIPE: Final = 64 * 1024
"""Bytes that a pipe has room for at first."""


class OutputPipe:
    """Our end of a pipe that the process writes to, and the output that it fills. Called with the process's lock held.

    Args:
        file: our end, which does not block.
        output: what is read goes there.
        handler: called by the pump when there may be something to read.
    """

    __slots__ = ("chunk", "file", "handler", "left", "output", "watched")

    def __init__(self, file: IO[bytes], output: Output, handler: Handler) -> None:
        self.file = file
        self.output = output
        self.handler = handler
        self.chunk = _SMALL_PIPE
        self.left = -1
        """Bytes that were in the pipe when the process exited, and have not been read; -1 before."""
        self.watched = False

    def watch(self) -> None:
        """Have the pump call the handler."""
        if not self.watched and not self.output.ended:
            pump().watch(self.file.fileno(), READ, self.handler)
            self.watched = True

    def unwatch(self) -> None:
        """Have the pump leave the pipe alone: whoever writes to it waits when it is full."""
        if self.watched:
            pump().unwatch(self.file.fileno())
            self.watched = False

    def end(self) -> None:
        """Close it: nothing more comes."""
        self.unwatch()
        self.file.close()
        self.output.end()

    def pull(self) -> int | None:
        """Move to the output what is there, as far as there is room.

        Returns:
            How many bytes: 0 at the end of the pipe; None when nothing is there yet, or no room, which ends the watch.
        """
        room = self.output.room()
        if not room:
            self.unwatch()
            return None
        try:
            data = os.read(self.file.fileno(), min(room, self.chunk))
        except BlockingIOError:
            return None
        if data:
            self.output.feed(data)
            if len(data) == self.chunk < CHUNK:
                self._enlarge()
            self.left -= len(data)
        return len(data)

    def empty(self) -> None:
        """Take over what the process has left when it exited; a pipe is small."""
        if self.output.ended:
            return
        self.left = self._content()
        with contextlib.suppress(BlockingIOError):
            while self.left > 0 and (data := os.read(self.file.fileno(), self.left)):
                self.left -= len(data)
                self.output.feed(data)

    def _enlarge(self) -> None:
        """Make the pipe larger: worth it only for a process that fills it."""
        self.chunk = CHUNK
        with contextlib.suppress(OSError):  # more than this user may have; then the pipe stays as it is
            fcntl.fcntl(self.file.fileno(), fcntl.F_SETPIPE_SZ, CHUNK)

    def _content(self) -> int:
        """Return how many bytes are in the pipe."""
        buffer = fcntl.ioctl(self.file.fileno(), termios.FIONREAD, b"\0\0\0\0")
        return int(struct.unpack("i", buffer)[0])
