"""Lua in tests: the fixture ``lua_sandbox``, and files ``test_*.sandbox.lua``.

A pytest plugin of its own, which the main one names. What runs Lua is loaded when a test, or a file, needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from pytest_sandbox.lua import LuaSandbox
    from pytest_sandbox.plugin.lua_files import LuaFile

__all__ = ["lua_sandbox"]

PREFIX: Final = "test_"
SUFFIX: Final = ".sandbox.lua"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> LuaFile | None:
    """Collect files of tests in Lua."""
    if not (file_path.name.startswith(PREFIX) and file_path.name.endswith(SUFFIX)):
        return None
    from pytest_sandbox.plugin.lua_files import LuaFile

    return LuaFile.from_parent(parent, path=file_path)


@pytest.fixture
def lua_sandbox(request: pytest.FixtureRequest) -> Iterator[LuaSandbox]:
    """Runs Lua scripts, each in a process of its own; require("exec") gets the entries of --sandbox-entries."""
    from pytest_sandbox.plugin.lua_run import commands_of, sandbox_for

    commands = commands_of(request.node)
    with sandbox_for(request.config, commands.registry) as sandbox:
        yield sandbox
    commands.close()
