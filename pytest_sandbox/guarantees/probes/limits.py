"""Attacks on `time-limit`, `memory-limit` and `output-limit`: by the clock, the counts and the memory that the host sees."""

from __future__ import annotations

import threading
from typing import Any, Final

from pytest_sandbox.guarantees.attacks import scripted
from pytest_sandbox.guarantees.probe import Probe, ScriptedProbe
from pytest_sandbox.guarantees.scripts import sighting, witnessed
from pytest_sandbox.guarantees.stage import NotApplicable, Stage
from pytest_sandbox.guarantees.verdicts import Sighting
from pytest_sandbox.limits import MIB

__all__ = ["PROBES"]

_TIMEOUT: Final = 0.2
"""Seconds that an attack on the time is given."""
_OUTLIVES: Final = 4.0
"""Seconds after which an attack that nobody has ended says so."""
_PAST: Final = 0.1
"""The same for the control, past the time limit."""

_OLD: Final = "const end = Date.now() + P.outlives;\nconst isYoung = () => Date.now() < end;\n"


def _time(name: str, title: str, code: str, *, needs_tools: bool = False, node_only: bool = False) -> ScriptedProbe:
    def script(stage: Stage) -> Sighting:
        # Whoever outlives its time has to do so in the control, too; there, nobody ends it.
        outlives = _TIMEOUT + _PAST if stage.is_control else _OUTLIVES
        params = f"const P = {{ outlives: {outlives * 1000:g} }};\n"
        release = threading.Event()
        tools = {"slow": lambda: release.wait(outlives) and None} if needs_tools else None
        try:
            ran, witness = witnessed(stage, params + _OLD + code, tools, timeout=20 if stage.is_control else _TIMEOUT)
            if not witness and ran.ended == "timeout":  # a busy machine: the attack had not even begun
                ran, witness = witnessed(stage, params + _OLD + code, tools, timeout=_OUTLIVES / 2)
        finally:
            release.set()
        outlived = ran.ended in ("returned", "threw") and "outlived" in ran.everything
        seen = f"by the host's clock, it ended after {ran.duration:.2f} s of {_TIMEOUT:g} s ({ran.ended})"
        trouble = "" if outlived or ran.ended == "timeout" else f"it was not the time that ended it ({ran})"
        return sighting(ran, witness, outlived, seen, trouble)

    return scripted(
        f"time-limit.{name}",
        title,
        _OLD + code,
        script,
        runtimes=("node",) if node_only else ("node", "deno"),
        vantages=("snippet",) if needs_tools else ("snippet", "command"),
    )


TIME: tuple[ScriptedProbe, ...] = (
    _time("loop", "loop", "while (isYoung());\nreturn 'outlived';"),
    _time("microtasks", "loop over awaits, so that nothing else gets a turn", "while (isYoung()) await null;\nreturn 'outlived';"),
    _time("timers", "wait for timers", "while (isYoung()) await spend(10);\nreturn 'outlived';"),
    _time(
        "pattern",
        "match a pattern that takes exponential time",
        "for (let n = 20; isYoung(); n += 1) /^(a+)+$/.test('a'.repeat(n) + 'b');\nreturn 'outlived';",
    ),
    _time("bigint", "compute with huge numbers in the engine's own code", "while (isYoung()) (3n ** 400000n).toString();\nreturn 'outlived';"),
    _time("sort", "sort with a comparison that never tires", "while (isYoung()) new Array(1000).fill(1).map(Math.random).sort((a, b) => { Math.random(); return a - b; });\nreturn 'outlived';"),
    _time("result", "take the time while the result is read", "return { get a() { while (isYoung()); return 'outlived'; } };"),
    _time("error", "take the time while the error is read", "throw { name: 'E', get message() { while (isYoung()); return 'outlived'; } };"),
    _time("tool", "wait for a tool", "await codemode.slow();\nreturn 'outlived';", needs_tools=True),
)  # fmt: skip


# -- memory --------------------------------------------------------------------------------------------------------------------------

_SLACK: Final = 64 * MIB
_PIECE: Final = 4 * MIB


