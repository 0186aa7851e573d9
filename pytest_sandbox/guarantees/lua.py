"""Lua as something that is audited: attacks run in a `LuaSandbox`, and in a plain runtime of lupa, which is their control."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from pytest_sandbox.errors import ExecutorUnavailable
from pytest_sandbox.guarantees.audit import Audited, AuditSession
from pytest_sandbox.guarantees.results import ExecutorAudit
from pytest_sandbox.guarantees.stage import Stage
from pytest_sandbox.guarantees.subjects import Ran, Subject, Tools
from pytest_sandbox.limits import MIB, Limits
from pytest_sandbox.names import LUA
from pytest_sandbox.promises import promised

if TYPE_CHECKING:
    from pytest_sandbox.lua import LuaResult, LuaSandbox

__all__ = ["AUDIT_LIMITS", "LuaSubject", "PlainLua", "RunsLua", "lua", "open_sandbox"]

AUDIT_LIMITS: Final = Limits(memory=32 * MIB, output=20_000, tool_calls=100, timeout=20)
"""What the audited sandbox gives each script: small, so that going past it takes little."""

_PLAIN: Final = """
import json, resource, sys
from lupa import lua54

def say(what, value):
    print(json.dumps([what, value]), flush=True)

def plain(value):
    if lua54.lua_type(value) == "table":
        items = dict(value.items())
        return {str(key): plain(item) for key, item in items.items()}
    return value if isinstance(value, bool | int | float | str | None) else repr(value)

def tool(value=None):
    say("tool", None)
    return value

request = json.load(sys.stdin)
lua = lua54.LuaRuntime(unpack_returned_tuples=True, encoding="latin-1")
lua.globals()["print"] = lambda *values: say("log", chr(9).join(map(str, values)))
params = lua.table_from(request["params"])
try:
    for piece in request["pieces"]:
        value = lua.execute(piece, params, tool)
    say("returned", plain(value))
except BaseException as error:
    say("threw", f"{type(error).__name__}: {error}")
say("memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


class RunsLua(Protocol):
    """Runs Lua: both subjects of this module."""

    calls: int
    """How often scripts have called the function ``TOOL``."""

    def run_lua(self, pieces: Sequence[str], params: Mapping[str, object], timeout: float) -> Ran:
        """Run scripts one after another; each has ``P`` (a table of ``params``) and ``TOOL`` (a function of the host).

        Args:
            pieces: the scripts.
            params: texts and numbers by name.
            timeout: seconds for each of them.

        Returns:
            What became of the last one that began, with what all of them have printed.
        """


class LuaSubject(Subject):
    """A Lua sandbox: each script is a run of its own.

    Args:
        make: makes the sandbox, from the function that scripts reach as ``TOOL``.
    """

    vantage = "snippet"

    def __init__(self, make: Callable[[Callable[..., Any]], LuaSandbox]) -> None:
        super().__init__(LUA, LUA)
        self.calls = 0
        self.sandbox = make(self.tool)

    def close(self) -> None:
        """See `Subject`."""
        self.sandbox.close()

    def tool(self, value: Any = None) -> Any:
        """Be called by scripts."""
        self.calls += 1
        return value

    def run(self, code: str, tools: Tools | None = None, *, timeout: float = 10.0) -> Ran:
        """See `Subject`; here, the code is Lua."""
        return self.run_lua([code], {}, timeout)

    def run_lua(self, pieces: Sequence[str], params: Mapping[str, object], timeout: float) -> Ran:
        """See `RunsLua`."""
        logs: tuple[str, ...] = ()
        ran = Ran(ended="refused")
        for piece in pieces:
            code = f'local P = ... local TOOL = require("audit").tool\n{piece}'
            ran = _ran(self.sandbox.run(code, args=(dict(params),), timeout=timeout), logs)
            logs = ran.logs
        return ran


def _ran(result: LuaResult, before: tuple[str, ...]) -> Ran:
    error = result.error
    ended = "returned" if error is None else "threw" if error.kind == "runtime" else error.kind
    return Ran(
        ended=ended,
        value=result.value if error is None else None,
        error="" if error is None else str(error),
        limit="" if error is None else error.limit or "",
        logs=(*before, *(line for entry in result.logs for line in entry.text.split("\n"))),
        duration=result.duration,
        memory=result.usage.memory,
    )


class PlainLua(Subject):
    """Plain lupa, as it comes, in a process with this one's variables: all scripts of one call share a runtime."""

    vantage = "snippet"

    def __init__(self) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            super().__init__(f"plain lupa {version('lupa')}", LUA)
        except PackageNotFoundError:
            raise ExecutorUnavailable(LUA, "the package lupa is not installed", 'pip install "pytest-sandbox[lua]"') from None
        self.calls = 0

    def run(self, code: str, tools: Tools | None = None, *, timeout: float = 10.0) -> Ran:
        """See `Subject`; here, the code is Lua."""
        return self.run_lua([code], {}, timeout)

    def run_lua(self, pieces: Sequence[str], params: Mapping[str, object], timeout: float) -> Ran:
        """See `RunsLua`."""
        request = {"params": dict(params), "pieces": [f"local P, TOOL = ...\n{piece}" for piece in pieces]}
        command = [sys.executable, "-I", "-c", _PLAIN]
        began = time.monotonic()
        timed_out = False
        try:
            done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, timeout=timeout, check=False)
            output, errors = done.stdout, done.stderr
        except subprocess.TimeoutExpired as error:
            timed_out, errors = True, ""
            output = error.stdout.decode("utf-8", "replace") if isinstance(error.stdout, bytes) else error.stdout or ""
        told = [json.loads(line) for line in output.splitlines() if line.endswith("]")]
        facts = {what: value for what, value in told if what not in ("log", "tool")}
        self.calls += sum(what == "tool" for what, _ in told)
        ended = "timeout" if timed_out else next((what for what in ("returned", "threw") if what in facts), "crash")
        return Ran(
            ended=ended,
            value=facts.get("returned"),
            error=facts.get("threw", "" if ended == "returned" else errors[-300:]),
            logs=tuple(value for what, value in told if what == "log"),
            duration=time.monotonic() - began,
            memory=facts.get("memory"),
        )


