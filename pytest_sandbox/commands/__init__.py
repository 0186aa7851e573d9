"""Command executors: `exec.native` and `exec.docker`, made from entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_sandbox.commands.base import CommandExecutor
    from pytest_sandbox.commands.process import Process
    from pytest_sandbox.commands.records import CommandRecord
    from pytest_sandbox.commands.result import CommandResult
    from pytest_sandbox.commands.streams import Stream

__all__ = ["CommandExecutor", "CommandRecord", "CommandResult", "Process", "Stream"]

_HOMES = {
    "CommandExecutor": "base",
    "CommandRecord": "records",
    "CommandResult": "result",
    "Process": "process",
    "Stream": "streams",
}


def __getattr__(name: str) -> Any:
    # Loaded on use: not every test run runs commands.
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"pytest_sandbox.commands.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
