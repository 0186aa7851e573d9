"""What a runner says is cut to size, whoever speaks for it; the snippets that get this far are in test_tampering.py."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from pytest_sandbox.limits import DEFAULT_LIMITS
from pytest_sandbox.snippets import tools as tools_module
from pytest_sandbox.snippets.base import Request
from pytest_sandbox.snippets.execution import Execution
from pytest_sandbox.snippets.threads import LoopOwner
from pytest_sandbox.snippets.tools import ToolBox


def execution_of(box: ToolBox) -> Execution:
    request = Request(source="", language="js", tools=box, limits=DEFAULT_LIMITS, tool_timeout=None)
    execution = Execution("isolated-vm", request, "stamp")
    execution.begin(time.monotonic())
    return execution


def test_an_error_that_was_forged_is_cut() -> None:
    small: dict[str, Any] = {"kind": "runtime", "name": "E", "message": "m", "stack": ""}
    for _ in range(50):
        small = {**small, "cause": small}
    with ToolBox(None, owner=None, loops=LoopOwner()) as box:
        execution = execution_of(box)
        execution.receive(json.dumps({"op": "error", "error": small}).encode(), time.monotonic())
        error = execution.result().error
    assert error is not None
    links = 0
    while error.cause is not None:
        error, links = error.cause, links + 1
    assert links == 5
    with ToolBox(None, owner=None, loops=LoopOwner()) as box:
        execution = execution_of(box)
        large = {"kind": "runtime", "name": "N" * 10**6, "message": "m" * 10**6, "stack": "    at snippet.js:1:1\n" * 10**5}
        execution.receive(json.dumps({"op": "error", "error": large}).encode(), time.monotonic())
        error = execution.result().error
    assert error is not None
    assert max(len(error.name), len(error.message), len(error.stack)) <= 16_384


def test_a_tool_for_which_there_is_no_thread_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_work: object) -> None:
        raise RuntimeError("can't start new thread")

    # A double: a machine without threads would not run this test either.
    monkeypatch.setattr(tools_module, "start_thread", refuse)
    with ToolBox({"tool": threading.get_ident}, owner=None, loops=LoopOwner()) as box:
        execution = execution_of(box)
        box.attach(lambda: None, execution.calls.encode)
        execution.receive(b'{"op":"call","id":1,"name":"tool","args":[]}', time.monotonic())
        answer = execution.calls.take_frames(time.monotonic())
    assert b'"ok":false' in answer and b"can't start new thread" in answer
    assert not execution.is_over
