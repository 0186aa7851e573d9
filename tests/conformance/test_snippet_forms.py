"""What is a snippet: the body of an async function, or one function, which is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_sandbox import SnippetError, SnippetExecutor

Run = Callable[..., Any]
Fail = Callable[..., SnippetError]

BODIES = {
    "return": ("return 1 + 1", 2),
    "top-level await": ("const two = await Promise.resolve(2); return two", 2),
    "awaits what it returns": ("return Promise.resolve(3)", 3),
    "for await": ("for await (const x of [Promise.resolve(4)]) return x", 4),
    "declarations": ("function a() { return 1 } function b() { return a() + 1 } return b()", 2),
    "class declaration": ("class A { f() { return 5 } } return new A().f()", 5),
    "label": ("a: for (;;) { break a } return 6", 6),
    "comment first": ("// first\n/* second */ return 7", 7),
    "trailing line comment": ("return 8 // the end", 8),
    "source map comment": ("return 9\n//# sourceMappingURL=data:x", 9),
    "byte order mark": ("\ufeffreturn 10", 10),
    "line separator in a string": ("return 'a\u2028b'", "a\u2028b"),
    "line separator ends a comment": ("// comment\u2028return 11", 11),
    "carriage returns": ("const a = 5\r\nconst b = 7\rreturn a + b", 12),
    "nul in a string": ("return '\0'.length", 1),
    "astral characters": ("const 𝒳 = '😀'; return 𝒳", "😀"),
    "strict directive": ("'use strict'; return (function () { return this === undefined })()", True),
    "sloppy without directive": ("return (function () { return this === globalThis })()", True),
    "legacy octal": ("return 010", 8),
    "with": ("with ({ a: 1 }) return a", 1),
    "new.target is undefined": ("return new.target === undefined", True),
    "no arguments": ("return arguments.length", 0),
    "a function named async": ("const async = (x) => x * 2; return async(7)", 14),
    "parenthesis first": ("(() => 1)(); return 15", 15),
    "arrow first, more after": ("(() => 1); return 16", 16),
    "object in braces first": ("({ a: 1 }); return 17", 17),
    "semicolons": (";;return 18;;", 18),
    "hidden function constructor text": ("return '})(); evil(); (async () => {'", "})(); evil(); (async () => {"),
}

FUNCTIONS = {
    "arrow": "() => 1",
    "arrow with a block": "() => { return 1 }",
    "async arrow": "async () => 1",
    "async arrow that awaits": "async () => { await null; return 1 }",
    "arrow with a parameter": "x => x === undefined ? 1 : 0",
    "arrow with a destructured parameter": "({ a } = { a: 1 }) => a",
    "arrow named with a dollar": "$ => 1",
    "arrow with a unicode parameter": "π => 1",
    "function expression": "function () { return 1 }",
    "function declaration": "function named() { return 1 }",
    "async function declaration": "async function named() { return 1 }",
    "recursive declaration": "function f(n = 3) { return n === 1 ? 1 : f(n - 1) }",
    "parenthesised arrow": "(() => 1)",
    "parenthesised twice": "((async () => 1))",
    "parenthesised function": "(function () { return 1 })",
    "comments around": "// before\n/* and */ () => 1 // after\n/* the end */",
    "comments inside": "/**/(/**/async/**/(/**/)/**/=>/**/1/**/)/**/;/**/",
    "byte order mark": "\ufeff() => 1",
    "semicolon after": "() => 1;",
    "semicolons after": "() => 1;;",
    "newline before": "\n\n  () => 1\n",
    "not called as a constructor": "function f() { return new.target === undefined ? 1 : 0 }",
    "strict directive inside": "() => { 'use strict'; return 1 }",
    "a nested breakout text": "() => { const x = '})();'; return 1 }",
}

UNDEFINED = {
    "empty": "",
    "blank": " \t\r\n\u2028\ufeff",
    "only a comment": "// nothing",
    "only a block comment": "/* nothing */",
    "expression without return": "1 + 1",
    "call of an arrow": "(() => 1)()",
    "arrow and more": "() => 1; 5",
    "two arrows": "() => {}\n() => {}",
    "block": "{ a: 1 }",
    "class": "class A {}",
    "return without value": "return",
    "void arrow": "() => {}",
    "declaration and call": "function f() { return 1 } f()",
}

SYNTAX_ERRORS = {
    # text, then line and column of the error
    "missing expression": ("const x = ;", 1, 11),
    "third line": ("const a = 1;\n\n  const b = = 2;", 3, 13),
    "unclosed string": ("return 'abc", 1, 8),
    "unclosed brace": ("if (true) {\n  foo()", 2, 8),
    "unclosed template": ("return `abc", 1, 9),
    "closing brace too many": ("return 1\n}", 2, 1),
    "break out of the wrapper": ("})(); codemode.evil(); (async () => {", 1, 1),
    "break out of a function": ("return 1 }); codemode.evil(); (function () {", 1, 10),
    "break out of an arrow": ("() => 1 }); (() => {", 1, 9),
    "break out of parentheses": ("() => 1), codemode.evil(), (() => 2", 1, 8),
    "unclosed comment": ("return 1 /* comment", 1, 10),
    "import statement": ("import fs from 'fs'", 1, 1),
    "import statement later": ("const a = 1\nimport { b } from 'c'", 2, 1),
    "export": ("export default 1", 1, 1),
    "import.meta": ("return import.meta.url", 1, 8),
    "yield": ("yield 1", 1, 7),
    "shebang": ("#!/usr/bin/env node\nreturn 1", 1, 1),
    "nul": ("\0", 1, 1),
    "control character": ("return 1\n\x07", 2, 1),
    "declared twice": ("let x = 1; let x = 2", 1, 16),
    "const without value": ("const a;", 1, 8),
    "octal in strict mode": ("'use strict'; return 010", 1, 22),
    "delete of a name in strict mode": ("'use strict'; let x; delete x", 1, 22),
    "bad regular expression": ("return /(?<a>x/", 1, 9),
    "super outside of a method": ("return super.x", 1, 8),
    "break outside of a loop": ("if (1) { break }", 1, 10),
    "unknown label": ("for (;;) { continue nowhere }", 1, 12),
    "await as a name": ("let await = 1", 1, 5),
    "await in a plain function": ("function f() {\n  await 1\n}", 2, 9),
    "undeclared private name": ("class A { f() { return this.#x } }", 1, 29),
    "duplicate private name": ("class A { #x; #x }", 1, 15),
    "assignment to a literal": ("1 = x", 1, 1),
    "duplicate constructor": ("class A { constructor() {} constructor() {} }", 1, 28),
    "new line in an async arrow": ("async\n() => 1", 2, 4),
    "inside of a function without a name": ("async function () {\n  const x = ;\n}", 2, 13),
    "function without a name or an end": ("function () {\n  return 1", 2, 11),
    "more after a function without a name": ("function () { return 1 } foo", 1, 26),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_function_body_runs(run: Run, case: str) -> None:
    code, expected = BODIES[case]
    assert run(code) == expected


@pytest.mark.parametrize("case", FUNCTIONS)
def test_a_single_function_is_called(run: Run, case: str) -> None:
    assert run(FUNCTIONS[case]) == 1


@pytest.mark.parametrize("case", UNDEFINED)
def test_what_returns_nothing_is_undefined(executor: SnippetExecutor, case: str) -> None:
    result = executor.execute(UNDEFINED[case]).check()
    assert result.is_undefined
    assert result.value is None


def test_null_is_not_undefined(executor: SnippetExecutor) -> None:
    result = executor.execute("return null").check()
    assert not result.is_undefined
    assert result.value is None


@pytest.mark.parametrize("case", SYNTAX_ERRORS)
def test_a_syntax_error_tells_line_and_column(fail: Fail, case: str) -> None:
    code, line, column = SYNTAX_ERRORS[case]
    called: list[str] = []
    error = fail(code, {"evil": lambda: called.append("evil")})
    assert (error.kind, error.name) == ("syntax", "SyntaxError")
    assert error.message
    assert (error.line, error.column) == (line, column), error
    assert error.stack.splitlines()[-1].endswith(f"snippet.js:{line}:{column}")
    assert called == []


@pytest.mark.parametrize("code", ["function* g() { yield 1 }", "async function* g() { yield 1 }", "(function* () { yield 1 })"])
def test_a_generator_is_refused_as_a_value(fail: Fail, code: str) -> None:
    error = fail(code)
    assert (error.kind, error.name) == ("runtime", "TypeError")
    assert "iterator cannot cross" in error.message


def test_a_source_at_the_default_limit_runs(run: Run) -> None:
    code = "return 1 //"
    assert run(code + "x" * (4 * 2**20 - len(code))) == 1


def test_a_source_over_the_limit_is_refused(fail: Fail) -> None:
    code = "return 1 //"
    error = fail(code + "x" * (4 * 2**20 - len(code) + 1))
    assert (error.kind, error.limit) == ("limit", "source")
    assert "4194304" in error.message and "4194305" in error.message


def test_the_limit_of_a_source_counts_bytes(fail: Fail, run: Run) -> None:
    assert run("return '" + "é" * 2_000_000 + "'.length") == 2_000_000
    assert fail("return '" + "é" * 2_100_000 + "'.length").limit == "source"


def test_many_lines_keep_their_numbers(fail: Fail) -> None:
    assert fail("x = 1;\n" * 5_000 + "let y = ;").line == 5_001


def test_deep_nesting_of_source_is_an_error_and_no_crash(executor: SnippetExecutor, run: Run) -> None:
    for code in ("(" * 100_000, "[" * 100_000 + "]" * 100_000, "return " + "!" * 1_000_000 + "1", "if (1) {" * 50_000):
        result = executor.execute(code)
        assert result.error is not None
        assert result.error.kind in ("syntax", "runtime"), result
    assert run("return 2") == 2


def test_a_snippet_with_thousands_of_statements_runs(run: Run) -> None:
    assert run("let n = 0;\n" + "n += 1;\n" * 20_000 + "return n") == 20_000


def test_html_comments_are_comments_everywhere(run: Run) -> None:
    assert run("<!-- comment\nreturn 1\n--> comment") == 1


def test_nothing_is_run_of_a_snippet_that_cannot_be_parsed(executor: SnippetExecutor) -> None:
    result = executor.execute("console.log('ran');\nthis is no JavaScript")
    assert result.error is not None and result.error.kind == "syntax"
    assert result.logs == ()
