"""How values cross between Python and JavaScript: as values, in JSON with tags for what JSON lacks.

Plain JSON stands for itself. An object with the key ``$`` is a tag::

    {"$": "u"}                       undefined
    {"$": "f", "v": "1e+21"}         a float that JSON would turn into an int, or cannot say (-0, NaN, Infinity, -Infinity)
    {"$": "n", "v": "-ff"}           BigInt, in hexadecimal (linear time, and no limit on digits in Python)
    {"$": "d", "v": 1735689600000}   Date, in milliseconds since 1970 UTC
    {"$": "b", "v": "aGk="}          Uint8Array, in base64
    {"$": "m", "v": [[key, value]]}  Map
    {"$": "s", "v": [member]}        Set
    {"$": "e", "v": {...}}           Error: name, message, stack, and cause where there is one
    {"$": "o", "v": [[key, value]]}  a plain object that has a key "$"

``snippets/runners/realm/values.js`` holds the JavaScript half.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pytest_sandbox.errors import short_repr

__all__ = ["MAX_DEPTH", "UNDEFINED", "JSError", "ValueCannotCross", "from_wire", "to_wire"]

MAX_DEPTH: Final = 100
"""Levels of nesting that cross; deeper values are an error, on both sides (`realm/basics.js` has the same number)."""

_MAX_SAFE: Final = 2**53 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class _Undefined:
    """JavaScript's undefined at the top of a value; below the top it is None or an absent key."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = _Undefined()


@dataclass(frozen=True, slots=True)
class JSError:
    """A JavaScript Error that crossed as a value (it was returned or passed, not thrown).

    Attributes:
        name: such as "TypeError".
        message: its message.
        stack: its stack as the engine wrote it, cut to the snippet's own frames.
        cause: its ``cause`` as a value, or None.
    """

    name: str
    message: str
    stack: str = ""
    cause: Any = None


