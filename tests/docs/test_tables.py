"""The tables of the pages say neither more nor less than the code does."""

from __future__ import annotations

import builtins
import dataclasses
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import pytest

import pytest_sandbox
from pytest_sandbox import cli, errors, hookspecs, values
from pytest_sandbox.catalog import BUILTINS
from pytest_sandbox.limits import DEFAULT_LIMITS, MIB, Limits
from pytest_sandbox.plugin import records
from pytest_sandbox.result import ErrorKind, ExecuteResult
from pytest_sandbox.snippets import calls, channel, execution
from pytest_sandbox.snippets.base import SnippetExecutor
from pytest_sandbox.snippets.tools import REFUSED_NAMES

ROOT = Path(__file__).parents[2]

Row = dict[str, str]


def table(page: str, *head: str, section: str = "") -> list[Row]:
    """Return the rows of all tables of a page, or of one section, whose columns begin with these."""
    text = (ROOT / page).read_text()
    if section:
        text = re.split(r"^#+ ", text.partition(f"\n## {section}\n")[2], flags=re.MULTILINE)[0]
    rows: list[Row] = []
    for found in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        titles, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines())
        if tuple(titles[: len(head)]) == head:
            rows += [dict(zip(titles, line, strict=True)) for line in lines]
    assert rows, f"{page} has no table that begins with {head}"
    return rows


def code(rows: Iterable[Row], column: str) -> list[str]:
    """Return what stands in backquotes in a column, without arguments."""
    return [re.split(r"[ (=]", name)[0] for row in rows for name in re.findall(r"`([^`]+)`", row[column])]


def executor_class(name: str) -> type[SnippetExecutor]:
    (factory,) = [spec.factory for spec in BUILTINS if spec.name == name]
    module, _, attribute = factory.partition(":")
    loaded: type[SnippetExecutor] = getattr(importlib.import_module(module), attribute)
    return loaded


