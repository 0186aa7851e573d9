"""Values that reports must not show: those of an entry's default_env, wherever a command prints them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pytest_sandbox.commands.records import Excerpt

__all__ = ["MASK", "Secrets"]

MASK: Final = b"***"
_LEAST: Final = 4
"""Bytes: a shorter value is a word like any other, and is masked only where its name stands before it."""


class Secrets:
    """Values to be masked.

    Args:
        env: variables whose values are secret.
    """

    def __init__(self, env: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        pairs = [
            (name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape")) for name, value in dict(env).items()
        ]
        # The longest first: one value may be a part of another.
        self._values = sorted({value for _, value in pairs if len(value) >= _LEAST}, key=lambda value: (-len(value), value))
        self._named = [(name + b"=" + value, name + b"=" + MASK) for name, value in pairs if 0 < len(value) < _LEAST]

    def mask(self, data: bytes) -> bytes:
        """Return bytes with every value masked."""
        for value in self._values:
            data = data.replace(value, MASK)
        for named, masked in self._named:
            data = data.replace(named, masked)
        return data

    def mask_text(self, text: str) -> str:
        """Return a text with every value masked."""
        return self.mask(text.encode("utf-8", "surrogateescape")).decode("utf-8", "replace") if self else text

    def mask_excerpt(self, excerpt: Excerpt) -> tuple[bytes, int, bytes]:
        """Return the masked head of a stream, the number of bytes left out, and the masked tail.

        A value that is cut in two by what is left out is masked, too.
        """
        if not excerpt.omitted:
            return self.mask(excerpt.head + excerpt.tail), 0, b""
        head, tail = self.mask(excerpt.head), self.mask(excerpt.tail)
        for value in self._values:
            head = _cut_end(head, value)
            tail = _cut_end(tail[::-1], value[::-1])[::-1]
        return head, excerpt.omitted, tail

    def __bool__(self) -> bool:
        return bool(self._values or self._named)

    def __repr__(self) -> str:
        return f"<Secrets: {len(self._values) + len(self._named)}>"


def _cut_end(data: bytes, value: bytes) -> bytes:
    """Mask the beginning of a value at the end of the data."""
    for size in range(min(len(value) - 1, len(data)), _LEAST - 1, -1):
        if data.endswith(value[:size]):
            return data[:-size] + MASK
    return data
