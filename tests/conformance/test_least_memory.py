"""A limit that no engine can work with is refused at once; with the least one that is accepted, ordinary snippets run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_sandbox import Limits, SnippetExecutor, UnsupportedLimit

MakeExecutor = Callable[..., SnippetExecutor]

ORDINARY = (
    ("js", "return 1+1"),
    ("ts", "const x: number = 2; return x"),
    ("js", "return new URL('http://a/b?c=2').host"),
    ("js", "return structuredClone(new Map([[1, [1, 2, 3]]])).size"),
    ("js", "console.log({ a: [1, 2] }); return new TextEncoder().encode('x'.repeat(1e5)).length"),
    ("js", "return JSON.stringify(Array.from({ length: 2e4 }, (_, i) => ({ i }))).length"),
)


def least(executor: SnippetExecutor) -> int:
    found = getattr(type(executor), "least_memory", 0)
    assert isinstance(found, int)
    return found


def test_a_limit_that_leaves_no_room_for_the_engine_is_refused_with_the_least_that_does(
    executor: SnippetExecutor, make_executor: MakeExecutor
) -> None:
    for memory in (1, least(executor) - 1):
        with pytest.raises(UnsupportedLimit, match=rf"memory={memory} .*set at least {least(executor)} bytes") as refused:
            make_executor(limits=Limits(memory=memory))
        assert (refused.value.limit, refused.value.value) == ("memory", memory)


def test_with_the_least_that_is_accepted_ordinary_snippets_run(executor: SnippetExecutor, make_executor: MakeExecutor) -> None:
    tight = make_executor(limits=Limits(memory=least(executor)), max_runners=1)
    for language, code in ORDINARY:
        tight.execute(code, language=language).check()  # type: ignore[arg-type]  # one of the two
