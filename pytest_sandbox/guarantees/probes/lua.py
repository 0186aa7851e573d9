"""Attacks in Lua: on what a `LuaSandbox` promises."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.lua_probe import LUA_RUNTIME, LuaProbe, lua_subject, scripted_lua, witnessed_lua
from pytest_sandbox.guarantees.probe import Probe, ScriptedProbe
from pytest_sandbox.guarantees.probes import lua_limits
from pytest_sandbox.guarantees.scenes import change, got, knock, leak
from pytest_sandbox.guarantees.scripts import sighting
from pytest_sandbox.guarantees.stage import SceneMaker, Stage
from pytest_sandbox.guarantees.verdicts import Sighting

__all__ = ["PROBES"]


def _probe(name: str, title: str, code: str, scene: SceneMaker, mechanism: str = "") -> LuaProbe:
    guarantee = name.partition(".")[0]
    return LuaProbe(id=name, guarantee=guarantee, title=title, code=code, scene=scene, runtimes=LUA_RUNTIME, mechanism=mechanism)


_SOCKET: Final = "local socket = python.builtins.__import__('socket') "
_FILE: Final = leak(lambda canaries: {"path": str(canaries.secret_file)}, "file_secret")


def _module(canaries: Canaries) -> dict[str, Any]:
    """Plant a chunk of Lua that returns the secret."""
    path = canaries.open_folder / f"{canaries.fresh('module')}.lua"
    path.write_text(f'return "{canaries.file_secret}"')
    path.chmod(0o644)
    return {"path": str(path)}


_MODULE: Final = leak(_module, "file_secret")
_ENVIRONMENT: Final = leak(lambda canaries: {"name": canaries.env_name}, "env_secret")
_VICTIM: Final = leak(lambda canaries: {"path": f"/proc/{canaries.victim}/cmdline"}, "args_secret")


def _changed(path: Path) -> str:
    if not path.exists():
        return f"{path} is gone"
    return "" if path.read_text() == "untouched" else f"{path} was changed"


def _written(path: Path) -> str:
    return f"{path} was made by a program that was started" if path.exists() else ""


_CHANGE: Final = change(Canaries.file, _changed)
_SPAWN: Final = change(lambda canaries: canaries.open_folder / canaries.fresh("spawned"), _written)
_OBJECT: Final = got("an object behind the sandbox")
_TAKE: Final = "return { token = P.token, got = tostring(found) }"

REACH: tuple[LuaProbe, ...] = (
    _probe("network.lua-tcp", "connect by the bridge to Python", "return python.eval(\"bool(__import__('socket').create_connection(('\" .. P.host .. \"', \" .. P.port .. \"), 3).sendall(b'knock') or 1)\")", knock()),
    _probe("network.lua-udp", "send a datagram by the bridge to Python", "return python.eval(\"__import__('socket').socket(2, 2).sendto(b'knock', ('\" .. P.host .. \"', \" .. P.port .. \"))\")", knock("udp"), "network.lua-tcp"),
    _probe("network.lua-unix", "connect to a unix socket by the bridge to Python", f"{_SOCKET} local s = python.as_attrgetter(socket.socket(1, 1)) s.connect(P.path) return true", knock("unix"), "network.lua-tcp"),
    _probe("network.lua-host", "connect to the address of this machine by the bridge", "return python.eval(\"bool(__import__('socket').create_connection(('\" .. P.host .. \"', \" .. P.port .. \"), 3).sendall(b'knock') or 1)\")", knock(at="host"), "network.lua-tcp"),
    _probe("filesystem-read.lua-io", "read with io.open", "return io.open(P.path):read('a')", _FILE),
    _probe("filesystem-read.lua-lines", "read with io.lines", "for line in io.lines(P.path) do return line end", _FILE, "filesystem-read.lua-io"),
    _probe("filesystem-read.lua-dofile", "run a file with dofile", "return dofile(P.path)", _MODULE),
    _probe("filesystem-read.lua-bridge", "read by the bridge to Python", "return python.builtins.open(P.path).read()", _FILE),
    _probe("filesystem-read.lua-registry", "find the library io in the registry", "return debug.getregistry()._LOADED.io.open(P.path):read('a')", _FILE),
    _probe("filesystem-read.lua-loader", "have a module searched where the file is", "package.path = P.path return (require('x'))", _MODULE),
    _probe("filesystem-write.lua-io", "write with io.open", "local file = io.open(P.path, 'a') file:write('changed') file:close() return true", _CHANGE),
    _probe("filesystem-write.lua-remove", "remove with os.remove", "return os.remove(P.path)", _CHANGE),
    _probe("filesystem-write.lua-rename", "rename with os.rename", "return os.rename(P.path, P.path .. '-moved')", _CHANGE),
    _probe("filesystem-write.lua-bridge", "write by the bridge to Python", "return python.builtins.__import__('pathlib').Path(P.path).write_text('changed')", _CHANGE),
    _probe("process-spawn.lua-execute", "start a shell with os.execute", "return os.execute('echo x > ' .. P.path)", _SPAWN),
    _probe("process-spawn.lua-bridge", "start a program by the bridge to Python", "return python.builtins.__import__('os').system('echo x > ' .. P.path)", _SPAWN),
    _probe("process-visibility.lua-proc", "read the arguments of a process of the host", "return io.open(P.path):read('a')", _VICTIM),
    _probe("process-visibility.lua-bridge", "read them by the bridge to Python", "return python.builtins.open(P.path).read()", _VICTIM),
    _probe("environment.lua-getenv", "ask os.getenv", "return os.getenv(P.name)", _ENVIRONMENT),
    _probe("environment.lua-proc", "read the process's own variables", "return io.open('/proc/self/environ'):read('a')", _ENVIRONMENT),
    _probe("environment.lua-bridge", "ask os.environ by the bridge to Python", "return python.builtins.__import__('os').getenv(P.name)", _ENVIRONMENT),
    _probe("host-objects.lua-bridge", "take the bridge to Python", f"local found = python.builtins.object {_TAKE}", _OBJECT),
    _probe("host-objects.lua-eval", "evaluate Python", f"local found = python.eval('object()') {_TAKE}", _OBJECT, "host-objects.lua-bridge"),
    _probe("host-objects.lua-globals", "take __globals__ of a function of the host", f"local found = TOOL.__globals__ {_TAKE}", _OBJECT),
    _probe("host-objects.lua-class", "climb from a function of the host to its class", f"local found = TOOL.__class__.__base__ {_TAKE}", _OBJECT, "host-objects.lua-globals"),
    _probe("host-objects.lua-metatable", "take the metatable of a function of the host", f"local found = getmetatable(TOOL).__index(TOOL, '__name__') {_TAKE}", _OBJECT),
    _probe("host-objects.lua-exception", "catch the exception of a function of the host", f"local ok, err = pcall(TOOL, 1, 2, 3, 4) assert(not ok) local found = err.__traceback__ {_TAKE}", _OBJECT),
    _probe("host-objects.lua-registry", "take the registry", f"local found = debug.getregistry() {_TAKE}", _OBJECT),
    _probe("host-objects.lua-upvalues", "look into functions", f"local secret = {{}} local function f() return secret end local _, found = debug.getupvalue(f, 1) assert(found == secret) {_TAKE}", _OBJECT),
    _probe("host-objects.lua-loadlib", "load a library of machine code", f"local found = select(3, package.loadlib('/no/such/library', '*')) assert(found == 'open') {_TAKE}", _OBJECT),
    _probe("host-objects.lua-binary", "load a binary chunk", f"local found = load(string.dump(function() return 'ran' end))() {_TAKE}", _OBJECT),
    _probe("host-objects.lua-exit", "end the process from inside", f"local found = assert(os.exit) {_TAKE}", _OBJECT),
)  # fmt: skip


# -- what one run leaves for the next -----------------------------------------------------------------------------------------------


def _trace(name: str, title: str, leave: str, look: str) -> ScriptedProbe:
    def script(stage: Stage) -> Sighting:
        mark = f"left-{secrets.token_hex(8)}"
        # The second run is not told the mark; it prints its own witness.
        ran, witness = witnessed_lua(stage, look, {}, 10.0, first=leave.replace("MARK", f"'{mark}'"))
        found = ran.ended == "returned" and ran.value == mark
        seen = f"what the first run left {'was' if found else 'was not'} found by the second"
        return sighting(ran, witness, found, seen)

    return scripted_lua(name, title, f"-- the first run\n{leave}\n-- the second run\n{look}", script)


STATE: tuple[ScriptedProbe, ...] = (
    _trace("state.lua-global", "leave a global", "left = MARK", "return left"),
    _trace("state.lua-library", "change a library", "string.left = MARK", "return string.left"),
    _trace("state.lua-metatable", "change what all strings have", "string.upper = function() return MARK end", "return ('x'):upper()"),
    _trace("state.lua-globals-metatable", "answer for missing globals", "setmetatable(_G, {__index = function() return MARK end})", "return nowhere"),
)  # fmt: skip


# -- what the sandbox itself hands out ----------------------------------------------------------------------------------------------

_BUDGET: Final = "for i = 1, P.calls do pcall(TOOL, i) end return true"


def _budget(stage: Stage) -> Sighting:
    most = cast("int", stage.limits.tool_calls)
    before = lua_subject(stage).calls
    ran, witness = witnessed_lua(stage, _BUDGET, {"calls": 3 * most}, 20.0)
    calls = lua_subject(stage).calls - before
    seen = f"the host was called {calls} times, the limit is {most}"
    trouble = "" if calls >= most else f"the calls ended before the limit ({ran})"
    return sighting(ran, witness, calls > most, seen, trouble)


def _guarded(name: str, title: str, entry: str, command: str) -> ScriptedProbe:
    """Run what policy or whitelist deny; the control is the same sandbox without them."""
    code = f"""