def _memory(name: str, title: str, make: str) -> ScriptedProbe:
    code = f"""
const hoard = [];
let kept = 0;
while (kept < P.bytes) {{
  {make}
}}
return {{ kept, pieces: hoard.length }};
"""

    def script(stage: Stage) -> Sighting:
        most = stage.limits.memory
        if not isinstance(most, int):
            raise NotApplicable("the limit memory is not set")
        wanted = most + _SLACK + 16 * MIB
        ran, witness = witnessed(stage, f"const P = {{ bytes: {wanted}, piece: {_PIECE} }};{code}", timeout=30)
        kept = ran.value.get("kept", 0) if ran.ended == "returned" and isinstance(ran.value, dict) else 0
        seen = f"it kept {kept // MIB} MiB of {wanted // MIB} MiB that it wanted, {most // MIB} MiB and {_SLACK // MIB} MiB of slack are allowed"
        if ran.memory is not None:
            seen += f"; at its peak, the host saw {ran.memory // MIB} MiB"
        is_refused = ran.ended == "threw" and ("RangeError" in ran.error or "memory" in ran.error.lower())
        trouble = "" if kept or ran.ended == "memory" or is_refused else f"it was not the memory that ended it ({ran})"
        return sighting(ran, witness, kept >= wanted, seen, trouble)

    return scripted(f"memory-limit.{name}", title, code, script, vantages=("snippet", "command"))


MEMORY: tuple[ScriptedProbe, ...] = (
    _memory("arrays", "hoard arrays of numbers", "const n = P.piece / 8; hoard.push(new Array(n).fill(1.5)); kept += P.piece;"),
    _memory("strings", "hoard texts", "const text = `${kept}${'x'.repeat(P.piece)}`; text.charCodeAt(P.piece >> 1); hoard.push(text); kept += P.piece;"),
    _memory("buffers", "hoard buffers, which are outside of the engine's heap", "hoard.push(new Uint8Array(P.piece).fill(1 + (kept % 7))); kept += P.piece;"),
    _memory(
        "resizable-buffers",
        "hoard buffers that grow afterwards",
        "const buffer = new ArrayBuffer(8, { maxByteLength: P.piece }); buffer.resize(P.piece); new Uint8Array(buffer).fill(3); hoard.push(buffer); kept += P.piece;",
    ),
)  # fmt: skip


# -- output --------------------------------------------------------------------------------------------------------------------------


def _output(
    name: str, title: str, code: str, *, field: str = "output", vantages: tuple[Any, ...] = ("snippet",), is_flood: bool = False
) -> ScriptedProbe:
    def script(stage: Stage) -> Sighting:
        most = getattr(stage.limits, field)
        if not isinstance(most, int):
            raise NotApplicable(f"the limit {field} is not set")
        size = (most * 40 if is_flood else most * 2 + 100_000) if field == "output" else most + 100_000
        ran, witness = witnessed(stage, f"const P = {{ size: {size} }};\n{code}", timeout=30)
        kept = sum(len(line) + 1 for line in ran.logs) + len(ran.error)
        if isinstance(ran.value, str):
            kept += len(ran.value)
        seen = f"{kept} characters of {size} arrived, {most} are allowed"
        trouble = "" if ran.ended in ("returned", "threw", "output", "limit") else f"it was not the output that ended it ({ran})"
        return sighting(ran, witness, kept > most + 70_000, seen, trouble)

    return scripted(f"output-limit.{name}", title, code, script, vantages=vantages)


_BOTH: Final = ("snippet", "command")
OUTPUT: tuple[ScriptedProbe, ...] = (
    _output("lines", "log many lines", "for (let sent = 0; sent < P.size; sent += 1000) console.log('x'.repeat(999));\nreturn 'done';", vantages=_BOTH),
    _output("line", "log one line of a huge length", "console.log('x'.repeat(P.size));\nreturn 'done';", vantages=_BOTH),
    _output("levels", "log on all levels by turns", "const all = ['log', 'error', 'warn', 'info', 'debug']; for (let sent = 0, i = 0; sent < P.size; sent += 1000, i++) console[all[i % 5]]('x'.repeat(999));\nreturn 'done';"),
    _output("objects", "log objects that say a lot when they are shown", "const text = 'x'.repeat(9000); for (let sent = 0; sent < P.size; sent += 9000) console.log(`${Object.assign(() => text, { toString: () => text })}`);\nreturn 'done';"),
    _output("flood", "flood the log for as long as it is let", "for (let sent = 0; sent < P.size; sent += 65536) console.log('x'.repeat(65535));\nreturn 'done';", is_flood=True),
    _output("result", "return more than may be returned", "return 'x'.repeat(P.size);", field="result"),
    _output("error", "throw an error with a huge message", "throw new Error('x'.repeat(P.size));", field="output"),
)  # fmt: skip

PROBES: tuple[Probe, ...] = (*TIME, *MEMORY, *OUTPUT)
