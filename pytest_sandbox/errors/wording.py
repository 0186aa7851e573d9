"""How messages name what somebody gave: a near miss, a value, a command."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near_miss(value: str, known: Iterable[str]) -> str:
    """Return ``' (did you mean "x"?)'`` for the closest known name, or an empty string."""
    folded = {name.casefold(): name for name in known}
    matches = difflib.get_close_matches(value.casefold(), list(folded), n=1)
    return f' (did you mean "{folded[matches[0]]}"?)' if matches else ""


def short_repr(value: object, most: int = 120) -> str:
    """Return the repr of a value for a message, cut; never raises, as the repr of a stranger's object, or of a huge int, may."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__} that cannot be shown>"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def one_line(command: str, most: int = 200) -> str:
    """Return a command as it can be printed on one line: look-alikes and control characters are escaped."""
    text = ascii(command[: most + 1])[1:-1]
    return f'"{text}"' if len(command) <= most else f'"{text[:most]}…" ({len(command)} characters)'
