"""What users read the output of a process with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final

from pytest_sandbox.commands.output import CHUNK, Output, wait_pressing
from pytest_sandbox.errors import InvalidArgument, ProcessStateError

__all__ = ["Stream"]

MOST_LINE: Final = CHUNK


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
