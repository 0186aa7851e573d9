"""Values on their way into Lua: checked and copied, so that what is written cannot surprise the encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from pytest_sandbox.errors import InvalidArgument, short_repr
from pytest_sandbox.lua.protocol import Function

__all__ = ["MAX_DEPTH", "to_lua"]

MAX_DEPTH: Final = 100
"""Levels of tables in tables that cross, either way; `runner/values.lua` has the same number."""

_LEAST, _MOST = -(1 << 63), (1 << 63) - 1

Register = Callable[[Callable[..., Any]], int]


def to_lua(value: object, path: str, register: Register | None = None, *, depth: int = 0) -> Any:
    """Return a value as Lua can have it: nil, booleans, numbers, strings (of bytes), and tables of those.

    Args:
        value: None, a bool, an int of 64 bits, a float, a str, bytes, a list or tuple, or a mapping whose keys are str, bytes or
            numbers.
        path: what the value is called in an error.
        register: returns the number of a function that Lua may call; without it, functions cannot cross.
        depth: how many tables it is in.

    Raises:
        InvalidArgument: for anything else (the fault of whoever made the value).
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not _LEAST <= value <= _MOST:
            raise InvalidArgument(path, value, "a number that has room in the 64 bits of a Lua integer")
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str(value).encode("utf-8", "surrogateescape") if _has_surrogates(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, list | tuple | Mapping) and depth >= MAX_DEPTH:
        raise InvalidArgument(path, value, f"tables nested at most {MAX_DEPTH} levels deep")
    if isinstance(value, list | tuple):
        return [to_lua(item, f"{path}[{index}]", register, depth=depth + 1) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {
            _key(key, path): to_lua(item, f"{path}[{short_repr(key, 60)}]", register, depth=depth + 1)
            for key, item in value.items()
        }
    if register is not None and callable(value):
        return Function(register(value))
    functions = ", or functions" if register is not None else ""
    expected = f"None, a bool, a number, a text, bytes, or lists and mappings of those{functions}"
    raise InvalidArgument(path, value, expected)


def _has_surrogates(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _key(key: object, path: str) -> Any:
    usable = isinstance(key, str | bytes | int | float) and not isinstance(key, bool)
    if not usable or (isinstance(key, float) and math.isnan(key)):
        raise InvalidArgument(f"a key of {path}", key, "a text, bytes or a number")
    return to_lua(key, f"a key of {path}")
