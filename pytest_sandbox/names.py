"""Words and variables with a meaning of their own where an executor is asked for."""

from __future__ import annotations

from typing import Final

__all__ = ["AUTO", "COMMAND_KINDS", "EXECUTOR_TYPE", "KEYWORDS"]

AUTO: Final = "auto"
COMMAND_KINDS: Final = ("exec.native", "exec.docker")
"""Command executors: what `--sandbox-require` may name besides snippet executors."""
KEYWORDS: Final = (AUTO, "all", "available")

EXECUTOR_TYPE: Final = "EXECUTOR_TYPE"
"""The environment variable that forces an executor."""
