"""What one execution may use. Seconds are floats, sizes are bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from pytest_sandbox.errors import InvalidArgument

__all__ = ["DEFAULT_LIMITS", "UNSET", "Limits", "Unset", "check_seconds"]

KIB: Final = 1024
MIB: Final = 1024 * KIB


class Unset:
    """The type of `UNSET`: "use the executor's default", as opposed to None, "no limit"."""

    _instance: Unset | None = None

    def __new__(cls) -> Unset:
        """Return the only instance."""
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "UNSET"

    def __reduce__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


def check_seconds(name: str, value: object) -> float | None:
    """Return a duration as a float, or None for "no limit".

    Raises:
        InvalidArgument: when it is not a finite number greater than 0 (the caller's fault).
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise InvalidArgument(name, value, "a finite number of seconds greater than 0, or None for no limit")
    return float(value)


def _check_count(name: str, value: object, unit: str, *, zero: bool) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0 or (value == 0 and not zero):
        least = "at least 0" if zero else "greater than 0"
        raise InvalidArgument(name, value, f"a whole number of {unit} {least}, or None for no limit")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one execution may use; a field left unset takes the executor's default, None is no limit.

    Attributes:
        timeout: seconds of wall-clock time, from the request to the result.
        cpu_time: seconds of CPU time, measured from outside.
        memory: bytes of resident memory of the process or container that runs the snippet.
        output: bytes of log text that are kept; at 16 times as much the execution is ended.
        result: bytes of the encoded result.
        source: bytes of the snippet in UTF-8.
        tool_calls: how many tool calls one execution may make.
        processes: how many processes and threads may exist at once in the sandbox.

    Raises:
        InvalidArgument: when a value is of the wrong type or out of range (the caller's fault).
    """

    timeout: float | None | Unset = UNSET
    cpu_time: float | None | Unset = UNSET
    memory: int | None | Unset = UNSET
    output: int | None | Unset = UNSET
    result: int | None | Unset = UNSET
    source: int | None | Unset = UNSET
    tool_calls: int | None | Unset = UNSET
    processes: int | None | Unset = UNSET

    def __post_init__(self) -> None:
        for name in ("timeout", "cpu_time"):
            value = getattr(self, name)
            if value is not UNSET:
                object.__setattr__(self, name, check_seconds(name, value))
        for name, unit, zero in (
            ("memory", "bytes", False),
            ("output", "bytes", True),
            ("result", "bytes", False),
            ("source", "bytes", False),
            ("tool_calls", "calls", True),
            ("processes", "processes", False),
        ):
            value = getattr(self, name)
            if value is not UNSET:
                _check_count(name, value, unit, zero=zero)

    def explicit(self) -> dict[str, Any]:
        """Return the fields that were set, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not UNSET}

    def over(self, defaults: Limits) -> Limits:
        """Return these limits with every unset field taken from ``defaults``."""
        return replace(defaults, **self.explicit())


DEFAULT_LIMITS: Final = Limits(
    timeout=30.0,
    cpu_time=None,
    memory=256 * MIB,
    output=1 * MIB,
    result=16 * MIB,
    source=4 * MIB,
    tool_calls=10_000,
    processes=None,
)
"""The defaults of every snippet executor; a backend may replace single fields."""
