"""Values cross as values, both ways, or not at all: then the error names the path."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_sandbox import JSError, Limits, SnippetError, SnippetExecutor

Run = Callable[..., Any]
Fail = Callable[..., SnippetError]
MakeExecutor = Callable[..., SnippetExecutor]

PATIENCE = 20.0
MAX_SAFE = 2**53 - 1


def same(left: Any, right: Any) -> bool:
    """Whether two values are the same, type by type: 1 is not 1.0 and not True, -0.0 is not 0.0, NaN is NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return len(left) == len(right) and all(
            same(key, other) and same(left[key], right[other]) for key, other in zip(left, right, strict=True)
        )
    if isinstance(left, set):
        return sorted(map(typed, left)) == sorted(map(typed, right))
    return bool(left == right)


def typed(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"


# -- from JavaScript ----------------------------------------------------------------------------------------

RETURNS: dict[str, tuple[str, Any]] = {
    "null": ("null", None),
    "booleans": ("[true, false]", [True, False]),
    "zero": ("0", 0),
    "negative zero": ("-0", -0.0),
    "integral": ("1e3", 1000),
    "fraction": ("0.1", 0.1),
    "largest safe": ("2 ** 53 - 1", MAX_SAFE),
    "smallest safe": ("-(2 ** 53 - 1)", -MAX_SAFE),
    "above safe": ("2 ** 53", 2.0**53),
    "below safe": ("-(2 ** 53)", -(2.0**53)),
    "1e21": ("1e21", 1e21),
    "largest": ("Number.MAX_VALUE", 1.7976931348623157e308),
    "smallest": ("Number.MIN_VALUE", 5e-324),
    "infinities": ("[Infinity, -Infinity]", [math.inf, -math.inf]),
    "nan": ("NaN", math.nan),
    "bigint": ("2n ** 53n", 2**53),
    "small bigint": ("-5n", -5),
    "zero bigint": ("0n", 0),
    "large bigint": ("-(2n ** 4000n)", -(2**4000)),
    "empty string": ("''", ""),
    "text": ("'äöü € 😀 \\u2028 \\0 \"'", 'äöü € 😀 \u2028 \0 "'),
    "array": ("[1, [2, []]]", [1, [2, []]]),
    "sparse array": ("[, 1, , ]", [None, 1, None]),
    "array with undefined": ("[undefined, null]", [None, None]),
    "array with properties": ("Object.assign([1], { x: 2 })", [1]),
    "subclass of Array": ("new (class extends Array {})(1, 2)", [1, 2]),
    "object": ("{ a: { b: [null] } }", {"a": {"b": [None]}}),
    "object keeps its order": ("{ b: 1, a: 2, 10: 3, 9: 4 }", {"9": 4, "10": 3, "b": 1, "a": 2}),
    "undefined keys are absent": ("{ a: undefined, b: 1 }", {"b": 1}),
    "symbol keys are absent": ("{ [Symbol('a')]: 1, b: 2 }", {"b": 2}),
    "hidden keys are absent": ("Object.defineProperty({ a: 1 }, 'b', { value: 2 })", {"a": 1}),
    "inherited keys are absent": ("Object.create({ a: 1 }, { b: { value: 2, enumerable: true } })", {"b": 2}),
    "getters are read": ("{ get a() { return 1 } }", {"a": 1}),
    "a getter is read once": ("(() => { let n = 0; return { get a() { return n++ === 0 ? 'once' : () => 1 } } })()", {"a": "once"}),
    "null prototype": ("Object.assign(Object.create(null), { a: 1 })", {"a": 1}),
    "instance": ("new (class { x = 1; #y = 2; get z() { return 3 } f() {} })()", {"x": 1}),
    "__proto__ as a key": ('JSON.parse(\'{"__proto__": { "a": [1] }}\')', {"__proto__": {"a": [1]}}),
    "empty key": ("{ '': 1 }", {"": 1}),
    "dollar key": ("{ $: 1 }", {"$": 1}),
    "keys like tags": (
        "[{ $: 'u' }, { $: 'n', v: 'ff' }, { $: { $: 'd', v: 0 } }, { $: 'o', v: [] }]",
        [{"$": "u"}, {"$": "n", "v": "ff"}, {"$": {"$": "d", "v": 0}}, {"$": "o", "v": []}],
    ),
    "arguments": ("(function () { return arguments })(1, 2)", {"0": 1, "1": 2}),
    "date": ("new Date('2024-02-29T12:34:56.789Z')", datetime(2024, 2, 29, 12, 34, 56, 789_000, tzinfo=UTC)),
    "first date": ("new Date(-62135596800000)", datetime(1, 1, 1, tzinfo=UTC)),
    "last date": ("new Date(253402300799999)", datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
    "map": ("new Map([[1, 'a'], ['1', 'b'], [null, 'c']])", {1: "a", "1": "b", None: "c"}),
    "map of maps": ("new Map([['a', new Map([[0.5, new Set([1])]])]])", {"a": {0.5: {1}}}),
    "map with a bigint key": ("new Map([[2n ** 60n, 1]])", {2**60: 1}),
    "map with a bytes key": ("new Map([[new Uint8Array([1, 2]), 1]])", {b"\x01\x02": 1}),
    "map with a date key": ("new Map([[new Date(0), 1]])", {datetime(1970, 1, 1, tzinfo=UTC): 1}),
    "map with an undefined value": ("new Map([['a', undefined]])", {"a": None}),
    "empty map": ("new Map()", {}),
    "subclass of Map": ("new (class extends Map {})([['a', 1]])", {"a": 1}),
    "set": ("new Set(['a', 1, null])", {"a", 1, None}),
    "set of objects": ("new Set([{ a: 1 }, [2]])", [{"a": 1}, [2]]),
    "set of what Python takes for equal": ("new Set([1, true])", [1, True]),
    "empty set": ("new Set()", set()),
    "bytes": ("new Uint8Array([0, 127, 128, 255])", b"\x00\x7f\x80\xff"),
    "empty bytes": ("new Uint8Array()", b""),
    "view of a buffer": ("new Uint8Array(new Uint8Array([1, 2, 3, 4]).buffer, 1, 2)", b"\x02\x03"),
    "subclass of Uint8Array": ("new (class extends Uint8Array { get length() { return 1e9 } })([1, 2])", b"\x01\x02"),
    "every byte": ("Uint8Array.from({ length: 256 }, (_, i) => i)", bytes(range(256))),
    "shared parts": ("(() => { const a = [1]; return [a, a, { a }] })()", [[1], [1], {"a": [1]}]),
    "own toJSON is no call": ("{ toJSON: 5, a: 1 }", {"toJSON": 5, "a": 1}),
    "a Date with its own toJSON": (
        "Object.defineProperties(new Date(0), { toJSON: { value() { throw 1 } }, getTime: { value() { throw 1 } } })",
        datetime(1970, 1, 1, tzinfo=UTC),
    ),
    "a Map that lies": (
        "Object.defineProperties(new Map([['a', 1]]), { forEach: { value() { throw 1 } }, size: { value: 99 } })",
        {"a": 1},
    ),
    "inherited toJSON is no call": ("Object.create({ toJSON() { throw 1 } }, { a: { value: 1, enumerable: true } })", {"a": 1}),
    "a promise": ("Promise.resolve([1])", [1]),
    "a thenable": ("{ then(resolve) { resolve([1]) } }", [1]),
}


@pytest.mark.parametrize("case", RETURNS)
def test_a_returned_value_arrives(run: Run, case: str) -> None:
    expression, expected = RETURNS[case]
    value = run(f"return ({expression})")
    assert same(value, expected), value


def test_undefined_at_the_top_is_told_from_null(executor: SnippetExecutor) -> None:
    assert executor.execute("return undefined").check().is_undefined
    assert not executor.execute("return null").check().is_undefined
    assert not executor.execute("return [undefined]").check().is_undefined


PROXIES: dict[str, tuple[str, Any]] = {
    "of an array": ("new Proxy([1, 2], {})", [1, 2]),
    "of an object": ("new Proxy({ a: 1 }, {})", {"a": 1}),
    "that answers itself": ("new Proxy([], { get: (target, key) => (key === 'length' ? 2 : key) })", ["0", "1"]),
    "that hides a key": (
        "new Proxy({ a: 1, b: 2 }, { ownKeys: () => ['b'] })",
        {"b": 2},
    ),
    "inside": ("{ list: [new Proxy({ a: [] }, {})] }", {"list": [{"a": []}]}),
}


@pytest.mark.difference("no-proxy")
@pytest.mark.parametrize("case", PROXIES)
def test_a_proxy_crosses_as_what_it_pretends_to_be(run: Run, case: str) -> None:
    expression, expected = PROXIES[case]
    assert same(run(f"return ({expression})"), expected)


ERRORS_AS_VALUES: dict[str, tuple[str, JSError]] = {
    "error": ("new TypeError('a')", JSError("TypeError", "a")),
    "with a cause": ("new Error('a', { cause: { b: [1n] } })", JSError("Error", "a", cause={"b": [1]})),
    "with an error as its cause": (
        "new Error('a', { cause: new RangeError('b') })",
        JSError("Error", "a", cause=JSError("RangeError", "b")),
    ),
    "subclass": ("new (class Mine extends Error { name = 'Mine' })('a')", JSError("Mine", "a")),
    "aggregate": ("new AggregateError([1], 'a')", JSError("AggregateError", "a")),
    "lone surrogate": ("new Error('\\ud800')", JSError("Error", "\ufffd")),
    "message that throws": ("Object.defineProperty(new Error('a'), 'message', { get() { throw 1 } })", JSError("Error", "")),
}


def without_stacks(value: Any) -> Any:
    if isinstance(value, JSError):
        return JSError(value.name, value.message, cause=without_stacks(value.cause))
    return value


@pytest.mark.parametrize("case", ERRORS_AS_VALUES)
def test_an_error_crosses_as_a_value(run: Run, case: str) -> None:
    expression, expected = ERRORS_AS_VALUES[case]
    value = run(f"return {{ error: {expression} }}")["error"]
    assert without_stacks(value) == expected
    assert "realm.js" not in value.stack


@pytest.mark.difference("error-lines")
def test_the_stack_of_an_error_as_a_value_has_the_snippets_own_lines(run: Run) -> None:
    value = run("\nfunction f() { return new Error('a') }\nreturn f()")
    assert [line.strip() for line in value.stack.splitlines()] == ["Error: a", "at f (snippet.js:2:23)", "at snippet.js:3:8"]


# -- to JavaScript ------------------------------------------------------------------------------------------


class Text(str):
    """A subclass, to be taken for what it is."""


class Number(int):
    """A subclass, to be taken for what it is."""


ARGUMENTS: dict[str, tuple[Any, str]] = {
    "none": (None, "v === null"),
    "true": (True, "v === true"),
    "int": (5, "v === 5"),
    "largest safe": (MAX_SAFE, "v === Number.MAX_SAFE_INTEGER"),
    "above safe": (MAX_SAFE + 1, "v === 2n ** 53n"),
    "below safe": (-MAX_SAFE - 1, "v === -(2n ** 53n)"),
    "large": (-(10**400), "v === -(10n ** 400n)"),
    "float": (0.1, "v === 0.1"),
    "integral float": (3.0, "v === 3"),
    "large float": (1e300, "v === 1e300"),
    "negative zero": (-0.0, "Object.is(v, -0)"),
    "nan": (math.nan, "Number.isNaN(v)"),
    "infinities": ([math.inf, -math.inf], "v[0] === Infinity && v[1] === -Infinity"),
    "text": ('😀\u2028\0"\\', "v === '😀\\u2028\\0\"\\\\'"),
    "list": ([1, [2]], "Array.isArray(v) && v.constructor === Array && v[1][0] === 2"),
    "tuple": ((1, 2), "Array.isArray(v) && v.length === 2"),
    "dict": ({"a": {"b": 1}}, "Object.getPrototypeOf(v) === Object.prototype && v.a.b === 1"),
    "dict keeps its order": ({"b": 1, "a": 2}, "Object.keys(v).join() === 'b,a'"),
    "empty dict": ({}, "Object.getPrototypeOf(v) === Object.prototype"),
    "dict with other keys": ({1: "a", "b": 2}, "v instanceof Map && v.get(1) === 'a' && v.get('b') === 2"),
    "dict with none": ({None: 1}, "v instanceof Map && v.get(null) === 1"),
    "dict with a tuple": ({(1, 2): 3}, "v instanceof Map && [...v.keys()][0][1] === 2"),
    "dollar keys": ({"$": 1, "v": 2}, "v.$ === 1 && v.v === 2"),
    "a dict like a tag": ({"$": "n", "v": "ff"}, "v.$ === 'n' && v.v === 'ff'"),
    "__proto__": (
        {"__proto__": {"a": 1}},
        "Object.keys(v)[0] === '__proto__' && v.a === undefined && Object.getPrototypeOf(v) === Object.prototype",
    ),
    "__proto__ and dollar": (
        {"$": 1, "__proto__": [2]},
        "Object.keys(v).length === 2 && Object.getPrototypeOf(v) === Object.prototype",
    ),
    "nested in __proto__": ({"__proto__": {"x": 2**60}}, "Object.getOwnPropertyDescriptor(v, '__proto__').value.x === 2n ** 60n"),
    "names of methods": ({"then": 1, "toJSON": 2, "constructor": 3}, "v.then === 1 && v.toJSON === 2 && v.constructor === 3"),
    "set": ({1, "a"}, "v instanceof Set && v.size === 2 && v.has(1) && v.has('a')"),
    "frozenset": (frozenset([1]), "v instanceof Set && v.has(1)"),
    "bytes": (b"\x00\xff", "v.constructor === Uint8Array && v.length === 2 && v[1] === 255"),
    "bytearray": (bytearray(b"ab"), "v instanceof Uint8Array && v[0] === 97"),
    "memoryview": (memoryview(b"ab"), "v instanceof Uint8Array && v[1] === 98"),
    "empty bytes": (b"", "v instanceof Uint8Array && v.length === 0"),
    "date": (
        datetime(2024, 2, 29, 12, 0, 0, 5_000, tzinfo=UTC),
        "v instanceof Date && v.toISOString() === '2024-02-29T12:00:00.005Z'",
    ),
    "date elsewhere": (
        datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
        "v.toISOString() === '2024-01-01T00:00:00.000Z'",
    ),
    "first date": (datetime.min.replace(tzinfo=UTC), "v.getTime() === -62135596800000"),
    "last date": (datetime.max.replace(tzinfo=UTC), "v.getTime() === 253402300799999"),
    "microseconds are cut": (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "v.getTime() === -1"),
    "error": (JSError("Mine", "a", cause=5), "v instanceof Error && v.name === 'Mine' && v.message === 'a' && v.cause === 5"),
    "error without cause": (JSError("Mine", "a"), "!('cause' in v) && String(v) === 'Mine: a' && Object.keys(v).length === 0"),
    "subclasses": ([Text("a"), Number(5)], "v[0] === 'a' && v[1] === 5"),
    "values are mutable": ([[1], {"a": 1}], "(v[0].push(2), v[1].b = 3, Object.isExtensible(v))"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_what_a_tool_returns_arrives(run: Run, case: str) -> None:
    value, check = ARGUMENTS[case]
    assert run(f"const v = await codemode.get(); return {check}", {"get": lambda: value}) is True


# -- round trips --------------------------------------------------------------------------------------------


class Echo:
    """A snippet that sends back what it is sent, for as long as it is asked."""

    CODE = """
    for (;;) {
      const { value, last } = await codemode.next();
      if (last) return 'done';
      await codemode.back(value);
    }
    """

    def __init__(self, executor: SnippetExecutor) -> None:
        self._to: queue.Queue[dict[str, Any]] = queue.Queue()
        self._back: queue.Queue[Any] = queue.Queue()
        self._thread = threading.Thread(target=self._run, args=(executor,), daemon=True)
        self._thread.start()

    def _run(self, executor: SnippetExecutor) -> None:
        tools: dict[str, Callable[..., Any]] = {"next": lambda: self._to.get(timeout=PATIENCE), "back": self._back.put}
        result = executor.execute(self.CODE, tools, timeout=60)
        self._back.put(result)

    def __call__(self, value: Any) -> Any:
        self._to.put({"value": value, "last": False})
        return self._back.get(timeout=PATIENCE)

    def close(self) -> None:
        """End the snippet, which must have been all right to the end."""
        self._to.put({"last": True})
        assert self._back.get(timeout=PATIENCE).check().value == "done"
        self._thread.join(PATIENCE)


@pytest.fixture
def echo(executor: SnippetExecutor) -> Iterator[Echo]:
    echo = Echo(executor)
    yield echo
    echo.close()


def texts(max_size: int = 20) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=max_size)


# 1, 1.0 and True are one key in Python, and None is what undefined becomes: keys are of kinds that stay apart.
keys = st.one_of(
    texts(5), st.integers(2, 2**70), st.floats(allow_nan=False).filter(lambda x: not x.is_integer()), st.binary(max_size=4)
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-MAX_SAFE - 3, MAX_SAFE + 3),
    st.integers(),
    st.integers(-(2**300), 2**300),
    st.floats().map(lambda x: int(x) if x.is_integer() and abs(x) <= MAX_SAFE and repr(x) != "-0.0" else x),
    texts(),
    st.binary(max_size=40),
    st.datetimes(timezones=st.just(UTC)).map(lambda when: when.replace(microsecond=when.microsecond // 1000 * 1000)),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(texts(5), inner, max_size=5),
        st.dictionaries(
            st.sampled_from(["$", "v", "__proto__", "constructor", "then", "toJSON", "length", "0", ""]), inner, max_size=5
        ),
        st.dictionaries(keys, inner, max_size=5),
        st.sets(st.one_of(texts(5), st.integers(2, 2**70), st.binary(max_size=4)), max_size=5),
    ),
    max_leaves=20,
)


def sorted_like_javascript(value: Any) -> Any:
    """Return the value with dict keys in the order that JavaScript gives them: array indices first."""
    if isinstance(value, list):
        return [sorted_like_javascript(item) for item in value]
    if isinstance(value, dict):
        items = {key: sorted_like_javascript(item) for key, item in value.items()}
        if all(isinstance(key, str) for key in items):
            indices = sorted((key for key in items if is_index(key)), key=int)
            return {key: items[key] for key in [*indices, *(key for key in items if not is_index(key))]}
        return items
    return value


def is_index(key: str) -> bool:
    return key.isascii() and key.isdecimal() and str(int(key)) == key and int(key) < 2**32 - 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(value=values)
def test_any_value_survives_the_way_there_and_back(echo: Echo, value: Any) -> None:
    assert same(echo(value), sorted_like_javascript(value))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.floats(allow_nan=True))
def test_any_number_survives_the_way_there_and_back(echo: Echo, number: float) -> None:
    expected: float = int(number) if number.is_integer() and abs(number) <= MAX_SAFE and repr(number) != "-0.0" else number
    assert same(echo(number), expected)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batch=st.lists(values, min_size=1, max_size=20))
def test_any_returned_value_survives(executor: SnippetExecutor, batch: list[Any]) -> None:
    value = executor.execute("return codemode.get()", {"get": lambda: batch}).check().value
    assert same(value, sorted_like_javascript(batch))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 255, 256, 6143, 6144, 6145, 65_537, 1_000_003])
