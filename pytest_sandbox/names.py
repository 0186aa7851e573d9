"""Words and variables with a meaning of their own where an executor is asked for."""

from __future__ import annotations

from typing import Final

__all__ = ["AUTO", "COMMAND_KINDS", "EXECUTOR_TYPE", "KEYWORDS", "LUA"]

AUTO: Final = "auto"
LUA: Final = "lua"
COMMAND_KINDS: Final = ("exec.native", "exec.docker", LUA)
"""Command executors, and Lua: what `--sandbox-require` may name besides snippet executors."""
KEYWORDS: Final = (AUTO, "all", "available")

EXECUTOR_TYPE: Final = "EXECUTOR_TYPE"
"""The environment variable that forces an executor."""
