"""The engines' multiplexed stream: standard output and error of a container in one connection, in frames.

A frame is a byte that names the stream (0 or 1: standard output, 2: standard error), three zero bytes, the length of the payload
as 32 bits big-endian, and the payload.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

__all__ = ["FrameDecoder", "FrameError", "StreamName"]

StreamName = Literal["stdout", "stderr"]

_HEADER: Final = 8
_STREAMS: Final[dict[int, StreamName]] = {0: "stdout", 1: "stdout", 2: "stderr"}


class FrameError(ValueError):
    """The bytes are not such a stream: a terminal was asked for, or the engine is broken."""


class FrameDecoder:
    """Take the stream apart, in whatever pieces it arrives; a payload is passed on before the whole of it is there."""

    def __init__(self) -> None:
        self._head = b""
        self._stream: StreamName = "stdout"
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[StreamName, bytes]]:
        """Yield stream and payload for every piece in ``data``.

        Raises:
            FrameError: when a header is impossible (the engine's fault).
        """
        position, end = 0, len(data)
        while position < end:
            if self._left:
                piece = data[position : position + self._left]
                position += len(piece)
                self._left -= len(piece)
                yield self._stream, piece
                continue
            head = self._head + data[position : position + _HEADER - len(self._head)]
            position += len(head) - len(self._head)
            if len(head) < _HEADER:
                self._head = head
                return
            if head[0] not in _STREAMS or head[1:4] != b"\0\0\0":
                raise FrameError(f"expected a frame header (0, 1 or 2 and three zero bytes), got {head.hex(' ')}")
            self._head, self._stream, self._left = b"", _STREAMS[head[0]], int.from_bytes(head[4:8])

    @property
    def is_between_frames(self) -> bool:
        """Whether an end of the stream would be clean here."""
        return not self._head and not self._left
