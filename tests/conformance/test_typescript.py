"""TypeScript runs everywhere: types are blanked out, so that lines and columns stay, and what is more than a type is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_sandbox import SnippetError, SnippetExecutor

Run = Callable[..., Any]
Fail = Callable[..., SnippetError]

RUNS: dict[str, tuple[str, Any]] = {
    "annotations": ("const x: number = 1; let y: string | null; return x", 1),
    "interface": ("interface A { a: string } const a: A = { a: 'x' }; return a", {"a": "x"}),
    "type alias": ("type T = { a: number } | null; let t: T = null; return t", None),
    "generics": ("function f<T extends object>(x: T): T { return x } return f<{ a: number }>({ a: 1 })", {"a": 1}),
    "generic arrow": ("const f = <T,>(x: T) => x; return f(5)", 5),
    "as, satisfies and !": ("const x = { a: 1 } satisfies Record<string, number>; return (x as any).a! as number", 1),
    "as const": ("for (const x of [1, 2] as const) if (x === 2) return x", 2),
    "optional parameters": ("const f = (a?: number, ...rest: string[]): number => a ?? rest.length; return f(undefined, 'x')", 1),
    "this parameter and overloads": ("function f(a: number): void;\nfunction f(this: void, a: any) { return a } return f(1)", 1),
    "class members": (
        "abstract class A<T> { private readonly x: T; static #n?: number; abstract f(): void; constructor(x: T) { this.x = x }"
        " get v(): T { return this.x } } class B extends A<number> implements Object { override f(): void {} } return new B(4).v",
        4,
    ),
    "declare": ("declare const nowhere: number; return typeof nowhere", "undefined"),
    "arrow as a snippet": ("(a: number = 2): number => a * 2", 4),
    "async arrow as a snippet": ("async (x?: string): Promise<string> => x ?? 'none'", "none"),
    "anonymous function as a snippet": ("function (): number { return 7 }", 7),
    "async function as a snippet": ("async function named(): Promise<number> { return 8 }", 8),
    "comment first": ("// comment\n(x?: number) => 9", 9),
    "plain JavaScript": ("const a = { b: 1 < 2 ? 'x' : 'y' }; return a.b // c: string", "x"),
    "text like types": ("return `const x: ${'number' as string} = 1`", "const x: number = 1"),
    "a tool's result": ("const n: number = await codemode.add(1, 2); return n", 3),
}

REFUSED = {
    # code, then line, column and a part of the message
    "enum": ("enum E { A } return E.A", 1, 1, "enum"),
    "namespace": ("\nnamespace N { export const a = 1 }", 2, 1, "namespace"),
    "parameter property": ("class A { constructor(private x: number) {} }", 1, 31, "parameter property"),
    "angle brackets": ("return <number>6", 1, 8, "as"),
    "import": ("import type { A } from 'a'", 1, 1, "import"),
    "import equals": ("import a = require('x')", 1, 1, "import"),
    "missing type": ("\n\nconst x: = 1", 3, 10, "="),
    "missing value": ("\n  let y: number = ;", 2, 19, "xpression"),
    "break out of the wrapper": ("}); codemode.add(); (() => {", 1, 2, ""),
    "break out of the stripper's wrapper": ("} async function evil() { codemode.add()", 1, 1, ""),
}

TOOLS: dict[str, Callable[..., Any]] = {"add": lambda a, b: a + b}


@pytest.mark.parametrize("case", RUNS)
def test_types_are_blanked_out(run: Run, case: str) -> None:
    code, expected = RUNS[case]
    assert run(code, TOOLS, language="ts") == expected


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_more_than_a_type_is_a_syntax_error_with_its_place(fail: Fail, case: str) -> None:
    code, line, column, words = REFUSED[case]
    called: list[int] = []
    error = fail(code, {"add": lambda: called.append(1)}, language="ts")
    assert (error.kind, error.name) == ("syntax", "SyntaxError"), error
    assert words in error.message
    assert (error.line, error.column) == (line, column), error
    assert error.stack.splitlines()[-1].endswith(f"snippet.ts:{line}:{column}")
    assert called == []


@pytest.mark.difference("error-lines")
def test_lines_and_columns_are_the_snippets_own(fail: Fail) -> None:
    error = fail("interface A {\n  a: number\n}\nconst f = (a: A): never => { throw new Error('x') };\nf({ a: 1 })", language="ts")
    assert [line.strip() for line in error.stack.splitlines()[1:]] == ["at f (snippet.ts:4:36)", "at snippet.ts:5:1"]


def test_types_in_plain_javascript_are_a_syntax_error(fail: Fail) -> None:
    assert fail("const x: number = 1", language="js").kind == "syntax"


def test_both_languages_can_take_turns(executor: SnippetExecutor) -> None:
    for _ in range(2):
        assert executor.execute("return (1 as number)", language="ts").check().value == 1
        assert executor.execute("return 1 < 2").check().value is True


def test_a_long_source_is_stripped_in_no_time(executor: SnippetExecutor) -> None:
    result = executor.execute("let n: number = 0;\n" + "n = (n as number) + 1;\n" * 20_000 + "return n", language="ts", timeout=20)
    assert result.check().value == 20_000
