"""Where reports go: the format is the suffix of the file."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pytest_sandbox.errors import InvalidArgument
from pytest_sandbox.guarantees.results import Audit
from pytest_sandbox.reports.html import check_html, render_html
from pytest_sandbox.reports.json_report import render_json
from pytest_sandbox.reports.markdown import render_markdown
from pytest_sandbox.reports.model import Report, report_of

__all__ = ["STEP_SUMMARY", "SUFFIXES", "check_path", "render", "write", "write_report", "write_step_summary"]

SUFFIXES: Final[Mapping[str, Callable[[Report], str]]] = {".html": render_html, ".json": render_json, ".md": render_markdown}

STEP_SUMMARY: Final = "GITHUB_STEP_SUMMARY"
"""The environment variable that names the file to which a step of GitHub Actions adds its summary."""

_SUMMARY_MOST: Final = 1024 * 1024
"""Bytes of all summaries of a step; GitHub shows none of them when there are more."""


def check_path(path: Path, argument: str = "path") -> None:
    """Find out whether a report can be written to a path, and make its folder if need be.

    Args:
        path: the file.
        argument: what asked for it, for the message.

    Raises:
        InvalidArgument: when its suffix is none of ours, or it cannot be written (the caller's fault).
        ReportImpossible: when this format needs what is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidArgument(argument, str(path), f"a file that ends in {', '.join(SUFFIXES)}: that is the format")
    if path.suffix.lower() == ".html":
        check_html()
    if path.is_dir():
        raise InvalidArgument(argument, str(path), "a file, and this is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".pytest-sandbox-"):
            pass
    except OSError as error:
        raise InvalidArgument(argument, str(path), f"a file that can be written ({error.strerror or error})") from error


def render(report: Report, suffix: str) -> str:
    """Return a report in the format of a suffix, such as ".md"."""
    return SUFFIXES[suffix.lower()](report)


def write(report: Report, path: Path) -> None:
    """Write a report; the format is the suffix. A report that was there is replaced as a whole, or not at all.

    Raises:
        InvalidArgument: see `check_path`.
        ReportImpossible: see `check_path`.
    """
    check_path(path)
    text = render(report, path.suffix)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with scratch.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def write_report(audit: Audit, path: Path) -> None:
    """Write the report of an audit; the format is the suffix: ``.html``, ``.json`` or ``.md``.

    Raises:
        InvalidArgument: when the path makes no sense, or cannot be written (the caller's fault).
        ReportImpossible: when this format needs what is not installed.
    """
    write(report_of(audit), path)


def write_step_summary(report: Report) -> bool:
    """Add a report to the summary of this step of GitHub Actions, if there is one.

    Returns:
        Whether it was added: not where no file is named, or where it would make the summary larger than GitHub takes.
    """
    named = os.environ.get(STEP_SUMMARY, "").strip()
    if not named:
        return False
    path = Path(named)
    text = render_markdown(report).encode()
    try:
        there = path.stat().st_size if path.exists() else 0
        if there + len(text) > _SUMMARY_MOST:
            return False
        with path.open("ab") as file:
            file.write(b"\n" * bool(there) + text)
    except OSError:
        return False  # the run itself must not fail for it
    return True
