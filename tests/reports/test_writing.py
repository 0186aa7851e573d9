"""Reports go where they are sent: the suffix is the format, what cannot be written is refused, and nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_sandbox import InvalidArgument
from pytest_sandbox.guarantees.results import Audit
from pytest_sandbox.reports import write_report, write_step_summary
from pytest_sandbox.reports.model import Report
from pytest_sandbox.reports.writing import STEP_SUMMARY, check_path, write


@pytest.mark.parametrize(("name", "begins"), [("a.html", "<!doctype html>"), ("a.JSON", "{"), ("b c.md", "## ")])
def test_the_suffix_is_the_format(audit: Audit, tmp_path: Path, name: str, begins: str) -> None:
    path = tmp_path / "deep" / "er" / name
    write_report(audit, path)
    assert path.read_text(encoding="utf-8").startswith(begins)
    assert [entry.name for entry in path.parent.iterdir()] == [name]


def test_a_report_that_was_there_is_replaced(audit: Audit, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("x" * 10_000_000)
    write_report(audit, path)
    assert json.loads(path.read_text())["audit"]["duration"] == audit.duration
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("report.pdf", "expected a file that ends in .html, .json, .md: that is the format"),
        ("report", "expected a file that ends in .html, .json, .md: that is the format"),
        ("folder.html", "expected a file, and this is a folder"),
        ("file/report.html", r"expected a file that can be written \((Not a directory|File exists)\)"),
    ],
)
def test_a_path_that_makes_no_sense_is_refused(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match=f"Cannot use --x=.*{name}': {told}"):
        check_path(tmp_path / name, "--x")


def test_checking_a_path_leaves_nothing_but_its_folder(tmp_path: Path) -> None:
    check_path(tmp_path / "new" / "a.html")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_failure_leaves_the_old_report(tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write(report, path)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("a.json", "old")]


def test_the_step_summary_is_added_to(tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    assert write_step_summary(report) is False
    monkeypatch.setenv(STEP_SUMMARY, str(summary))
    summary.write_text("before")
    assert write_step_summary(report) is True
    assert summary.read_text().startswith("before\n## ❌ Sandbox audit")
    monkeypatch.setenv(STEP_SUMMARY, str(tmp_path / "no" / "folder"))
    assert write_step_summary(report) is False
    monkeypatch.setenv(STEP_SUMMARY, str(summary))
    summary.write_text("x" * 1024 * 1024)
    assert write_step_summary(report) is False, "GitHub shows none of a summary that is too large"
    assert summary.stat().st_size == 1024 * 1024
