"""Nonsense is refused early, by an error that names the argument and the value; odd sources are the snippet's error; both in no time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from pytest_sandbox import InvalidArgument, Limits, SnippetError, SnippetExecutor

MakeExecutor = Callable[..., SnippetExecutor]
Fail = Callable[..., SnippetError]


@pytest.mark.parametrize("code", [None, 1, b"return 1", ["return 1"], object()])
def test_a_source_that_is_no_string_is_refused(executor: SnippetExecutor, code: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"Cannot use code=.*expected a string") as caught:
        executor.execute(code)
    assert isinstance(caught.value, ValueError)
    assert executor.execute("return 1").check().value == 1


@pytest.mark.parametrize("name", ["timeout", "tool_timeout"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, -math.inf, "5", True, [1]])
def test_a_duration_that_makes_no_sense_is_refused(executor: SnippetExecutor, name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=rf"Cannot use {name}=.*seconds greater than 0"):
        executor.execute("return 1", **{name: value})


@pytest.mark.parametrize("language", ["python", "", None, "JS", 1])
def test_an_unknown_language_is_refused(executor: SnippetExecutor, language: Any) -> None:
    with pytest.raises(InvalidArgument, match=r'Cannot use language=.*"js" or "ts"'):
        executor.execute("return 1", language=language)


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ({"a": 1}, r"tools\['a'\]=1: expected a callable"),
        ({"": len}, "non-empty strings"),
        ({1: len}, "non-empty strings"),
        ({"then": len}, "a name other than"),
        ({"__proto__": len}, "a name other than"),
        ({"constructor": len}, "a name other than"),
        ({"toJSON": len}, "a name other than"),
        ({"\ud800": len}, "without lone surrogates"),
        ([len], "a mapping of names to callables"),
        ("len", "a mapping of names to callables"),
    ],
)
def test_tools_that_make_no_sense_are_refused(executor: SnippetExecutor, tools: Any, expected: str) -> None:
    with pytest.raises(InvalidArgument, match=expected):
        executor.execute("return 1", tools)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_runners": 0}, "max_runners=0: expected a whole number of runners, at least 1"),
        ({"max_runners": True}, "max_runners=True"),
        ({"max_runner": 1}, r'option max_runner=1: expected one of .*did you mean "max_runners"'),
        ({"nonsense": 1}, "option nonsense=1: expected one of"),
    ],
)
def test_options_that_make_no_sense_are_refused(make_executor: MakeExecutor, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidArgument, match=expected):
        make_executor(**options)


@pytest.mark.parametrize("field", ["timeout", "cpu_time", "memory", "result", "source", "processes"])
@pytest.mark.parametrize("value", [-1, 0, "1", True])
def test_limits_that_make_no_sense_are_refused(subject: object, field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=rf"Cannot use {field}="):
        Limits(**{field: value})


ODD_SOURCES = {
    "break out of the wrapper": "})(); throw new Error('evil'); (async () => {",
    "break out of a function": "return 1 }; throw new Error('evil'); async function x() {",
    "break out of parentheses": ") ; throw new Error('evil'); (",
    "close a comment": "*/ throw new Error('evil') /*",
    "unbalanced": "if (true) {",
    "import": "import fs from 'node:fs'",
    "import for its effects": "import 'node:fs'",
    "export": "export const a = 1",
    "import.meta": "return import.meta.url",
    "shebang": "#!/usr/bin/env node\nreturn 1",
    "NUL": "return 1 \0",
    "lone surrogate": "return 1 // \ud800",
    "return outside of a template": "`${",
    "super": "return super.x",
    "HTML comment that hides the rest": "return (<!-- 1",
    "reserved word": "return enum",
}


@pytest.mark.parametrize("code", ODD_SOURCES.values(), ids=ODD_SOURCES.keys())
def test_a_source_that_is_no_function_body_is_a_syntax_error(executor: SnippetExecutor, fail: Fail, code: str) -> None:
    error = fail(code, timeout=10)
    assert (error.kind, error.name) == ("syntax", "SyntaxError"), error
    assert "evil" not in error.message
    assert executor.execute("return 1").check().value == 1


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("\ufeffreturn 1", 1),
        ("return 'a\u2028b'.length", 3),
        ("return 1 // trailing", 1),
        ("return 1 /* trailing */", 1),
        ("return '\\0'.length", 1),
        ("'use strict'; return this === undefined", False),
        ("return 1\n--> a comment of the old web", 1),
    ],
)
def test_odd_but_legal_sources_run(executor: SnippetExecutor, code: str, value: object) -> None:
    result = executor.execute(code)
    if "use strict" in code:
        assert result.ok
    else:
        assert result.check().value == value


def test_a_source_past_its_limit_is_refused_by_name(make_executor: MakeExecutor) -> None:
    executor = make_executor(limits=Limits(source=1000))
    error = executor.execute("return 1 //" + "x" * 1000).error
    assert error is not None
    assert (error.kind, error.limit) == ("limit", "source")
    assert "1011" in error.message
    assert "1000" in error.message
    assert executor.execute("return 1").check().value == 1


def test_the_default_limit_of_a_source_is_four_mebibytes(executor: SnippetExecutor) -> None:
    most = 4 * 1024 * 1024
    fits = "return 1 //" + "x" * (most - 11)
    assert executor.execute(fits).check().value == 1
    error = executor.execute(fits + "x").error
    assert error is not None
    assert error.limit == "source"
    assert executor.execute("return '" + "y" * (most - 20) + "'.length").check().value == most - 20


def test_nesting_that_exhausts_a_parser_is_a_snippets_error(executor: SnippetExecutor, fail: Fail) -> None:
    for code in (
        "return " + "(" * 200_000 + ")" * 200_000,
        "return " + "[" * 100_000,
        "(" * 100_000,
        "return " + "-" * 2 + "1" + "+1" * 200_000,
    ):
        error = executor.execute(code, timeout=20).error
        assert error is None or error.kind in ("syntax", "runtime", "memory", "timeout", "crash"), error
        assert executor.execute("return 1").check().value == 1
