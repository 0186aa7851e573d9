"""The same API over containers."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_sandbox import DockerEntry, EntryRegistry
from pytest_sandbox.engines.layers import ImageFile, ImageRecipe
from pytest_sandbox.lua import LuaSandbox
from tests.real_engines import any_engine, busybox_program


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """The tag of an image with a shell; gone after the tests."""
    busybox = busybox_program()
    engine = any_engine()
    files = {f"/bin/{name}": ImageFile(busybox, 0o755) for name in ("sh", "cat", "sleep", "pwd")}
    recipe = ImageRecipe(files=files, architecture=os.uname().machine, config={"Env": ["PATH=/bin"]})
    tag = f"localhost/pytest-sandbox-test/lua:{secrets.token_hex(6)}"
    engine.load(recipe.archive(tag, {"pytest-sandbox.test": "lua"}))
    yield tag
    engine.remove_image(tag)


SCRIPT = """
local exec = require("exec")
local executor = assert(exec.get("app:box"))
local found = {}

local process = assert(executor:exec("sh -c 'pwd; echo $GREETING; read line; echo got $line; echo err >&2; exit 3'",
  {work_dir = "/bin", env = {GREETING = "hello"}}))
local out, err = process:stdout_stream(), nil
found.unstarted = select(2, process:wait()):kind()
assert(process:start())
err = process:stderr_stream()
assert(process:write_stdin("ping\\n"))
found.out, found.err, found.code = out:read(), err:read(), process:wait()
found.after = select(2, process:start()):kind()

local sleeper = assert(executor:exec("sleep 1000"))
assert(sleeper:start())
assert(sleeper:signal(9))
found.killed = sleeper:wait()

local missing = assert(executor:exec("no-such-program"))
local started, problem = missing:start()
if started then _, problem = missing:wait() end
found.missing = problem:kind()

local left = assert(executor:exec("sleep 1000"))
assert(left:start())
return found
"""


def test_the_api_is_the_same_over_containers_and_leaves_none(image: str, launcher: Any) -> None:
    entry = DockerEntry(name="box", image=image, auto_remove=True, network_mode="none", pull="never")
    with EntryRegistry.of(entry, namespace="app") as entries, LuaSandbox(entries, _launcher=launcher) as sandbox:
        found = sandbox.run(SCRIPT, timeout=100).check().value
    assert found == {
        "unstarted": "INVALID",
        "out": "/bin\nhello\ngot ping\n",
        "err": "err\n",
        "code": 3,
        "after": "INVALID",
        "killed": 137,
        "missing": "INVALID",
    }
    assert [state.name for state in any_engine().find("pytest-sandbox.entry=app:box")] == []
