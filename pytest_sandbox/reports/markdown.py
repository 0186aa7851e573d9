"""The Markdown report: for a comment on a pull request, and for the summary of a CI step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from pytest_sandbox.guarantees.results import Audit
from pytest_sandbox.reports.model import Report, Selected, TestRun
from pytest_sandbox.reports.summary import headline, problems, tally
from pytest_sandbox.reports.text import inline, markdown_block, markdown_code, markdown_command, markdown_text, plural, seconds
from pytest_sandbox.reports.view import families

__all__ = ["MOST_CHARACTERS", "render_markdown"]

MOST_CHARACTERS: Final = 60_000
"""GitHub refuses a comment of more than 65,536."""

_PROBLEMS: Final = 20
_PROBES: Final = 5
_FAILURES: Final = 10

_MARKS: Final = {"held": "✅", "violated": "❌", "inconclusive": "⚠️", "not promised": "⚪", "unavailable": "🚫"}
_OUTCOMES: Final = {"passed": "✅", "failed": "❌", "error": "❌"}


def render_markdown(report: Report) -> str:
    """Return a report as Markdown, as GitHub understands it, of at most `MOST_CHARACTERS`."""
    blocks = list(_blocks(report))
    footer = f"<sub>pytest-sandbox {markdown_text(report.tool_version)}, {markdown_text(report.created)}</sub>"
    kept: list[str] = []
    left = MOST_CHARACTERS - len(footer) - 200
    for number, block in enumerate(blocks):
        left -= len(block) + 2
        if left < 0:
            kept.append(f"… {plural(len(blocks) - number, 'further part')} left out: see the JSON or HTML report.")
            break
        kept.append(block)
    return "\n\n".join([*kept, footer]) + "\n"


def _blocks(report: Report) -> Iterator[str]:
    if report.audit is not None:
        yield from _audit(report.audit)
    if report.run is not None:
        yield from _run(report.run)
    if report.machine is not None:
        machine = report.machine
        parts = [f"{machine.system} {machine.kernel}", machine.architecture, f"Python {machine.python}", f"jail {machine.jail}"]
        yield f"**Machine**: {', '.join(markdown_text(part) for part in [*parts, *machine.engines])}"


def _audit(audit: Audit) -> Iterator[str]:
    worst, sentence = headline(audit)
    yield f"## {_MARKS[worst]} Sandbox audit: {markdown_text(sentence[0].lower() + sentence[1:])}"
    counts = ", ".join(f"{count} {verdict}" for verdict, count in tally(audit).items() if count) or "nothing was probed"
    selection = "" if audit.complete else ", a selection"
    attacks = f"{plural(audit.probes, 'distinct attack')} on {plural(len(audit.executors), 'executor')}"
    yield f"{counts}. {attacks} in {seconds(audit.duration)}{selection}."
    yield "\n".join(_matrix(audit))
    found = problems(audit)
    for executor, result in found[:_PROBLEMS]:
        lines = [
            f"<details><summary>{_MARKS[result.verdict]} {result.verdict}: {markdown_code(result.id)} on "
            f"{markdown_code(executor.name)}</summary>",
            "",
            f"{markdown_text(result.meaning)} {markdown_text(result.reason)}",
            "",
        ]
        bad = [probe for probe in result.probes if probe.verdict == result.verdict]
        for probe in bad[:_PROBES]:
            lines += [
                f"**{markdown_text(probe.title)}**: {markdown_code(probe.attack or probe.reason)}; the host saw: "
                f"{markdown_code(probe.observer) or 'nothing was looked at'}",
                "",
                markdown_block(probe.source, 1500),
                "",
            ]
            if probe.rerun:
                lines += [f"Again: {markdown_command(probe.rerun)}", ""]
        if len(bad) > _PROBES:
            lines += [f"… {plural(len(bad) - _PROBES, 'further attack')}", ""]
        yield "\n".join([*lines, "</details>"])
    if len(found) > _PROBLEMS:
        yield f"… {plural(len(found) - _PROBLEMS, 'further finding')}: see the JSON or HTML report."
    lines = []
    for executor in audit.executors:
        if executor.available:
            lines.append(f"- {markdown_code(executor.name)}: {markdown_text(executor.info)}")
        else:
            told = f"{executor.reason}; {executor.fix}" if executor.fix else executor.reason
            lines.append(f"- {markdown_code(executor.name)} 🚫 unavailable: {markdown_text(told)}")
    yield "\n".join(lines)


def _matrix(audit: Audit) -> Iterator[str]:
    yield _row(["Guarantee", *(markdown_code(executor.name) for executor in audit.executors)])
    yield _row(["---"] * (len(audit.executors) + 1))
    for family in families(audit):
        for row in family.rows:
            yield _row([markdown_code(row.id), *(f"{_MARKS.get(cell.verdict, '')} {cell.verdict}".strip() for cell in row.cells)])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _run(run: TestRun) -> Iterator[str]:
    outcomes = ", ".join(f"{count} {markdown_text(outcome)}" for outcome, count in run.outcomes.items()) or "no tests"
    bad = run.outcomes.get("failed", 0) + run.outcomes.get("error", 0)
    yield f"## {_OUTCOMES['failed' if bad or run.exit_code not in (0, 5) else 'passed']} Sandboxed tests: {outcomes}"
    if run.selected:
        yield "\n".join(_selected(run.selected))
    failed = [test for test in run.tests if test.outcome in ("failed", "error")]
    for test in failed[:_FAILURES]:
        lines = [f"<details><summary>❌ {test.outcome}: {markdown_code(test.id)}</summary>", ""]
        if test.problem:
            lines += [markdown_block(test.problem, 2000), ""]
        for section in test.shown:
            lines += [f"**{markdown_text(section.title)}**", "", markdown_block(section.text, 3000), ""]
        yield "\n".join([*lines, "</details>"])
    if len(failed) > _FAILURES:
        yield f"… {plural(len(failed) - _FAILURES, 'further failure')}: see the JSON or HTML report."
    spent = [row for test in run.tests for row in test.spent]
    if spent:
        names = dict.fromkeys(row.executor for row in spent)
        lines = [_row(["Executor", "Tests", "Executions", "Time"]), _row(["---", "---:", "---:", "---:"])]
        for name in names:
            rows = [row for row in spent if row.executor == name]
            executions, wall = sum(row.executions for row in rows), sum(row.wall for row in rows)
            lines.append(_row([markdown_code(name), str(len(rows)), str(executions), seconds(wall)]))
        yield "\n".join(lines)


def _selected(selected: Iterable[Selected]) -> Iterator[str]:
    yield _row(["Executor", "Why", "What runs", "Loosened"])
    yield _row(["---"] * 4)
    for row in selected:
        what = row.detail if row.available else f"🚫 unavailable: {row.reason}; {row.fix}"
        loosened = "; ".join(row.loosened) or ("nothing" if row.available else "")
        yield _row([markdown_code(row.name), *(markdown_text(inline(cell, 400)) for cell in (row.why, what, loosened))])
