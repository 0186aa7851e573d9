"""The HTML report is one file of bounded size that loads nothing, and in which no text from a sandbox is more than text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from pytest_sandbox import ReportImpossible
from pytest_sandbox.guarantees.results import Audit
from pytest_sandbox.reports.html import MOST_BYTES, render_html
from pytest_sandbox.reports.model import Report, report_of
from pytest_sandbox.result import printable

LOADS = {"src", "srcset", "href", "action", "data", "poster", "background", "ping", "formaction", "cite", "xlink:href"}


class Page(HTMLParser):
    """What stands in a page."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: Counter[str] = Counter()
        self.words: list[str] = []
        self.comments: list[str] = []
        self._raw = ""
        self.feed(source)
        self.close()
        self.text = "".join(self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self._raw = tag if tag in ("script", "style") else ""
        for name, value in attrs:
            self.attributes[name] += 1
            if name == "id":
                self.ids.append(value or "")
            if name in LOADS:
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._raw = ""

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.words.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def _alike(text: str) -> str:
    return re.sub(r"\d+", "0", text)


def test_everything_of_an_audit_is_told(audit: Audit) -> None:
    page = Page(render_html(report_of(audit)))
    for executor in audit.executors:
        assert executor.name in page.text
        if executor.available:
            assert executor.info in page.text and executor.jail in page.text
        for fact in executor.facts:
            assert fact.value in page.text and fact.detail in page.text
        for guarantee in executor.guarantees:
            assert guarantee.meaning in page.text and guarantee.reason in page.text
            for probe in guarantee.probes:
                assert all(part in page.text for part in (probe.title, probe.id, probe.source))
                # Attacks that ended alike share a row, where their texts differ in numbers alone.
                assert all(_alike(part) in _alike(page.text) for part in (probe.attack, probe.observer))
                if probe.control is not None:
                    assert probe.control.runner in page.text and probe.control.evidence in page.text
                if probe.verdict in ("violated", "inconclusive") and guarantee.declared:
                    assert all(part in page.text for part in (probe.rerun, probe.reason, probe.witness, probe.attack))
            held = [probe.witness for probe in guarantee.probes if probe.verdict == "held"]
            assert f"such as: {held[0]}" in page.text
    assert "memory unlimited (default 268435456)" in page.text
    assert all(fact in page.text for fact in (audit.machine.kernel, audit.machine.engines[0], "8.0 GiB"))
    assert page.text.count("95th percentile") >= 1
    assert page.tags["svg"] > 20


def test_every_cell_leads_to_its_evidence_and_every_id_is_there_once(report: Report) -> None:
    page = Page(render_html(report))
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []
    missing = {link for link in page.links if link.removeprefix("#") not in page.ids}
    assert missing == set()


def test_a_run_alone_is_told_too(report: Report) -> None:
    assert report.run is not None
    page = Page(render_html(report_of(None, report.run)))
    for test in report.run.tests:
        assert test.id in page.text
    assert "deno 2.9.0" in page.text and "from --executor" in page.text and "memory unlimited" in page.text
    assert "AssertionError: assert None == 8" in page.text and "1 | return 1" in page.text
    assert "no node on PATH; install node" in page.text and "80.0 MiB" in page.text
    assert "#matrix" not in page.links


def test_nothing_is_loaded_from_anywhere(report: Report, hostile_everything: Report) -> None:
    for one in (report, hostile_everything):
        source = render_html(one)
        page = Page(source)
        assert [link for link in page.links if not link.startswith("#")] == []
        assert not {"img", "link", "iframe", "object", "embed", "base", "form action"} & set(page.tags)
        style = source.partition("<style>")[2].partition("</style>")[0]
        assert "url(" not in style and "@import" not in style and "@font-face" not in style
        assert "style" not in page.attributes, "the policy would refuse it"


def test_hostile_text_is_text(hostile_report: Report, hostile_text: str, report: Report) -> None:
    source = render_html(hostile_report)
    usual = Page(render_html(report))
    page = Page(source)
    assert (page.tags["script"], page.tags["style"], page.comments) == (1, 1, [])
    assert set(page.tags) <= set(usual.tags)
    assert set(page.attributes) <= set(usual.attributes)
    assert all(char in "\n\t" or char.isprintable() for char in source)
    assert not any(line.lstrip().startswith("::") for line in source.splitlines())
    first = printable(hostile_text.split("\n")[0])[:60].strip()
    assert " ".join(first.split()) in " ".join(page.text.split())


def test_a_policy_allows_nothing_but_the_script_and_style_of_the_page(report: Report) -> None:
    source = render_html(report)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', source)
    assert policy is not None
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/=]+'; script-src 'sha256-[\w+/=]+'; base-uri 'none'; form-action 'none'",
        policy[1].replace("&#39;", "'"),
    )


@pytest.mark.parametrize(("probes", "text"), [(8, 30), (8, 4000), (30, 400), (60, 50)])
def test_a_page_stays_small(huge_audit: Callable[..., Audit], probes: int, text: int) -> None:
    audit = huge_audit(probes, attack="a" * text, source="s" * text, witness="w" * text, observer="<" * text)
    page = render_html(report_of(audit))
    assert len(page.encode()) <= MOST_BYTES
    assert "network" in page and "memory-limit" in page
    if text > 100 or probes > 20:
        assert "the JSON report has all" in page


def test_an_audit_of_usual_size_is_shown_whole(huge_audit: Callable[..., Audit]) -> None:
    page = render_html(report_of(huge_audit(6)))
    assert len(page.encode()) <= MOST_BYTES
    assert "the JSON report has all" not in page


def test_without_the_template_engine_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ReportImpossible,
        match=r"Cannot write a report as HTML: jinja2 is not installed; install it with 'pip install \"pytest-sandbox\[report\]\"'",
    ):
        render_html(report_of())
