"""Entries: YAML descriptions of command executors, addressed as ``namespace:name``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_sandbox.entries.loading import load_entries
    from pytest_sandbox.entries.model import Confine, DockerEntry, Entry, EntryProblem, Mount, NativeEntry
    from pytest_sandbox.entries.registry import EntryRegistry, LoadedEntry

__all__ = [
    "Confine",
    "DockerEntry",
    "Entry",
    "EntryProblem",
    "EntryRegistry",
    "LoadedEntry",
    "Mount",
    "NativeEntry",
    "load_entries",
]

_HOMES = {"load_entries": "loading", "EntryRegistry": "registry", "LoadedEntry": "registry"}


def __getattr__(name: str) -> Any:
    # Loaded on use: yaml and msgspec do not belong on the start-up path of a test run.
    if name in __all__:
        import importlib

        return getattr(importlib.import_module(f"pytest_sandbox.entries.{_HOMES.get(name, 'model')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
