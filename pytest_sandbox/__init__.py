"""Run untrusted JavaScript snippets and whitelisted commands in real sandboxes, from pytest or as a library.

Names are imported on first use, because everyone who has the plugin installed imports this module on every test run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_sandbox.commands import CommandExecutor, CommandResult, Process, Stream
    from pytest_sandbox.entries import DockerEntry, EntryRegistry, NativeEntry, load_entries
    from pytest_sandbox.errors import (
        AsyncioRequired,
        CommandExecutorClosed,
        CommandFailed,
        CommandNotAllowed,
        CommandNotStarted,
        ContainerGone,
        EngineError,
        EngineGone,
        EngineRefused,
        EngineTimeout,
        EngineUnavailable,
        EntriesInvalid,
        EnvironmentNotAllowed,
        ExecutorBroken,
        ExecutorClosed,
        ExecutorUnavailable,
        GuaranteeViolated,
        ImageNotFound,
        InvalidArgument,
        InvalidCommand,
        InvalidPlugin,
        LuaFailed,
        LuaSandboxClosed,
        NodeImageImpossible,
        PolicyInvalid,
        ProcessStateError,
        ProcessTimeout,
        PullFailed,
        ReportImpossible,
        SandboxError,
        SnippetFailed,
        UnknownEntry,
        UnknownExecutor,
        UnknownGuarantee,
        UnsupportedLimit,
        WorkDirNotAllowed,
    )
    from pytest_sandbox.guarantees.model import Guarantee
    from pytest_sandbox.guarantees.probe import CodeProbe, Probe, ScriptedProbe
    from pytest_sandbox.hookspecs import hookimpl
    from pytest_sandbox.limits import UNSET, Limits
    from pytest_sandbox.plugin.types import ExecutorFactory
    from pytest_sandbox.registry import Availability, ExecutorSpec, create_executor, detect_executors
    from pytest_sandbox.result import ExecuteResult, LogEntry, SnippetError, Usage
    from pytest_sandbox.snippets.base import ExecutorInfo, ExecutorOptions, SnippetExecutor
    from pytest_sandbox.values import JSError

    __version__: str

_MODULES = {
    "commands": ("CommandExecutor", "CommandResult", "Process", "Stream"),
    "entries": ("DockerEntry", "EntryRegistry", "NativeEntry", "load_entries"),
    "errors": (
        "AsyncioRequired",
        "CommandExecutorClosed",
        "CommandFailed",
        "CommandNotAllowed",
        "CommandNotStarted",
        "ContainerGone",
        "EngineError",
        "EngineGone",
        "EngineRefused",
        "EngineTimeout",
        "EngineUnavailable",
        "EntriesInvalid",
        "EnvironmentNotAllowed",
        "ExecutorBroken",
        "ExecutorClosed",
        "ExecutorUnavailable",
        "GuaranteeViolated",
        "ImageNotFound",
        "InvalidArgument",
        "InvalidCommand",
        "InvalidPlugin",
        "LuaFailed",
        "LuaSandboxClosed",
        "NodeImageImpossible",
        "PolicyInvalid",
        "ProcessStateError",
        "ProcessTimeout",
        "PullFailed",
        "ReportImpossible",
        "SandboxError",
        "SnippetFailed",
        "UnknownEntry",
        "UnknownExecutor",
        "UnknownGuarantee",
        "UnsupportedLimit",
        "WorkDirNotAllowed",
    ),
    "guarantees.model": ("Guarantee",),
    "guarantees.probe": ("CodeProbe", "Probe", "ScriptedProbe"),
    "hookspecs": ("hookimpl",),
    "limits": ("UNSET", "Limits"),
    "plugin.types": ("ExecutorFactory",),
    "registry": ("Availability", "ExecutorSpec", "create_executor", "detect_executors"),
    "result": ("ExecuteResult", "LogEntry", "SnippetError", "Usage"),
    "snippets.base": ("ExecutorInfo", "ExecutorOptions", "SnippetExecutor"),
    "values": ("JSError",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "UNSET",
    "AsyncioRequired",
    "Availability",
    "CodeProbe",
    "CommandExecutor",
    "CommandExecutorClosed",
    "CommandFailed",
    "CommandNotAllowed",
    "CommandNotStarted",
    "CommandResult",
    "ContainerGone",
    "DockerEntry",
    "EngineError",
    "EngineGone",
    "EngineRefused",
    "EngineTimeout",
    "EngineUnavailable",
    "EntriesInvalid",
    "EntryRegistry",
    "EnvironmentNotAllowed",
    "ExecuteResult",
    "ExecutorBroken",
    "ExecutorClosed",
    "ExecutorFactory",
    "ExecutorInfo",
    "ExecutorOptions",
    "ExecutorSpec",
    "ExecutorUnavailable",
    "Guarantee",
    "GuaranteeViolated",
    "ImageNotFound",
    "InvalidArgument",
    "InvalidCommand",
    "InvalidPlugin",
    "JSError",
    "Limits",
    "LogEntry",
    "LuaFailed",
    "LuaSandboxClosed",
    "NativeEntry",
    "NodeImageImpossible",
    "PolicyInvalid",
    "Probe",
    "Process",
    "ProcessStateError",
    "ProcessTimeout",
    "PullFailed",
    "ReportImpossible",
    "SandboxError",
    "ScriptedProbe",
    "SnippetError",
    "SnippetExecutor",
    "SnippetFailed",
    "Stream",
    "UnknownEntry",
    "UnknownExecutor",
    "UnknownGuarantee",
    "UnsupportedLimit",
    "Usage",
    "WorkDirNotAllowed",
    "__version__",
    "create_executor",
    "detect_executors",
    "hookimpl",
    "load_entries",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pytest-sandbox")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not kept: pytester, for one, forgets modules that an inner run imported, and a kept class would be a stranger.
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
