"""Attacks in Lua on what is limited: `time-limit`, `memory-limit`, `output-limit`, and `availability` afterwards."""

from __future__ import annotations

import secrets
from typing import Final, cast

from pytest_sandbox.guarantees.lua_probe import lua_subject, scripted_lua, witnessed_lua
from pytest_sandbox.guarantees.probe import Probe, ScriptedProbe
from pytest_sandbox.guarantees.scripts import sighting
from pytest_sandbox.guarantees.stage import Stage
from pytest_sandbox.guarantees.verdicts import Sighting
from pytest_sandbox.limits import MIB

__all__ = ["PROBES"]

_TIMEOUT: Final = 0.4
_OUTLIVES: Final = 5.0
"""Seconds after which an attack that nobody has ended counts as one that outlived its time."""


def _time(name: str, title: str, code: str) -> ScriptedProbe:
    def script(stage: Stage) -> Sighting:
        # The control has no time limit; it is watched until it has outlived that of the sandbox for sure.
        patience = 3 * _TIMEOUT if stage.is_control else _TIMEOUT
        ran, witness = witnessed_lua(stage, code, {}, patience)
        outlived = ran.duration > (_TIMEOUT if stage.is_control else _TIMEOUT + _OUTLIVES)
        seen = f"by the host's clock, it ended after {ran.duration:.2f} s of {_TIMEOUT:g} s ({ran.ended})"
        trouble = "" if ran.ended == "timeout" else f"it was not the time that ended it ({ran})"
        return sighting(ran, witness, outlived and not trouble, seen, trouble)

    return scripted_lua(name, title, code, script)


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
        limit = cast("int", stage.limits.memory)
        ran, witness = witnessed_lua(stage, code, {"bytes": 8 * limit}, 30.0)
        peak = ran.memory or 0
        breached = ran.ended == "returned" or peak > limit + 2 * _SLACK
        seen = f"its process had at most {peak // MIB} MiB of {limit // MIB} MiB and {_SLACK // MIB} of slack ({ran.ended})"
        trouble = "" if breached or ran.ended == "memory" else f"it was not the memory that ended it ({ran})"
        return sighting(ran, witness, breached, seen, trouble)

    return scripted_lua(name, title, code, script)


MEMORY: tuple[ScriptedProbe, ...] = (
    _memory("memory-limit.lua-string", "double a string", "local s = ('x'):rep(1024) while #s < P.bytes do s = s .. s end return #s"),
    _memory("memory-limit.lua-rep", "make one large string", "return #('x'):rep(P.bytes)"),
    _memory("memory-limit.lua-tables", "hoard tables", "local t = {} for i = 1, P.bytes // 64 do t[i] = {i} end return #t"),
    _memory("memory-limit.lua-coroutines", "hoard coroutines", "local t = {} for i = 1, P.bytes // 1000 do t[i] = coroutine.create(function() end) end return #t"),
)  # fmt: skip


def _output(name: str, title: str, code: str) -> ScriptedProbe:
    def script(stage: Stage) -> Sighting:
        limit = cast("int", stage.limits.output)
        ran, witness = witnessed_lua(stage, code, {"bytes": 4 * limit}, 30.0)
        kept = sum(len(line) + 1 for line in ran.logs)
        seen = f"{kept} bytes were kept, the limit is {limit} ({ran.ended})"
        # Had it printed less, that nothing was kept would prove nothing.
        trouble = "" if kept >= limit // 2 else f"it was not the limit that held the output back ({ran})"
        return sighting(ran, witness, kept > limit + 100, seen, trouble)

    return scripted_lua(name, title, code, script)


OUTPUT: tuple[ScriptedProbe, ...] = (
    _output("output-limit.lua-lines", "print many lines", "for i = 1, P.bytes // 100 do print(('x'):rep(99)) end return true"),
    _output("output-limit.lua-line", "print one long line", "print(('x'):rep(P.bytes)) return true"),
)


def _abuse(name: str, title: str, code: str) -> ScriptedProbe:
    def script(stage: Stage) -> Sighting:
        number = secrets.randbelow(90_000) + 10_000
        patience = 2 * _TIMEOUT if stage.is_control else _TIMEOUT
        square = f"return {number} * {number}"
        # The control has one runtime for both, as a program that embeds Lua would do it.
        ran, witness = witnessed_lua(stage, code, {}, patience, then=square if stage.is_control else None)
        after = ran if stage.is_control else lua_subject(stage).run_lua([square], {}, 20.0)
        works = after.ended == "returned" and after.value == number * number
        seen = f"the next run {'gave what it should' if works else f'did not work ({after})'} after {after.duration:.2f} s"
        # Of a control that has only failed, nothing follows.
        breached = not works and (not stage.is_control or ran.ended == "timeout")
        return sighting(ran, witness, breached, seen)

    return scripted_lua(name, title, code, script)


AVAILABILITY: tuple[ScriptedProbe, ...] = (
    _abuse("availability.lua-loop", "loop", "while true do end"),
    _abuse("availability.lua-pattern", "match a pattern for ever", "local s = ('a'):rep(40) return s:find(('a-'):rep(40) .. 'b')"),
    _abuse("availability.lua-finalizer", "loop while garbage is collected", "setmetatable({}, {__gc = function() while true do end end}) collectgarbage()"),
    _abuse("availability.lua-metamethod", "loop where a value becomes text", "return tostring(setmetatable({}, {__tostring = function() while true do end end}))"),
)  # fmt: skip

PROBES: tuple[Probe, ...] = (*TIME, *MEMORY, *OUTPUT, *AVAILABILITY)
