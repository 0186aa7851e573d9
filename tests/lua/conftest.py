from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox import EntryRegistry, NativeEntry
from pytest_sandbox.lua import LuaResult, LuaSandbox
from pytest_sandbox.lua.launcher import Launcher

collect_ignore_glob = [] if importlib.util.find_spec("lupa") else ["*.py"]
"""Without lupa there is nothing to test here; what users see then is in test_plugin.py."""

Run = Callable[..., LuaResult]

PRELUDE = """
local exec = require("exec")
local errors = require("errors")
local executor = assert(exec.get("app:shell"))
local function sh(script, options) return executor:exec("sh -c '" .. script .. "'", options) end
local function kind(value, err) assert(value == nil, "a value beside the error") return err and err:kind() or "no error" end
"""
"""One line for each, so that scripts that are put behind it know their own line numbers: they begin at line 7."""


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """What all tests start their Lua processes with, so that one is ready for each."""
    launcher = Launcher()
    yield launcher
    launcher.close()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[EntryRegistry]:
    """Entries app:shell (everything) and app:bound (two commands)."""
    with EntryRegistry.of(
        NativeEntry(name="shell", default_work_dir=str(tmp_path), default_env={"LANG": "C.UTF-8"}),
        NativeEntry(name="bound", default_work_dir=str(tmp_path), command_whitelist=("echo allowed", "pwd")),
        namespace="app",
    ) as registry:
        yield registry


@pytest.fixture
def sandbox(registry: EntryRegistry, launcher: Launcher) -> Iterator[LuaSandbox]:
    with LuaSandbox(registry, _launcher=launcher) as sandbox:
        yield sandbox


@pytest.fixture
def run(sandbox: LuaSandbox) -> Run:
    """Run a script that has the names of PRELUDE, and return its values but for nils at their end; it must not fail.

    A call as the last value of ``return`` adds its nil, where another one would have its error.
    """

    def run(script: str, *args: Any, **options: Any) -> Any:
        values = list(sandbox.run(PRELUDE + script, args=args, **options).check().values)
        while values and values[-1] is None:
            values.pop()
        return tuple(values)

    return run