def open_sandbox(tool: Callable[..., Any], *, guarded: bool = True) -> LuaSandbox:
    """Return a sandbox with entries of ours.

    Args:
        tool: what scripts reach as ``TOOL``.
        guarded: whether a policy, and for one entry a whitelist, allow the command ``true`` and nothing else.

    Raises:
        ExecutorUnavailable: when Lua cannot run here.
    """
    from pytest_sandbox.entries.model import NativeEntry
    from pytest_sandbox.entries.registry import EntryRegistry
    from pytest_sandbox.lua import LuaSandbox, Policy
    from pytest_sandbox.lua.policy import Rule

    entries = EntryRegistry.of(
        NativeEntry(name="free"),
        NativeEntry(name="denied"),
        NativeEntry(name="bound", command_whitelist=("true",) if guarded else None),
        namespace="audit",
    )
    rules = (
        Rule(("exec.get",), ("audit:free", "audit:bound")),
        # A command of the entry "bound" passes the policy, so that its whitelist alone is what stops it.
        Rule(("exec.run",), ("true", "touch *bound*")),
    )
    return LuaSandbox(entries, policy=Policy(*rules) if guarded else None, modules={"audit": {"tool": tool}}, limits=AUDIT_LIMITS)


@contextmanager
def lua(session: AuditSession) -> Iterator[tuple[Audited, ExecutorAudit]]:
    """Make a Lua sandbox ready for an audit.

    Raises:
        ExecutorUnavailable: when Lua cannot run here.
    """
    subject = LuaSubject(open_sandbox)
    try:
        sandbox = subject.sandbox
        stage = Stage(subject=subject, canaries=session.canaries, limits=sandbox.limits)
        given = {"timeout", "memory", "output"} | ({"jail"} if sandbox.is_jailed else set())
        audited = Audited(name=LUA, kind="snippet", stages={"snippet": stage}, runtime=LUA, declared=promised(LUA, given))
        versions = sandbox.versions
        info = f"{versions['lua']}, lupa {versions['lupa']}, fresh process, jail {sandbox.jail}"
        yield audited, ExecutorAudit(name=LUA, kind="snippet", info=info, versions=versions, jail=sandbox.jail)
    finally:
        subject.close()
