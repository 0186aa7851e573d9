"""What a script cannot reach. Each attempt succeeds in a plain runtime of lupa, which is the positive control, and says that it ran."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lupa import lua54

import pytest_sandbox
from pytest_sandbox import EntryRegistry, Limits
from pytest_sandbox.lua import LuaSandbox

# Each is a function body that gets the path of a canary and a function of Python, and returns the canary's content.
ATTEMPTS = {
    # The bridge that lupa puts into every runtime.
    "python.eval": "return python.eval('open(\"' .. path .. '\").read()')",
    "python.builtins.open": "return python.builtins.open(path).read()",
    "python.builtins.exec": "python.builtins.exec('import builtins; builtins.stolen = open(\"' .. path .. '\").read()') return python.builtins.stolen",
    "python.builtins.__import__": "return python.builtins.__import__('pathlib').Path(path).read_text()",
    "python.builtins.getattr": "return python.builtins.getattr(python.builtins, 'open')(path).read()",
    "python.as_attrgetter": "return python.as_attrgetter(python.builtins).open(path).read()",
    "python.as_itemgetter": "return python.as_itemgetter(tool.__globals__)['__builtins__']['open'](path).read()",
    "the bridge by require": "return require('python').builtins.open(path).read()",
    "the bridge in package.loaded": "return package.loaded.python.builtins.open(path).read()",
    "the bridge by rawget": "return rawget(_G, 'python').builtins.open(path).read()",
    "the bridge in the environment of load": "return load('return python')().builtins.open(path).read()",
    "the bridge in a coroutine": "return coroutine.wrap(function() return python.builtins.open(path).read() end)()",
    # Attributes of objects of Python.
    "__globals__ of a function": "return python.as_itemgetter(tool.__globals__)['STOLEN'](path)",
    "__class__ of a function": "return tool.__class__.__base__.__subclasses__ and python.as_itemgetter(tool.__builtins__)['open'](path).read()",
    "__code__ of a function": "return tool.__code__.co_filename and tool.__call__(path)",
    "__self__ of a builtin function": "return python.as_attrgetter(python.builtins.len.__self__).open(path).read()",
    "__init__ and __globals__": "return python.as_itemgetter(python.eval('type(\"T\", (), {\"__init__\": lambda self: None})').__init__.__globals__)['__builtins__'] and python.builtins.open(path).read()",
    "the exception of a function": "local ok, err = pcall(tool, nil) return err.__traceback__.tb_frame.f_globals and python.as_itemgetter(err.__traceback__.tb_next.tb_frame.f_builtins)['open'](path).read()",
    "the exception in a message handler": "local stolen xpcall(tool, function(err) stolen = python.as_itemgetter(err.__traceback__.tb_next.tb_frame.f_builtins)['open'](path).read() end) return stolen",
    "the metatable of an object": "local index = getmetatable(tool).__index return python.as_itemgetter(index(tool, '__globals__'))['STOLEN'](path)",
    "setting an attribute": "tool.stolen = path return tool(tool.stolen)",
    "iteration over a mapping": "for name, value in python.iterex(python.as_attrgetter(tool.__globals__).items()) do if name == 'STOLEN' then return value(path) end end",
    # Lua's own libraries.
    "io.open": "return io.open(path):read('a')",
    "io.lines": "for line in io.lines(path) do return line end",
    "io.input": "io.input(path) return io.read('a')",
    "the metatable of a file": "local index = getmetatable(io.stdout).__index return index.read(io.open(path), 'a')",
    "os.execute": "os.execute('cp ' .. path .. ' ' .. path .. '.out') return io.open(path .. '.out'):read('a')",
    "os.getenv": "return os.getenv('CANARY')",
    "os.rename": "assert(os.rename(path, path .. '.moved')) return io.open(path .. '.moved'):read('a')",
    "os.remove": "local text = io.open(path):read('a') assert(os.remove(path)) return text",
    "os.tmpname": "local name = os.tmpname() os.remove(name) return name and io.open(path):read('a')",
    "loadfile": "local chunk, err = loadfile(path) return err and io.open(path):read('a')",
    "dofile": "local ok, err = pcall(dofile, path) return not ok and err:match(path, 1, true) and io.open(path):read('a') or io.open(path):read('a')",
    "package.searchpath": "return package.searchpath('x', path) and io.open(package.searchpath('x', path)):read('a')",
    "package.loadlib": "return type(package.loadlib('/no/such/library.so', '*')) == 'nil' and select(3, package.loadlib('/no/such.so', '*')) == 'open' and io.open(path):read('a')",
    "package.path": "package.path = path .. '.lua' local file = io.open(path .. '.lua', 'w') file:write('return io') file:close() return require('x').open(path):read('a')",
    "package.searchers": "return package.searchers[2] and package.searchers[3] and io.open(path):read('a')",
    "package.preload": "package.preload.y = function() return io end return require('y').open(path):read('a')",
    "package.loaded": "return package.loaded.io.open(path):read('a')",
    # The way to all of that by reflection.
    "debug.getregistry": "return debug.getregistry()._LOADED.io.open(path):read('a')",
    "debug.getupvalue": "local stolen for index = 1, 9 do local _, value = debug.getupvalue(function() return io end, index) stolen = value and value.io or stolen end return stolen.open(path):read('a')",
    "debug.getinfo": "return debug.getinfo(1, 'f').func and debug.getupvalue(debug.getinfo(1, 'f').func, 1) and io.open(path):read('a')",
    "debug.getlocal": "local secret = io local _, found for index = 1, 9 do local name, value = debug.getlocal(1, index) if name == 'secret' then found = value end end return found.open(path):read('a')",
    "debug.sethook": "local seen debug.sethook(function() seen = io end, 'c') tostring(1) debug.sethook() return seen.open(path):read('a')",
    "debug.setmetatable": "debug.setmetatable(0, {__index = io}) return (1).open(path):read('a')",
    "debug.getmetatable": "return debug.getmetatable(tool).__index(tool, '__name__') and io.open(path):read('a')",
    # Binary chunks.
    "string.dump": "return load(string.dump(function(name) return io.open(name):read('a') end))(path)",
    "a binary chunk": "return load(chunk)(path)",
    "a binary chunk, asked for": "return load(chunk, 'x', 'b')(path)",
    "a binary chunk, either kind": "return load(chunk, 'x', 'bt', _G)(path)",
    "a binary chunk in pieces": "local at = 0 return load(function() at = at + 1 return chunk:sub(at, at) end)(path)",
    # The environment of a function.
    "the real globals by load": "return load('return io')().open(path):read('a')",
    "a metatable on the globals": "setmetatable(_G, {__index = function(_, name) return 'no' end}) return io.open(path):read('a')",
    "_ENV": "return _ENV.io.open(path):read('a')",
}

HEAD = """
local path, tool, chunk = ...
print("trying")
"""

CANARY = "canary-7c1f9e"


def tool(path: str) -> str:
    """Read a file: what a host function can do, and a script must not get at in another way."""
    return Path(path).read_text()


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "files" / "canary"
    path.parent.mkdir()
    path.write_text(CANARY)
    monkeypatch.setenv("CANARY", CANARY)
    return path


PLAIN = """
import json, os, sys
from pathlib import Path
from lupa import lua54

