"""A walk over everything in reach, which tries every function that it finds as a maker of code."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["walk"]

_WALK: Final = Path(__file__).with_name("walk.js").read_text("utf-8")


def walk(text: str, result: str) -> str:
    """Return the code of an attack that walks.

    Args:
        text: an expression: the code that is to be made.
        result: an expression: what the attack returns, from ``found``, which is what the code that was made gave.
    """
    return _WALK.replace("TEXT_OF_CODE", text).replace("/*DONE*/", f"return {result};")
