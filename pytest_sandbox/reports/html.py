"""The HTML report: one file, without any request, that can be read without scripts."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from pytest_sandbox.errors import ReportImpossible
from pytest_sandbox.guarantees.results import ExecutorAudit
from pytest_sandbox.reports import text
from pytest_sandbox.reports.model import Report, Spent, TestResult
from pytest_sandbox.reports.plots import charts
from pytest_sandbox.reports.summary import headline, tally
from pytest_sandbox.reports.view import Column, families
from pytest_sandbox.result import printable

if TYPE_CHECKING:
    import jinja2

__all__ = ["MOST_BYTES", "check_html", "render_html"]

MOST_BYTES: Final = 500_000
_FAILURES: Final = 30
_SPENT: Final = 200


_COMMENT_OR_INDENT: Final = re.compile(r"/\*.*?\*/\n|^ +", re.MULTILINE)


@dataclass(frozen=True)
class Caps:
    """How much of each text is shown.

    Attributes:
        evidence: characters of a witness, an answer, or what an observer saw.
        source: characters of a snippet, or of what a failing test shows.
        undeclared: whether attacks on what is not promised show their words, too.
        observers: whether attacks that were kept out show what the host saw.
        held: whether attacks that were kept out show their words, too.
        worst: the same as evidence, of what was violated or is inconclusive.
        tables: whether the attacks behind a cell are listed at all.
        failures: how many failing tests are shown.
        spent: how many rows of what tests used are shown.
    """

    evidence: int
    source: int
    undeclared: bool = True
    observers: bool = True
    held: bool = True
    worst: int = 600
    tables: bool = True
    failures: int = _FAILURES
    spent: int = _SPENT


_LEVELS: Final = (
    Caps(600, 4000),
    Caps(300, 3000),
    Caps(200, 2000, undeclared=False),
    Caps(140, 1600, undeclared=False),
    Caps(110, 1200, undeclared=False),
    Caps(80, 800, undeclared=False),
    Caps(110, 1000, undeclared=False, observers=False),
    Caps(80, 600, undeclared=False, observers=False, worst=300),
    Caps(60, 500, undeclared=False, held=False, worst=160, failures=15, spent=100),
    Caps(40, 80, undeclared=False, held=False, worst=80, failures=3, spent=10),
    Caps(40, 40, undeclared=False, held=False, worst=40, tables=False, failures=1, spent=1),
)
"""From what is shown in a page of usual size to what is left of a huge one."""


def check_html() -> None:
    """Find out whether HTML can be written here.

    Raises:
        ReportImpossible: when the template engine is not installed.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise ReportImpossible("HTML", "jinja2 is not installed", "install it with 'pip install \"pytest-sandbox[report]\"'")


def render_html(report: Report) -> str:
    """Return a report as one page of at most `MOST_BYTES`.

    Raises:
        ReportImpossible: when the template engine is not installed.
    """
    check_html()
    template = _environment().get_template("report.html.jinja")
    context = _context(report)

    @cache
    def page(level: int) -> str:
        caps = _LEVELS[level]
        return template.render(**context, **_bounded(report, caps), level=level, caps=caps)

    def is_too_large(level: int) -> bool:
        return len(page(level).encode()) > MOST_BYTES

    if not is_too_large(0):
        return page(0)
    last = len(_LEVELS) - 1
    return page(bisect_left(range(last), True, 1, key=lambda level: not is_too_large(level)))


def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        # For attributes: escaped with its quotes by the engine.
        "attr": lambda value: text.inline(str(value), 200),
        "block": lambda value, most: _text(printable(text.cut(value, most))),
        "loosened": loosened,
        "one": lambda value, most=1000: _text(text.inline(str(value), most)),
        "plural": text.plural,
        "seconds": text.seconds,
        "size": text.size,
        "more": lambda texts: f" (and {len(texts) - 1} that differ in numbers)" if len(texts) > 1 else "",
        "took": lambda probes: text.seconds(sum(probe.duration for probe in probes)),
        "tail": lambda probe, guarantee: probe.removeprefix(f"{guarantee}."),
        "versions": _versions,
        "slug": lambda value: value.replace(" ", "-") if value.replace(" ", "").isalpha() else "other",
        "when": _when,
    }
    return environment


def _read(name: str) -> str:
    return (files("pytest_sandbox.reports") / "page" / name).read_text(encoding="utf-8")


def _versions(executor: ExecutorAudit) -> str:
    return ", ".join(f"{name} {version}" for name, version in executor.versions.items()) or executor.info


def _when(moment: str) -> str:
    try:
        return f"{datetime.fromisoformat(moment):%d %B %Y, %H:%M} UTC".lstrip("0")
    except ValueError:
        return text.inline(moment, 40)