def test_bytes_of_every_size_survive(echo: Echo, size: int) -> None:
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    assert echo(data) == data


def test_the_deepest_value_survives(run: Run, echo: Echo) -> None:
    value: Any = []
    for _ in range(97):
        value = [value]
    # With the object around it, and the argument list, these are a hundred levels.
    assert echo(value) == value


def test_a_number_of_more_digits_than_python_prints_survives(executor: SnippetExecutor) -> None:
    huge = 2**20_000
    result = executor.execute("return [2n ** 20000n, await codemode.get()]", {"get": lambda: {huge: huge}}).check()
    assert result.value == [huge, {huge: huge}]
    assert "that cannot be shown" in repr(result)


# -- refusals -----------------------------------------------------------------------------------------------

REFUSED = {
    "function": ("() => 1", "value: a function cannot cross"),
    "function inside": ("{ a: [1, 2, { b() {} }] }", "value.a[2].b: a function cannot cross"),
    "class": ("class {}", "value: a function cannot cross"),
    "a method named toJSON": ("{ toJSON() { return 1 } }", "value.toJSON: a function cannot cross"),
    "symbol": ("Symbol('x')", "value: a symbol cannot cross"),
    "awkward key": ("{ 'a-b': [Symbol()] }", 'value["a-b"][0]: a symbol cannot cross'),
    "key of many characters": ("{ ['k'.repeat(1000) + '!']: Symbol() }", f'value["{"k" * 40}"]: a symbol cannot cross'),
    "value of a map": ("new Map([['k', () => 1]])", 'value.get("k"): a function cannot cross'),
    "key of a map": ("new Map([['a', 1], [() => 1, 1]])", "value key 1: a function cannot cross"),
    "member of a set": ("new Set([1, Symbol()])", "value member 1: a symbol cannot cross"),
    "far inside": (
        "{ a: new Map([['k', { b: new Set([[Symbol()]]) }]]) }",
        'value.a.get("k").b member 0[0]: a symbol cannot cross',
    ),
    "cause": ("new Error('x', { cause: { f() {} } })", "value.cause.f: a function cannot cross"),
    "cycle of arrays": ("(() => { const a = []; a.push(a); return a })()", "value[0]: it contains itself; a cycle cannot cross"),
    "cycle through a map": (
        "(() => { const m = new Map(); m.set('x', { m }); return m })()",
        'value.get("x").m: it contains itself',
    ),
    "cycle through a set": ("(() => { const s = new Set(); s.add([s]); return s })()", "value member 0[0]: it contains itself"),
    "cycle of causes": ("(() => { const e = new Error(); e.cause = e; return e })()", "value.cause: it contains itself"),
    "lone surrogate": ("'\\ud800'", "value: a string with a lone surrogate cannot cross"),
    "lone surrogate inside": ("{ a: 'x\\udc00x' }", "value.a: a string with a lone surrogate cannot cross"),
    "lone surrogate in a key": ("{ '\\ud800': 1 }", 'value["\\ud800"]: a string with a lone surrogate cannot cross'),
    "invalid date": ("{ when: new Date(NaN) }", "value.when: an invalid Date cannot cross"),
    "date too late": (
        "{ when: new Date(253402300800000) }",
        "value.when: a Date outside the years 1 to 9999 has no counterpart in Python",
    ),
    "date too early": ("new Date(-62135596800001)", "value: a Date outside the years 1 to 9999 has no counterpart in Python"),
    "first date of JavaScript": ("new Date(-8.64e15)", "value: a Date outside the years 1 to 9999 has no counterpart in Python"),
    "map with object keys": (
        "new Map([['a', 1], [{}, 1]])",
        "value key 1: a dict cannot be a key in Python; use strings or numbers as Map keys",
    ),
    "map with array keys": ("[new Map([[[1], 1]])]", "value[0] key 0: a list cannot be a key in Python"),
    "map with keys that Python takes for equal": (
        "new Map([[1, 'a'], [true, 'b']])",
        "value key 1: it equals an earlier key in Python (True); use keys of one type",
    ),
    "map with null and undefined": (
        "new Map([[null, 1], [undefined, 2]])",
        "value key 1: it equals an earlier key in Python (None)",
    ),
    "buffer": ("new ArrayBuffer(1)", "value: an ArrayBuffer cannot cross; wrap it in a Uint8Array"),
    "other typed array": ("{ a: new Uint16Array(1) }", "value.a: a Uint16Array cannot cross; use an array or a Uint8Array"),
    "view": ("new DataView(new ArrayBuffer(1))", "value: a DataView cannot cross; pass a Uint8Array"),
    "regexp": ("[/x/]", "value[0]: a RegExp cannot cross; pass its source"),
    "promise inside": ("{ p: Promise.resolve(1) }", "value.p: a Promise cannot cross; await it first"),
    "weak map": ("new WeakMap()", "value: a WeakMap cannot cross"),
    "weak set": ("[new WeakSet()]", "value[0]: a WeakSet cannot cross"),
    "iterator": ("[1].values()", "value: an iterator cannot cross; spread it into an array"),
    "generator": ("(function* () {})()", "value: an iterator cannot cross"),
    "async generator": ("(async function* () {})()", "value: an async iterator cannot cross; collect its values in an array"),
    "number object": ("new Number(1)", "value: a Number object cannot cross; pass the number itself"),
    "string object": ("new String('x')", "value: a String object cannot cross; pass the string itself"),
    "boolean object": ("new Boolean(true)", "value: a Boolean object cannot cross; pass the boolean itself"),
    "bigint object": ("Object(1n)", "value: a BigInt object cannot cross; pass the bigint itself"),
    "symbol object": ("Object(Symbol())", "value: a Symbol object cannot cross"),
    "url": ("new URL('http://a')", "value: a URL cannot cross; turn it into a string first"),
    "pretended map": (
        "Object.create(Map.prototype)",
        "value: what only inherits from Map.prototype cannot cross; make it with new Map()",
    ),
    "pretended set": ("[Object.create(Set.prototype)]", "value[0]: what only inherits from Set.prototype cannot cross"),
    "pretended date": ("Object.create(Date.prototype)", "value: what only inherits from Date.prototype cannot cross"),
    "too deep": (
        "(() => { let o = {}; for (let i = 0; i < 100; i++) o = { a: o }; return o })()",
        f"value{'.a' * 100}: it is nested deeper than 100 levels",
    ),
    "far too deep": (
        "(() => { let o = []; for (let i = 0; i < 1e5; i++) o = [o]; return o })()",
        f"value{'[0]' * 100}: it is nested deeper than 100 levels",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_value_is_an_error_that_names_the_path(fail: Fail, case: str) -> None:
    expression, message = REFUSED[case]
    error = fail(f"return ({expression})")
    assert (error.kind, error.name) == ("runtime", "TypeError")
    assert error.message.startswith(f"Cannot return {message}"), error.message


def test_a_value_of_a_hundred_levels_is_returned(run: Run) -> None:
    value = run("let o = {}; for (let i = 0; i < 99; i++) o = { a: o }; return o")
    for _ in range(99):
        value = value["a"]
    assert value == {}


HOSTILE = {
    "getter that throws": ("{ get a() { throw new RangeError('mine') } }", "RangeError", "mine"),
    "getter inside that throws": ("[{ b: { get a() { throw new RangeError('mine') } } }]", "RangeError", "mine"),
    "then that throws": ("{ get then() { throw new RangeError('mine') } }", "RangeError", "mine"),
    "cause that throws": (
        "Object.defineProperty(new Error('a'), 'cause', { get() { throw new RangeError('mine') } })",
        "RangeError",
        "mine",
    ),
    "getter that throws text": ("{ get a() { throw 'mine' } }", "Error", "mine"),
    "getter of a list": ("Object.defineProperty([1], 0, { get() { throw new RangeError('mine') } })", "RangeError", "mine"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_a_value_throws_while_it_is_read_is_the_snippets_error(fail: Fail, case: str) -> None:
    expression, name, message = HOSTILE[case]
    error = fail(f"return ({expression})")
    assert (error.kind, error.name, error.message) == ("runtime", name, message)


HOSTILE_PROXIES = {
    "keys that throw": "new Proxy({}, { ownKeys() { throw new RangeError('mine') } })",
    "a value that throws": "new Proxy({ a: 1 }, { get(t, k) { if (k === 'then') return undefined; throw new RangeError('mine') } })",
    "a prototype that throws": "new Proxy({}, { getPrototypeOf() { throw new RangeError('mine') } })",
    "descriptors that throw": "new Proxy({ a: 1 }, { getOwnPropertyDescriptor() { throw new RangeError('mine') } })",
    "a length that throws": "new Proxy([], { get(t, k) { if (k === 'then') return undefined; throw new RangeError('mine') } })",
}


@pytest.mark.difference("no-proxy")
@pytest.mark.parametrize("case", HOSTILE_PROXIES)
def test_what_a_proxy_throws_while_it_is_read_is_the_snippets_error(fail: Fail, case: str) -> None:
    error = fail(f"return ({HOSTILE_PROXIES[case]})")
    assert (error.kind, error.name, error.message) == ("runtime", "RangeError", "mine")


@pytest.mark.difference("no-proxy")
def test_a_proxy_that_changes_on_every_read_gives_something_or_an_error(executor: SnippetExecutor, run: Run) -> None:
    code = """
    console.log(typeof new Proxy({}, {}));
    let reads = 0;
    const shapes = [1, 'x', () => 1, Symbol(), null, [], {}, new Map(), 5n, undefined];
    return new Proxy([], { get: (t, k) => (k === 'then' ? undefined : k === 'length' ? 3 + (reads++ % 3) : shapes[reads++ % 3]) });
    """
    result = executor.execute(code, timeout=5)
    assert result.ok or (result.error is not None and result.error.kind == "runtime")
    assert [entry.text for entry in result.logs] == ["object"]
    assert run("return 2") == 2


@pytest.mark.difference("no-proxy")
def test_an_endless_list_is_too_large(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(result=100_000))
    result = executor.execute(
        "let n = 0; return new Proxy([], { get: (t, k) => (k === 'then' ? undefined : k === 'length' ? ++n + 10 : 1) })", timeout=10
    )
    assert result.error is not None and (result.error.kind, result.error.limit) == ("limit", "result")


# -- sizes --------------------------------------------------------------------------------------------------

TOO_LARGE = {
    "string": "'x'.repeat(2000)",
    "key": "{ ['x'.repeat(2000)]: 1 }",
    "array": "new Array(1e9)",
    "many keys": "Object.fromEntries(Array.from({ length: 200 }, (_, i) => ['key' + i, i]))",
    "bytes": "new Uint8Array(1e6)",
    "bigint": "2n ** 80000n",
    "map": "new Map(Array.from({ length: 200 }, (_, i) => ['key' + i, i]))",
    "set": "new Set(Array.from({ length: 400 }, (_, i) => i))",
    "shared parts": "(() => { let o = ['xxxxxxxx']; for (let i = 0; i < 60; i++) o = [o, o]; return o })()",
    "control characters": "'\\0'.repeat(200)",
    "error": "new Error('x'.repeat(2000))",
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_a_value_over_the_limit_is_refused(workshop: Any, subject: Any, case: str) -> None:
    executor = small(workshop, subject)
    result = executor.execute(f"return ({TOO_LARGE[case]})", timeout=10)
    assert result.error is not None
    assert (result.error.kind, result.error.limit) == ("limit", "result"), result
    assert "1000 bytes" in result.error.message and "Cannot return value" in result.error.message


def test_a_value_at_the_limit_is_returned(workshop: Any, subject: Any) -> None:
    executor = small(workshop, subject)
    assert executor.execute("return 'x'.repeat(998)").check().value == "x" * 998
    assert executor.execute("return 'x'.repeat(999)").error is not None


def small(workshop: Any, subject: Any) -> SnippetExecutor:
    """Return an executor with a result limit of 1000 bytes, which all tests share."""
    executor: SnippetExecutor = workshop.shared(subject, limits=Limits(result=1000))
    return executor


LARGE: dict[str, tuple[str, Any]] = {
    "text": ("'x'.repeat(16 * 2 ** 20 - 2)", "x" * (16 * 2**20 - 2)),
    "bytes": ("new Uint8Array(12 * 2 ** 20 - 64)", bytes(12 * 2**20 - 64)),
    "control characters": ("'\\u0001'.repeat(2.5 * 2 ** 20)", "\x01" * int(2.5 * 2**20)),
    "wide characters": ("'€'.repeat(5 * 2 ** 20)", "€" * (5 * 2**20)),
    "a list of numbers": ("Array.from({ length: 1e6 }, (_, i) => i)", list(range(1_000_000))),
}


@pytest.mark.parametrize("case", LARGE)
def test_a_value_just_under_the_default_limit_is_returned(workshop: Any, subject: Any, case: str) -> None:
    # A runner that serves one large value after the other needs memory for those that it has not yet forgotten.
    executor = workshop.shared(subject, limits=Limits(memory=512 * 2**20))
    expression, expected = LARGE[case]
    assert executor.execute(f"return {expression}").check().value == expected
