"""Attacks on `availability`: after each abuse, the next execution has to work. The control process does not survive them."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import Any, Final

import psutil

from pytest_sandbox.guarantees.attacks import scripted
from pytest_sandbox.guarantees.plain_subject import PlainSubject
from pytest_sandbox.guarantees.probe import Probe, Runtime, ScriptedProbe
from pytest_sandbox.guarantees.scripts import witnessed
from pytest_sandbox.guarantees.stage import Stage
from pytest_sandbox.guarantees.verdicts import Sighting

__all__ = ["PROBES"]

_TIMEOUT: Final = 0.2
_PATIENCE: Final = 20.0
_CONTROL_PATIENCE: Final = 0.4


def _abuse(
    name: str,
    title: str,
    code: str,
    *,
    runtimes: tuple[Runtime, ...] = ("node", "deno"),
    vantages: tuple[Any, ...] = ("snippet",),
) -> ScriptedProbe:
    def script(stage: Stage) -> Sighting:
        with ExitStack() as stack:
            if isinstance(stage.subject, PlainSubject):
                stack.enter_context(stage.subject.brittle())
            tools = {"echo": lambda value=None: value}
            ran, witness = witnessed(stage, code, tools, timeout=_TIMEOUT)
            if not witness and not stage.is_control:  # a busy machine: the abuse had not even begun
                ran, witness = witnessed(stage, code, tools, timeout=10 * _TIMEOUT)
            number = secrets.randbelow(90_000) + 10_000
            patience = _CONTROL_PATIENCE if stage.is_control else _PATIENCE
            after = stage.subject.run(f"return [{number}].map((n) => n * n)[0];", timeout=patience)
        works = after.ended == "returned" and after.value == number * number
        seen = f"the next execution {'gave what it should' if works else f'did not work ({after})'} after {after.duration:.2f} s"
        return Sighting(breached=not works, witness=witness, attack=str(ran), observer=seen, duration=ran.duration + after.duration)

    return scripted(f"availability.{name}", title, code, script, runtimes=runtimes, vantages=vantages)


def _leftover(name: str, title: str, detached: str) -> ScriptedProbe:
    """Leave a process behind that holds the output: whoever waits for the end of the output waits for it."""
    code = f"""
const {{ spawn }} = await need("child_process");
const script = `setTimeout(() => {{}}, ${{P.lives}}) // ${{P.mark}}`;
const child = spawn(needProcess().execPath, ["-e", script], {{ stdio: ["ignore", "inherit", "inherit"], detached: {detached} }});
child.unref();
return child.pid;
"""

    def script(stage: Stage) -> Sighting:
        # In a sandbox so long that nobody waits by chance; in the control, somebody has to wait for it.
        lives = _LIVES / 8 if stage.is_control else _LIVES
        mark = f"left-{secrets.token_hex(6)}"
        ran, witness = witnessed(stage, f"const P = {{ lives: {lives * 1000:g}, mark: '{mark}' }};{code}", timeout=_LIVES * 2)
        number = secrets.randbelow(90_000) + 10_000
        after = stage.subject.run(f"return [{number}].map((n) => n * n)[0];", timeout=_PATIENCE)
        works = after.ended == "returned" and after.value == number * number
        waited = ran.duration >= lives
        _end(ran.value, mark)
        seen = f"the host waited {ran.duration:.2f} s for a command that had ended, and {'could' if works else 'could not'} run the next"
        trouble = "" if ran.ended == "returned" else f"the command did not leave anything ({ran})"
        duration = ran.duration + after.duration
        return Sighting(
            breached=waited or not works, witness=witness, attack=str(ran), observer=seen, trouble=trouble, duration=duration
        )

    return scripted(f"availability.{name}", title, code, script, vantages=("command",))


def _end(pid: object, mark: str) -> None:
    """End what an attack has left on this host, if it is that."""
    try:
        process = psutil.Process(pid) if isinstance(pid, int) else None
        if process is not None and any(mark in word for word in process.cmdline()):
            process.kill()
    except psutil.Error:
        return  # it is gone, or never was one of ours


_LIVES: Final = 12.0
"""Seconds that what an attack leaves behind lives."""

PROBES: tuple[Probe, ...] = (
    _abuse("loop", "after an endless loop", "for (;;);"),
    _abuse("microtasks", "after an endless chain of awaits", "await null; for (;;) await null;"),
    _abuse("late-loop", "after a loop that begins when the execution has ended", "(async () => { for (let i = 0; i < 200; i++) await null; for (;;); })(); return 1;"),
    _abuse("handler-loop", "after a loop in a handler of a rejected promise", "Promise.reject(1).catch(() => { for (;;); }); await null; await null; return 1;"),
    _abuse("exit", "after ending its process", "const { exit } = needProcess(); exit(0);"),
    _abuse("abort", "after aborting its process", "needProcess().abort();"),
    _abuse("kill", "after killing its process", "const { kill, pid } = needProcess(); kill(pid, 'SIGKILL'); await spend(200);"),
    _abuse("half-line", "after half a line on standard output", "const fs = await need('fs'); (async () => { for (let i = 0; i < 50; i++) await null; fs.writeSync(1, '@{\"op\": \"res'); })(); return 1;"),
    _abuse("close-output", "after closing standard output", "const fs = await need('fs'); fs.closeSync(1); return 1;", runtimes=("node",)),
    _abuse("eat-input", "after an end of listening to standard input", "needProcess().stdin.removeAllListeners(); needProcess().stdin.destroy(); return 1;"),
    _leftover("leftover", "after a command that leaves a process behind, which holds its output", "false"),
    _leftover("daemon", "after a command that leaves a process in a session of its own behind, which holds its output", "true"),
    _abuse("sabotage", "after breaking the builtins that everybody uses", "JSON.parse = JSON.stringify = () => { throw 1; }; Array.prototype.map = Array.prototype.push = String.prototype.split = () => 1; return 1;"),
)  # fmt: skip
