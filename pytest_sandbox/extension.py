"""Which plugins extend us, and what each of them answers to a hook.

Plugins come from the entry-point group ``pytest_sandbox`` and from whatever the test run has loaded (conftest files
and pytest plugins). Nothing is loaded before the first question.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pluggy

from pytest_sandbox import hookspecs
from pytest_sandbox.hookspecs import PROJECT

__all__ = ["Answer", "Extensions", "PluginSource"]

_PREFIX: Final = f"{PROJECT}_"

PluginSource = Callable[[], Iterable[tuple[str, Any]]]
"""Gives the name and the object of every plugin that the test run has loaded."""


@dataclass(frozen=True)
class Answer:
    """What one plugin answered to a hook.

    Attributes:
        plugin: the plugin, worded so that a person finds it.
        installed: whether it is somebody's installed package, as opposed to a part of this test run.
        values: what it returned; empty if it failed.
        error: why it could not be loaded or asked.
    """

    plugin: str
    installed: bool
    values: tuple[Any, ...] = ()
    error: Exception | None = None


class _Manager(pluggy.PluginManager):
    """Take functions named ``pytest_sandbox_*`` without a decorator, too, as pytest does in a conftest."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> pluggy.HookimplOpts | None:
        opts = super().parse_hookimpl_opts(plugin, name)
        if opts is not None or not name.startswith(_PREFIX):
            return opts
        method = getattr(plugin, name, None)
        if not inspect.isroutine(method):
            return None
        given = getattr(method, "pytest_impl", None) or {}  # left by @pytest.hookimpl
        plain: pluggy.HookimplOpts = {
            "wrapper": False,
            "hookwrapper": False,
            "optionalhook": False,
            "tryfirst": False,
            "trylast": False,
            "specname": None,
        }
        return {**plain, **given}


class Extensions:
    """Load plugins on the first question, and keep who said what.

    Args:
        source: the plugins of a test run, or None outside of one.
    """

    def __init__(self, source: PluginSource | None = None) -> None:
        self._source = source
        self._manager = _Manager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._labels: dict[int, tuple[str, bool]] = {}
        self._refused: list[Any] = []
        self._failed: list[Answer] = []
        self._entry_points_loaded = False

    def generation(self) -> int:
        """Load what has not been loaded yet, and return a number that grows with the plugins."""
        self._load()
        return len(self._labels) + len(self._failed)

    def _is_known(self, plugin: Any) -> bool:
        return self._manager.is_registered(plugin) or any(plugin is refused for refused in self._refused)

    def ask(self, hook: str) -> Iterator[Answer]:
        """Call a hook on every plugin, one by one, and tell who answered what; never raises.

        Plugins that could not be loaded answer with an error.
        """
        self._load()
        yield from self._failed
        plugins = self._manager.get_plugins()
        for plugin in sorted(plugins, key=lambda plugin: self._labels[id(plugin)]):
            caller = self._manager.subset_hook_caller(hook, remove_plugins=plugins - {plugin})
            if not caller.get_hookimpls():
                continue
            label, installed = self._labels[id(plugin)]
            try:
                values = tuple(value for result in caller() for value in result)
            except Exception as error:  # whatever a foreign plugin raises must be told with the plugin's name
                yield Answer(label, installed, error=error)
            else:
                yield Answer(label, installed, values)

    def _load(self) -> None:
        if not self._entry_points_loaded:
            self._entry_points_loaded = True
            for entry_point in importlib.metadata.entry_points(group=PROJECT):
                owner = f" ({entry_point.dist.name} {entry_point.dist.version})" if entry_point.dist else ""
                label = f'plugin "{entry_point.name}"{owner}'
                try:
                    plugin = entry_point.load()
                except Exception as error:  # a broken package must not break runs that do not need it
                    self._failed.append(Answer(label, True, error=error))
                else:
                    self._register(plugin, entry_point.name, label, installed=True)
        for name, plugin in self._source() if self._source else ():
            if plugin is not None and not self._is_known(plugin) and _extends_us(plugin):
                kind = "conftest" if name.endswith("conftest.py") else "pytest plugin"
                self._register(plugin, name, f'{kind} "{name}"', installed=False)

    def _register(self, plugin: Any, name: str, label: str, *, installed: bool) -> None:
        if self._is_known(plugin):  # one module under two entry points
            return
        try:
            # The name carries the kind: an entry point and a pytest plugin may share one.
            self._manager.register(plugin, f"{'installed' if installed else 'run'}:{name}")
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            self._failed.append(Answer(label, installed, error=error))
            self._refused.append(plugin)
            if self._manager.is_registered(plugin):
                self._manager.unregister(plugin)
        else:
            self._labels[id(plugin)] = (label, installed)


def _extends_us(plugin: Any) -> bool:
    return any(inspect.isroutine(getattr(plugin, name, None)) for name in dir(hookspecs) if name.startswith(_PREFIX))