def STOLEN(path):
    return Path(path).read_text()

def tool(path):
    return STOLEN(os.fsdecode(path))

folder, canary, scripts = Path(sys.argv[1]), sys.argv[2], json.load(sys.stdin)
found = {}
for number, (name, script) in enumerate(scripts.items()):
    path = folder / str(number)
    path.write_text(canary)
    os.environ["CANARY"] = canary
    chunk = lua54.LuaRuntime(encoding=None).execute(b"return string.dump(function(name) return io.open(name):read('a') end)")
    lua, printed = lua54.LuaRuntime(unpack_returned_tuples=True, encoding="latin-1"), []
    lua.globals()["print"] = printed.append
    try:
        found[name] = [printed, lua.execute(script, str(path), tool, chunk)]
    except Exception as error:
        found[name] = [printed, f"{type(error).__name__}: {error}"]
print(json.dumps(found))
"""


def plain(scripts: dict[str, str], folder: Path) -> Any:
    """Run scripts in runtimes of lupa that nobody has confined, in a process that they may break."""
    command = [sys.executable, "-c", PLAIN, str(folder), CANARY]
    done = subprocess.run(command, input=json.dumps(scripts), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def binary_chunk() -> bytes:
    code = b"return string.dump(function(name) return io.open(name):read('a') end)"
    dumped: bytes = lua54.LuaRuntime(encoding=None).execute(code)
    return dumped


def test_attempts_to_escape_succeed_without_the_sandbox(tmp_path: Path) -> None:
    found = plain({name: HEAD + attempt for name, attempt in ATTEMPTS.items()}, tmp_path)
    assert {name: outcome for name, outcome in found.items() if outcome != [["trying"], CANARY]} == {}


EVERY_ATTEMPT = """
local path, chunk, attempts = ...
local tool, found = require("host").tool, {}
for index, attempt in ipairs(attempts) do
  print("trying " .. attempt[1])
  local run = assert(load("local path, tool, chunk = ... " .. attempt[2], "=attempt"))
  local ok, value = pcall(run, path, tool, chunk)
  found[index] = {ok, type(value) == "table" and "a table" or value}
