"""Attacks on `process-spawn` and `process-visibility`."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import psutil

from pytest_sandbox.guarantees.attacks import attack
from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.probe import BOTH, CodeProbe, Probe, Runtime
from pytest_sandbox.guarantees.scenes import got, leak
from pytest_sandbox.guarantees.stage import Attempt, Scene, SceneMaker
from pytest_sandbox.guarantees.subjects import Vantage
from pytest_sandbox.processes.spawn import end_group, spawn

__all__ = ["PROBES"]


def _spawned() -> SceneMaker:
    """A number to be squared by another program: who tells the square, and another process id than its own, has started one."""

    @contextmanager
    def make(_canaries: Canaries) -> Iterator[Scene]:
        number = secrets.randbelow(90_000) + 10_000

        def look(attempt: Attempt) -> tuple[bool, str]:
            found = attempt.at == "returned" and str(number * number) in str(attempt.value)
            return (
                found,
                f"the square of {number}, which another program was to compute, {'came' if found else 'did not come'} back",
            )

        yield Scene({"number": number, "script": f"process.stdout.write(String({number} * {number}))"}, look)

    return make


def _spawn(name: str, title: str, code: str, *, runtimes: tuple[Runtime, ...] = BOTH, mechanism: str = "") -> CodeProbe:
    where: tuple[Vantage, ...] = ("snippet", "process")
    return attack(f"process-spawn.{name}", title, code, _spawned(), runtimes=runtimes, vantages=where, mechanism=mechanism)


# Deno runs such a text as a program of its own when it is told "eval".
_ARGUMENTS: Final = 'const run = theDeno() ? ["eval", P.script] : ["-e", P.script];'

SPAWN: tuple[CodeProbe, ...] = (
    _spawn(
        "exec-file",
        "start the runtime's own program, and read its output",
        f"{_ARGUMENTS} return (await need('child_process')).execFileSync(needProcess().execPath, run).toString();",
    ),
    _spawn(
        "spawn",
        "start the runtime's own program by spawn",
        f"""
        {_ARGUMENTS}
        const child = (await need("child_process")).spawn(needProcess().execPath, run);
        let text = "";
        for await (const piece of child.stdout) text += piece;
        return text;
        """,
    ),
    _spawn(
        "shell", "start a shell", "return (await need('child_process')).execSync(`echo $((${P.number} * ${P.number}))`).toString();"
    ),
    _spawn(
        "fork",
        "fork the runtime",
        """
        const fs = await need("fs");
        const file = `/tmp/fork-${Date.now()}-${P.number}.js`;
        fs.writeFileSync(file, `process.send(${P.number} * ${P.number})`);
        const child = (await need("child_process")).fork(file);
        try {
          return await new Promise((resolve, reject) => { child.on("message", resolve); child.on("error", reject); child.on("exit", (code) => reject(new Error(`exit ${code}`))); });
        } finally { child.kill(); fs.unlinkSync(file); }
        """,
        runtimes=("node",),
    ),
    _spawn(
        "internal-binding",
        "start a program by the runtime's own binding, past its modules",
        """
        const { execPath, binding } = needProcess();
        const stdio = [{ type: "ignore" }, { type: "pipe", readable: false, writable: true }, { type: "ignore" }];
        const done = binding("spawn_sync").spawn({ file: execPath, args: [execPath, "-e", P.script], envPairs: [], stdio });
        if (done.error) throw new Error(`spawn gave ${done.error}`);
        return done.output[1].toString();
        """,
        runtimes=("node",),
    ),
    _spawn(
        "from-worker",
        "start a program from a worker",
        """
        const { Worker } = await need("worker_threads");
        const text = `const { parentPort } = require("node:worker_threads");
          parentPort.postMessage(require("node:child_process").execFileSync(process.execPath, ["-e", ${JSON.stringify(P.script)}]).toString())`;
        const worker = new Worker(text, { eval: true });
        return await new Promise((resolve, reject) => { worker.on("message", resolve); worker.on("error", reject); });
        """,
        runtimes=("node",),
    ),
    _spawn(
        "deno-command",
        "start a program by Deno.Command",
        """
        const deno = needDeno();
        return new TextDecoder().decode((await new deno.Command(deno.execPath(), { args: ["eval", P.script] }).output()).stdout);
        """,
        runtimes=("deno",),
        mechanism="spawn",
    ),
)


# -- seeing others ------------------------------------------------------------------------------------------------------------


def _victim(canaries: Canaries) -> dict[str, Any]:
    return {"victim": canaries.victim, "ours": os.getpid()}


def _signalled() -> SceneMaker:
    """Whether a signal reaches a process of ours: one that it takes, and dies of."""

    @contextmanager
    def make(canaries: Canaries) -> Iterator[Scene]:
        process = spawn([sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"], env={}, stdout=subprocess.DEVNULL)
        try:

            def look(_attempt: Attempt) -> tuple[bool, str]:
                try:
                    process.wait(0.05)
                except subprocess.TimeoutExpired:
                    return False, f"our process {process.pid} lives"
                return True, f"our process {process.pid} was ended by the signal"

            yield Scene({"victim": process.pid}, look)
        finally:
            end_group(process)

    return make


def _see(name: str, title: str, code: str, scene: SceneMaker, *, runtimes: tuple[Runtime, ...] = BOTH) -> CodeProbe:
    where: tuple[Vantage, ...] = ("snippet", "process", "command")
    return attack(f"process-visibility.{name}", title, code, scene, runtimes=runtimes, vantages=where)


def _pids() -> SceneMaker:
    """The ids of many processes of the host: who names nine in ten of those that were there all the time sees them."""

    @contextmanager
    def make(canaries: Canaries) -> Iterator[Scene]:
        before = set(psutil.pids())

        def look(attempt: Attempt) -> tuple[bool, str]:
            told = {int(pid) for pid in attempt.value if str(pid).isdigit()} if isinstance(attempt.value, list) else set()
            stable = before & set(psutil.pids())
            is_seen = canaries.victim in told and len(told & stable) >= 0.9 * len(stable)
            return is_seen, f"it named {len(told & stable)} of the {len(stable)} processes of the host"

        yield Scene({}, look)

    return make


SEE: tuple[CodeProbe, ...] = (
    _see(
        "list",
        "list the processes of the host",
        "return (await need('fs')).readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name));",
        _pids(),
    ),
    _see(
        "arguments",
        "read the arguments of a process of the host",
        "return (await need('fs')).readFileSync(`/proc/${P.victim}/cmdline`, 'utf8');",
        leak(_victim, "args_secret"),
    ),
    _see(
        "all-arguments",
        "read the arguments of every process in sight",
        """
        const fs = await need("fs");
        const found = [];
        for (const pid of fs.readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name))) {
          try { found.push(fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").slice(-100)); } catch {}
        }
        return found;
        """,
        leak(_victim, "args_secret"),
    ),
    _see(
        "environment",
        "read the variables of a process of the host",
        "return (await need('fs')).readFileSync(`/proc/${P.victim}/environ`, 'utf8');",
        leak(_victim, "victim_secret"),
    ),
    _see(
        "signal",
        "end a process of the host by a signal",
        "needProcess().kill(P.victim, 'SIGTERM'); await spend(100);",
        _signalled(),
    ),
    _see(
        "exists",
        "ask whether a process of the host exists",
        "needProcess().kill(P.victim, 0); needProcess().kill(P.ours, 0); return { token: P.token, got: 'both' };",
        got("that two processes of the host exist"),
    ),
    _see(
        "priority",
        "read the priority of a process of the host",
        "const os = await need('os'); return { token: P.token, got: `${os.getPriority(P.victim)}, ${os.getPriority(P.ours)}` };",
        got("the priorities of two processes of the host"),
        runtimes=("node",),
    ),
)


def _with_victim(probe: CodeProbe) -> CodeProbe:
    """Tell an attack, besides what its scene tells it, which processes to look for."""
    inner = probe.scene

    @contextmanager
    def make(canaries: Canaries) -> Iterator[Scene]:
        with inner(canaries) as scene:
            yield Scene({**_victim(canaries), **scene.params}, scene.look)

    return replace(probe, scene=make)


PROBES: tuple[Probe, ...] = (*SPAWN, *map(_with_victim, SEE))