def pytest_says(tmp_path: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout


def test_options_and_their_twins(tmp_path: Path) -> None:
    rows = table("docs/pytest.md", "Option", "Environment", "Ini value")
    told = pytest_says(tmp_path, "--help")
    group = told.partition("\nsandboxes for untrusted code:\n")[2].partition("\n\n")[0]
    assert sorted(code(rows, "Option")) == sorted(re.findall(r"^  (--[\w-]+)", group, re.MULTILINE))
    assert sorted(code(rows, "Ini value")) == sorted(re.findall(r"^  (sandbox_\w+) \(", told, re.MULTILINE))
    source = "".join(path.read_text() for path in (ROOT / "pytest_sandbox/plugin").glob("*.py"))
    assert sorted(code(rows, "Environment")) == sorted({"EXECUTOR_TYPE", *re.findall(r'"(PYTEST_SANDBOX_\w+)"', source)})


def test_fixtures(tmp_path: Path) -> None:
    told = pytest_says(tmp_path, "--fixtures")
    ours = re.findall(r"^(\w+)(?: \[.*\])? -- \S*pytest_sandbox/", told, re.MULTILINE)
    assert sorted(code(table("docs/pytest.md", "Fixture", "Gives"), "Fixture")) == sorted(ours)


def test_markers(tmp_path: Path) -> None:
    with_us, without_us = (
        set(re.findall(r"^@pytest\.mark\.(\w+)", pytest_says(tmp_path, "--markers", *arguments), re.MULTILINE))
        for arguments in ((), ("-p", "no:sandbox"))
    )
    assert without_us
    assert sorted(code(table("docs/pytest.md", "Marker", "Meaning"), "Marker")) == sorted(with_us - without_us)


def test_subcommands() -> None:
    rows = table("docs/pytest.md", "Command", "Meaning")
    assert sorted(re.findall(r"`pytest-sandbox (\w+)", "".join(row["Command"] for row in rows))) == sorted(cli.SUBCOMMANDS)


@pytest.mark.parametrize("page", ["README.md", "docs/executors.md"])
def test_limits_with_defaults_and_units(page: str) -> None:
    rows = {row["Limit"].strip("`"): row for row in table(page, "Limit", "Default", "Unit")}
    fields = [field.name for field in dataclasses.fields(Limits)]
    assert list(rows) == fields
    units = dict(re.findall(r"^ +(\w+): (seconds|bytes) ", str(Limits.__doc__), re.MULTILINE))
    for field in fields:
        others = {spec.name: getattr(executor_class(spec.name).default_limits, field) for spec in BUILTINS}
        usual = getattr(DEFAULT_LIMITS, field)
        different = [f"; `{name}`: {amount(value)}" for name, value in others.items() if value != usual]
        assert rows[field]["Default"] == amount(usual) + "".join(different)
        assert rows[field]["Unit"] == units.get(field, rows[field]["Unit"])
    assert f"{execution.MEMORY_SLACK // MIB} MiB of slack" in rows["memory"]["What is counted"]
    assert f"{execution.OUTPUT_FACTOR} times" in "".join(rows["output"].values())


def amount(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if value < MIB else f"{value} ({value // MIB} MiB)"


@pytest.mark.parametrize("page", ["README.md", "docs/executors.md"])
def test_executors_in_order(page: str) -> None:
    head = ("Executor",) if page == "README.md" else ("Priority", "Executor")
    assert code(table(page, *head), "Executor") == [spec.name for spec in sorted(BUILTINS, key=lambda spec: spec.priority)]


@pytest.mark.parametrize("name", [spec.name for spec in BUILTINS])
def test_options_of_an_executor(name: str) -> None:
    rows = {row["Option"].strip("`"): row for row in table("docs/executors.md", "Option", "Default", section=name)}
    fields = {field.name: field.default for field in dataclasses.fields(executor_class(name).options_class)}
    assert sorted(rows) == sorted(fields)
    for option, default in fields.items():
        if default is None:
            continue  # what that stands for is said in words
        shown = json.dumps(default) if isinstance(default, str) else str(default)
        assert rows[option]["Default"].strip("`") == shown


def test_kinds_of_errors() -> None:
    assert code(table("docs/snippets-and-tools.md", "Kind"), "Kind") == list(get_args(ErrorKind))


def test_attributes_of_a_result() -> None:
    names = [field.name for field in dataclasses.fields(ExecuteResult)]
    names += [name for name, value in vars(ExecuteResult).items() if isinstance(value, property)]
    assert sorted(code(table("docs/snippets-and-tools.md", "Attribute"), "Attribute")) == sorted(names)


def test_exceptions_and_what_they_derive_from() -> None:
    rows = table("docs/errors.md", "Exception")
    classes = {name: value for name, value in vars(errors).items() if name in errors.__all__ and inspect.isclass(value)}
    raised = [name for name, value in classes.items() if issubclass(value, errors.SandboxError)]
    assert sorted(code(rows, "Exception")) == sorted(raised)
    for row in rows:
        (name,) = code([row], "Exception")
        assert hasattr(pytest_sandbox, name), f"{name} cannot be imported from pytest_sandbox"
        for base in re.findall(r"; an? `(\w+)`", row["When"]):
            assert issubclass(classes[name], getattr(builtins, base, None) or classes[base])
    page = (ROOT / "docs/errors.md").read_text()
    assert all(f"`{name}`" in page for name in classes), "warnings are told, too"


def test_hooks() -> None:
    hooks = [name for name in hookspecs.__all__ if name.startswith("pytest_sandbox_")]
    assert sorted(code(table("docs/extending.md", "Hook"), "Hook")) == sorted(hooks)


def test_fields_of_an_executor_spec() -> None:
    fields = [field.name for field in dataclasses.fields(pytest_sandbox.ExecutorSpec)]
    assert code(table("docs/extending.md", "Field"), "Field") == fields


def test_members_that_an_executor_provides() -> None:
    abstract: Any = SnippetExecutor.__abstractmethods__
    assert sorted(code(table("docs/extending.md", "Member"), "Member")) == sorted(abstract)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("docs/snippets-and-tools.md", f"more than {values.MAX_DEPTH} levels"),
        ("docs/snippets-and-tools.md", f"up to {calls._CALLS_AT_ONCE} of one execution"),
        ("docs/executors.md", f"looked at every {channel._TICK * 1000:g} ms"),
        ("docs/known-limitations.md", f"every {channel._TICK * 1000:g} ms"),
        ("docs/pytest.md", f"the last {records.KEPT_EXECUTIONS} executions"),
        ("docs/pytest.md", f"its logs (the last {records.SHOWN_LOGS})"),
        *(("docs/snippets-and-tools.md", f"`{name}`") for name in sorted(REFUSED_NAMES)),
    ],
)
def test_numbers_and_names_in_the_text(page: str, words: str) -> None:
    assert words in " ".join((ROOT / page).read_text().split())