def loosened(executor: ExecutorAudit) -> list[str]:
    """Return the settings of an executor that are looser than the default."""
    return [part.removeprefix("loosened: ") for part in executor.info.split(", ") if part.startswith("loosened: ")]


def _context(report: Report) -> dict[str, Any]:
    """Return what the template shows, whatever its size."""
    audit, run = report.audit, report.run
    heading = "Sandbox audit" if run is None else "Sandbox audit and test run" if audit is not None else "Sandboxed test run"
    columns = [Column(number, executor) for number, executor in enumerate(audit.executors, 1)] if audit is not None else []
    compared = [column for column in columns if column.executor.facts]
    worst, sentence = headline(audit) if audit is not None else ("", "")
    css = _COMMENT_OR_INDENT.sub("", _read("report.css")) + _filter_rules(len(columns))
    js = _read("report.js")
    title = f"{sentence} · {heading}" if sentence else f"{heading}: {_outcomes(report)}"
    return {
        "report": report,
        "audit": audit,
        "run": run,
        "heading": heading,
        "title": title,
        "worst": worst,
        "sentence": sentence,
        "counts": tally(audit) if audit is not None else {},
        "columns": columns,
        "families": families(audit) if audit is not None else [],
        "facts": _facts(compared),
        "compared": compared,
        "charts": charts(audit.executors) if audit is not None else [],
        "css": _safe(css),
        "js": _safe(js),
        "policy": _policy(css, js),
    }


def _bounded(report: Report, caps: Caps) -> dict[str, Any]:
    """Return as many failures and rows of usage as are shown, and how many are left out."""
    tests = report.run.tests if report.run is not None else ()
    failed = [test for test in tests if test.outcome in ("failed", "error")]
    spent: list[tuple[TestResult, Spent]] = sorted(
        ((test, row) for test in tests for row in test.spent), key=lambda pair: -pair[1].wall
    )
    return {
        "failures": failed[: caps.failures],
        "failures_left": max(len(failed) - caps.failures, 0),
        "spent": spent[: caps.spent],
        "spent_left": max(len(spent) - caps.spent, 0),
    }


def _text(value: str) -> Any:
    """Return text as the content of an element, in which a CI service finds no command either, should somebody print the page.

    Quotes stay what they are: a page with hundreds of sources has thousands of them.
    """
    import markupsafe

    escaped = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return markupsafe.Markup(escaped.replace("::", "&#58;:").replace("##[", "#&#35;["))


def _safe(source: str) -> Any:
    import markupsafe

    return markupsafe.Markup(source)  # our own files


def _outcomes(report: Report) -> str:
    outcomes = report.run.outcomes if report.run is not None else {}
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()) or "no tests"


def _facts(columns: list[Column]) -> list[tuple[str, list[tuple[int, Any]]]]:
    """Return the rows of the comparison: each property with what was found, by the numbers of the columns."""
    titles = {fact.id: fact.title for column in columns for fact in column.executor.facts}
    return [
        (title, [(column.number, next((fact for fact in column.executor.facts if fact.id == id_), None)) for column in columns])
        for id_, title in titles.items()
    ]


def _filter_rules(columns: int) -> str:
    """Return the style sheet of the filters: what is not checked is not shown, and a row is shown while it has a cell left."""
    return "".join(_rules(columns)) if columns else ""


def _rules(columns: int) -> Iterator[str]:
    yield "\n@supports selector(:has(*)) {\n:is(tr.g, tr.fam, article.g, .fs) { display: none; }\n"
    for number in range(1, columns + 1):
        yield f":root:has(#x-{number}:not(:checked)) .x{number} {{ display: none; }}\n"
    for slug in ("held", "violated", "inconclusive", "not-promised"):
        yield f":root:has(#v-{slug}:not(:checked)) details.e.{slug} {{ display: none; }}\n"
        yield f":root:has(#v-{slug}:not(:checked)) td.c.{slug} > * {{ opacity: .3; }}\n"
        for number in range(1, columns + 1):
            yield (
                f":root:has(#v-{slug}:checked):has(#x-{number}:checked) :is(tr.g:has(> td.{slug}.x{number}), "
                f"tbody:has(> tr.g > td.{slug}.x{number}) > tr.fam, article.g:has(> details.{slug}.x{number}), "
                f".fs:has(> article.g > details.{slug}.x{number})) {{ display: revert; }}\n"
            )
    yield "}\n"


def _policy(css: str, js: str) -> str:
    """Return a policy by which nothing is loaded, and nothing runs but our script, even if an escape were missing."""

    def fingerprint(source: str) -> str:
        return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()

    return (
        f"default-src 'none'; style-src 'sha256-{fingerprint(css)}'; script-src 'sha256-{fingerprint(js)}'; "
        "base-uri 'none'; form-action 'none'"
    )
