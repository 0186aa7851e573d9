"""What the Lua sandboxes of one test run share. Loaded when a test needs one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_sandbox.errors import ExecutorUnavailable
from pytest_sandbox.limits import Limits
from pytest_sandbox.lua import LuaSandbox
from pytest_sandbox.lua.launcher import Launcher
from pytest_sandbox.names import LUA
from pytest_sandbox.plugin.command_run import CommandTest
from pytest_sandbox.plugin.commands import TEST, run_of
from pytest_sandbox.plugin.state import SETTINGS

if TYPE_CHECKING:
    from pytest_sandbox.entries import EntryRegistry

__all__ = ["commands_of", "sandbox_for"]

LAUNCHER: Final[pytest.StashKey[Launcher]] = pytest.StashKey()
"""In a config: what starts the Lua processes of this run, and keeps one ready."""


def sandbox_for(config: pytest.Config, entries: EntryRegistry | None, **options: Any) -> LuaSandbox:
    """Return a new sandbox that starts as fast as one can; skip, or fail, where Lua cannot run.

    Args:
        config: of this test run.
        entries: what its scripts can get.
        **options: as for `LuaSandbox`.
    """
    try:
        launcher = _launcher(config)
    except ExecutorUnavailable as error:
        if LUA in config.stash[SETTINGS].require_commands:
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error), allow_module_level=True)
    timeout = config.stash[SETTINGS].timeout
    limits = Limits() if timeout is None else Limits(timeout=timeout)
    return LuaSandbox(entries, limits=limits, _launcher=launcher, **options)


def commands_of(item: pytest.Item) -> CommandTest:
    """Return the entries of a test, and what it makes of them; a failing test shows its commands."""
    if TEST not in item.stash:
        item.stash[TEST] = CommandTest(item, run_of(item.config))
    return item.stash[TEST]


def _launcher(config: pytest.Config) -> Launcher:
    if LAUNCHER not in config.stash:
        launcher = Launcher()
        config.stash[LAUNCHER] = launcher
        config.add_cleanup(launcher.close)
    return config.stash[LAUNCHER]
