"""Attacks in Lua: on what a `LuaSandbox` promises. The control is a plain runtime of lupa, or a sandbox without policy and whitelist."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.probe import Attempt, Probe, Runtime, SceneMaker, ScriptedProbe, Stage
from pytest_sandbox.guarantees.scenes import change, got, knock, leak
from pytest_sandbox.guarantees.subjects import Ran
from pytest_sandbox.guarantees.verdicts import Sighting
from pytest_sandbox.limits import MIB

if TYPE_CHECKING:
    from pytest_sandbox.guarantees.lua import RunsLua

__all__ = ["PROBES", "LuaProbe"]

_LUA: Final[tuple[Runtime, ...]] = ("lua",)


class _LuaWitness:
    """A word that only Lua which really runs can print: the reverse of what it was given."""

    def __init__(self) -> None:
        self.challenge = secrets.token_hex(8)

    @property
    def code(self) -> str:
        """Prints it."""
        return f'print(("{self.challenge}"):reverse())\n'

    def said(self, ran: Ran) -> str:
        """Return what stands as the witness if it was printed, else nothing."""
        answer = self.challenge[::-1]
        return f"the script ran: asked for the reverse of {self.challenge}, it printed {answer}" if answer in ran.logs[:5] else ""


def _lua(stage: Stage) -> RunsLua:
    return cast("RunsLua", stage.subject)


@dataclass(frozen=True, kw_only=True)
class LuaProbe(Probe):
    """An attack that is a Lua chunk; it gets ``P`` (what its scene gives) and ``TOOL``, a function of the host.

    Attributes:
        code: the attack.
        scene: makes what it goes for.
    """

    code: str
    scene: SceneMaker

    @property
    def source(self) -> str:
        """See `Probe`."""
        return self.code.strip()

    def perform(self, stage: Stage) -> Sighting:
        """See `Probe`."""
        witness = _LuaWitness()
        with self.scene(stage.canaries) as scene:
            ran = _lua(stage).run_lua([witness.code + self.code], scene.params, 10.0)
            at = ran.ended if ran.ended in ("returned", "threw") else ""
            attempt = Attempt(at=at, value=ran.value, error=ran.error, ran=ran)
            breached, observed = scene.look(attempt)
        trouble = "" if at else f"the attack never told its outcome ({ran})"
        return Sighting(
            breached=breached,
            witness=witness.said(ran),
            attack=attempt.words,
            observer=observed,
            trouble=trouble,
            duration=ran.duration,
        )


def _probe(name: str, title: str, code: str, scene: SceneMaker, mechanism: str = "") -> LuaProbe:
    guarantee = name.partition(".")[0]
    return LuaProbe(id=name, guarantee=guarantee, title=title, code=code, scene=scene, runtimes=_LUA, mechanism=mechanism)


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


# -- what needs several runs, or counts ------------------------------------------------------------------------------------------------


def _scripted(name: str, title: str, shown: str, script: Callable[[Stage], Sighting]) -> ScriptedProbe:
    guarantee = name.partition(".")[0]
    return ScriptedProbe(id=name, guarantee=guarantee, title=title, script=script, shown=shown, runtimes=_LUA)


def _trace(name: str, title: str, leave: str, look: str) -> ScriptedProbe:
    def script(stage: Stage) -> Sighting:
        witness, mark = _LuaWitness(), f"left-{secrets.token_hex(8)}"
        # The second run is not told the mark; it prints its own witness.
        leaving = leave.replace("MARK", f"'{mark}'")
        ran = _lua(stage).run_lua([leaving, witness.code + look], {}, 10.0)
        found = ran.ended == "returned" and ran.value == mark
        seen = f"what the first run left {'was' if found else 'was not'} found by the second"
        return Sighting(breached=found, witness=witness.said(ran), attack=str(ran), observer=seen, duration=ran.duration)

    return _scripted(name, title, f"-- the first run\n{leave}\n-- the second run\n{look}", script)


STATE: tuple[ScriptedProbe, ...] = (
    _trace("state.lua-global", "leave a global", "left = MARK", "return left"),
    _trace("state.lua-library", "change a library", "string.left = MARK", "return string.left"),
    _trace("state.lua-metatable", "change what all strings have", "string.upper = function() return MARK end", "return ('x'):upper()"),
    _trace("state.lua-globals-metatable", "answer for missing globals", "setmetatable(_G, {__index = function() return MARK end})", "return nowhere"),
)  # fmt: skip

_TIMEOUT: Final = 0.4
_OUTLIVES: Final = 5.0
"""Seconds after which an attack that nobody has ended counts as one that outlived its time."""


def _time(name: str, title: str, code: str) -> ScriptedProbe:
    def script(stage: Stage) -> Sighting:
        witness = _LuaWitness()
        # The control has no time limit; it is watched until it has outlived that of the sandbox for sure.
        patience = 3 * _TIMEOUT if stage.is_control else _TIMEOUT
        ran = _lua(stage).run_lua([witness.code + code], {}, patience)
        outlived = ran.duration > (_TIMEOUT if stage.is_control else _TIMEOUT + _OUTLIVES)
        seen = f"by the host's clock, it ended after {ran.duration:.2f} s of {_TIMEOUT:g} s ({ran.ended})"
        trouble = "" if ran.ended == "timeout" else f"it was not the time that ended it ({ran})"
        return Sighting(
            breached=outlived and not trouble,
            witness=witness.said(ran),
            attack=str(ran),
            observer=seen,
            trouble=trouble,
            duration=ran.duration,
        )

    return _scripted(name, title, code, script)


TIME: tuple[ScriptedProbe, ...] = (
    _time("time-limit.lua-loop", "loop", "while true do end"),
    _time("time-limit.lua-coroutine", "loop in coroutines that take turns", "local f = coroutine.wrap(function() while true do coroutine.yield() end end) while true do f() end"),
    _time("time-limit.lua-pattern", "match a pattern that takes exponential time", "local s = ('a'):rep(40) return s:find(('a-'):rep(40) .. 'b')"),
    _time("time-limit.lua-handler", "loop where errors are handled", "while true do xpcall(error, function() while true do end end) end"),
    _time("time-limit.lua-metamethod", "loop where a value becomes text", "return tostring(setmetatable({}, {__tostring = function() while true do end end}))"),
)  # fmt: skip

_SLACK: Final = 64 * MIB


def _memory(name: str, title: str, code: str) -> ScriptedProbe:
    def script(stage: Stage) -> Sighting:
        witness = _LuaWitness()
        limit = cast("int", stage.limits.memory)
        ran = _lua(stage).run_lua([witness.code + code], {"bytes": 8 * limit}, 30.0)
        peak = ran.memory or 0
        breached = ran.ended == "returned" or peak > limit + 2 * _SLACK
        seen = f"its process had at most {peak // MIB} MiB of {limit // MIB} MiB and {_SLACK // MIB} of slack ({ran.ended})"
        trouble = "" if breached or ran.ended == "memory" else f"it was not the memory that ended it ({ran})"
        return Sighting(
            breached=breached, witness=witness.said(ran), attack=str(ran), observer=seen, trouble=trouble, duration=ran.duration
        )

    return _scripted(name, title, code, script)


MEMORY: tuple[ScriptedProbe, ...] = (
    _memory("memory-limit.lua-string", "double a string", "local s = ('x'):rep(1024) while #s < P.bytes do s = s .. s end return #s"),
    _memory("memory-limit.lua-rep", "make one large string", "return #('x'):rep(P.bytes)"),
    _memory("memory-limit.lua-tables", "hoard tables", "local t = {} for i = 1, P.bytes // 64 do t[i] = {i} end return #t"),
    _memory("memory-limit.lua-coroutines", "hoard coroutines", "local t = {} for i = 1, P.bytes // 1000 do t[i] = coroutine.create(function() end) end return #t"),
)  # fmt: skip


def _output(name: str, title: str, code: str) -> ScriptedProbe:
    def script(stage: Stage) -> Sighting:
        witness = _LuaWitness()
        limit = cast("int", stage.limits.output)
        ran = _lua(stage).run_lua([witness.code + code], {"bytes": 4 * limit}, 30.0)
        kept = sum(len(line) + 1 for line in ran.logs)
        seen = f"{kept} bytes were kept, the limit is {limit} ({ran.ended})"
        # Had it printed less, that nothing was kept would prove nothing.
        trouble = "" if kept >= limit // 2 else f"it was not the limit that held the output back ({ran})"
        return Sighting(
            breached=kept > limit + 100,
            witness=witness.said(ran),
            attack=str(ran),
            observer=seen,
            trouble=trouble,
            duration=ran.duration,
        )

    return _scripted(name, title, code, script)


OUTPUT: tuple[ScriptedProbe, ...] = (
    _output("output-limit.lua-lines", "print many lines", "for i = 1, P.bytes // 100 do print(('x'):rep(99)) end return true"),
    _output("output-limit.lua-line", "print one long line", "print(('x'):rep(P.bytes)) return true"),
)


def _abuse(name: str, title: str, code: str) -> ScriptedProbe:
    def script(stage: Stage) -> Sighting:
        witness = _LuaWitness()
        number = secrets.randbelow(90_000) + 10_000
        patience = 2 * _TIMEOUT if stage.is_control else _TIMEOUT
        subject = _lua(stage)
        if stage.is_control:  # one runtime for both, as a program that embeds Lua would do it
            after = ran = subject.run_lua([witness.code + code, f"return {number} * {number}"], {}, patience)
        else:
            ran = subject.run_lua([witness.code + code], {}, patience)
            after = subject.run_lua([f"return {number} * {number}"], {}, 20.0)
        works = after.ended == "returned" and after.value == number * number
        seen = f"the next run {'gave what it should' if works else f'did not work ({after})'} after {after.duration:.2f} s"
        # Of a control that has only failed, nothing follows.
        breached = not works and (not stage.is_control or ran.ended == "timeout")
        return Sighting(breached=breached, witness=witness.said(ran), attack=str(ran), observer=seen, duration=ran.duration)

    return _scripted(name, title, code, script)


AVAILABILITY: tuple[ScriptedProbe, ...] = (
    _abuse("availability.lua-loop", "loop", "while true do end"),
    _abuse("availability.lua-pattern", "match a pattern for ever", "local s = ('a'):rep(40) return s:find(('a-'):rep(40) .. 'b')"),
    _abuse("availability.lua-finalizer", "loop while garbage is collected", "setmetatable({}, {__gc = function() while true do end end}) collectgarbage()"),
    _abuse("availability.lua-metamethod", "loop where a value becomes text", "return tostring(setmetatable({}, {__tostring = function() while true do end end}))"),
)  # fmt: skip


# -- what the sandbox itself hands out -------------------------------------------------------------------------------------------------

_BUDGET: Final = "for i = 1, P.calls do pcall(TOOL, i) end return true"


def _budget(stage: Stage) -> Sighting:
    witness = _LuaWitness()
    most = cast("int", stage.limits.tool_calls)
    subject = _lua(stage)
    before = subject.calls
    ran = subject.run_lua([witness.code + _BUDGET], {"calls": 3 * most}, 20.0)
    calls = subject.calls - before
    seen = f"the host was called {calls} times, the limit is {most}"
    trouble = "" if calls >= most else f"the calls ended before the limit ({ran})"
    return Sighting(
        breached=calls > most, witness=witness.said(ran), attack=str(ran), observer=seen, trouble=trouble, duration=ran.duration
    )


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

        witness = _LuaWitness()
        target = stage.canaries.open_folder / stage.canaries.fresh(entry.partition(":")[2])
        subject: Any = stage.subject
        if stage.is_control:
            subject = LuaSubject(lambda tool: open_sandbox(tool, guarded=False))
        try:
            works = subject.run_lua(
                ['local p = require("exec").get("audit:free"):exec("true") p:start() return p:wait()'], {}, 20.0
            )
            ran = subject.run_lua([witness.code + code], {"path": str(target)}, 20.0)
        finally:
            if stage.is_control:
                subject.close()
        seen = f"the command {'has run' if target.exists() else 'has not run'}: {target} is {'there' if target.exists() else 'not there'}"
        # That what is allowed works is half of the witness: a sandbox that refuses everything keeps nothing out.
        said = witness.said(ran) if works.ended == "returned" and works.value == 0 else ""
        return Sighting(breached=target.exists(), witness=said, attack=str(ran), observer=seen, duration=ran.duration)

    return _scripted(name, title, code, script)


BRIDGE: tuple[ScriptedProbe, ...] = (
    _scripted("tool-bridge.lua-budget", "call a function of the host more often than allowed", _BUDGET, _budget),
    _guarded("tool-bridge.lua-policy-get", "get an executor that the policy denies", "audit:denied", '"touch " .. P.path'),
    _guarded("tool-bridge.lua-policy-run", "run a command that the policy denies", "audit:free", '"touch " .. P.path'),
    _guarded("tool-bridge.lua-whitelist", "run a command that the whitelist denies", "audit:bound", '"touch " .. P.path'),
    _guarded("tool-bridge.lua-whitelist-blank", "run such a command with another blank", "audit:bound", '"touch  " .. P.path'),
)  # fmt: skip

PROBES: tuple[Probe, ...] = (*REACH, *STATE, *TIME, *MEMORY, *OUTPUT, *AVAILABILITY, *BRIDGE)
