"""Nothing can be imported, from anywhere, in any way."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from pytest_sandbox import SnippetError, SnippetExecutor
from pytest_sandbox.snippets.runtimes import find_node

Run = Callable[..., Any]
Fail = Callable[..., SnippetError]

SPECIFIERS = [
    "node:fs", "fs", "node:process", "node:child_process", "node:worker_threads", "node:vm", "node:inspector", "data:text/javascript,export default 1",
    "data:application/json,1", "blob:null/x", "file:///etc/passwd", "/etc/passwd", "./realm.mjs", "../runners/execution.mjs", "https://example.com/x.js",
    "http://127.0.0.1/x.js", "npm:chalk", "jsr:@std/fs", "ext:core/mod.js", "ext:runtime/98_global_scope_shared.js", "isolated-vm", "vm2", "", "#x", "internal:x",
]  # fmt: skip


def test_no_import_succeeds(executor: SnippetExecutor) -> None:
    code = f"""
    const outcomes = {{}};
    const attempt = async specifier => import(specifier);
    for (const specifier of {json.dumps(SPECIFIERS)}) {{
      try {{ await attempt(specifier); outcomes[specifier] = 'imported' }}
      catch (error) {{ outcomes[specifier] = error instanceof Error && error.constructor.constructor === Function ? 'refused' : 'foreign' }}
    }}
    return outcomes;
    """
    assert executor.execute(code).check().value == dict.fromkeys(SPECIFIERS, "refused")


def test_an_import_that_works_elsewhere_is_refused_wherever_it_stands(executor: SnippetExecutor) -> None:
    code = """
    const refused = [];
    const refuse = async attempt => { try { await attempt(); refused.push('imported') } catch { refused.push('refused') } };
    await refuse(() => import('node:fs'));
    await refuse(async () => { await null; return import('node:fs') });
    await refuse(() => new Promise((done, fail) => setTimeout(async () => { try { done(await import('node:fs')) } catch (error) { fail(error) } }, 1)));
    await refuse(async () => { for await (const x of (async function* () { yield await import('node:fs') })()) return x });
    await refuse(() => [1].map(() => import('node:fs'))[0]);
    await refuse(() => import({ toString: () => 'node:fs' }));
    await refuse(() => (class { static f() { return import(`node:${'fs'}`) } }).f());
    return refused;
    """
    assert executor.execute(code).check().value == ["refused"] * 7
    node = find_node("isolated-vm")
    control = subprocess.run(
        [node.path, "-e", "import('node:fs').then(() => console.log('imported'))"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert control.stdout.strip() == "imported"


@pytest.mark.difference("import-throws")
def test_import_returns_a_promise_that_is_rejected(run: Run) -> None:
    assert run("const p = import('node:fs'); return [p instanceof Promise, await p.catch(error => error instanceof Error)]") == [
        True,
        True,
    ]


@pytest.mark.parametrize(
    "code",
    [
        "import fs from 'node:fs'",
        "import 'node:fs'",
        "export const a = 1",
        "return import.meta",
        "export * from 'x'",
        "import.meta.url",
    ],
)
def test_static_imports_are_syntax_errors(fail: Fail, code: str) -> None:
    assert fail(code).kind == "syntax"
