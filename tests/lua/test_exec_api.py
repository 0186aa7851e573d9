"""``require("exec")``: what each method returns, and which errors there are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_sandbox import EntryRegistry
from pytest_sandbox.lua import LuaSandbox

SEED = """
local exec = require("exec")

local executor, err = exec.get("app:shell")
if err then return nil, err end

local proc = executor:exec("pwd", {
    work_dir = "/usr"
})

local stdout = proc:stdout_stream()
proc:start()
local output = stdout:read()
proc:wait()

stdout:close()
executor:release()
return output
"""


def test_the_script_of_the_reference_runs_unchanged(sandbox: LuaSandbox) -> None:
    assert sandbox.run(SEED).check().values == ("/usr\n",)


def test_a_script_that_returns_its_error_fails_with_that_error(sandbox: LuaSandbox) -> None:
    result = sandbox.run(SEED.replace("app:shell", "app:nothing"))
    assert not result.ok and result.error is not None
    assert (result.error.error_kind, result.error.returned, result.error.retryable) == ("NOT_FOUND", True, False)
    assert (
        result.error.message == 'Cannot get an executor: there is no entry "app:nothing": loaded entries are app:shell, app:bound'
    )
    assert result.error.line == 4


NONSENSE = [
    ('return kind(exec.get(""))', "the id is empty"),
    ("return kind(exec.get())", "got nil"),
    ("return kind(exec.get({}))", "got table"),
    ('return kind(executor:exec(""))', "it is empty"),
    ('return kind(executor:exec("   "))', "it is empty"),
    ("return kind(executor:exec(nil))", "expected a string, got nil"),
    ('return kind(executor:exec("echo \'a"))', "a quote is opened"),
    ('return kind(executor:exec("no-such-program-here"))', "no-such-program-here"),
    ('return kind(executor:exec("pwd", "x"))', "expected a table with work_dir or env"),
    ('return kind(executor:exec("pwd", {workdir = "/"}))', 'unknown option "workdir"; known options are work_dir and env'),
    ('return kind(executor:exec("pwd", {work_dir = 1}))', "expected a path as work_dir"),
    ('return kind(executor:exec("pwd", {work_dir = "/no/such/folder"}))', "/no/such/folder"),
    ('return kind(executor:exec("pwd", {env = {A = true}}))', "expected strings as names and values of env"),
    ('return kind(executor:exec("pwd", {env = {[1] = "x"}}))', "expected strings as names and values of env"),
    ('return kind(executor:exec("pwd", {env = {["A=B"] = "x"}}))', "A=B"),
    ('return kind(executor.exec("pwd"))', "call it with a colon, as in executor:exec(...)"),
    ('executor:release() return kind(executor:exec("pwd"))', "its executor is released"),
    ('local p = executor:exec("true") executor:release() return kind(p:start())', "the process is closed"),
    ('local p = executor:exec("true") p:start() return kind(p:start())', "the process is started already"),
    ('return kind(executor:exec("true"):wait())', "is not started"),
    ('return kind(executor:exec("true"):signal(15))', "is not started"),
    ('return kind(executor:exec("true"):write_stdin("x"))', "is not started"),
    ('return kind(executor:exec("true"):stdout_stream():read())', "is not started"),
    ('local p = executor:exec("true") p:close() return kind(p:start())', "the process is closed"),
    ('local p = executor:exec("true") p:close() return kind(p:stdout_stream())', "the process is closed"),
    ('local p = executor:exec("true") p:start() p:wait() return kind(p:wait())', "the process is closed"),
    ('local p = executor:exec("true") p:start() p:wait() return kind(p:start())', "the process is closed"),
    ('local p = executor:exec("true") p:start() p:wait() return kind(p:signal(15))', "the process is closed"),
    ('local p = executor:exec("true") p:start() p:wait() return kind(p:write_stdin("x"))', "the process is closed"),
    ('local p = executor:exec("true") p:start() p:wait() return kind(p:stderr_stream())', "the process is closed"),
    ('local p = executor:exec("cat") p:start() return kind(p:write_stdin(1))', "expected a string, got number"),
    ('local p = executor:exec("cat") p:start() return kind(p:signal("TERM"))', 'such as 15, got "TERM"'),
    ('local p = executor:exec("cat") p:start() return kind(p:signal(999))', "expected the number of a signal"),
    ('local p = executor:exec("cat") local s = p:stdout_stream() p:start() p:close(true) return kind(s:read())', "is closed"),
    ('local p = executor:exec("cat") local s = p:stdout_stream() p:start() s:close() return kind(s:read())', "is closed"),
    ('local p = executor:exec("true") local s = p:stdout_stream() p:start() return kind(s:read(0))', "at least 1"),
    ('local p = executor:exec("true") local s = p:stdout_stream() p:start() return kind(s:read("a"))', "at least 1"),
    (
        'local p = executor:exec("true") local s = p:stdout_stream() p:start() return kind(s.read())',
        "with a colon, as in stream",
    ),
    ('return kind(executor.release(errors.new("x")))', "it is not called on an executor"),
]


def test_what_makes_no_sense_is_invalid(sandbox: LuaSandbox) -> None:
    script = """
        local exec, errors = require("exec"), require("errors")
        local found = {}
        for index, code in ipairs({...}) do
          local executor = assert(exec.get("app:shell"))
          local function kind(value, err, ...)
            assert(value == nil and err and select("#", ...) == 0, "expected nil and an error")
            assert(err:retryable() == false and tostring(err) == err:kind() .. ": " .. err:message())
            return err
          end
          local chunk = assert(load("local exec, errors, executor, kind = ... " .. code))
          found[index] = chunk(exec, errors, executor, kind)
          executor:release()
        end
        return found
    """
    found = sandbox.run(script, args=[code for code, _ in NONSENSE]).check().value
    wrong = [(code, words, error) for (code, words), error in zip(NONSENSE, found, strict=True) if words not in error.message]
    assert wrong == []
    assert {error.kind for error in found} == {"INVALID"}


def test_releasing_and_closing_twice_is_fine(run: Any) -> None:
    script = """
        local function twice(call) local one, two = call(), call() assert(one == true and two == true) end
        twice(function() return executor:release() end)
        executor = exec.get("app:shell")
        local never, cat, done = executor:exec("true"), executor:exec("cat"), executor:exec("true")
        twice(function() return never:close() end)
        cat:start()
        local out = cat:stdout_stream()
        twice(function() return out:close() end)
        twice(function() return cat:close(true) end)
        done:start()
        out = done:stdout_stream()
        done:wait()
        twice(function() return done:close() end)
        twice(function() return executor:release() end)
        twice(function() return out:close() end)
        return "fine"
    """
    assert run(script) == ("fine",)


def test_every_call_that_succeeds_returns_nil_as_its_error(run: Any) -> None:
    script = """
        local found = {}
        local function note(name, value, ...) found[name] = select("#", ...) == 1 and (...) == nil and type(value) end
        note("get", exec.get("app:shell"))
        local p = executor:exec("cat")
        note("exec", executor:exec("cat"))
        note("stdout_stream", p:stdout_stream())
        note("stderr_stream", p:stderr_stream())
        note("start", p:start())
        note("write_stdin", p:write_stdin("x"))
        note("read", p:stdout_stream():read(1))
        note("close_stream", p:stdout_stream():close())
        note("end", p:write_stdin(""))
        note("wait", p:wait())
        note("close", p:close())
        note("release", executor:release())
        return found
    """
    assert run(script) == (
        {
            "get": "table",
            "exec": "table",
            "stdout_stream": "table",
            "stderr_stream": "table",
            "start": "boolean",
            "write_stdin": "boolean",
            "read": "string",
            "close_stream": "boolean",
            "end": "boolean",
            "wait": "number",
            "close": "boolean",
            "release": "boolean",
        },
    )


def test_work_dir_and_env_reach_the_command(run: Any, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    script = """
        local p = sh("pwd; env", {work_dir = "inner", env = {GREETING = "hello", COUNT = 3}})
        local out = p:stdout_stream()
        p:start()
        return out:read(), p:wait()
    """
    (output, code) = run(script)
    lines = output.splitlines()
    assert (lines[0], code) == (str(tmp_path / "inner"), 0)
    assert {"GREETING=hello", "COUNT=3", "LANG=C.UTF-8"} <= set(lines)


@pytest.mark.parametrize("taken", ["before", "after"])
def test_streams_can_be_taken_before_and_after_start(run: Any, taken: str) -> None:
    script = """
        local p = sh("echo out; echo err >&2; exit 3")
        local out, err
        if ... == "before" then out, err = p:stdout_stream(), p:stderr_stream() end
        p:start()
        if ... == "after" then out, err = p:stdout_stream(), p:stderr_stream() end
        return out:read(), err:read(), p:wait(), p:stdout_stream() == nil
    """
    assert run(script, taken) == ("out\n", "err\n", 3, True)


def test_a_stream_is_the_same_each_time(run: Any) -> None:
    assert run(
        'local p = executor:exec("true") return p:stdout_stream() == p:stdout_stream(), p:stdout_stream() ~= p:stderr_stream()'
    ) == (
        True,
        True,
    )


def test_read_with_a_number_gives_pieces_and_nil_at_the_end(run: Any) -> None:
    script = """
        local p = sh("printf abcdefgh")
        local out = p:stdout_stream()
        p:start()
        local pieces, piece = {}, nil
        repeat piece = out:read(3) pieces[#pieces + 1] = piece until piece == nil
        local longest = 0
        for _, piece in ipairs(pieces) do longest = math.max(longest, #piece) end
        return table.concat(pieces), longest <= 3, out:read(3), out:read(), p:wait(), out:read() == nil
    """
    assert run(script) == ("abcdefgh", True, None, None, 0, True)


def test_read_of_what_wrote_nothing_is_nil(run: Any) -> None:
    assert run('local p = executor:exec("true") local out = p:stdout_stream() p:start() return out:read(), p:wait()') == (None, 0)


def test_wait_loses_nothing_of_a_stream_that_was_taken(run: Any) -> None:
    script = """
        local p = sh("head -c 300000 /dev/zero; echo end")
        local out = p:stdout_stream()
        p:start()
        local code = p:wait()
        return code, #out:read(), out:read(), kind(p:stdout_stream())
    """
    assert run(script) == (0, 300004, None, "INVALID")


def test_output_is_bytes(run: Any) -> None:
    assert run(
        'local p = sh("printf \\"\\\\377\\\\000\\\\001\\"") local out = p:stdout_stream() p:start() return out:read(), p:wait()'
    ) == (
        b"\xff\x00\x01",
        0,
    )


def test_input_reaches_the_command_and_an_empty_string_ends_it(run: Any) -> None:
    script = """
        local p = executor:exec("cat")
        local out = p:stdout_stream()
        p:start()
        p:write_stdin("one\\n")
        local first = out:read(100)
        p:write_stdin("two\\n")
        p:write_stdin("")
        local late = kind(p:write_stdin("three\\n"))
        return first, out:read(), p:wait(), late
    """
    assert run(script) == ("one\n", "two\n", 0, "INVALID")


def test_a_signal_reaches_the_command(run: Any) -> None:
    script = """
        local p = sh("trap \\"echo caught; exit 5\\" TERM; echo ready; while :; do sleep 0.01; done")
        local out = p:stdout_stream()
        p:start()
        local ready = out:read(6)
        local sent = p:signal(15)
        return ready, sent, out:read(), p:wait()
    """
    assert run(script) == ("ready\n", True, "caught\n", 5)


@pytest.mark.parametrize(("force", "code"), [("false", 143), ("true", 137)])
def test_close_ends_a_command_gently_or_by_force(run: Any, registry: EntryRegistry, force: str, code: int) -> None:
    started = time.monotonic()
    run(f'local p = executor:exec("sleep 1000") p:start() return p:close({force})')
    assert time.monotonic() - started < 10
    (_, record), *_ = registry.log
    assert record.exit_code == code


def test_exit_codes_are_those_of_a_shell(run: Any) -> None:
    assert run('local p = sh("kill -9 $$") p:start() return p:wait()') == (137,)


def test_what_a_script_leaves_behind_is_ended(sandbox: LuaSandbox, registry: EntryRegistry) -> None:
    result = sandbox.run('local p = require("exec").get("app:shell"):exec("sleep 1000") p:start() return true')
    assert result.ok
    (_, record), *_ = registry.log
    assert (record.exit_code, record.signal) == (137, "SIGKILL")
    assert not registry._executors, "the executor was not closed"


def test_numbers_of_another_run_mean_nothing(run: Any) -> None:
    # Every run counts from 1; what is not this run's own does not exist.
    assert run('local p = executor:exec("true") return p:start(), p:wait()') == (True, 0)
    assert run('return kind(executor:exec("true"):wait())') == ("INVALID",)


def test_a_whitelist_holds_and_says_so(run: Any) -> None:
    script = """
        local bound = exec.get("app:bound")
        local p = bound:exec("echo allowed")
        local out = p:stdout_stream()
        p:start()
        local denied, err = bound:exec("echo denied")
        local denied_env, env_err = bound:exec("pwd", {env = {X = "1"}})
        local denied_dir, dir_err = bound:exec("pwd", {work_dir = "/"})
        return out:read(), denied == denied_env and denied_dir == nil, {err, env_err, dir_err}, p:wait()
    """
    output, are_denied, errors, code = run(script)
    assert (output, are_denied, code) == ("allowed\n", True, 0)
    assert [error.kind for error in errors] == 3 * ["PERMISSION_DENIED"]
    assert "it is not in the entry's command_whitelist" in errors[0].message
    assert 'the call sets "X"' in errors[1].message
    assert 'work_dir "/" leads to' in errors[2].message


def test_more_processes_than_the_limit_are_refused_until_one_is_closed(run: Any) -> None:
    script = """
        local open = {}
        for index = 1, 32 do open[index] = assert(executor:exec("true")) end
        local none, err = executor:exec("true")
        open[1]:close()
        return none == nil, err, executor:exec("true") ~= nil
    """
    refused, error, again = run(script)
    assert (refused, error.kind, error.retryable, again) == (True, "UNAVAILABLE", True, True)
    assert "32 processes are open, which is the limit processes" in error.message


def test_output_that_was_not_kept_is_told(registry: EntryRegistry, launcher: Any) -> None:
    from pytest_sandbox import NativeEntry

    with EntryRegistry.of(NativeEntry(name="small", output_limit=1000)) as small, LuaSandbox(small, _launcher=launcher) as sandbox:
        script = """
            local p = require("exec").get("small"):exec("head -c 200000 /dev/zero")
            p:start()
            p:wait()
            p = require("exec").get("small"):exec("head -c 200000 /dev/zero")
            p:start()
            local out = p:stdout_stream()
            local n = #out:read()
            return n, p:wait()
        """
        result = sandbox.run(script).check()
    assert result.values[1] == 0
    told = [entry.text for entry in result.logs if entry.level == "warn"]
    assert bool(told) == (result.values[0] < 200000)
    assert all("were not kept, because nobody read them in time" in text for text in told)


def test_calls_work_wherever_lua_can_call(run: Any) -> None:
    """Also where a coroutine could not yield: in comparisons, replacements, metamethods, and coroutines of the script."""
    script = """
        local function echo(text)
          local p = executor:exec("echo " .. text)
          local out = p:stdout_stream()
          p:start()
          return (out:read():gsub("\\n", "")), (p:wait())
        end
        local order = {3, 1, 2}
        table.sort(order, function(a, b) return tonumber((echo(a))) < tonumber((echo(b))) end)
        local replaced = ("a b"):gsub("%w", function(text) return (echo(text .. "!")) end)
        local object = setmetatable({}, {__tostring = function() return (echo("object")) end, __index = function(_, key) return (echo(key)) end})
        local inner = coroutine.wrap(function(text) coroutine.yield((echo(text))) return (echo("again")) end)
        local ok, caught = pcall(function() return (echo("caught")) end)
        return table.concat(order), replaced, tostring(object), object.key, inner("first"), inner(), caught
    """
    assert run(script) == ("123", "a! b!", "object", "key", "first", "again", "caught")


def test_what_a_run_used_is_told(sandbox: LuaSandbox) -> None:
    usage = sandbox.run("local t = {} for i = 1, 200000 do t[i] = {i} end return #t").check().usage
    assert usage.memory is not None and usage.memory > 8_000_000
    assert usage.cpu is not None and 0 <= usage.cpu <= 60 and usage.wall > 0


def test_scripts_run_from_several_threads_at_once(sandbox: LuaSandbox) -> None:
    from concurrent.futures import ThreadPoolExecutor

    script = 'local n = ... local p = require("exec").get("app:shell"):exec("echo " .. n) local out = p:stdout_stream() p:start() return out:read(), p:wait()'
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda number: sandbox.run(script, args=(number,)).check().values[:2], range(8)))
    assert results == [(f"{number}\n", 0) for number in range(8)]


def test_no_process_is_left(sandbox: LuaSandbox) -> None:
    sandbox.run("return 1").check()
    mine = [child for child in psutil.Process().children(recursive=True) if "lua/runner/main.py" in " ".join(child.cmdline())]
    assert len(mine) <= 4, "more than the one that is kept ready, and its jail"


@pytest.mark.parametrize("asks", [False, True], ids=["kept", "asked again"])
def test_an_executor_that_was_released_stays_released_when_the_next_one_is_taken(
    registry: EntryRegistry, launcher: Any, asks: bool
) -> None:
    asked: list[str] = []

    def policy(action: str, _resource: str) -> bool:
        asked.append(action)
        return True

    script = """
        local exec = require("exec")
        local first = exec.get("app:shell")
        assert(first:release() and first:release())
        local second, third = exec.get("app:shell"), exec.get("app:shell")
        assert(first:release())
        local refused, err = first:exec("true")
        local codes = {}
        for index, executor in ipairs({second, third}) do
          local process = assert(executor:exec("sh -c 'exit " .. index .. "'"))
          assert(process:start())
          codes[index] = process:wait()
        end
        assert(second:release() and third:release())
        local _, gone = second:exec("true")
        local other = exec.get("app:bound")
        return refused == nil, err:message(), gone:message(), codes, other ~= nil
    """
    with LuaSandbox(registry, policy=policy if asks else None, _launcher=launcher) as sandbox:
        refused, message, gone, codes, has_other = sandbox.run(script).check().values
    assert refused and "its executor is released" in message and "its executor is released" in gone
    assert (codes, has_other) == ([1, 2], True)
    assert asked.count("exec.get") == (4 if asks else 0)
