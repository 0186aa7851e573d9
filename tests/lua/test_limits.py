"""Limits hold against everything that a script can do, and after any abuse the next script runs."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_sandbox import EntryRegistry, InvalidArgument, Limits, NativeEntry, UnsupportedLimit
from pytest_sandbox.limits import MIB
from pytest_sandbox.lua import LuaSandbox

SLACK = 15.0
"""Seconds that a busy machine may need besides."""


@pytest.fixture(scope="module")
def small(launcher: Any) -> Iterator[LuaSandbox]:
    """A sandbox with 16 MiB for a second."""
    limits = Limits(memory=16 * MIB, timeout=20, output=1000, result=100_000)
    with EntryRegistry.of(NativeEntry(name="shell")) as entries, LuaSandbox(entries, limits=limits, _launcher=launcher) as sandbox:
        yield sandbox


ENDLESS = {
    "a loop": "while true do end",
    "a loop that catches errors": "while true do pcall(error, 'x') end",
    "a coroutine": "coroutine.wrap(function() while true do end end)()",
    "coroutines that take turns": "local a a = coroutine.wrap(function() while true do coroutine.yield() end end) while true do a() end",
    "backtracking": "local s = string.rep('a', 40) return s:find(string.rep('a-', 40) .. 'b')",
    "a metamethod": "return setmetatable({}, {__index = function(t, k) while true do end end}).x",
    "a message handler": "xpcall(error, function() while true do end end)",
    "an error object": "error(setmetatable({}, {__tostring = function() while true do end end}))",
    "a comparison in a sort": "table.sort({3, 2, 1}, function() while true do end end)",
    "a replacement": "('x'):gsub('.', function() while true do end end)",
    "a goto": "::again:: goto again",
    "repeated calls of the host": "local exec = require('exec') while true do exec.get('shell') end",
    "a command": "local p = require('exec').get('shell'):exec('sleep 1000') p:start() return p:wait()",
    "a command that nobody reads": "local p = require('exec').get('shell'):exec('yes') local out = p:stdout_stream() p:start() return p:wait()",
    "a read": "local p = require('exec').get('shell'):exec('sleep 1000') local out = p:stdout_stream() p:start() return out:read(1)",
    "input that nobody reads": "local p = require('exec').get('shell'):exec('sleep 1000') p:start() return p:write_stdin(('x'):rep(1000000))",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_does_not_end_is_ended(small: LuaSandbox, name: str) -> None:
    started = time.monotonic()
    result = small.run(f"print('trying'); {ENDLESS[name]}", timeout=0.4)
    assert time.monotonic() - started < 0.4 + SLACK
    assert result.output == "trying\n"
    assert result.error is not None and (result.error.kind, result.error.limit) == ("timeout", "timeout"), result
    assert result.error.message == "it did not finish within 0.4 s"
    assert small.run("return 'still here'").check().value == "still here"


def test_the_same_loops_end_by_themselves_when_they_are_short(small: LuaSandbox) -> None:
    """The control: it is the limit that ends the loops above."""
    assert (
        small.run("for i = 1, 1000 do pcall(error, 'x') end return (('a'):rep(10):find(('a-'):rep(3) .. 'b'))").check().value
        is None
    )


BOMBS = {
    "a string": "local s = string.rep('x', 1000) while true do s = s .. s end",
    "string.rep": "return #string.rep('x', 1 << 28)",
    "string.rep with a separator": "return #string.rep('x', 1 << 20, string.rep('y', 1 << 10))",
    "a table": "local t = {} for i = 1, math.huge do t[i] = i end",
    "tables in tables": "local t = {} while true do t = {t, {}, {}} end",
    "table.concat": "local t = {} for i = 1, 4096 do t[i] = ('x'):rep(65536) end return #table.concat(t)",
    "coroutines": "local t = {} while true do t[#t + 1] = coroutine.create(function() coroutine.yield() end) coroutine.resume(t[#t]) end",
    "closures": "local t = {} while true do local x = {} t[#t + 1] = function() return x end end",
    "a replacement": "return #(('x'):rep(1 << 16):gsub('.', ('y'):rep(1 << 12)))",
    "a format": "local t = {} while true do t[#t + 1] = string.format('%99.99f%s', 1e300, ('x'):rep(1000)) end",
    "a chunk": "return load('return ' .. ('{'):rep(100) .. ('1,'):rep(1 << 22) .. ('}'):rep(100))",
    "a buffer of string.pack": "return #string.pack('s4', ('x'):rep(1 << 28))",
    "arguments": "return select('#', table.unpack({}, 1, 1 << 22)) and #table.pack(table.unpack({}, 1, 900000)) and ('x'):rep(1 << 26)",
}


@pytest.mark.parametrize("name", BOMBS)
def test_memory_bombs_hit_the_limit(small: LuaSandbox, name: str) -> None:
    result = small.run(f"print('trying'); {BOMBS[name]}")
    assert result.output == "trying\n"
    assert result.error is not None, result
    if name == "arguments":  # Lua itself has fewer places on its stack
        assert result.error.kind == "memory" or "too many results to unpack" in result.error.message
    else:
        assert (result.error.kind, result.error.limit) == ("memory", "memory"), result
    assert (result.usage.memory or 0) < 16 * MIB + 64 * MIB
    assert small.run("return 'still here'").check().value == "still here"


def test_with_more_memory_the_same_string_can_be_made(registry: EntryRegistry, launcher: Any) -> None:
    """The control: it is the limit that stops the bombs above."""
    with LuaSandbox(registry, limits=Limits(memory=600 * MIB), _launcher=launcher) as large:
        assert large.run(BOMBS["string.rep"]).check().value == 1 << 28


def test_a_script_may_catch_a_lack_of_memory_and_go_on(small: LuaSandbox) -> None:
    script = """
        local ok, err = pcall(string.rep, "x", 1 << 28)
        return ok, err, #string.rep("x", 1 << 20)
    """
    assert small.run(script).check().values == (False, "not enough memory", 1 << 20)


def test_calls_of_the_host_with_no_memory_left_neither_hang_nor_crash(small: LuaSandbox) -> None:
    """Where lupa hands a string to Lua, a lack of memory cannot be reported: it would hang."""
    script = """
        local exec = require("exec")
        local hoard, size = {}, 1 << 20
        while size >= 16 do
          local ok, piece = pcall(string.rep, "x", size)
          if ok then hoard[#hoard + 1] = piece else size = size // 2 end
        end
        print("full")
        local kinds = {}
        for index = 1, 50 do
          local ok, value = pcall(exec.get, "shell")
          kinds[ok and "worked" or value] = true
          hoard[#hoard + 1] = value
        end
        hoard = nil
        return kinds
    """
    result = small.run(script)
    assert result.ok or (result.error is not None and result.error.kind == "memory"), result
    assert not result.ok or set(result.value) <= {"worked", "not enough memory"}


def test_a_large_answer_of_the_host_that_has_no_room_is_a_lack_of_memory(small: LuaSandbox) -> None:
    script = """
        local executor = require("exec").get("shell")
        local p = executor:exec("head -c 9000000 /dev/zero")
        local out = p:stdout_stream()
        p:start()
        local ok, data = pcall(out.read, out)
        return ok, data, #string.rep("x", 1 << 20)
    """
    assert small.run(script).check().values == (False, "not enough memory", 1 << 20)


@pytest.mark.parametrize(
    "script",
    [
        "local function f() return 1 + f() end return f()",
        "local function f() return coroutine.wrap(f)() end return f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x",
        "return load(('('):rep(300) .. '1' .. (')'):rep(300))()",
        "local s = ('('):rep(100) return ('x'):find(s)",
        "return select(2, pcall(string.rep)) + nil",
    ],
)
def test_recursion_without_end_is_an_error_of_the_script(small: LuaSandbox, script: str) -> None:
    result = small.run(script)
    assert result.error is not None and result.error.kind in ("runtime", "memory"), result


def test_a_finalizer_that_does_not_end_holds_nothing_up(small: LuaSandbox) -> None:
    started = time.monotonic()
    result = small.run("setmetatable({}, {__gc = function() while true do end end}) return 1")
    assert time.monotonic() - started < SLACK
    assert result.check().value == 1


def test_printed_text_is_cut_at_the_limit_and_a_flood_ends_the_run(small: LuaSandbox) -> None:
    result = small.run("for i = 1, 20 do print(('x'):rep(100)) end return 1").check()
    assert result.truncated and 900 <= len(result.output) <= 1001
    assert result.usage.output == 20 * 101
    result = small.run("while true do print(('x'):rep(100)) end")
    assert result.error is not None and (result.error.kind, result.error.limit) == ("output", "output")
    assert "more than 16 times the limit output of 1000 bytes" in result.error.message
    assert len(result.output) <= 1001
    huge = small.run("print(('x'):rep(1 << 20)) return 1")
    assert huge.error is not None and huge.error.kind == "output"


def test_a_result_that_is_too_large_is_an_error(small: LuaSandbox) -> None:
    result = small.run("return ('x'):rep(100001)")
    assert result.error is not None and (result.error.kind, result.error.limit) == ("limit", "result")
    assert "Cannot return value: it has more than" in result.error.message
    assert small.run("return ('x'):rep(90000)").check().value == 90000 * "x"


def test_calls_of_the_host_and_cpu_time_can_be_limited(registry: EntryRegistry, launcher: Any) -> None:
    limits = Limits(tool_calls=10, cpu_time=0.3, timeout=60)
    with LuaSandbox(registry, limits=limits, _launcher=launcher) as sandbox:
        result = sandbox.run(
            "local exec = require('exec') for i = 1, ... do exec.get('app:shell'):release() end return 1", args=(10,)
        )
        assert (result.check().value, result.usage.tool_calls) == (1, 10)
        result = sandbox.run("local exec = require('exec') for i = 1, ... do exec.get('app:shell'):release() end", args=(11,))
        assert result.error is not None and (result.error.kind, result.error.limit) == ("limit", "tool_calls")
        result = sandbox.run("while true do end")
        assert result.error is not None and (result.error.kind, result.error.limit) == ("limit", "cpu_time"), result


def test_a_source_that_is_too_large_is_not_even_sent(registry: EntryRegistry, launcher: Any) -> None:
    with LuaSandbox(registry, limits=Limits(source=10), _launcher=launcher) as sandbox:
        result = sandbox.run("return 12345")
        assert result.error is not None and (result.error.kind, result.error.limit) == ("limit", "source")
        assert result.error.message == "the script has 12 bytes, the limit source is 10 bytes"


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UnsupportedLimit, match="Cannot enforce limit memory=1000 .*need at least 2097152 bytes"):
        LuaSandbox(limits=Limits(memory=1000))
    with pytest.raises(InvalidArgument, match="Cannot use limits=5"):
        LuaSandbox(limits=5)  # type: ignore[arg-type]


def test_an_interrupt_ends_the_run(small: LuaSandbox) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        small.run("while true do end")
    timer.join()
    assert small.run("return 'still here'").check().value == "still here"
