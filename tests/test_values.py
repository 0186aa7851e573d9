"""The Python half of how values cross; tests/conformance/test_values.py has both halves together."""

from __future__ import annotations

import collections
import contextlib
import enum
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_sandbox.values import MAX_DEPTH, UNDEFINED, JSError, ValueCannotCross, from_wire, to_wire

MAX_SAFE = 2**53 - 1


def over_the_wire(value: Any) -> Any:
    """Return a value after both halves, with real JSON between them."""
    return from_wire(msgspec.json.decode(msgspec.json.encode(to_wire(value))))


# -- to the wire --------------------------------------------------------------------------------------------

WIRES: dict[str, tuple[Any, Any]] = {
    "none": (None, None),
    "true": (True, True),
    "int": (5, 5),
    "largest plain int": (MAX_SAFE, MAX_SAFE),
    "bigint": (MAX_SAFE + 1, {"$": "n", "v": "20000000000000"}),
    "negative bigint": (-MAX_SAFE - 1, {"$": "n", "v": "-20000000000000"}),
    "float": (0.5, 0.5),
    "negative zero": (-0.0, {"$": "f", "v": "-0"}),
    "nan": (math.nan, {"$": "f", "v": "NaN"}),
    "infinity": (-math.inf, {"$": "f", "v": "-Infinity"}),
    "bytes": (b"hi", {"$": "b", "v": "aGk="}),
    "bytearray": (bytearray(b"hi"), {"$": "b", "v": "aGk="}),
    "memoryview": (memoryview(b"hi"), {"$": "b", "v": "aGk="}),
    "date": (datetime(2025, 1, 1, tzinfo=UTC), {"$": "d", "v": 1735689600000}),
    "tuple": ((1, "a"), [1, "a"]),
    "dict": ({"a": [1]}, {"a": [1]}),
    "other mapping": (MappingProxyType({"a": 1}), {"a": 1}),
    "ordered dict": (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "dict with a dollar": ({"$": 1, "b": 2}, {"$": "o", "v": [("$", 1), ("b", 2)]}),
    "dict with numbers": ({1: "a"}, {"$": "m", "v": [[1, "a"]]}),
    "dict with mixed keys": ({"a": 1, None: 2}, {"$": "m", "v": [["a", 1], [None, 2]]}),
    "set": ({1}, {"$": "s", "v": [1]}),
    "frozenset": (frozenset(["a"]), {"$": "s", "v": ["a"]}),
    "keys of a dict": ({"a": 1}.keys(), {"$": "s", "v": ["a"]}),
    "error": (JSError("E", "m"), {"$": "e", "v": {"name": "E", "message": "m", "stack": ""}}),
    "error with cause": (JSError("E", "m", cause=1), {"$": "e", "v": {"name": "E", "message": "m", "stack": "", "cause": 1}}),
}


@pytest.mark.parametrize("case", WIRES)
def test_a_value_has_this_form_on_the_wire(case: str) -> None:
    value, wire = WIRES[case]
    assert to_wire(value) == wire
    assert type(to_wire(value)) is type(wire)


class Color(enum.IntEnum):
    """Ints of a subclass."""

    RED = 1


class Letters(enum.StrEnum):
    """Strings of a subclass."""

    A = "a"


Point = collections.namedtuple("Point", "x y")


def test_subclasses_are_taken_for_what_they_are() -> None:
    assert to_wire([Color.RED, Letters.A, Point(1, 2)]) == [1, "a", [1, 2]]
    assert [type(item) for item in to_wire([Color.RED, Letters.A])] == [int, str]
    assert to_wire({Letters.A: 1}) == {"a": 1}


def test_a_time_zone_is_converted() -> None:
    assert to_wire(datetime(2025, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))) == {"$": "d", "v": 1735689600000}


