"""Every probe is able to fail: an executor with a hole is found out, for that hole and for nothing else."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox import ExecuteResult, ExecutorBroken, ExecutorInfo, Limits, SnippetExecutor, create_executor
from pytest_sandbox.guarantees.audit import AuditSession, Choice
from pytest_sandbox.guarantees.results import GuaranteeResult
from pytest_sandbox.limits import MIB, UNSET, Unset
from pytest_sandbox.snippets.base import Request
from pytest_sandbox.snippets.runtimes import find_node


class Leaky(SnippetExecutor):
    """Passes everything on to an executor, which stays its owner's, and adds a prologue and tools to every snippet."""

    name = "leaky"

    def __init__(self, inner: SnippetExecutor, prologue: str = "", tools: Mapping[str, Callable[..., Any]] | None = None) -> None:
        super().__init__(limits=inner.limits)
        self.inner = inner
        self._prologue = prologue
        self._more = dict(tools or {})

    @property
    def info(self) -> ExecutorInfo:
        return dataclasses.replace(self.inner.info, name=self.name)

    @property
    def guarantees(self) -> frozenset[str]:
        return self.inner.guarantees

    def execute(
        self,
        code: str,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        *,
        timeout: float | None | Unset = UNSET,
        **options: Any,
    ) -> ExecuteResult:
        whole = f"{self._prologue}\nreturn await (async () => {{\n{code}\n}})();" if self._prologue else code
        return self.inner.execute(whole, {**(tools or {}), **self._more}, timeout=timeout, **options)

    def _run(self, request: Request) -> ExecuteResult:
        raise NotImplementedError

    def _shut_down(self) -> None:
        pass


@dataclass(frozen=True)
class Hole:
    """What one fake lets through.

    Attributes:
        guarantee: which guarantee must come out violated.
        prologue: what every snippet begins with: names that are shadowed.
        tools: what that reaches the host by.
        implied: which other guarantees it breaks by that.
    """

    guarantee: str
    prologue: str
    tools: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    implied: frozenset[str] = frozenset()


def fetch(url: str) -> int:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
        return int(answer.status)


