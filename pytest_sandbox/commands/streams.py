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
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pytest_sandbox.errors import InvalidArgument, ProcessStateError

__all__ = ["CHUNK", "Excerpt", "Output", "Stream", "wait_pressing"]

CHUNK: Final = 1 << 20
"""Bytes that are taken from a process at once, at most; also the size of a pipe that is busy."""
WINDOW: Final = 4 * CHUNK
"""Bytes that may wait for a reader before production pauses."""
LEAST_WINDOW: Final = 64 * 1024
PATIENCE: Final = 1.0
"""Seconds that a full stream waits for its first reader while somebody waits for the process."""
MOST_LINE: Final = CHUNK
_EXCERPT: Final = 8 * 1024


class Excerpt:
    """The first and the last bytes of a stream, kept for failure reports whatever becomes of the rest."""

    __slots__ = ("head", "tail", "total")

    def __init__(self) -> None:
        self.head = b""
        self.tail = b""
        self.total = 0

    def add(self, chunk: bytes) -> None:
        """Note the next bytes of the stream."""
        missing = _EXCERPT - len(self.head)
        self.total += len(chunk)
        if missing > 0:
            self.head += chunk[:missing]
            chunk = chunk[missing:]
        if chunk:
            self.tail = chunk[-_EXCERPT:] if len(chunk) >= _EXCERPT else (self.tail + chunk)[-_EXCERPT:]

    @property
    def omitted(self) -> int:
        """Bytes between head and tail that were not kept."""
        return self.total - len(self.head) - len(self.tail)


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


class Stream:
    """One output stream of a process, to be read in pieces or whole, while the process runs or after it has exited.

    Taken before the process is started, it loses nothing however slowly it is read in pieces. Of a stream that is taken later, or
    that nobody reads while somebody waits for the process, ``output_limit`` bytes are kept; see `dropped` and `truncated`.

    Iterating yields pieces of bytes as they come, of no particular size; `lines` yields lines.
    """

    def __init__(
        self, output: Output, other: Output, condition: threading.Condition, command: str, state: Callable[[], str]
    ) -> None:
        self._output = output
        self._other = other
        self._condition = condition
        self._command = command
        self._state = state

    def read(self, size: int = -1) -> bytes:
        """Return bytes; ``b""`` at the end.

        Args:
            size: at most so many bytes, as soon as there are any; -1 waits for the end and returns everything, of which at most
                ``output_limit`` bytes are kept.

        Raises:
            ProcessStateError: when the process is not started, or process or stream are closed (the caller's fault).
            InvalidArgument: when the size makes no sense (the caller's fault).
        """
        if isinstance(size, bool) or not isinstance(size, int) or size < -1:
            raise InvalidArgument("size", size, "a whole number of bytes, or -1 for everything")
        output = self._output
        with self._condition:
            self._check()
            output.note_reader()
            # Stuck in its other stream, the process would never write to this one.
            outputs = (output, self._other) if size < 0 else (self._other,)
            if size != 0:
                wait_pressing(self._condition, outputs, lambda: self._is_ready(size))
            self._check()
            return output.take(size)

    def read_text(self) -> str:
        """Return everything until the end as text; what is not UTF-8 becomes U+FFFD.

        Raises:
            ProcessStateError: as for `read`.
        """
        return self.read().decode("utf-8", "replace")

    def lines(self) -> Iterator[bytes]:
        """Yield lines of bytes as they come, each with its line feed; a line of more than 1 MiB comes in pieces.

        Raises:
            ProcessStateError: as for `read`.
        """
        rest = b""
        for chunk in self:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line + b"\n"
            if len(rest) >= MOST_LINE:
                yield rest
                rest = b""
        if rest:
            yield rest

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK):
            yield chunk

    def close(self) -> None:
        """Discard what is there and what is to come; the process runs on. Safe to call twice."""
        with self._condition:
            self._output.close()
            self._condition.notify_all()

    @property
    def total(self) -> int:
        """Bytes that the process has written so far."""
        return self._output.total

    @property
    def dropped(self) -> int:
        """Bytes that were not kept, because nobody read them and ``output_limit`` was reached."""
        return self._output.dropped

    @property
    def truncated(self) -> bool:
        """Whether bytes were not kept."""
        return self._output.dropped > 0

    def __repr__(self) -> str:
        output = self._output
        return (
            f"<Stream {output.name} of {self._command!r}: {output.total} bytes, {output.waiting} unread, {output.dropped} dropped>"
        )

    def _is_ready(self, size: int) -> bool:
        output = self._output
        return output.ended or output.closed or self._state() == "closed" or (size > 0 and output.waiting > 0)

    def _check(self) -> None:
        operation = f"read {self._output.name}"
        state = self._state()
        if state == "created":
            raise ProcessStateError(operation, self._command, "is not started", "call start() first")
        if state == "closed":
            raise ProcessStateError(operation, self._command, "is closed", "read before close()")
        if self._output.closed:
            raise ProcessStateError(
                operation, self._command, "goes on, but this stream is closed", "read before closing the stream"
            )