end
return found
"""


def test_no_attempt_to_escape_succeeds_in_the_sandbox(registry: EntryRegistry, launcher: Any, canary: Path) -> None:
    attempts = [[name, attempt] for name, attempt in ATTEMPTS.items()]
    with LuaSandbox(registry, modules={"host": {"tool": tool}}, _launcher=launcher) as sandbox:
        result = sandbox.run(EVERY_ATTEMPT, args=(str(canary), binary_chunk(), attempts)).check()
        # The function itself works: what failed was getting more out of it.
        assert sandbox.run("return require('host').tool(...)", args=(str(canary),)).check().value == CANARY
    assert [entry.text for entry in result.logs] == [f"trying {name}" for name in ATTEMPTS]
    # A script may catch the error, and return nothing.
    got_through = {
        name: outcome
        for name, outcome in zip(ATTEMPTS, result.value, strict=True)
        if CANARY in repr(outcome) or (outcome[0] and outcome[1:])
    }
    assert got_through == {}
    assert (canary.read_text(), os.listdir(canary.parent)) == (CANARY, ["canary"])


def test_os_exit_ends_a_plain_runtime_and_is_not_there(sandbox: LuaSandbox) -> None:
    code = "from lupa import lua54; lua54.LuaRuntime().execute('os.exit(7)')"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
    result = sandbox.run("print('trying') os.exit(0)")
    assert result.output == "trying\n" and result.error is not None
    assert "attempt to call a nil value (field 'exit')" in result.error.message


WALK = """
local seen, found, kinds = {}, {}, {}
local function walk(value, path)
  kinds[type(value)] = true
  if type(value) == "userdata" then found[#found + 1] = path end
  if (type(value) ~= "table" and type(value) ~= "function" and type(value) ~= "userdata") or seen[value] then return end
  seen[value] = path
  local metatable = getmetatable(value)
  if type(metatable) == "table" then walk(metatable, path .. ".(metatable)") end
  if type(value) ~= "table" then return end
  for key, item in next, value do
    walk(key, path .. ".(key)")
    walk(item, path .. "." .. tostring(key))
  end
end
walk(_G, "_G")
for index, value in ipairs({...}) do walk(value, "argument " .. index) end
"""


def test_no_object_of_python_can_be_reached(sandbox: LuaSandbox, tmp_path: Path) -> None:
    """Everything that a script can reach is a table, a function or a plain value; lupa's objects are userdata."""
    script = """
        local exec, errors = require("exec"), require("errors")
        local executor = exec.get("app:shell")
        local process = executor:exec("true")
        local _, err = exec.get("")
        local ok, raised = pcall(error, errors.new("INVALID", "x"))
        local more = {exec, errors, executor, process, process:stdout_stream(), err, raised, err.kind, string, ("x").rep}
        local names = {}
        for name in next, _G do names[#names + 1] = name end
        table.sort(names)
    """
    result = sandbox.run(script + WALK.replace("ipairs({...})", "ipairs(more)") + "return found, names, kinds").check()
    found, names, kinds = result.values
    assert found == []
    assert {"table", "function", "string"} <= set(kinds) <= {"table", "function", "string", "number", "boolean"}
    expected = "_G _VERSION assert collectgarbage coroutine errors error getmetatable ipairs load math next os pairs pcall print rawequal rawget rawlen rawset require select setmetatable string table tonumber tostring type utf8 xpcall"
    assert names == sorted(expected.split())
    # The control: the same walk finds files, and lupa's objects, in a plain runtime.
    (_, values) = plain({"walk": "print('walking') " + WALK + "return table.concat(found, ' ')"}, tmp_path)["walk"]
    assert "io.stdout" in values and ".python.builtins" in values and "argument 2" in values


@pytest.mark.parametrize(
    ("library", "names"),
    [
        ("os", ["clock", "date", "difftime", "time"]),
        ("coroutine", ["close", "create", "isyieldable", "resume", "running", "status", "wrap", "yield"]),
        ("table", ["concat", "insert", "move", "pack", "remove", "sort", "unpack"]),
        ("utf8", ["char", "charpattern", "codepoint", "codes", "len", "offset"]),
    ],
)
def test_libraries_hold_what_is_harmless(sandbox: LuaSandbox, library: str, names: list[str]) -> None:
    script = f"local names = {{}} for name in pairs({library}) do names[#names + 1] = name end table.sort(names) return names"
    assert sandbox.run(script).check().value == names


def test_what_a_script_changes_does_not_change_what_the_api_does(sandbox: LuaSandbox) -> None:
    """The code of the API uses what it took before the script ran."""
    script = """
        local exec = require("exec")
        for _, library in ipairs({string, table, math, utf8, coroutine}) do
          for name in pairs(library) do library[name] = function() return "hijacked" end end
        end
        local real = {error = error, tostring = tostring, type = type}
        for name, value in next, _G do
          if type(value) == "function" and name ~= "next" and name ~= "type" then _G[name] = function() return "hijacked" end end
        end
        type = function() return "table" end
        local executor, err = exec.get("app:shell")
        local process = executor:exec("echo fine")
        local out = process:stdout_stream()
        process:start()
        local text = out:read()
        local _, refused = exec.get("")
        return text, process:wait(), refused:kind()
    """
    result = sandbox.run(script).check()
    assert result.values == ("fine\n", 0, "INVALID")


def test_the_metatables_of_our_objects_cannot_be_had(sandbox: LuaSandbox) -> None:
    script = """
        local exec = require("exec")
        local executor = exec.get("app:shell")
        local process = executor:exec("true")
        local found = {}
        for _, object in ipairs({executor, process, process:stdout_stream(), errors.new("x"), ""}) do
          found[#found + 1] = {getmetatable(object), (pcall(setmetatable, object, {})), next(type(object) == "table" and object or {}) == nil}
        end
        return found
    """
    names = ["executor", "process", "stream", "error", "string"]
    assert sandbox.run(script).check().value == [[name, False, True] for name in names]


def test_runs_share_nothing(sandbox: LuaSandbox) -> None:
    leave = "string.left = 'mine' left = 'mine' require('exec').left = 'mine' getmetatable('').left = 1"
    sandbox.run(leave)
    assert sandbox.run("return string.left, left, require('exec').left").check().values == (None, None, None)
    assert (
        sandbox.run(leave.partition(" getmeta")[0] + " return string.left, left, require('exec').left").check().values
        == ("mine",) * 3
    )


def test_a_script_in_the_jail_is_another_user_without_files_and_network(launcher: Any) -> None:
    """Seen from outside: what an escape from Lua would find."""
    if not launcher.is_jailed:
        pytest.skip(f"jail {launcher.jail}")
    import psutil

    link = launcher.take()
    try:
        pid = link._confined.program_pid()
        process = psutil.Process(pid)
        root = Path(f"/proc/{pid}/root")
        assert process.environ().keys() <= {"TZ", "PWD"}
        assert process.uids().real != os.getuid() or os.getuid() != 0
        assert not (root / "etc/passwd").exists() and not (root / "proc/self").exists() and not (root / "bin/sh").exists()
        mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
        writable = [mount[4] for mount in mounts if "ro" not in mount[5].split(",")]
        assert set(writable) <= {"/dev/null", "/dev/urandom"}
        assert (root / str(Path(pytest_sandbox.__file__).parent / "lua/runner/main.py").lstrip("/")).exists()
        assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
        assert len(os.listdir(f"/proc/{pid}/fd")) == 3
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2" and int(status["CapEff"], 16) == 0
    finally:
        link.end()


def test_without_a_jail_scripts_are_confined_by_lua_alone(registry: EntryRegistry, canary: Path) -> None:
    with LuaSandbox(registry, jail="off", limits=Limits(timeout=20)) as sandbox:
        assert sandbox.jail == "off"
        for name in ("python.builtins.open", "io.open", "debug.getregistry", "a binary chunk"):
            result = sandbox.run(HEAD.replace("tool, ", "") + ATTEMPTS[name], args=(str(canary), binary_chunk()))
            assert result.output == "trying\n" and not result.ok, name
