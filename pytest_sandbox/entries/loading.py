"""Entries files read into a registry: all files, all problems, at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_sandbox.entries.checking import check_entry
from pytest_sandbox.entries.model import Entry, EntryProblem
from pytest_sandbox.entries.registry import EntryRegistry, LoadedEntry
from pytest_sandbox.entries.tree import Tree, read_tree
from pytest_sandbox.errors import EntriesInvalid, InvalidArgument, near_miss

__all__ = ["load_entries"]

_DOCUMENT_FIELDS = ("version", "namespace", "meta", "entries")


def load_entries(*paths: str | os.PathLike[str]) -> EntryRegistry:
    """Read entries files.

    A file is a list of entries, or a mapping with ``version``, ``namespace`` and ``entries``. Of a folder, every ``*.yaml`` and
    ``*.yml`` is read, subfolders included; hidden ones and test files (``*.sandbox.yaml``) are not. Entries whose kind does not
    begin with ``exec.`` belong to other systems and are passed over.

    Args:
        *paths: files or folders.

    Raises:
        EntriesInvalid: with every problem of every file (the fault of whoever wrote them).
        InvalidArgument: without a path (the caller's fault).
    """
    if not paths:
        raise InvalidArgument("paths", paths, "at least one file or folder with entries")
    loader = _Loader()
    for path in paths:
        for file in _files(Path(path), loader):
            loader.read(file)
    if loader.problems:
        raise EntriesInvalid(loader.problems)
    return EntryRegistry(loader.entries)


def _files(path: Path, loader: _Loader) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    found = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix in (".yaml", ".yml")
        and not file.name.endswith((".sandbox.yaml", ".sandbox.yml"))
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and file.is_file()
    ]
    if not found:
        loader.problems.append(EntryProblem(str(path), None, "", "holds no file named *.yaml or *.yml"))
    yield from found


@dataclass
class _Place:
    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class _Loader:
    def __init__(self) -> None:
        self.problems: list[EntryProblem] = []
        self.entries: dict[str, LoadedEntry] = {}
        self._places: dict[str, _Place] = {}

    def read(self, file: Path) -> None:
        def report(line: int | None, field: str, message: str, entry: str = "") -> None:
            problem = EntryProblem(str(file), line, field, message, entry)
            # An alias repeats what it stands for, and its problems with it.
            if problem not in self.problems:
                self.problems.append(problem)

        first = len(self.problems)
        try:
            text = file.read_bytes().decode("utf-8-sig")
        except OSError as error:
            report(None, "", f"cannot be read: {error.strerror}; expected a file or folder with entries")
            return
        except UnicodeDecodeError as error:
            report(None, "", f"is not UTF-8 text: byte {error.start} is wrong")
            return
        tree = read_tree(text, report)
        if tree is None:
            return
        namespace, items = self._document(tree, report)
        for item in items:
            self._entry(item, namespace, file, report)
        self.problems[first:] = sorted(self.problems[first:], key=lambda problem: problem.line or 0)

    def _document(self, tree: Tree, report: Any) -> tuple[str, list[Tree]]:
        if isinstance(tree.value, list):
            return "", tree.value
        if not isinstance(tree.value, dict):
            if isinstance(tree.value, str | int | float | bool | None):
                report(tree.line, "", f"expected a list of entries, or a mapping with entries, got {tree.shown()}")
            return "", []
        for name, value in tree.value.items():
            line = (tree.key_lines or {}).get(name, value.line)
            if name not in _DOCUMENT_FIELDS:
                hint = near_miss(name, _DOCUMENT_FIELDS) or f": known fields are {', '.join(_DOCUMENT_FIELDS)}"
                report(line, name, f"unknown field{hint}")
        namespace = self._text(tree, "namespace", "a name without blanks and colons", report)
        self._version(tree, report)
        entries = tree.value.get("entries")
        if entries is None:
            report(tree.line, "entries", "is missing: expected a list of entries")
            return namespace, []
        if not isinstance(entries.value, list):
            if not entries.has_bad():
                report(entries.line, "entries", f"expected a list of entries, got {entries.shown()}")
            return namespace, []
        return namespace, entries.value

    @staticmethod
    def _version(tree: Tree, report: Any) -> None:
        version = tree.value.get("version")
        if version is not None and (isinstance(version.value, list | dict | bool) or version.value is None):
            report(version.line, "version", f'expected a version such as "1.0", got {version.shown()}')

    @staticmethod
    def _text(tree: Tree, name: str, expected: str, report: Any) -> str:
        value = tree.value.get(name)
        if value is None or value.has_bad():
            return ""
        if not isinstance(value.value, str) or not value.value or any(c.isspace() or c == ":" for c in value.value):
            report(value.line, name, f"expected {expected}, got {value.shown()}")
            return ""
        return value.value

    def _entry(self, item: Tree, namespace: str, file: Path, report: Any) -> None:
        if not isinstance(item.value, dict):
            if not item.has_bad():
                report(item.line, "", f"expected an entry, a mapping with name and kind, got {item.shown()}")
            return
        kind = item.value.get("kind")
        name_tree = item.value.get("name")
        name = name_tree.value if name_tree is not None and isinstance(name_tree.value, str) else ""
        if kind is None or not isinstance(kind.value, str):
            if kind is None or not kind.has_bad():
                got = "" if kind is None else f", got {kind.shown()}"
                report(item.line if kind is None else kind.line, "kind", f'expected a kind such as "exec.native"{got}', name)
            return
        if not kind.value.startswith("exec."):
            return

        def noted(line: int | None, field: str, message: str) -> None:
            report(line, field, message, name)

        entry = check_entry(item, noted)
        self._add(entry, item, namespace, name, file, noted)

    def _add(self, entry: Entry | None, item: Tree, namespace: str, name: str, file: Path, report: Any) -> None:
        if not name:
            return
        id_ = f"{namespace}:{name}" if namespace else name
        line = (item.key_lines or {}).get("name", item.line)
        if id_ in self._places:
            report(line, "name", f'duplicate id "{id_}": first defined at {self._places[id_]}; rename one of them')
            return
        self._places[id_] = _Place(file, line)
        if entry is not None:
            lines = {field: at for field, at in (item.key_lines or {}).items() if field != "kind"}
            folder = file.absolute().parent
            self.entries[id_] = LoadedEntry(id=id_, entry=entry, file=file, folder=folder, line=item.line, field_lines=lines)
