"""Durations as people write them."""

from __future__ import annotations

import math
import re
from typing import Final

from pytest_sandbox.errors import InvalidArgument

__all__ = ["parse_duration"]

_FORM: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([smh]?)")
_SECONDS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(argument: str, text: str) -> float:
    """Return a duration such as ``90``, ``90s``, ``1.5m`` or ``1h`` in seconds.

    Args:
        argument: what the text was given for, for the message.
        text: the text.

    Raises:
        InvalidArgument: when it is no duration, or not greater than 0 (the caller's fault).
    """
    match = _FORM.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds < math.inf:
        raise InvalidArgument(argument, text, "seconds greater than 0, such as 90, 90s, 1.5m or 1h")
    return seconds
