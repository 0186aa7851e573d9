"""Lua scripts in a sandbox, with ``require("exec")`` backed by the command executors."""

from __future__ import annotations

from pytest_sandbox.lua.policy import Policy, load_policy
from pytest_sandbox.lua.result import LuaError, LuaErrorObject, LuaResult
from pytest_sandbox.lua.sandbox import LuaSandbox

__all__ = ["LuaError", "LuaErrorObject", "LuaResult", "LuaSandbox", "Policy", "load_policy"]
