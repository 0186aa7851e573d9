"""The Markdown report: what GitHub makes of it shows all text as it is, and nothing else comes of it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from pytest_sandbox.guarantees.results import Audit
from pytest_sandbox.reports.markdown import MOST_CHARACTERS, render_markdown
from pytest_sandbox.reports.model import Report, report_of

ALLOWED = {"h2", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "pre", "details", "summary", "strong", "sub", "ul", "li"}


class Tags(HTMLParser):
    """The elements of a page, and what is no code in it."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.prose: list[str] = []
        self._inside = 0
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._inside += tag in ("code", "pre")

    def handle_endtag(self, tag: str) -> None:
        self._inside -= tag in ("code", "pre")

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if not self._inside:
            self.prose.append(data)


def rendered(source: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(source))


def test_it_tells_the_matrix_and_what_is_wrong(audit: Audit) -> None:
    source = render_markdown(report_of(audit))
    assert source.startswith("## ❌ Sandbox audit: 1 guarantee is violated\n")
    assert "| <code>network</code> | ✅ held | ✅ held | ✅ held | ✅ held | ✅ held | ✅ held | unavailable |" in source.replace(
        "🚫 ", ""
    )
    page = rendered(source)
    assert page.count("<tr>") == 1 + len({result.id for executor in audit.executors for result in executor.guarantees})
    assert "❌ violated: <code>memory-limit</code> on <code>vm2</code>" in page
    assert "⚠️ inconclusive: <code>cpu-limit</code> on <code>exec.docker</code>" in page
    text = html.unescape(page)
    assert "<code>pytest-sandbox audit --executor deno --probe memory-limit.p0</code>" in page
    assert "loosened: memory unlimited" in text and "no deno-canary on PATH; install it" in text and "Linux 6.18.0" in text


def test_it_tells_a_run(report: Report) -> None:
    text = html.unescape(rendered(render_markdown(report_of(None, report.run))))
    assert "❌ Sandboxed tests: 6 passed, 1 failed" in text
    assert "tests/test_agent.py::test_bad[deno]" in text and "AssertionError: assert None == 8" in text
    assert "from --executor" in text and "no node on PATH; install node" in text


def test_hostile_text_is_text(hostile_report: Report) -> None:
    source = render_markdown(hostile_report)
    page = Tags(rendered(source))
    assert page.tags <= ALLOWED, "a link, an image, or other markup came of a text"
    assert all(char == "\n" or char.isprintable() for char in source if char != "\ufe0f")
    assert re.search(r"</?(?!details|summary|code|pre|sub)\w", source) is None
    # What GitHub would look up in prose, and what a CI service would look for in any line.
    prose = "".join(page.prose)
    assert re.search(r"(?<![\w&])[@#]\w|GH-\d", prose) is None
    assert re.search(r"^\s*::|##\[", source, re.MULTILINE) is None
    assert re.search(r"https?://|www\.", re.sub(r"<pre>.*?</pre>", "", source, flags=re.DOTALL)) is None


def test_a_row_of_the_matrix_has_as_many_cells_as_the_head(hostile_report: Report) -> None:
    lines = render_markdown(hostile_report).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| Guarantee"))
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines[start : start + 3]} == {3}


@pytest.mark.parametrize("probes", [3, 40])
def test_it_fits_a_comment(huge_audit: Callable[..., Audit], report: Report, probes: int) -> None:
    audit = huge_audit(probes, attack="x" * 9000, source="|y" * 9000, observer="z" * 900)
    source = render_markdown(report_of(audit, report.run))
    assert len(source) <= MOST_CHARACTERS
    assert source.rstrip().endswith("</sub>")
    assert source.count("<details>") == source.count("</details>")
