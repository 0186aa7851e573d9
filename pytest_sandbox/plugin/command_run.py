"""The entries of a test run, and the command executors of one test. Loaded when a test asks for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox.commands.base import CommandExecutor
from pytest_sandbox.commands.docker import DockerExecutor
from pytest_sandbox.commands.whitelist import Whitelist
from pytest_sandbox.entries.loading import load_entries
from pytest_sandbox.entries.loose import dangers, tighten
from pytest_sandbox.entries.model import DockerEntry, Entry, NativeEntry
from pytest_sandbox.entries.registry import EntryRegistry, LoadedEntry
from pytest_sandbox.errors import EngineUnavailable, EntriesInvalid, InvalidArgument, SandboxError
from pytest_sandbox.plugin.command_records import sections
from pytest_sandbox.plugin.state import SETTINGS
from pytest_sandbox.result import printable

__all__ = ["CommandRun", "CommandTest"]

_OPTION = "--sandbox-entries"
_VARIABLE = "PYTEST_SANDBOX_ENTRIES"


class CommandRun:
    """The entries of a test run, loaded once."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._told_used: dict[str, dict[str, bool]] = {}
        self._told_dangers: list[str] = []
        self._shown: set[str] = set()

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The files and folders, from the option, else the environment, else the ini value."""
        given = self._config.getoption("sandbox_entries")
        if given:
            return tuple(given)
        variable = os.environ.get(_VARIABLE, "").strip()
        if variable:
            return tuple(variable.split(os.pathsep))
        return tuple(map(str, self._config.getini("sandbox_entries")))

    @cached_property
    def registry(self) -> EntryRegistry:
        """The entries; none when no file is named.

        Raises:
            EntriesInvalid: with every problem.
        """
        return load_entries(*self.paths) if self.paths else EntryRegistry({})

    def load_early(self) -> None:
        """Load the entries before the first test runs.

        Raises:
            pytest.UsageError: with every problem. A worker of pytest-xdist cannot end the run: there, its tests fail.
        """
        try:
            self.registry  # noqa: B018 - loads
        except EntriesInvalid as error:
            if not hasattr(self._config, "workerinput"):
                raise pytest.UsageError(str(error)) from error

    # -- what is told at the beginning and at the end --------------------------------------------------------------

    def danger_lines(self) -> list[str]:
        """Return, once, a line for each setting that hands out the host."""
        found = [*self._dangers(), *self._told_dangers]
        lines = [line for line in dict.fromkeys(found) if line not in self._shown]
        self._shown.update(lines)
        return lines

    def unused_lines(self) -> list[str]:
        """Return a line for each whitelisted command that no test has used."""
        used = self._used()
        for id_, commands in self._told_used.items():
            known = used.setdefault(id_, {})
            for command, was in commands.items():
                known[command] = known.get(command, False) or was
        lines = [printable(f"{id_}: {command}") for id_, commands in used.items() for command, was in commands.items() if not was]
        return lines or ["none: every line was used" if used else "none: no entry has a command_whitelist"]

    def as_plain(self) -> dict[str, Any]:
        """Return what the controller of pytest-xdist has to know."""
        return {"used": self._used(), "dangers": self._dangers()}

    def add_plain(self, told: Mapping[str, Any]) -> None:
        """Take over what a worker told."""
        self._told_dangers += told["dangers"]
        for id_, commands in told["used"].items():
            known = self._told_used.setdefault(id_, {})
            for command, was in commands.items():
                known[command] = known.get(command, False) or was

    def _loaded(self) -> list[LoadedEntry]:
        # Only what was loaded for a test: the controller of pytest-xdist does not load anything by itself.
        registry = self.__dict__.get("registry")
        return list(registry) if registry is not None else []

    def _dangers(self) -> list[str]:
        return [printable(f"sandbox: entry {loaded.id}: {phrase}") for loaded in self._loaded() for phrase in dangers(loaded)]

    def _used(self) -> dict[str, dict[str, bool]]:
        used: dict[str, dict[str, bool]] = {}
        for loaded in self._loaded():
            whitelist = self.registry.whitelist(loaded.id)
            if whitelist is not None:
                unused = whitelist.unused()
                used[loaded.id] = {command: command not in unused for command in whitelist.commands}
        return used


class CommandTest:
    """The command executors of one test."""

    def __init__(self, item: pytest.Item, run: CommandRun) -> None:
        self._item = item
        self._run = run
        try:
            self.registry = run.registry.view()
        except SandboxError as error:
            pytest.fail(str(error), pytrace=False)

    def need_entries(self) -> None:
        """Fail the test when no file with entries is named."""
        if not self._run.paths:
            pytest.fail(
                f"Cannot use fixture entries: no file is named; name one with {_OPTION} or the ini value sandbox_entries", False
            )

    def native(self, chosen: object, make_folder: Callable[[], Path]) -> CommandExecutor:
        """Return the executor of the fixture ``native_executor``."""
        loaded = self._choose(chosen, NativeEntry, "native_entry")
        if loaded is None:
            loaded = _only(NativeEntry(name="native_executor", default_work_dir=str(make_folder())))
        return self._make(loaded)

    def docker(self, chosen: object) -> CommandExecutor:
        """Return the executor of the fixture ``docker_executor``."""
        loaded = self._choose(chosen, DockerEntry, "docker_entry")
        if loaded is None:
            pytest.fail(
                "Cannot use fixture docker_executor: there is no entry of kind exec.docker; name a file that has one with "
                f"{_OPTION}, or let fixture docker_entry return one",
                pytrace=False,
            )
        executor = self._make(tighten(loaded))
        assert isinstance(executor, DockerExecutor)
        try:
            executor.engine  # noqa: B018 - looks for it
        except EngineUnavailable as error:
            if "exec.docker" in self._item.config.stash[SETTINGS].require_commands:
                pytest.fail(str(error), pytrace=False)
            pytest.skip(str(error))
        return executor

    def close(self) -> None:
        """Close all executors that this test was given."""
        self.registry.close()

    def sections(self) -> list[tuple[str, str]]:
        """Return title and text for each of the latest commands, and forget them."""
        found = sections(list(self.registry.log))
        self.registry.log.clear()
        return found

    def _choose(self, chosen: object, kind: type[NativeEntry] | type[DockerEntry], fixture: str) -> LoadedEntry | None:
        name = "exec.native" if kind is NativeEntry else "exec.docker"
        try:
            if isinstance(chosen, kind):
                return _only(chosen)
            if isinstance(chosen, str):
                loaded = self.registry.entry(chosen)
                if isinstance(loaded.entry, kind):
                    return loaded
                raise InvalidArgument(fixture, chosen, f"the id of an entry of kind {name}")
            if chosen is not None:
                raise InvalidArgument(fixture, chosen, f"the id of an entry, or an entry, of kind {name}")
        except SandboxError as error:
            pytest.fail(str(error), pytrace=False)
        found = [loaded for loaded in self.registry if isinstance(loaded.entry, kind)]
        if len(found) > 1:
            ids = ", ".join(loaded.id for loaded in found)
            pytest.fail(
                f"Cannot choose an entry of kind {name}: there are {len(found)} ({ids}); let fixture {fixture} return one of these "
                "ids, or use entries.get(id)",
                pytrace=False,
            )
        return found[0] if found else None

    def _make(self, loaded: LoadedEntry) -> CommandExecutor:
        return self.registry.make(loaded, whitelist=self._whitelist(loaded))

    def _whitelist(self, loaded: LoadedEntry) -> Whitelist | None:
        """Return the whitelist of the test's markers, the closest of which counts; it may only narrow the entry's own."""
        own = self.registry.whitelist(loaded.id) if loaded.id in self.registry else None
        if own is None and loaded.entry.command_whitelist is not None:
            own = Whitelist(loaded.entry.command_whitelist)
        mark = self._item.get_closest_marker("command_whitelist")
        if mark is None:
            return own
        wrong = self._mark_problem(mark, own)
        if wrong:
            pytest.fail(f"{wrong}, in the command_whitelist marker of {self._item.nodeid}", pytrace=False)
        return Whitelist(mark.args, parent=own)

    @staticmethod
    def _mark_problem(mark: pytest.Mark, own: Whitelist | None) -> str:
        if mark.kwargs:
            return str(InvalidArgument("command_whitelist", ", ".join(mark.kwargs), "commands only, no keywords"))
        for command in mark.args:
            if not isinstance(command, str):
                return str(InvalidArgument("command_whitelist", command, "commands, each a string"))
            if own is not None and command not in own.commands:
                allowed = ", ".join(map(repr, own.commands)) or "nothing"
                return str(InvalidArgument("command_whitelist", command, f"commands that the entry allows ({allowed})"))
        return ""


def _only(entry: Entry) -> LoadedEntry:
    return next(iter(EntryRegistry.of(entry)))
