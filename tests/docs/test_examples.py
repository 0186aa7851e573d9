"""What the pages show is what happens: their Python runs, their files are tested, and their commands print what stands below them.

* A block that begins with a comment such as ``# test_basket.py`` or ``-- test_basket.lua`` is a file of that name.
* Any other ``python`` block is run; the blocks of a page share their names.
* A ``console`` block has commands after ``$ `` and their output; ``…`` on a line of its own stands for any lines.
* Test files that no command has run must pass.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?:#|//|--) ([\w./-]+\.\w+)$")
NOT_RUN = ("pip install ", "python -m pip ", "git clone ", "cd ")
"""What a reader does to get as far as this test."""


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        named = FILE.match(self.text.partition("\n")[0])
        return named[1] if named else None


def blocks_of(page: str) -> Iterator[Block]:
    text = (ROOT / page).read_text()
    for fence in FENCE.finditer(text):
        yield Block(fence[1], fence[2], text.count("\n", 0, fence.start(2)) + 1)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_what_happens(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name in ("CI", "BUILD_NUMBER", "EXECUTOR_TYPE") or name.startswith("PYTEST")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("COLUMNS", "100")
    names: dict[str, Any] = {"__name__": page}
    untested: set[str] = set()
    for block in blocks_of(page):
        if block.file is not None:
            path = tmp_path / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
            if path.name.startswith("test_"):
                untested.add(block.file)
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, str(ROOT / page), "exec"), names)
        elif block.language == "console":
            for command, shown in commands_of(block):
                if not command.startswith(NOT_RUN):
                    compare(f"{page}, line {block.line}: {command}", shown, run(command))
                    if command.partition(" ")[0] == "pytest":
                        named = {file for file in untested if file in command}
                        untested -= named or untested
    if untested:
        output = run(f"pytest {' '.join(sorted(untested))}")
        assert re.search(r"=== \d+ passed in", normal(output)), output


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def run(command: str) -> str:
    program, *arguments = shlex.split(command)
    programs = {
        "pytest": ["-m", "pytest", "-p", "no:hypothesispytest", "-p", "no:timeout", "-p", "no:cacheprovider"],
        "pytest-sandbox": ["-m", "pytest_sandbox.cli"],
        "python": [],
    }
    done = subprocess.run(
        [sys.executable, *programs[program], *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout


def normal(text: str) -> str:
    """Return output without what differs from run to run and from machine to machine."""
    for pattern, replacement in (
        (r"\b\d+\.\d+ ?m?s\b", "<time>"),
        (r"^( +)\d+\.\d{3} (?=(?:log|info|warn|error|debug): )", r"\1<time> "),
        (r"\b(node|deno|isolated-vm|vm2|pytest|pluggy|Python|sandbox|xdist)([- ])\d+(?:\.\d+)+", r"\1\2<version>"),
        (r"\([^()\s]*/[^()\s]*\)", "(<path>)"),
        (r"\bmemory (?:unknown|\d+\.\d MiB)", "memory <size>"),
        (r"\bjail .*", "jail <jail>"),
        (r"([=_-]){3,}", r"\1\1\1"),
        (r" +(?=\[ *\d+%\])", " "),
        (r" +$", ""),
    ):
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text.strip("\n")


def compare(where: str, shown: str, output: str) -> None:
    expected, found = normal(shown).split("\n"), normal(output).split("\n")
    assert set(expected) > {"…"} or "…" not in expected, f"{where}: the page shows nothing that could be wrong"
    pattern = "".join("(?:.*\n)*" if line == "…" else re.escape(f"{line}\n") for line in expected)
    if not re.fullmatch(pattern, "\n".join(found) + "\n"):
        difference = "\n".join(unified_diff(expected, found, "on the page", "in reality", lineterm=""))
        pytest.fail(f"{where} does not print what the page shows:\n{difference}", pytrace=False)