local executor = assert(require("exec").get("{entry}"))
local process = assert(executor:exec({command}))
assert(process:start())
return process:wait()
"""

    def script(stage: Stage) -> Sighting:
        from pytest_sandbox.guarantees.lua import LuaSubject, open_sandbox

        target = stage.canaries.open_folder / stage.canaries.fresh(entry.partition(":")[2])
        subject: Any = stage.subject
        if stage.is_control:
            subject = LuaSubject(lambda tool: open_sandbox(tool, guarded=False))
        try:
            works = subject.run_lua(
                ['local p = require("exec").get("audit:free"):exec("true") p:start() return p:wait()'], {}, 20.0
            )
            ran, witness = witnessed_lua(replace(stage, subject=subject), code, {"path": str(target)}, 20.0)
        finally:
            if stage.is_control:
                subject.close()
        seen = f"the command {'has run' if target.exists() else 'has not run'}: {target} is {'there' if target.exists() else 'not there'}"
        # That what is allowed works is half of the witness: a sandbox that refuses everything keeps nothing out.
        said = witness if works.ended == "returned" and works.value == 0 else ""
        return sighting(ran, said, target.exists(), seen)

    return scripted_lua(name, title, code, script)


BRIDGE: tuple[ScriptedProbe, ...] = (
    scripted_lua("tool-bridge.lua-budget", "call a function of the host more often than allowed", _BUDGET, _budget),
    _guarded("tool-bridge.lua-policy-get", "get an executor that the policy denies", "audit:denied", '"touch " .. P.path'),
    _guarded("tool-bridge.lua-policy-run", "run a command that the policy denies", "audit:free", '"touch " .. P.path'),
    _guarded("tool-bridge.lua-whitelist", "run a command that the whitelist denies", "audit:bound", '"touch " .. P.path'),
    _guarded("tool-bridge.lua-whitelist-blank", "run such a command with another blank", "audit:bound", '"touch  " .. P.path'),
)  # fmt: skip

PROBES: tuple[Probe, ...] = (*REACH, *STATE, *lua_limits.PROBES, *BRIDGE)
