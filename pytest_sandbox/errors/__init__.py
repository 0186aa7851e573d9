"""Every exception that pytest-sandbox raises, in one place.

Five faults are kept apart, because five different people mend them:

* the caller asked for something that makes no sense (also a `ValueError`),
* a backend is missing on this machine (`ExecutorUnavailable`),
* a backend broke before the untrusted code ran (`ExecutorBroken`),
* the untrusted code failed (`SnippetFailed`, `CommandFailed`: raised only by `check()`),
* a guarantee did not hold (`GuaranteeViolated`, also an `AssertionError`).

The classes take facts, keep them as attributes, and word the message themselves. Each is written in the module of its
subject, and had from here.
"""

from __future__ import annotations

from pytest_sandbox.errors.base import InvalidArgument, InvalidPlugin, SandboxError
from pytest_sandbox.errors.commands import (
    CommandExecutorClosed,
    CommandFailed,
    CommandNotAllowed,
    CommandNotStarted,
    EnvironmentNotAllowed,
    InvalidCommand,
    NotConfined,
    ProcessStateError,
    ProcessTimeout,
    WorkDirNotAllowed,
)
from pytest_sandbox.errors.engines import (
    ContainerGone,
    EngineError,
    EngineGone,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
    ImageNotFound,
    NodeImageImpossible,
    PullFailed,
)
from pytest_sandbox.errors.entries import EntriesInvalid, UnknownEntry
from pytest_sandbox.errors.executors import (
    AsyncioRequired,
    ExecutorBroken,
    ExecutorClosed,
    ExecutorUnavailable,
    SnippetFailed,
    UnknownExecutor,
    UnsupportedLimit,
)
from pytest_sandbox.errors.guarantees import GuaranteeViolated, ReportImpossible, UnknownGuarantee
from pytest_sandbox.errors.lua import LuaFailed, LuaSandboxClosed, PolicyInvalid
from pytest_sandbox.errors.wording import near_miss, short_repr

__all__ = [
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
    "NotConfined",
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
    "near_miss",
    "short_repr",
]

# Where they are had from is what tracebacks show and pickles name, wherever they are written.
for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
