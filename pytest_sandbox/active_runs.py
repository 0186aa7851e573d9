"""The test runs that are going on in this process: one, or several when tests run pytest themselves.

A leaf, so that the plugin can announce a run without loading the registry that hardly any run needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_sandbox.registry import Registry

__all__ = ["enter", "innermost"]

_runs: list[Callable[[], Registry]] = []


def enter(registry: Callable[[], Registry]) -> Callable[[], None]:
    """Announce a test run, whose conftest files and plugins may add executors; return what ends it."""
    _runs.append(registry)

    def leave() -> None:
        if registry in _runs:
            _runs.remove(registry)

    return leave


def innermost() -> Registry | None:
    """Return the registry of the test run that was announced last, or None outside of test runs."""
    return _runs[-1]() if _runs else None
