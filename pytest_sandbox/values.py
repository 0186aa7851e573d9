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
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pytest_sandbox.errors import short_repr

__all__ = ["MAX_DEPTH", "UNDEFINED", "JSError", "ValueCannotCross", "from_wire", "to_wire"]

MAX_DEPTH: Final = 100
"""Levels of nesting that cross; deeper values are an error, on both sides (`realm/basics.js` has the same number)."""

_MAX_SAFE: Final = 2**53 - 1
_KEY_SHOWN: Final = 40  # characters
_ONE_HASH: Final = 100
"""So many members or keys may share a hash; a snippet can choose numbers that all do, and a set of those takes minutes to make."""
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


class _Refused(Exception):
    """A part cannot cross; the steps to it are noted from the inside out: a path for every part would cost too much."""

    def __init__(self, reason: str, step: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps = [step]

    def at(self, path: str) -> ValueCannotCross:
        """Return the error for whoever asked, with the path to the part."""
        return ValueCannotCross(path + "".join(reversed(self.steps)), self.reason)


# -- Python to JavaScript ---------------------------------------------------------------------------------


def to_wire(value: Any, path: str = "value") -> Any:
    """Return what `msgspec.json.encode` turns into the wire form of a Python value.

    Args:
        value: None, bool, int, float, str, bytes, an aware datetime, JSError, or a list, tuple, dict, set of such.
        path: what to call the value in errors.

    Raises:
        ValueCannotCross: naming the path (the fault of whoever made the value).
    """
    try:
        return _to_wire(value, 0, [])
    except _Refused as refused:
        raise refused.at(path) from refused.__cause__


def _to_wire(value: Any, depth: int, parents: list[int]) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str or isinstance(value, str):
        return _check_text(str(value))
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
            raise _Refused("a datetime without a time zone is ambiguous; give it one, such as tzinfo=UTC")
        return {"$": "d", "v": (value - _EPOCH) // _MILLISECOND}
    if depth >= MAX_DEPTH:
        raise _Refused(f"it is nested deeper than {MAX_DEPTH} levels")
    if id(value) in parents:
        raise _Refused("it contains itself; a cycle cannot cross")
    parents.append(id(value))
    try:
        return _container_to_wire(value, depth + 1, parents)
    finally:
        parents.pop()


def _container_to_wire(value: Any, depth: int, parents: list[int]) -> Any:
    def part(item: Any, step: Callable[[Any], str], at: Any) -> Any:
        try:
            return _to_wire(item, depth, parents)
        except _Refused as refused:
            refused.steps.append(step(at))
            raise

    if isinstance(value, list | tuple):
        return [part(item, _index, index) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            plain = {_check_text(str(key)): part(item, _key, key) for key, item in value.items()}
            return {"$": "o", "v": list(plain.items())} if "$" in plain else plain
        return {"$": "m", "v": [[part(key, _map_key, key), part(item, _map_item, key)] for key, item in value.items()]}
    if isinstance(value, Set):
        return {"$": "s", "v": [part(item, _member, item) for item in value]}
    if isinstance(value, JSError):
        fields: dict[str, Any] = {name: part(getattr(value, name), _key, name) for name in ("name", "message", "stack")}
        if value.cause is not None:
            fields["cause"] = part(value.cause, _key, "cause")
        return {"$": "e", "v": fields}
    raise _Refused(
        f"a {type(value).__module__}.{type(value).__qualname__} cannot cross; "
        "turn it into None, bool, int, float, str, bytes, datetime, list, tuple, dict or set"
    )


def _float_to_wire(number: float) -> Any:
    if math.isnan(number):
        return {"$": "f", "v": "NaN"}
    if math.isinf(number):
        return {"$": "f", "v": "Infinity" if number > 0 else "-Infinity"}
    if number == 0 and math.copysign(1.0, number) < 0:
        return {"$": "f", "v": "-0"}
    return number


def _check_text(text: str) -> str:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise _Refused(f"a string with a lone surrogate (at index {error.start}) cannot cross") from None
    return text


# -- steps of a path ----------------------------------------------------------------------------------------


def _index(index: int) -> str:
    return f"[{index}]"


def _key(key: str) -> str:
    return f".{key}" if len(key) <= _KEY_SHOWN and key.isidentifier() else f"[{short_repr(key, _KEY_SHOWN)}]"


def _map_key(key: Any) -> str:
    return f" key {short_repr(key, _KEY_SHOWN)}"


def _map_item(key: Any) -> str:
    return f".get({short_repr(key, _KEY_SHOWN)})"


def _member(member: Any) -> str:
    return f" member {short_repr(member, _KEY_SHOWN)}"


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
    try:
        return _from_wire(wire)
    except _Refused as refused:
        raise refused.at(path) from refused.__cause__


def _part(wire: Any, step: Callable[[Any], str], at: Any) -> Any:
    try:
        return _from_wire(wire)
    except _Refused as refused:
        refused.steps.append(step(at))
        raise


def _from_wire(wire: Any) -> Any:
    if isinstance(wire, list):
        return [_part(item, _index, index) if type(item) in (list, dict) else item for index, item in enumerate(wire)]
    if not isinstance(wire, dict):
        return wire
    if "$" not in wire:
        return {key: _part(item, _key, key) if type(item) in (list, dict) else item for key, item in wire.items()}
    try:
        return _from_tag(wire["$"], wire.get("v"))
    except (TypeError, ValueError, KeyError, OverflowError, binascii.Error) as error:
        raise _Refused(f"it is malformed on the wire ({error})") from error


def _from_tag(tag: Any, body: Any) -> Any:
    if tag == "u":
        return None
    if tag == "f":
        return float(body)
    if tag == "n":
        return int(body, 16)
    if tag == "d":
        return _date(body)
    if tag == "b":
        return base64.b64decode(body, validate=True)
    if tag == "m":
        return _mapping(body)
    if tag == "s":
        return _set([_part(item, _numbered_member, index) for index, item in enumerate(body)])
    if tag == "e":
        return JSError(
            name=str(body["name"]),
            message=str(body["message"]),
            stack=str(body.get("stack", "")),
            cause=_part(body["cause"], _key, "cause") if "cause" in body else None,
        )
    if tag == "o":
        return {str(key): _part(item, _key, str(key)) for key, item in body}
    raise _Refused(f"it is malformed on the wire (unknown tag {short_repr(tag, _KEY_SHOWN)})")


def _date(body: Any) -> datetime:
    try:
        return _EPOCH + int(body) * _MILLISECOND
    except OverflowError:
        raise _Refused("a Date outside the years 1 to 9999 has no counterpart in Python") from None


def _numbered_member(index: int) -> str:
    return f" member {index}"


def _numbered_key(index: int) -> str:
    return f" key {index}"


def _set(members: list[Any]) -> set[Any] | list[Any]:
    """Return a set, or the members as a list where Python cannot have them in a set."""
    hashes: dict[int, int] = {}
    try:
        for member in members:
            code = hash(member)
            hashes[code] = hashes.get(code, 0) + 1
            if hashes[code] > _ONE_HASH:
                return members
    except TypeError:
        return members
    unique = set(members)
    # 1 and true are different members in JavaScript and equal in Python: keep both, in a list.
    return unique if len(unique) == len(members) else members


def _mapping(body: Any) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    hashes: dict[int, int] = {}
    for index, (wire_key, wire_item) in enumerate(body):
        key = _part(wire_key, _numbered_key, index)
        try:
            code = hash(key)
        except TypeError:
            reason = f"a {type(key).__name__} cannot be a key in Python; use strings or numbers as Map keys"
            raise _Refused(reason, _numbered_key(index)) from None
        hashes[code] = hashes.get(code, 0) + 1
        if hashes[code] > _ONE_HASH:
            raise _Refused(f"more than {_ONE_HASH} of its keys have the same hash in Python; use strings", _numbered_key(index))
        if key in result:
            reason = f"it equals an earlier key in Python ({short_repr(key, _KEY_SHOWN)}); use keys of one type"
            raise _Refused(reason, _numbered_key(index))
        result[key] = _part(wire_item, _map_item, key)
    return result
