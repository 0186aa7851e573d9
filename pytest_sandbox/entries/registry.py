"""The entries that were loaded, and the executors made from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from pytest_sandbox.commands.whitelist import Whitelist
from pytest_sandbox.entries.checking import check_entry
from pytest_sandbox.entries.model import DockerEntry, Entry, EntryProblem, NativeEntry
from pytest_sandbox.entries.tree import Tree
from pytest_sandbox.errors import EntriesInvalid, UnknownEntry

if TYPE_CHECKING:
    from pytest_sandbox.commands.base import CommandExecutor
    from pytest_sandbox.commands.records import CommandRecord

__all__ = ["EntryRegistry", "LoadedEntry"]

_LOG: Final = 50


@dataclass(frozen=True, kw_only=True)
class LoadedEntry:
    """An entry, and where it comes from.

    Attributes:
        id: ``namespace:name``, or the name alone.
        entry: its fields.
        file: the file that holds it, as it was named, or None when it was made in Python.
        folder: where relative paths of it start: the absolute folder of its file, or None for the current folder.
        line: its line in the file, from 1.
        field_lines: the fields that were given, each with its line.
    """

    id: str
    entry: Entry
    file: Path | None = None
    folder: Path | None = None
    line: int | None = None
    field_lines: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def given(self) -> frozenset[str]:
        """The fields that were given; all others have their defaults."""
        return frozenset(self.field_lines)


class EntryRegistry:
    """Entries by id; a context manager that closes the executors it gave out.

    Args:
        entries: loaded entries by id.
    """

    def __init__(self, entries: Mapping[str, LoadedEntry]) -> None:
        self._entries = dict(entries)
        self._whitelists = {id_: _whitelist(loaded.entry) for id_, loaded in self._entries.items()}
        self._executors: dict[int, CommandExecutor] = {}
        self.log: deque[tuple[CommandExecutor, CommandRecord]] = deque(maxlen=_LOG)
        """The latest commands of all executors, for failure reports."""

    @classmethod
    def of(cls, *entries: Entry, namespace: str = "") -> Self:
        """Return a registry of entries made in Python, checked like those of a file.

        Raises:
            EntriesInvalid: with every problem (the caller's fault).
        """
        problems: list[EntryProblem] = []
        loaded: dict[str, LoadedEntry] = {}
        seen: set[str] = set()
        for entry in entries:
            id_ = f"{namespace}:{entry.name}" if namespace else entry.name
            given = _given(entry)
            checked = check_entry(_tree(given), _reporter(problems, str(entry.name)))
            if id_ in seen:
                _reporter(problems, entry.name)(None, "name", f'duplicate id "{id_}"; rename one of them')
            seen.add(id_)
            if checked is not None:
                loaded[id_] = LoadedEntry(id=id_, entry=checked, field_lines=dict.fromkeys(given.keys() - {"kind"}))
        if problems:
            raise EntriesInvalid(problems)
        return cls(loaded)

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all entries, in the order of the files."""
        return tuple(self._entries)

    def entry(self, id: str) -> LoadedEntry:
        """Return what is known of an entry.

        Raises:
            UnknownEntry: when there is none of that id (the caller's fault).
        """
        try:
            return self._entries[id]
        except (KeyError, TypeError):
            raise UnknownEntry(str(id), self._entries) from None

    def get(self, id: str, *, container: Any = None) -> CommandExecutor:
        """Return a new executor for an entry.

        Args:
            id: ``namespace:name``, or the name alone where there is no namespace.
            container: for `exec.docker`, a running container to use instead of fresh ones: an id, or an object of the Docker SDK or
                of testcontainers.

        Raises:
            UnknownEntry: when there is none of that id (the caller's fault).
            InvalidArgument: when a container is given for another kind (the caller's fault).
        """
        return self.make(self.entry(id), container=container)

    def make(self, loaded: LoadedEntry, *, whitelist: Whitelist | None = None, container: Any = None) -> CommandExecutor:
        """Return a new executor for an entry that may differ from the loaded one, such as a tightened one."""
        from pytest_sandbox.commands.kinds import make_executor

        if whitelist is None:
            whitelist = self._whitelists.get(loaded.id)
        executor = make_executor(loaded, whitelist=whitelist, container=container)
        executor.log = self.log
        executor.on_close = lambda: self._executors.pop(id(executor), None)
        self._executors[id(executor)] = executor
        return executor

    def whitelist(self, id: str) -> Whitelist | None:
        """Return an entry's whitelist, with what was used of it, or None when it has none."""
        return self._whitelists[self.entry(id).id]

    def unused_whitelist(self) -> dict[str, tuple[str, ...]]:
        """Return, by entry, the whitelisted commands that no executor of this registry was ever asked for."""
        unused = {id_: whitelist.unused() for id_, whitelist in self._whitelists.items() if whitelist is not None}
        return {id_: commands for id_, commands in unused.items() if commands}

    def view(self) -> Self:
        """Return a registry of the same entries with executors of its own; what they use of a whitelist counts here, too."""
        twin = type(self)(self._entries)
        twin._whitelists = self._whitelists
        return twin

    def close(self) -> None:
        """Close all executors that are still in use; safe to call twice."""
        for executor in list(self._executors.values()):
            executor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[LoadedEntry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, id: object) -> bool:
        return id in self._entries

    def __repr__(self) -> str:
        return f"<EntryRegistry {', '.join(self._entries) or 'empty'}>"


def _whitelist(entry: Entry) -> Whitelist | None:
    return None if entry.command_whitelist is None else Whitelist(entry.command_whitelist)


def _given(entry: NativeEntry | DockerEntry) -> dict[str, Any]:
    """Return the fields that differ from their defaults, as plain data."""
    defaults = type(entry)(name="")
    values: dict[str, Any] = msgspec.to_builtins(entry)
    return {
        name: value for name, value in values.items() if name == "kind" or getattr(entry, name, None) != getattr(defaults, name)
    }


def _tree(value: Any) -> Tree:
    if isinstance(value, Mapping):
        return Tree({str(key): _tree(item) for key, item in value.items()}, 0)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return Tree([_tree(item) for item in value], 0)
    return Tree(value, 0, str(value))


def _reporter(problems: list[EntryProblem], name: str) -> Any:
    def report(line: int | None, field: str, message: str) -> None:
        problems.append(EntryProblem("<python>", None, field, message, name))

    return report
