"""Prove, on this machine, what each executor promises: attacks, with a witness, an observer and a control for each.

The exit code is 0 if all that is declared was held; 1 if something declared is violated; 3 if something declared could not be
proved; 2 if what was asked for makes no sense, or does not work here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_sandbox.errors import ExecutorUnavailable
from pytest_sandbox.result import printable

if TYPE_CHECKING:
    from pytest_sandbox.guarantees.audit import Progress
    from pytest_sandbox.guarantees.results import Audit, ExecutorAudit, GuaranteeResult

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "prove, by attacks with positive controls, what each executor promises"
VIOLATED: Final = 1
INCONCLUSIVE: Final = 3

_SYMBOLS: Final = {"held": "✔", "violated": "✘", "inconclusive": "?", "not promised": "○", "": " "}
_PLAIN_SYMBOLS: Final = {"held": "+", "violated": "X", "inconclusive": "?", "not promised": "-", "": " "}
_SHORT: Final = {"exec.native (confined)": "confined", "exec.native": "exec.native"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Register the arguments."""
    parser.add_argument(
        "--executor",
        metavar="NAME",
        action="append",
        default=[],
        help="executor to audit, such as deno, exec.native or exec.docker; can be given several times; default: all",
    )
    parser.add_argument(
        "--guarantee", metavar="ID", action="append", default=[], help="guarantee to prove, such as network; default: all"
    )
    parser.add_argument(
        "--probe", metavar="ID", action="append", default=[], help="single attack, such as network.fetch; default: all"
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        action="append",
        default=[],
        type=Path,
        help="write a report; the suffix is the format: .html, .json or .md; can be given several times",
    )


def run(arguments: argparse.Namespace) -> int:
    """Audit, show the matrix and what went wrong, and write reports."""
    from pytest_sandbox.guarantees.audit import AuditSession, Choice
    from pytest_sandbox.guarantees.catalogue import read_catalogue
    from pytest_sandbox.guarantees.targets import audit_all, target_names
    from pytest_sandbox.registry import current_registry

    registry = current_registry()
    names = target_names(registry, tuple(_split(arguments.executor)))
    choice = Choice(guarantees=tuple(_split(arguments.guarantee)), probes=tuple(_split(arguments.probe)))
    if arguments.report:
        from pytest_sandbox.reports.writing import check_path

        for path in arguments.report:
            check_path(path, "--report")
    catalogue = read_catalogue(registry.ask("pytest_sandbox_guarantees"))
    choice.check(catalogue)
    with AuditSession(catalogue) as session, _progress() as progress:
        audit = audit_all(registry, session, names, choice, progress)
    _show(audit, is_detailed=not choice.is_everything)
    for problem in catalogue.problems:
        print(printable(f"problem: {problem}"), file=sys.stderr)
    for path in arguments.report:
        from pytest_sandbox.reports import write_report

        write_report(audit, path)
        print(f"report: {printable(str(path))}", file=sys.stderr)
    for executor in audit.executors if arguments.executor else ():
        if not executor.available:
            raise ExecutorUnavailable(executor.name, executor.reason, executor.fix, "--executor")
    if audit.count("violated"):
        return VIOLATED
    return INCONCLUSIVE if audit.count("inconclusive") else 0


def _split(values: Sequence[str]) -> Iterator[str]:
    for value in values:
        yield from (part.strip() for part in value.split(","))


# -- progress ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def _progress() -> Iterator[Progress]:
    """Tell on standard error what is going on: a bar on a terminal, where rich is installed; else a line for each executor."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        yield _plain_progress
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_progress
        return
    with Progress(
        TextColumn("{task.fields[executor]}"),
        BarColumn(),
        TextColumn("{task.fields[guarantee]}"),
        TimeElapsedColumn(),
        console=console,
    ) as bars:
        tasks = {}

        def tell(executor: str, guarantee: str, done: int, total: int) -> None:
            if executor not in tasks:
                tasks[executor] = bars.add_task("", total=total, executor=executor, guarantee="")
            bars.update(tasks[executor], completed=done, guarantee=guarantee or "done")

        yield tell


def _plain_progress(executor: str, guarantee: str, done: int, total: int) -> None:
    if done == 0 and total:
        print(f"{executor}: {total} guarantees …", file=sys.stderr, flush=True)
    elif done == total:
        print(f"{executor}: done", file=sys.stderr, flush=True)


# -- what is shown ----------------------------------------------------------------------------------------------------------------


def _show(audit: Audit, *, is_detailed: bool) -> None:
    from pytest_sandbox.guarantees.model import VERDICTS
    from pytest_sandbox.reports.text import plural

    for line in matrix(audit, _symbols()):
        print(line)
    for executor in audit.executors:
        for fact in executor.facts:
            print(printable(f"{executor.name}: {fact.title.lower()}: {fact.value} ({fact.detail})"))
    for executor in audit.executors:
        if not executor.available:
            print(printable(f"{executor.name}: unavailable: {executor.reason}; {executor.fix}"))
        for result in executor.guarantees:
            for line in _details(executor, result, is_detailed=is_detailed):
                print(line)
    working = [executor for executor in audit.executors if executor.available]
    counts = ", ".join(f"{audit.count(verdict)} {verdict}" for verdict in VERDICTS)
    print(f"{plural(len(working), 'executor')}, {plural(audit.probes, 'attack')}, {audit.duration:.1f} s: {counts}")


def _symbols() -> dict[str, str]:
    try:
        "".join(_SYMBOLS.values()).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _PLAIN_SYMBOLS
    return _SYMBOLS


def matrix(audit: Audit, symbols: dict[str, str]) -> list[str]:
    """Return the table of guarantees and executors as lines: a verdict is a symbol and a word."""
    executors = [executor for executor in audit.executors if executor.available]
    ids = list(dict.fromkeys(result.id for executor in executors for result in executor.guarantees))
    order = {id_: index for index, id_ in enumerate(ids)}
    rows = [["guarantee", *(_SHORT.get(executor.name, executor.name) for executor in executors)]]
    for id_ in sorted(ids, key=order.__getitem__):
        verdicts = [executor.verdict_of(id_) or "" for executor in executors]
        rows.append([id_, *(f"{symbols[verdict]} {verdict}".rstrip() for verdict in verdicts)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [printable("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()) for row in rows]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]] if ids else []


def _details(executor: ExecutorAudit, result: GuaranteeResult, *, is_detailed: bool) -> Iterator[str]:
    """Say what is wrong; where only a part was asked for, say everything."""
    is_wrong = result.verdict in ("violated", "inconclusive")
    if not is_wrong and not is_detailed:
        return
    yield printable(f"{executor.name}: {result.id}: {result.verdict}: {result.reason}")
    for probe in result.probes:
        if is_detailed or (is_wrong and probe.verdict != "held"):
            yield printable(f"  {probe.id}: {probe.verdict}: {probe.reason}")
            if probe.verdict != "held":
                yield printable(f"    again: {probe.rerun}")
