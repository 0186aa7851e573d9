"""Which executors are registered, by us and by plugins, and which registrations are refused."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pytest_sandbox.errors import InvalidArgument, InvalidPlugin, UnknownExecutor
from pytest_sandbox.extension import Answer, Extensions, PluginSource
from pytest_sandbox.names import KEYWORDS

__all__ = ["BUILTINS", "Catalog", "ExecutorSpec"]

FIRST_FREE_PRIORITY: Final = 100

_NAME: Final = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_FACTORY: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True)
class ExecutorSpec:
    """A snippet executor that can be selected by name.

    Attributes:
        name: how it is selected: lower-case letters and digits, with ``-``, ``.`` or ``_`` in between.
        factory: ``package.module:Class``, a class that derives from `SnippetExecutor`; imported only on use.
        priority: its place in auto-detection, the lowest first; below 100 is kept for our own.

    Raises:
        InvalidArgument: when a field makes no sense (the caller's fault).
    """

    name: str
    factory: str
    priority: int = FIRST_FREE_PRIORITY

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name in KEYWORDS:
            expected = f'lower-case letters and digits with "-", "." or "_" in between, and none of {", ".join(KEYWORDS)}'
            raise InvalidArgument("name", self.name, expected)
        if not isinstance(self.factory, str) or not _FACTORY.fullmatch(self.factory):
            raise InvalidArgument("factory", self.factory, 'the text "package.module:Class"')
        if isinstance(self.priority, bool) or not isinstance(self.priority, int):
            raise InvalidArgument("priority", self.priority, "a whole number")


BUILTINS: Final = (
    ExecutorSpec("isolated-vm", "pytest_sandbox.snippets.isolated_vm:IsolatedVmExecutor", 0),
    ExecutorSpec("deno", "pytest_sandbox.snippets.deno:DenoExecutor", 1),
    ExecutorSpec("container", "pytest_sandbox.snippets.container:ContainerExecutor", 2),
    ExecutorSpec("vm2", "pytest_sandbox.snippets.vm2:Vm2Executor", 3),
)
_BUILTIN: Final = {spec.name: spec for spec in BUILTINS}
_OURSELVES: Final = "pytest-sandbox itself"


@dataclass(frozen=True)
class _Contents:
    """What is registered, as of some number of plugins."""

    specs: tuple[ExecutorSpec, ...]
    owners: Mapping[str, str]
    problems: tuple[str, ...]
    refusals: tuple[InvalidPlugin, ...]


class Catalog:
    """All executors that are known: our own and those of plugins, which are asked on first need.

    Args:
        plugins: gives the plugins of a test run, or None outside of one.
    """

    def __init__(self, plugins: PluginSource | None = None) -> None:
        self._extensions = Extensions(plugins)
        self._lock = threading.RLock()
        self._contents: _Contents | None = None
        self._generation = -1

    def specs(self) -> tuple[ExecutorSpec, ...]:
        """Return all usable specs in priority order; never raises."""
        return self._read().specs

    def in_order(self) -> Iterator[ExecutorSpec]:
        """Yield the specs in priority order, asking plugins only when our own are used up."""
        yield from BUILTINS
        yield from self.specs()[len(BUILTINS) :]

    def problems(self) -> tuple[str, ...]:
        """Return what is wrong with plugins, each as one sentence; never raises."""
        contents = self._read()
        return contents.problems + tuple(str(refusal) for refusal in contents.refusals)

    def check(self) -> None:
        """Refuse plugins whose registrations make no sense.

        An installed package that cannot even be loaded or asked is passed over: `problems` names it, and so does
        `UnknownExecutor`, where its executors are missed.

        Raises:
            InvalidPlugin: naming the plugin (the fault of its author).
        """
        for refusal in self._read().refusals:
            raise refusal

    def ask(self, hook: str) -> Iterator[Answer]:
        """Call another of our hooks on the same plugins, and tell who answered what; never raises."""
        with self._lock:
            return iter(list(self._extensions.ask(hook)))

    def find(self, name: str, source: str | None = None) -> ExecutorSpec:
        """Return the spec of an executor.

        Args:
            name: the executor's name.
            source: where the name came from, for the message.

        Raises:
            UnknownExecutor: when there is none of that name (the caller's fault).
            InvalidPlugin: when a plugin's registrations make no sense (the fault of its author).
        """
        if name in _BUILTIN:  # needs no plugin
            return _BUILTIN[name]
        contents = self._read()
        self.check()
        for spec in contents.specs:
            if spec.name == name:
                return spec
        raise UnknownExecutor(name, [spec.name for spec in contents.specs], source, contents.problems)

    def owner(self, name: str) -> str:
        """Return who registered an executor, worded for a person."""
        return _OURSELVES if name in _BUILTIN else self._read().owners[name]

    def _read(self) -> _Contents:
        with self._lock:
            generation = self._extensions.generation()
            if self._contents is None or generation != self._generation:
                self._contents = _read(self._extensions.ask("pytest_sandbox_executors"))
                self._generation = generation
            return self._contents


def _read(answers: Iterable[Answer]) -> _Contents:
    found = dict(_BUILTIN)
    owners = dict.fromkeys(found, _OURSELVES)
    problems: list[str] = []
    refusals: list[InvalidPlugin] = []
    for answer in answers:
        if answer.error is not None:
            told = f"it raised {type(answer.error).__name__}: {answer.error}"
            # A package that does not work at all is not this run's fault; nonsense from one that works, or an error in
            # the run's own conftest, is somebody's to correct.
            if answer.installed and not isinstance(answer.error, InvalidArgument):
                problems.append(f"{answer.plugin} adds no executors: {told}")
            else:
                refusals.append(InvalidPlugin(answer.plugin, told, "correct or remove it"))
        for spec in answer.values:
            wrong = _why_refused(spec, owners)
            if wrong:
                refusals.append(InvalidPlugin(answer.plugin, *wrong))
            else:
                found[spec.name] = spec
                owners[spec.name] = answer.plugin
    specs = sorted(found.values(), key=lambda spec: (spec.priority, spec.name))
    return _Contents(tuple(specs), owners, tuple(problems), tuple(refusals))


def _why_refused(spec: object, owners: Mapping[str, str]) -> tuple[str, str] | None:
    """Return why a plugin's spec is refused and what to do, or None."""
    if not isinstance(spec, ExecutorSpec):
        return f"pytest_sandbox_executors gave {spec!r}", "return pytest_sandbox.ExecutorSpec objects"
    if spec.name in owners:
        return f'the name "{spec.name}" is already taken by {owners[spec.name]}', "rename the executor, or remove one of the two"
    if spec.priority < FIRST_FREE_PRIORITY:
        reason = f'executor "{spec.name}" has priority {spec.priority}'
        return reason, f"use {FIRST_FREE_PRIORITY} or more: lower ones are kept for pytest-sandbox itself"
    return None
