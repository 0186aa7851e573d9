"""Sizes as people write them: ``512m`` is 512 MiB, as Docker reads it."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["SIZE_PATTERN", "parse_size"]

SIZE_PATTERN: Final = r"^(\d+(?:\.\d+)?) ?(?:([kKmMgGtT])[iI]?)?[bB]?(?![\s\S])"
"""Understood by Python and by JavaScript, for the JSON Schema."""
_SIZE_REGEXP: Final = re.compile(SIZE_PATTERN, re.ASCII)
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int | None:
    """Return the bytes that a text such as ``512m`` or ``1.5 GiB`` means, or None when it is not a size.

    Units are powers of 1024, whichever way they are spelled, because that is what container engines make of them.
    """
    match = _SIZE_REGEXP.match(text)
    if match is None or len(match[1]) > 20:
        return None
    number, unit = match[1], _UNITS[(match[2] or "").lower()]
    return int(number) * unit if number.isdigit() else round(float(number) * unit)
