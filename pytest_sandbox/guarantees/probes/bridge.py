"""Attacks on `tool-bridge`: calling what was not given, calling too often, forging, and what errors of tools tell of the host."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any, Final

from pytest_sandbox.guarantees.attacks import attack, scripted
from pytest_sandbox.guarantees.probe import CodeProbe, Probe, ScriptedProbe
from pytest_sandbox.guarantees.scenes import got
from pytest_sandbox.guarantees.scripts import sighting, witnessed
from pytest_sandbox.guarantees.stage import NotApplicable, Stage
from pytest_sandbox.guarantees.verdicts import Sighting

__all__ = ["PROBES"]

_SLACK: Final = 0.15


class _Doors(dict[str, Callable[..., Any]]):
    """Tools that write down when something looks for one that is not there."""

    def __init__(self, **tools: Callable[..., Any]) -> None:
        super().__init__(tools)
        self.opened: list[str] = []

    def __missing__(self, name: str) -> Callable[..., Any]:
        def opened(*_args: object) -> str:
            self.opened.append(str(name))
            return "opened"

        return opened


_NAMES: Final = (
    "secret",
    "Echo",
    "echo ",
    "__class__",
    "__missing__",
    "__getitem__",
    "keys",
    "pop",
    "items",
    "echo.__call__",
    "\u0435cho",
)


def _probe(name: str, title: str, script: Callable[[Stage], Sighting], shown: str) -> ScriptedProbe:
    return scripted(f"tool-bridge.{name}", title, shown, script)


_UNKNOWN: Final = f"""
const told = [];
for (const name of {json.dumps(_NAMES)}) {{
  try {{ told.push(`${{name}}: ${{await codemode[name]("x")}}`); }} catch (error) {{ told.push(tell(error).slice(0, 80)); }}
}}
return told;
"""


def _unknown(stage: Stage) -> Sighting:
    doors = _Doors(echo=lambda value=None: value)
    ran, witness = witnessed(stage, _UNKNOWN, doors)
    seen = f"the host was made to look for {', '.join(map(repr, doors.opened[:3]))}" if doors.opened else "no other tool was called"
    trouble = "" if ran.ended == "returned" else f"it ended otherwise than by returning ({ran})"
    return sighting(ran, witness, bool(doors.opened), seen, trouble)


# Guesses at the wire: those of a bridge that stamps nothing, and ours with a stamp that is guessed.
def _frames(body: dict[str, Any]) -> list[str]:
    text = json.dumps(body)
    stamps = ["@", "", "- ", f"{'0' * 32} ", f"{secrets.token_hex(16)} "]
    return [f"\n{stamp}{text}\n" for stamp in stamps]


_WRITE: Final = """
const frames = FRAMES;
const ways = [
  async (text) => (await need("fs")).writeSync(1, text),
  (text) => needProcess().stdout.write(text),
  (text) => needDeno().stdout.writeSync(new TextEncoder().encode(text)),
  async (text) => theDeno() ?? (await need("fs")).writeSync(4, text),
  (text) => console.log(text),
];
let worked = 0;
for (const way of ways) for (const frame of frames) { try { await way(frame); worked += 1; } catch {} }
await spend(50);
"""


def _forged_call(stage: Stage) -> Sighting:
    doors = _Doors(echo=lambda value=None: value)
    body = {"op": "call", "id": 4711, "call": 4711, "name": "secret", "args": "[]" if not stage.is_control else []}
    ran, witness = witnessed(stage, _WRITE.replace("FRAMES", json.dumps(_frames(body))) + "return worked;", doors)
    seen = "the host took a line that the attack wrote for a tool call" if doors.opened else "no line was taken for a tool call"
    return sighting(ran, witness, bool(doors.opened), seen)


def _forged_result(stage: Stage) -> Sighting:
    forged = f"forged-{secrets.token_hex(6)}"
    # Its own numbers are guessed: a runner counts from one.
    bodies = [{"op": "result", "id": number, "value": forged, "written": 0} for number in range(1, 4)] if stage.is_control else []
    bodies.append({"op": "result", "value": json.dumps(forged), "written": 0})
    frames = [frame for body in bodies for frame in (_frames(body)[:1] if stage.is_control else _frames(body))]
    ran, witness = witnessed(stage, _WRITE.replace("FRAMES", json.dumps(frames)) + "return 'real';")
    is_forged = ran.ended == "returned" and ran.value == forged
    seen = "the host took a line that the attack wrote for the result" if is_forged else f"the result is not the forged one: {ran}"
    return sighting(ran, witness, is_forged, seen)


_MANY: Final = """
let calls = 0;
for (let round = 0; round < P.calls; round += 200) {
  await Promise.all(Array.from({ length: 200 }, () => { calls += 1; return codemode.count(); }));
}
return calls;
"""


def _budget(stage: Stage) -> Sighting:
    most = stage.limits.tool_calls
    if not isinstance(most, int):
        raise NotApplicable("the limit tool_calls is not set")
    counted = [0]

    def count() -> None:
        counted[0] += 1

    ran, witness = witnessed(stage, f"const P = {{ calls: {most + 400} }};{_MANY}", {"count": count}, timeout=30)
    seen = f"the host served {counted[0]} calls, {most} are allowed"
    trouble = "" if ran.limit == "tool_calls" else f"it did not end because of the limit tool_calls ({ran})"
    return sighting(ran, witness, counted[0] > most, seen, trouble)


_LARGE: Final = 'return (await codemode.take("x".repeat(P.size))) ?? null;'


def _argument(stage: Stage) -> Sighting:
    most = stage.limits.result
    if not isinstance(most, int):
        raise NotApplicable("the limit result is not set")
    sizes: list[int] = []

    def take(text: object) -> None:
        sizes.append(len(str(text)))

    ran, witness = witnessed(stage, f"const P = {{ size: {most + 1000} }};{_LARGE}", {"take": take}, timeout=20)
    largest = max(sizes, default=0)
    return sighting(
        ran, witness, largest > most, f"the largest argument that a tool got has {largest} characters, {most} are allowed"
    )


_FAIL: Final = """
const parts = [];
try { await codemode.fail(); } catch (error) {
  for (let at = error, step = 0; at && step < 5; at = at.cause, step++) parts.push(String(at), String(at.message), String(at.stack), ...Reflect.ownKeys(at).map((key) => String(at[key])));
}
return parts;
"""


def _traces(stage: Stage) -> Sighting:
    hidden = f"local-{secrets.token_hex(8)}"

    def fail() -> None:
        names = {"password": hidden}
        raise LookupError(f"a tool of {len(names)} name failed")

    ran, witness = witnessed(stage, _FAIL, {"fail": fail})
    marks = (__file__, hidden, "Traceback (most recent call last)")
    found = [mark for mark in marks if mark in ran.everything or json.dumps(mark)[1:-1] in ran.everything]
    seen = f"the error shows {found[0]!r} of the host" if found else "the error shows neither files nor frames of the host"
    trouble = "" if "failed" in ran.everything else f"the tool's error did not arrive at all ({ran})"
    return sighting(ran, witness, bool(found), seen, trouble)


_LATE: Final = "setInterval(() => { codemode.late().catch(() => {}); }, 5); await codemode.late(); return 1;"


def _late(stage: Stage) -> Sighting:
    calls: list[str] = []
    # By what they do, not by when: a call of the first execution may still be under way when the second begins.
    ran, witness = witnessed(stage, _LATE, {"late": lambda: calls.append("first")})
    wait = f"await new Promise((resolve) => setTimeout(resolve, {_SLACK * 1000:g})); return 2;"
    after = stage.subject.run(wait, {"late": lambda: calls.append("second")}, timeout=10)
    late = calls.count("second")
    trouble = "" if "first" in calls and after.value == 2 else f"the two executions did not both run ({ran}; {after})"
    seen = f"{late} calls of the first execution came during the second"
    return sighting(ran, witness, late > 0, seen, trouble)


def _replaced(name: str, title: str, change: str) -> CodeProbe:
    code = f"""
    const whole = codemode;
    const before = Object.getOwnPropertyDescriptor(globalThis, "codemode");
    try {{
      try {{ {change} }} catch (error) {{ lastError = error; }}
      if (await codemode.echo("real") === "forged") return {{ token: P.token, got: {title!r} }};
    }} finally {{
      try {{ Object.defineProperty(globalThis, "codemode", before); delete whole.echo; }} catch {{}}
    }}
    throw lastError;
    """
    mechanism = "replace-tool" if name != "replace-codemode" else ""
    return attack(f"tool-bridge.{name}", title, code, got("a tool that answers what the attack wants"), mechanism=mechanism)


_FORGED: Final = "() => Promise.resolve('forged')"

PROBES: tuple[Probe, ...] = (
    _probe("unknown-tool", "call tools that were not given, by names that mean something to the host", _unknown, _UNKNOWN),
    _probe("forged-call", "write what looks like a call of a tool that was not given", _forged_call, _WRITE),
    _probe("forged-result", "write what looks like the result", _forged_result, _WRITE),
    _probe("budget", "call tools more often than the limit tool_calls allows", _budget, _MANY),
    _probe("argument-size", "hand a tool more than the limit result allows", _argument, _LARGE),
    _probe("error-details", "read the host's files and variables out of the error of a tool", _traces, _FAIL),
    _probe("late-calls", "go on calling tools when the execution has ended", _late, _LATE),
    _replaced("replace-tool", "replace a tool", f"codemode.echo = {_FORGED};"),
    _replaced(
        "define-tool", "redefine a tool", f"Object.defineProperty(codemode, 'echo', {{ value: {_FORGED}, configurable: true }});"
    ),
    _replaced("replace-codemode", "replace all tools", f"globalThis.codemode = {{ echo: {_FORGED} }};"),
)
