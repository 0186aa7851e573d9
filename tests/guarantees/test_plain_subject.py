"""The process in which controls run: what it tells of an attack that ends it."""

from __future__ import annotations

import os

from pytest_sandbox.guarantees.plain_subject import PLAIN, PlainSubject
from pytest_sandbox.guarantees.together import harness
from pytest_sandbox.processes.spawn import spawn_soon
from pytest_sandbox.snippets.link import StartingProcess
from pytest_sandbox.snippets.runtimes import find_node

DYING = """
const fs = await need("fs");
for (let line = 0; line < 50; line++) fs.writeSync(2, `trouble ${line}\\n`);
console.log("the witness");
needProcess().abort();
"""


def test_what_was_said_comes_before_what_was_written_to_standard_error() -> None:
    command = [find_node("test").path, str(PLAIN)]
    subject = PlainSubject("plain node", "node", lambda: StartingProcess(spawn_soon(command, env=dict(os.environ))))
    try:
        ran = subject.run(f"{harness()}\n{DYING}")
    finally:
        subject.close()
    assert ran.ended == "crash"
    assert ran.logs[0] == "the witness"
    assert ran.logs[1] == "trouble 0" and "trouble 49" in ran.logs
