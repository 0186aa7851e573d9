"""The hooks by which other packages and conftest files extend pytest-sandbox.

A package offers them under the entry-point group ``pytest_sandbox``; a ``conftest.py`` or a pytest plugin just
defines functions of these names. ``hookimpl`` is only needed for options such as ``tryfirst``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import pluggy

if TYPE_CHECKING:
    from pytest_sandbox.guarantees.model import Guarantee
    from pytest_sandbox.guarantees.probe import Probe
    from pytest_sandbox.registry import ExecutorSpec

__all__ = ["PROJECT", "hookimpl", "hookspec", "pytest_sandbox_executors", "pytest_sandbox_guarantees"]

PROJECT: Final = "pytest_sandbox"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def pytest_sandbox_executors() -> Iterable[ExecutorSpec]:  # type: ignore[empty-body]  # a specification has no body
    """Called when executors are needed for the first time; return the executors that this plugin adds.

    Each is an ``ExecutorSpec(name, factory="package.module:Class", priority=100)``, with a priority of 100 or more and a
    class that derives from `SnippetExecutor`; the class is imported only when the executor is used.
    """


@hookspec
def pytest_sandbox_guarantees() -> Iterable[Guarantee | Probe]:  # type: ignore[empty-body]  # a specification has no body
    """Called when guarantees are to be proved; return the guarantees and the probes that this plugin adds.

    A ``Guarantee(id=..., meaning=...)`` is promised by the executors whose ``guarantees`` name it; a ``CodeProbe`` or
    ``ScriptedProbe`` attacks one, also one of ours. All of them can be imported from ``pytest_sandbox``; what their fields mean is
    in docs/guarantees.md.
    """
