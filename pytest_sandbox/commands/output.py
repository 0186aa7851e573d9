"""The output of a process, between whoever produces it and whoever reads it.

Memory is bounded, and nothing deadlocks. The rules, in order:

* a stream that was closed keeps nothing;
* a stream that nobody has asked for keeps its first `limit` bytes and counts the rest, so that a chatty process runs on;
* a stream that somebody has asked for loses nothing: production pauses while its window is full;
* except when a thread waits for the process (`wait`, `write_stdin`, a `read()` of everything or of the other stream) and nobody
  else reads the stream: then it, too, keeps `limit` bytes, because a pause would last for ever. A stream that nobody has read yet
  is given a second for its reader to come.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from pytest_sandbox.commands.records import Excerpt

__all__ = ["CHUNK", "Output", "wait_pressing"]

CHUNK: Final = 1 << 20
"""Bytes that are taken from a process at once, at most; also the size of a pipe that is busy."""
WINDOW: Final = 4 * CHUNK
"""Bytes that may wait for a reader before production pauses."""
LEAST_WINDOW: Final = 64 * 1024
PATIENCE: Final = 1.0
"""Seconds that a full stream waits for its first reader while somebody waits for the process."""


class Output:
    """What one stream has produced and nobody has read yet. Every method is called with the process's lock held.

    Args:
        name: "stdout" or "stderr".
        limit: bytes that are kept for a stream that nobody reads.
    """

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self.excerpt = Excerpt()
        self.total = 0
        self.dropped = 0
        self.ended = False
        self.taken = False
        self.closed = False
        self.paused = False
        self._paused_at = 0.0
        self.resume: Callable[[], None] | None = None
        """Starts production again after a pause; set by whoever produces."""
        self._chunks: deque[bytes] = deque()
        self._offset = 0
        self._size = 0
        self._reader: threading.Thread | None = None
        self._pressed = 0

    # -- production -----------------------------------------------------------------------------------------

    def room(self) -> int:
        """Return how many bytes may be produced now; 0 asks for a pause, until `resume` is called."""
        if self.closed or self._pressed or not self.taken:
            return CHUNK
        window = self._window()
        # A little room is not worth a system call.
        room = window - self._size
        if room >= window // 4:
            return min(room, CHUNK)
        if not self.paused:
            self.paused = True
            self._paused_at = time.monotonic()
        return 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self.total += len(chunk)
        self.excerpt.add(chunk)
        if self.closed:
            return
        if self._pressed or not self.taken:
            space = max(self.limit - self._size, 0)
            if len(chunk) > space:
                self.dropped += len(chunk) - space
                chunk = chunk[:space]
        if chunk:
            self._chunks.append(chunk)
            self._size += len(chunk)

    def end(self) -> None:
        """Note that nothing more comes."""
        self.ended = True
        self.paused = False

    # -- consumption ----------------------------------------------------------------------------------------

    def note_reader(self) -> None:
        """Note that the current thread reads this stream."""
        self._reader = threading.current_thread()

    def press(self) -> bool:
        """Let production go on although the current thread, which is about to wait, may be the only reader.

        Returns:
            Whether `release` must be called afterwards; False when that is not needed, or not yet.
        """
        reader = self._reader
        if not self.taken or (reader is not None and reader is not threading.current_thread() and reader.is_alive()):
            return False
        if reader is None and not (self.paused and time.monotonic() - self._paused_at >= PATIENCE):
            return False
        self._pressed += 1
        self._go_on()
        return True

    def release(self) -> None:
        """Undo one `press`."""
        self._pressed -= 1

    def take(self, size: int) -> bytes:
        """Return up to ``size`` bytes of what is there; -1 is everything."""
        if size < 0 or size >= self._size:
            first = self._chunks[0][self._offset :] if self._chunks else b""
            data = first if len(self._chunks) <= 1 else b"".join([first, *list(self._chunks)[1:]])
            self.forget()
        else:
            data = self._take_some(size)
        if self.paused and self._size <= self._window() // 2:
            self._go_on()
        return data

    def forget(self) -> None:
        """Drop what is there."""
        self._chunks.clear()
        self._offset = self._size = 0

    def close(self) -> None:
        """Drop what is there, and all that is to come."""
        self.closed = True
        self.forget()
        self._go_on()

    @property
    def waiting(self) -> int:
        """Bytes that are there to be read."""
        return self._size

    def _window(self) -> int:
        """Return how many bytes may wait: as many as are kept anyway, or just enough for a reader that is at it."""
        window = max(self.limit, LEAST_WINDOW)
        return window if self._reader is None else min(window, WINDOW)

    def _take_some(self, size: int) -> bytes:
        pieces: list[bytes] = []
        wanted = size
        while wanted:
            chunk = self._chunks[0]
            piece = chunk[self._offset : self._offset + wanted]
            pieces.append(piece)
            wanted -= len(piece)
            self._offset += len(piece)
            if self._offset == len(chunk):
                self._chunks.popleft()
                self._offset = 0
        self._size -= size
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _go_on(self) -> None:
        if self.paused:
            self.paused = False
            if self.resume is not None:
                self.resume()


def wait_pressing(
    condition: threading.Condition, outputs: Sequence[Output], predicate: Callable[[], bool], timeout: float | None = None
) -> bool:
    """Wait until the predicate holds, without being stuck because nobody reads one of the outputs.

    Args:
        condition: held by the caller.
        outputs: what may hold the process up.
        predicate: called whenever something has happened.
        timeout: seconds, or None for ever.

    Returns:
        Whether the predicate holds.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pressed: list[Output] = []
    try:
        while True:
            pressed += [output for output in outputs if output not in pressed and output.press()]
            left = None if deadline is None else deadline - time.monotonic()
            # Readers come and go: look again now and then, unless that cannot matter any more.
            pause = left if len(pressed) == len(outputs) else PATIENCE / 2 if left is None else min(left, PATIENCE / 2)
            if condition.wait_for(predicate, pause):
                return True
            if left is not None and left <= 0:
                return False
    finally:
        for output in pressed:
            output.release()
