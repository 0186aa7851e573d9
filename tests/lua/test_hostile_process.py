"""What a Lua process sends is not trusted: whatever it is, the run ends with an error, and nothing of the host is harmed."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest

from pytest_sandbox import EntryRegistry, Limits, NativeEntry
from pytest_sandbox.limits import MIB
from pytest_sandbox.lua.host import ExecHost
from pytest_sandbox.lua.result import LuaResult
from pytest_sandbox.lua.run import LuaRun
from pytest_sandbox.lua.sandbox import DEFAULT_LUA_LIMITS
from pytest_sandbox.processes.spawn import spawn_soon
from pytest_sandbox.snippets.link import StartingProcess

LIMITS = Limits(timeout=3, output=1000, result=1 * MIB, memory=None).over(DEFAULT_LUA_LIMITS)

HEAD = """
import os, sys, time
def frame(data): return len(data).to_bytes(4, "big") + data
def send(data):
    while data: data = data[os.write(1, data):]
"""


def run_program(code: str) -> LuaResult:
    """Let a program take the place of the Lua process."""
    process = spawn_soon([sys.executable, "-I", "-S", "-c", HEAD + code], env={}, stdin=subprocess.PIPE)
    link = StartingProcess(process).wait(20)
    with EntryRegistry.of(NativeEntry(name="shell")) as entries:
        host = ExecHost(entries, entries.get, None, 4)
        return LuaRun(link, host, LIMITS, [("tool", lambda *args: args)], "script.lua").run(b"\0\0\0\1\x80")


def message(*parts: Any) -> bytes:
    return msgspec.msgpack.encode(parts)


def test_a_program_that_keeps_to_the_protocol_is_heard() -> None:
    """The control: these programs do take the place of the Lua process."""
    code = f"send(frame({message('log', b'said', 5)!r}) + frame({message('result', [1, 'x'])!r})); time.sleep(60)"
    result = run_program(code)
    assert (result.values, result.output) == ((1, "x"), "said\n")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("send(b'\\xff\\xff\\xff\\xff')", "sent a message of 4294967295 bytes, more than any legal one"),
        ("send(frame(b'garbage'))", "sent a message that cannot be read"),
        ("send(frame(b''))", "sent a message that cannot be read"),
        ("send(frame(b'\\x91' * 100000 + b'\\xc0'))", "sent a message that cannot be read"),
        (f"send(frame({message('no-such')!r}))", "sent a message that cannot be read"),
        (f"send(frame({message('get', 5)!r}))", "sent a message that cannot be read"),
        (f"send(frame({message('result', [1], 2)!r}))", "sent a message that cannot be read"),
        (f"send(frame({message('ready', 1, 'x')!r}))", "said twice that it is ready"),
        ("send(frame(b'x' * 100)[:50])", "ended without a result, with exit code 0"),
        ("", "ended without a result, with exit code 0"),
        ("print('last words', file=sys.stderr); sys.exit(5)", "with exit code 5; its last words: last words"),
        ("os.kill(os.getpid(), 11)", "ended without a result, by signal SIGSEGV"),
    ],
)
def test_what_is_not_legal_ends_the_run(code: str, words: str) -> None:
    result = run_program(code)
    assert result.error is not None and result.error.kind == "crash", result
    assert words in result.error.message


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(60)",
        "os.close(1); time.sleep(60)",
        "send(b'\\0\\0'); time.sleep(60)",
        # It asks, and reads no answer.
        f"while True: send(frame({message('call', 0, ['x' * 100_000])!r}))",
        # It holds a command up for ever.
        f"send(frame({message('get', b'shell')!r})); os.read(0, 99); send(frame({message('exec', 1, b'sleep 1000', None, [], [])!r})); "
        f"os.read(0, 99); send(frame({message('start', 1)!r})); os.read(0, 99); send(frame({message('wait', 1)!r})); time.sleep(60)",
    ],
)
def test_silence_and_floods_end_with_the_time(code: str) -> None:
    started = time.monotonic()
    result = run_program(code)
    assert result.error is not None and result.error.kind in ("timeout", "crash"), result
    assert time.monotonic() - started < 20


def test_numbers_that_were_not_given_are_refused() -> None:
    asked = [
        message("exec", 7, b"true", None, [], []),
        message("start", 7),
        message("wait", -1),
        message("signal", 7, 9),
        message("write_stdin", 7, b"x"),
        message("stream", 7, b"stdout"),
        message("read", 7, None),
        message("call", 1, []),
        message("call", -1, []),
    ]
    code = f"""
answers = []
for one in {asked!r}:
    send(frame(one))
    size = int.from_bytes(os.read(0, 4), "big")
    answers.append(os.read(0, size))
import base64
send(frame(b"\\x92\\xa6result\\x91\\xda" + len(b"".join(answers)).to_bytes(2, "big") + b"".join(answers).replace(b"\\xc2", b"F").replace(b"\\x94", b"A").decode("latin-1").encode("ascii", "replace")))
time.sleep(60)
"""
    result = run_program("os.read(0, 5)\n" + code)
    assert result.ok, result
    assert result.value.count("INVALID") == len(asked)


def test_results_after_the_first_do_not_count() -> None:
    code = f"send(frame({message('result', [1])!r}) + frame({message('result', [2])!r})); time.sleep(60)"
    assert run_program(code).values == (1,)