class ValueCannotCross(ValueError):
    """A value, or a part of it, has no counterpart on the other side.

    Attributes:
        path: where it is, such as ``value.a[3]``.
        reason: why it cannot cross, and what to do.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


# -- Python to JavaScript ---------------------------------------------------------------------------------


def to_wire(value: Any, path: str = "value") -> Any:
    """Return what `msgspec.json.encode` turns into the wire form of a Python value.

    Args:
        value: None, bool, int, float, str, bytes, an aware datetime, JSError, or a list, tuple, dict, set of such.
        path: what to call the value in errors.

    Raises:
        ValueCannotCross: naming the path (the fault of whoever made the value).
    """
    return _to_wire(value, path, 0, [])


def _to_wire(value: Any, path: str, depth: int, parents: list[int]) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str or isinstance(value, str):
        return _check_text(str(value), path)
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        number = int(value)
        return number if -_MAX_SAFE <= number <= _MAX_SAFE else {"$": "n", "v": f"{number:x}"}
    if isinstance(value, float):
        return _float_to_wire(float(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$": "b", "v": base64.b64encode(value).decode("ascii")}
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueCannotCross(path, "a datetime without a time zone is ambiguous; give it one, such as tzinfo=UTC")
        return {"$": "d", "v": (value - _EPOCH) // _MILLISECOND}
    if depth >= MAX_DEPTH:
        raise ValueCannotCross(path, f"it is nested deeper than {MAX_DEPTH} levels")
    if id(value) in parents:
        raise ValueCannotCross(path, "it contains itself; a cycle cannot cross")
    parents.append(id(value))
    try:
        return _container_to_wire(value, path, depth + 1, parents)
    finally:
        parents.pop()


def _container_to_wire(value: Any, path: str, depth: int, parents: list[int]) -> Any:
    if isinstance(value, list | tuple):
        return [_to_wire(item, f"{path}[{index}]", depth, parents) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            plain = {
                _check_text(str(key), path): _to_wire(item, f"{path}{_key(key)}", depth, parents) for key, item in value.items()
            }
            return {"$": "o", "v": list(plain.items())} if "$" in plain else plain
        pairs = [
            [_to_wire(key, f"{path} key {at}", depth, parents), _to_wire(item, f"{path}.get({at})", depth, parents)]
            for key, item, at in ((key, item, short_repr(key, 40)) for key, item in value.items())
        ]
        return {"$": "m", "v": pairs}
    if isinstance(value, Set):
        return {"$": "s", "v": [_to_wire(item, f"{path} member {short_repr(item, 40)}", depth, parents) for item in value]}
    if isinstance(value, JSError):
        fields: dict[str, Any] = {
            name: _check_text(getattr(value, name), f"{path}.{name}") for name in ("name", "message", "stack")
        }
        if value.cause is not None:
            fields["cause"] = _to_wire(value.cause, f"{path}.cause", depth, parents)
        return {"$": "e", "v": fields}
    raise ValueCannotCross(
        path,
        f"a {type(value).__module__}.{type(value).__qualname__} cannot cross; "
        "turn it into None, bool, int, float, str, bytes, datetime, list, tuple, dict or set",
    )


def _float_to_wire(number: float) -> Any:
    if math.isnan(number):
        return {"$": "f", "v": "NaN"}
    if math.isinf(number):
        return {"$": "f", "v": "Infinity" if number > 0 else "-Infinity"}
    if number == 0 and math.copysign(1.0, number) < 0:
        return {"$": "f", "v": "-0"}
    return number


def _check_text(text: str, path: str) -> str:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueCannotCross(path, f"a string with a lone surrogate (at index {error.start}) cannot cross") from None
    return text


def _key(key: str) -> str:
    return f".{key}" if key.isidentifier() else f"[{short_repr(key, 40)}]"


# -- JavaScript to Python ---------------------------------------------------------------------------------


def from_wire(wire: Any, path: str = "value") -> Any:
    """Return the Python value of decoded JSON; `UNDEFINED` when the whole value is undefined.

    Args:
        wire: what `msgspec.json.decode` made of the wire form.
        path: what to call the value in errors.

    Raises:
        ValueCannotCross: when it has no counterpart in Python, or is not a wire form at all.
    """
    if isinstance(wire, dict) and wire.get("$") == "u":
        return UNDEFINED
    return _from_wire(wire, path)


def _from_wire(wire: Any, path: str) -> Any:
    if isinstance(wire, list):
        return [_from_wire(item, f"{path}[{index}]") if type(item) in (list, dict) else item for index, item in enumerate(wire)]
    if not isinstance(wire, dict):
        return wire
    if "$" not in wire:
        return {key: _from_wire(item, f"{path}{_key(key)}") if type(item) in (list, dict) else item for key, item in wire.items()}
    try:
        return _from_tag(wire["$"], wire.get("v"), path)
    except ValueCannotCross:
        raise
    except (TypeError, ValueError, KeyError, OverflowError, binascii.Error) as error:
        raise ValueCannotCross(path, f"it is malformed on the wire ({error})") from error


def _from_tag(tag: Any, body: Any, path: str) -> Any:
    if tag == "u":
        return None
    if tag == "f":
        return float(body)
    if tag == "n":
        return int(body, 16)
    if tag == "d":
        return _date(body, path)
    if tag == "b":
        return base64.b64decode(body, validate=True)
    if tag == "m":
        return _mapping(body, path)
    if tag == "s":
        members = [_from_wire(item, f"{path} member {index}") for index, item in enumerate(body)]
        try:
            unique = set(members)
        except TypeError:
            return members
        # 1 and true are different members in JavaScript and equal in Python: keep both, in a list.
        return unique if len(unique) == len(members) else members
    if tag == "e":
        return JSError(
            name=str(body["name"]),
            message=str(body["message"]),
            stack=str(body.get("stack", "")),
            cause=_from_wire(body["cause"], f"{path}.cause") if "cause" in body else None,
        )
    if tag == "o":
        return {str(key): _from_wire(item, f"{path}{_key(str(key))}") for key, item in body}
    raise ValueCannotCross(path, f"it is malformed on the wire (unknown tag {short_repr(tag, 40)})")


def _date(body: Any, path: str) -> datetime:
    try:
        return _EPOCH + int(body) * _MILLISECOND
    except OverflowError:
        raise ValueCannotCross(path, "a Date outside the years 1 to 9999 has no counterpart in Python") from None


def _mapping(body: Any, path: str) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for index, (wire_key, wire_item) in enumerate(body):
        key = _from_wire(wire_key, f"{path} key {index}")
        try:
            clash = key in result
        except TypeError:
            raise ValueCannotCross(
                f"{path} key {index}", f"a {type(key).__name__} cannot be a key in Python; use strings or numbers as Map keys"
            ) from None
        if clash:
            reason = f"it equals an earlier key in Python ({short_repr(key, 40)}); use keys of one type"
            raise ValueCannotCross(f"{path} key {index}", reason)
        result[key] = _from_wire(wire_item, f"{path}.get({short_repr(key, 40)})")
    return result