def append(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(text)


def run_node(arguments: list[str]) -> str:
    node = find_node("fake").path
    return subprocess.run([node, *arguments], capture_output=True, text=True, check=True, env={}).stdout


def kill(pid: object, number: object) -> None:
    if isinstance(pid, int) and pid > 1:
        os.kill(pid, signal.SIGTERM if number == "SIGTERM" else 0)


kept: dict[str, Any] = {}

REQUIRE = "const require = (name) => (MODULES)[name] ?? {};"
HOLES = (
    Hole("network", "const fetch = async (url) => ({ status: await codemode.leak(url) });", {"leak": fetch}),
    Hole(
        "filesystem-read",
        REQUIRE.replace("MODULES", "{ fs: { promises: { readFile: (path) => codemode.leak(path) } } }"),
        {"leak": lambda path: Path(path).read_text()},
        frozenset({"host-objects"}),
    ),
    Hole(
        "filesystem-write",
        REQUIRE.replace("MODULES", "{ fs: { promises: { appendFile: (path, text) => codemode.leak(path, text) } } }"),
        {"leak": append},
        frozenset({"host-objects"}),
    ),
    Hole(
        "process-spawn",
        "const process = { execPath: 'node' };"
        + REQUIRE.replace("MODULES", "{ child_process: { spawn: (file, args) => ({ stdout: (async function* () { yield await codemode.leak(args); })() }) } }"),
        {"leak": run_node},
        frozenset({"host-objects"}),
    ),
    Hole("process-visibility", "const process = { kill: (pid, number) => codemode.leak(pid, number) };", {"leak": kill}),
    Hole("environment", "const process = { env: await codemode.leak() };", {"leak": lambda: dict(os.environ)}),
    Hole("host-objects", "const process = { version: 'v24.0.0' };"),
    Hole("code-generation", r"const Function = (text) => { const [, a, b] = /^return (\d+) \* (\d+)$/.exec(text); return () => a * b; };"),
    Hole("frozen-builtins", "const Math = { random: () => 0.5 };"),
    Hole("sealed-global", "const globalThis = {};"),
    Hole("tool-bridge", "const real = globalThis.codemode; const codemode = Object.fromEntries(Object.keys(real).map((name) => [name, real[name]]));"),
    Hole(
        "state",
        "const kept = await codemode.load(); const URL = new Proxy(globalThis.URL, { get: (target, name) => kept[name] ?? Reflect.get(target, name), set: (target, name, value) => { codemode.save(name, value); return true; } });",
        {"load": lambda: dict(kept), "save": kept.__setitem__},
    ),
)  # fmt: skip


class Overtime(Leaky):
    """Gives every snippet forty times its time."""

    def execute(self, code: str, tools: Any = None, *, timeout: Any = UNSET, **options: Any) -> ExecuteResult:
        return super().execute(code, tools, timeout=timeout * 40, **options)


class Roomy(Leaky):
    """Claims smaller limits than those of the executor behind it."""

    def __init__(self, inner: SnippetExecutor, claimed: Limits) -> None:
        super().__init__(inner)
        self.limits = claimed.over(inner.limits)


class Fragile(Leaky):
    """Is gone for good once a snippet was ended from outside."""

    broken = False

    def execute(self, code: str, tools: Any = None, *, timeout: Any = UNSET, **options: Any) -> ExecuteResult:
        if self.broken:
            raise ExecutorBroken(self.name, "an earlier snippet broke it")
        result = super().execute(code, tools, timeout=timeout, **options)
        self.broken = result.error is not None and result.error.kind == "timeout"
        return result


# What needs seconds for each attack: proved below, each with one attack.
SLOW = ("time-limit", "memory-limit", "output-limit", "availability")
SLOW_PROBES = ("tool-bridge.budget", "tool-bridge.argument-size")
# Of what a fake in the same process as its tests has no processes to show.
OUTSIDE = ("capabilities", "no-new-privileges", "non-root", "read-only-root", "noexec-tmp", "processes-limit", "cpu-limit")


def quick(session: AuditSession) -> Choice:
    probes = [probe.id for probe in session.catalogue.probes if probe.guarantee not in (*SLOW, *OUTSIDE)]
    return Choice(probes=tuple(name for name in probes if name not in SLOW_PROBES))


def broken(results: list[GuaranteeResult]) -> set[str]:
    return {result.id for result in results if result.verdict == "violated"}


def test_the_executor_under_the_fakes_has_none_of_their_holes(session: AuditSession, isolated_vm: SnippetExecutor) -> None:
    with session.snippets(Leaky(isolated_vm)) as audited:
        results = session.prove_all(audited, quick(session))
    assert {result.id: result.reason for result in results if result.declared and result.verdict != "held"} == {}
    assert len(results) >= 12


@pytest.mark.parametrize("hole", HOLES, ids=[hole.guarantee for hole in HOLES])
def test_a_hole_is_found_and_no_other(session: AuditSession, isolated_vm: SnippetExecutor, hole: Hole) -> None:
    with session.snippets(Leaky(isolated_vm, hole.prologue, hole.tools)) as audited:
        results = session.prove_all(audited, quick(session))
    found = broken(results)
    assert hole.guarantee in found
    assert found <= {hole.guarantee} | hole.implied, [result.reason for result in results if result.id in found]


def test_an_executor_that_lets_time_pass_is_found_out(session: AuditSession, isolated_vm: SnippetExecutor) -> None:
    assert verdict(session, Overtime(isolated_vm), "time-limit.timers") == "violated"
    assert verdict(session, Leaky(isolated_vm), "time-limit.timers") == "held"


def test_an_executor_that_is_gone_after_an_abuse_is_found_out(session: AuditSession, isolated_vm: SnippetExecutor) -> None:
    assert verdict(session, Fragile(isolated_vm), "availability.loop") == "violated"
    assert verdict(session, Leaky(isolated_vm), "availability.loop") == "held"


def test_an_executor_that_has_more_room_than_it_says_is_found_out(session: AuditSession, isolated_vm: SnippetExecutor) -> None:
    claimed = Limits(memory=48 * MIB, output=50_000, result=100_000, tool_calls=100)
    roomy = Roomy(isolated_vm, claimed)
    for probe in (
        "memory-limit.buffers",
        "output-limit.lines",
        "output-limit.result",
        "tool-bridge.budget",
        "tool-bridge.argument-size",
    ):
        assert verdict(session, roomy, probe) == "violated", probe


def verdict(session: AuditSession, executor: SnippetExecutor, probe: str) -> str:
    with session.snippets(executor) as audited:
        (result,) = session.prove_all(audited, Choice(probes=(probe,)))
    return result.verdict


def test_a_fake_is_no_executor_that_can_be_selected() -> None:
    with pytest.raises(ValueError, match="Unknown executor"):
        create_executor("leaky")