REFUSED: dict[str, tuple[Any, str]] = {
    "object": (object(), "value: a builtins.object cannot cross; turn it into None, bool,"),
    "class": ([int], "value[0]: a builtins.type cannot cross"),
    "path": ({"a": Path("x")}, "value.a: a pathlib."),
    "decimal": ((1, Decimal(1)), "value[1]: a decimal.Decimal cannot cross"),
    "fraction": ({"a b": Fraction(1)}, "value['a b']: a fractions.Fraction cannot cross"),
    "plain date": ([date(2025, 1, 1)], "value[0]: a datetime.date cannot cross"),
    "naive datetime": ({"when": datetime(2025, 1, 1)}, "value.when: a datetime without a time zone is ambiguous; give it one"),
    "complex": (1j, "value: a builtins.complex cannot cross"),
    "range": (range(3), "value: a builtins.range cannot cross"),
    "iterator": (iter([]), "value: a builtins.list_iterator cannot cross"),
    "exception": (ValueError("x"), "value: a builtins.ValueError cannot cross"),
    "undefined": ([UNDEFINED], "value[0]: a pytest_sandbox.values._Undefined cannot cross"),
    "lone surrogate": (["a", "\ud800"], "value[1]: a string with a lone surrogate (at index 0) cannot cross"),
    "lone surrogate in a key": ({"a\udfff": 1}, "value: a string with a lone surrogate (at index 1) cannot cross"),
    "in a value of a map": ({1: object()}, "value.get(1): a builtins.object cannot cross"),
    "in a key of a map": ({1: 2, object: 3}, "value key <class 'object'>: a builtins.type cannot cross"),
    "in a set": ({print}, "value member <built-in function print>: a builtins.builtin_function_or_method cannot cross"),
    "in an error": (JSError("E", "\ud800"), "value.message: a string with a lone surrogate"),
    "in a cause": (JSError("E", "m", cause=[object()]), "value.cause[0]: a builtins.object cannot cross"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_cross_is_refused_with_its_path(case: str) -> None:
    value, message = REFUSED[case]
    with pytest.raises(ValueCannotCross) as info:
        to_wire(value)
    assert str(info.value).startswith(message)
    assert info.value.path and info.value.reason
    assert str(info.value) == f"{info.value.path}: {info.value.reason}"


def test_the_path_starts_with_a_name_of_the_callers_choice() -> None:
    with pytest.raises(ValueCannotCross, match=r"^args\[2\]\.a: "):
        to_wire({"a": object()}, "args[2]")


def test_cycles_are_refused_and_shared_parts_are_not() -> None:
    cycle: list[Any] = []
    cycle.append({"a": cycle})
    with pytest.raises(ValueCannotCross, match=r"^value\[0\]\.a: it contains itself"):
        to_wire(cycle)
    cause = JSError("E", "m", cause=[])
    cause.cause.append(cause)
    with pytest.raises(ValueCannotCross, match=r"^value\.cause\[0\]: it contains itself"):
        to_wire(cause)
    shared = [1]
    assert to_wire([shared, shared]) == [[1], [1]]


def nested(levels: int) -> Any:
    value: Any = None
    for _ in range(levels):
        value = [value]
    return value


def test_depth_is_limited() -> None:
    assert over_the_wire(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    with pytest.raises(ValueCannotCross, match=f"it is nested deeper than {MAX_DEPTH} levels"):
        to_wire(nested(MAX_DEPTH + 1))
    with pytest.raises(ValueCannotCross, match="it is nested deeper"):
        to_wire(nested(100_000))


class Unprintable:
    """An object whose repr fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_what_cannot_be_shown_can_cross_or_be_refused() -> None:
    huge = 2**20_000
    assert over_the_wire({huge: [{huge, 3}]}) == {huge: [{huge, 3}]}
    with pytest.raises(ValueCannotCross, match=r"^value\.get\(<int that cannot be shown>\): a builtins\.object cannot cross"):
        to_wire({huge: object()})
    with pytest.raises(ValueCannotCross, match=r"^value member <Unprintable that cannot be shown>: a .*Unprintable cannot cross"):
        to_wire({Unprintable()})


class Lying(Mapping[str, int]):
    """A mapping whose length, keys and values do not fit together."""

    def __len__(self) -> int:
        return 99

    def __iter__(self) -> Any:
        return iter(["a"])

    def __getitem__(self, key: str) -> int:
        return 5


def test_a_mapping_of_the_callers_own_is_read_by_its_items() -> None:
    assert to_wire(Lying()) == {"a": 5}


# -- from the wire ------------------------------------------------------------------------------------------


def test_undefined_is_told_at_the_top_only() -> None:
    assert from_wire({"$": "u"}) is UNDEFINED
    assert from_wire([{"$": "u"}]) == [None]
    assert repr(UNDEFINED) == "undefined"


def test_members_that_cannot_be_in_a_set_come_as_a_list() -> None:
    assert from_wire({"$": "s", "v": [1, 2]}) == {1, 2}
    assert from_wire({"$": "s", "v": [[1], 2]}) == [[1], 2]
    assert from_wire({"$": "s", "v": [1, True]}) == [1, True]


MALFORMED: dict[str, Any] = {
    "unknown tag": {"$": "x"},
    "tag that is no string": {"$": 5},
    "tag that is a list": {"$": ["u"]},
    "tag that is null": {"$": None},
    "undefined inside a tag": {"$": "m", "v": {"$": "u"}},
    "float that is none": {"$": "f", "v": "x"},
    "float without value": {"$": "f"},
    "float too large": {"$": "f", "v": 10**400},
    "bigint that is none": {"$": "n", "v": "xyz"},
    "bigint that is a number": {"$": "n", "v": 5},
    "date that is none": {"$": "d", "v": "today"},
    "date without value": {"$": "d"},
    "date nan": {"$": "d", "v": math.nan},
    "date infinite": {"$": "d", "v": math.inf},
    "date far away": {"$": "d", "v": 10**30},
    "bytes that are none": {"$": "b", "v": "*"},
    "bytes cut short": {"$": "b", "v": "abc"},
    "bytes that are a number": {"$": "b", "v": 5},
    "bytes beyond ascii": {"$": "b", "v": "éééé"},
    "map that is none": {"$": "m", "v": 5},
    "map of triples": {"$": "m", "v": [[1, 2, 3]]},
    "map of numbers": {"$": "m", "v": [1]},
    "map with a list as a key": {"$": "m", "v": [[[1], 2]]},
    "set that is none": {"$": "s", "v": 5},
    "error that is none": {"$": "e", "v": "x"},
    "error that is a list": {"$": "e", "v": []},
    "error without a name": {"$": "e", "v": {"message": "m"}},
    "object that is none": {"$": "o", "v": None},
    "object of triples": {"$": "o", "v": [["a", 1, 2]]},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_wire_form_is_refused(case: str) -> None:
    with pytest.raises(ValueCannotCross, match=r"^value\[0\]"):
        from_wire([MALFORMED[case]])


wires = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=3), inner, max_size=4),
        st.fixed_dictionaries({"$": st.sampled_from([*"ufndbmseox", 1, None])}, optional={"v": inner}),
        st.fixed_dictionaries({"$": st.sampled_from("mo"), "v": st.lists(st.tuples(inner, inner).map(list), max_size=3)}),
        st.fixed_dictionaries(
            {"$": st.just("e"), "v": st.fixed_dictionaries({"name": inner, "message": inner}, optional={"cause": inner})}
        ),
    ),
    max_leaves=25,
)


@settings(max_examples=400, deadline=None)
@given(wire=wires)
def test_whatever_a_runner_sends_is_a_value_or_a_refusal(wire: Any) -> None:
    with contextlib.suppress(ValueCannotCross):
        from_wire(wire)


# -- both ways ----------------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    st.binary(max_size=10),
    st.datetimes(timezones=st.just(UTC)).map(lambda when: when.replace(microsecond=when.microsecond // 1000 * 1000)),
)
keys = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), st.integers(2), st.binary(max_size=3))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(st.sampled_from(["$", "v", "__proto__"]), inner),
        st.sets(keys, max_size=4),
        st.builds(JSError, st.just("E"), st.text("ab", max_size=3), st.just(""), inner),
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(value=values)
def test_any_value_survives_both_ways(value: Any) -> None:
    assert over_the_wire(value) == value


@given(value=st.floats(allow_nan=True))
def test_any_float_survives_both_ways_to_the_last_bit(value: float) -> None:
    assert repr(float(over_the_wire(value))) == repr(value)
