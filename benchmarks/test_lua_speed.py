"""How fast a Lua sandbox starts, and what calls of its API cost, against the same calls in Python."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_sandbox import EntryRegistry, NativeEntry
from pytest_sandbox.lua import LuaSandbox

from .conftest import Meter
from .test_command_speed import medians

PAIRS = """
local exec = require("exec")
for index = 1, 1000 do
  local executor = exec.get("app:shell")
  executor:release()
end
"""

TRUE = """
local executor = require("exec").get("app:shell")
return {main = function(count)
  for index = 1, count do
    local process = executor:exec("true")
    process:start()
    process:wait()
  end
end}
"""


@pytest.fixture
def registry() -> Any:
    with EntryRegistry.of(NativeEntry(name="shell"), namespace="app") as registry:
        yield registry


def test_the_start_of_a_lua_sandbox(meter: Meter, registry: EntryRegistry) -> None:
    def start() -> None:
        with LuaSandbox(registry) as sandbox:
            sandbox.run("return 1").check()

    meter.note("Lua: start, run of 'return 1', close, p50", meter.seconds(start, rounds=20) * 1000, "ms", aim=80.0)
    with LuaSandbox(registry) as sandbox:
        again = meter.seconds(lambda: sandbox.run("return 1").check(), rounds=20)
    meter.note("Lua: run of 'return 1', p50", again * 1000, "ms")


def test_getting_and_releasing_executors(meter: Meter, registry: EntryRegistry) -> None:
    def pairs(**options: Any) -> float:
        with LuaSandbox(registry, **options) as sandbox:
            durations = [sandbox.run(PAIRS).check().duration for _ in range(12)]
        return sorted(durations)[6] * 1000

    meter.note("Lua: 1000 pairs of exec.get and release, p50", pairs(), "ms", aim=50.0)
    # Each of them asks the host: two switches between processes for every pair.
    asked = pairs(policy=lambda _action, _resource: True)
    meter.note("Lua: the same, with a policy function", asked, "ms")


def test_running_true(meter: Meter, registry: EntryRegistry) -> None:
    shell = registry.get("app:shell")

    def in_python() -> None:
        for _ in range(50):
            process = shell.exec("true")
            process.start()
            process.wait()
            process.close(force=True)

    with LuaSandbox(registry) as sandbox:
        lua, python = medians(lambda: sandbox.run(TRUE, method="main", args=(50,)).check(), in_python, rounds=10)
    meter.note("Lua: exec, start, wait of 'true', 50 times", lua / 50 * 1000, "ms", baseline=python / 50 * 1000, aim=1.5)
