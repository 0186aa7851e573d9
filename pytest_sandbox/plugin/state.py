"""Where a test run's state is kept. A leaf: what it names is loaded only when a test needs an executor."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import pytest

from pytest_sandbox.plugin.options import Settings

if TYPE_CHECKING:
    from pytest_sandbox.guarantees.results import Audit
    from pytest_sandbox.plugin.records import Recorder
    from pytest_sandbox.plugin.run import SandboxRun

__all__ = ["AUDITS", "RECORDER", "RUN", "SETTINGS", "recorder_of", "run_of"]

SETTINGS: Final = pytest.StashKey[Settings]()
"""In a config: what the user asked for."""

RUN: Final[pytest.StashKey[SandboxRun]] = pytest.StashKey()
"""In a config: what the test run knows, once something has been asked of it."""

AUDITS: Final[pytest.StashKey[list[Audit]]] = pytest.StashKey()
"""In a config: the audit, in parts. The controller of pytest-xdist has those of its workers. Reports put them together."""

RECORDER: Final[pytest.StashKey[Recorder]] = pytest.StashKey()
"""In a test item: what it executed."""

_creating = threading.RLock()


def recorder_of(item: pytest.Item) -> Recorder:
    """Return what keeps a test's executions."""
    from pytest_sandbox.plugin.records import Recorder

    return item.stash.setdefault(RECORDER, Recorder())


def run_of(config: pytest.Config) -> SandboxRun:
    """Return what a test run knows."""
    with _creating:  # workers ask, and tests may call the library, from several threads
        if RUN not in config.stash:
            from pytest_sandbox.plugin.run import SandboxRun

            config.stash[RUN] = SandboxRun(config)
        return config.stash[RUN]
