"""`LuaSandbox`: what users call."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Self

from pytest_sandbox.entries.loading import load_entries
from pytest_sandbox.entries.registry import EntryRegistry
from pytest_sandbox.errors import InvalidArgument, LuaSandboxClosed, UnsupportedLimit
from pytest_sandbox.limits import DEFAULT_LIMITS, MIB, UNSET, Limits, Unset, check_seconds
from pytest_sandbox.lua import protocol
from pytest_sandbox.lua.host import ExecHost
from pytest_sandbox.lua.launcher import JailMode, Launcher
from pytest_sandbox.lua.policy import Decide, Policy, as_decision
from pytest_sandbox.lua.result import LuaError, LuaResult
from pytest_sandbox.lua.run import LuaRun
from pytest_sandbox.lua.values import to_lua
from pytest_sandbox.names import LUA
from pytest_sandbox.observing import Ended, tell

__all__ = ["DEFAULT_LUA_LIMITS", "LuaSandbox"]

DEFAULT_LUA_LIMITS: Final = Limits(tool_calls=None, processes=32).over(DEFAULT_LIMITS)
"""The defaults of a `LuaSandbox`."""

LEAST_MEMORY: Final = 2 * MIB
RESERVED_MODULES: Final = ("exec", "errors")

Entries = EntryRegistry | str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None
Modules = Mapping[str, str | Mapping[str, Any]]


class LuaSandbox:
    """Runs Lua scripts, each in a fresh process; a context manager, usable from several threads.

    Args:
        entries: what ``exec.get`` can get: a registry, or files with entries; None is nothing.
        policy: what of it a script may use: a function of action and resource, a `Policy`, a policy file, or its content; None
            allows what the entries allow.
        modules: what ``require`` finds besides ``exec`` and ``errors``: by name, a Lua source or a Python table, which is a mapping
            of values and functions.
        limits: what one run may use; unset fields are those of `DEFAULT_LUA_LIMITS`. ``processes`` counts processes of ``exec``
            that are open at the same time, ``tool_calls`` all calls of the host.
        jail: "auto" puts the Lua process into a jail where one can be entered; "required" makes its absence an error; "off" does
            without.

    Raises:
        InvalidArgument: for arguments that make no sense (the caller's fault).
        EntriesInvalid: when files with entries have errors; PolicyInvalid likewise.
        UnsupportedLimit: when a limit cannot be enforced (the caller's fault).
        ExecutorUnavailable: when Lua cannot run here: install the extra ``lua``.
    """

    def __init__(
        self,
        entries: Entries = None,
        *,
        policy: Decide | Policy | str | os.PathLike[str] | Mapping[str, Any] | None = None,
        modules: Modules | None = None,
        limits: Limits | None = None,
        jail: JailMode = "auto",
        _launcher: Launcher | None = None,
    ) -> None:
        if limits is not None and not isinstance(limits, Limits):
            raise InvalidArgument("limits", limits, "a Limits object, or None")
        self.limits = (limits or Limits()).over(DEFAULT_LUA_LIMITS)
        _check_memory(self.limits.memory)
        self._decide = as_decision(policy)
        self._functions: list[tuple[str, Callable[..., Any]]] = []
        self._modules = self._prepare_modules(modules or {})
        self._entries, self._owns_entries = _as_registry(entries)
        self._owns_launcher = _launcher is None
        self._launcher = _launcher or Launcher(jail)
        self._closed = False

    @property
    def entries(self) -> EntryRegistry:
        """The entries that scripts can get executors for."""
        return self._entries

    @property
    def jail(self) -> str:
        """The jail around the Lua processes, in words."""
        return self._launcher.jail

    @property
    def is_jailed(self) -> bool:
        """Whether the Lua processes are in a jail."""
        return self._launcher.is_jailed

    @property
    def versions(self) -> dict[str, str]:
        """The versions of Lua, lupa and Python that run."""
        return dict(self._launcher.runtime.versions)

    def run(
        self,
        source: str | bytes,
        *,
        method: str | None = None,
        args: Sequence[Any] = (),
        chunk_name: str = "script.lua",
        timeout: float | None | Unset = UNSET,
    ) -> LuaResult:
        """Run a script in a fresh Lua process, and return what became of it; never raises for what the script does.

        Args:
            source: the script.
            method: the function to call of the table that the script returns; None calls nothing.
            args: arguments of the function; without ``method``, of the script itself (its ``...``).
            chunk_name: what errors and tracebacks call the script.
            timeout: seconds until the run is killed; unset is the sandbox's limit, None is no limit.

        Raises:
            InvalidArgument: for arguments that make no sense (the caller's fault).
            LuaSandboxClosed: when the sandbox is closed (the caller's fault).
            ExecutorBroken: when no Lua process can be started (the machine's fault).

        What the policy raises comes out of here as well: who wrote it has to mend it.
        """
        if method is not None and (not isinstance(method, str) or not method):
            raise InvalidArgument("method", method, "the name of a function, or None")
        return self._run(source, {"method": method}, args, chunk_name, timeout)

    def functions(self, source: str | bytes, prefix: str, *, chunk_name: str = "script.lua") -> LuaResult:
        """Run a script and return the functions of the table that it returns: ``value`` is a mapping of name to line.

        Args:
            source: the script.
            prefix: how their names begin.
            chunk_name: what errors and tracebacks call the script.

        Raises:
            InvalidArgument: as for `run`, like LuaSandboxClosed and ExecutorBroken.
        """
        result = self._run(source, {"list": prefix}, (), chunk_name, UNSET)
        if not result.ok:
            return result
        kind, found = result.values
        if kind != "table":
            error = LuaError(
                "runtime", f"{chunk_name} returns {kind}: expected a table of functions at its end, such as return {{}}"
            )
            return LuaResult(ok=False, chunk_name=chunk_name, duration=result.duration, error=error, logs=result.logs)
        lines = dict(sorted(found, key=lambda item: (item[1], item[0])))
        return LuaResult(ok=True, chunk_name=chunk_name, duration=result.duration, values=(lines,), logs=result.logs)

    def close(self) -> None:
        """Free everything; safe to call twice. Runs that are under way go on."""
        if self._closed:
            return
        self._closed = True
        if self._owns_launcher:
            self._launcher.close()
        if self._owns_entries:
            self._entries.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LuaSandbox{' closed' if self._closed else ''} {self._entries!r}>"

    def _run(self, source: object, fields: dict[str, Any], args: Sequence[Any], chunk_name: object, timeout: object) -> LuaResult:
        if self._closed:
            raise LuaSandboxClosed
        if not isinstance(source, str | bytes):
            raise InvalidArgument("source", source, "a Lua script, as text or bytes")
        if not isinstance(chunk_name, str) or not chunk_name or "\n" in chunk_name or "\0" in chunk_name:
            raise InvalidArgument("chunk_name", chunk_name, "a name without line feeds")
        if isinstance(args, str | bytes) or not isinstance(args, Sequence):
            raise InvalidArgument("args", args, "a list or tuple of arguments")
        limits: Any = self.limits
        if timeout is not UNSET:
            limits = Limits(timeout=check_seconds("timeout", timeout)).over(limits)
        raw = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
        if limits.source is not None and len(raw) > limits.source:
            message = f"the script has {len(raw)} bytes, the limit source is {limits.source} bytes"
            return LuaResult(ok=False, chunk_name=chunk_name, duration=0.0, error=LuaError("limit", message, limit="source"))
        request = protocol.request(
            {
                **fields,
                "source": raw,
                "chunk": chunk_name.encode("utf-8", "surrogateescape"),
                "args": to_lua(list(args), "args"),
                "count": len(args),
                "modules": self._modules,
                # A function may decide differently each time, so it is asked each time; and what is limited is counted.
                "keeps": limits.tool_calls is None and (self._decide is None or isinstance(self._decide, Policy)),
                "memory": limits.memory,
                "output": limits.output,
                "result": limits.result,
            }
        )
        result = self._carry_out(request, limits, chunk_name)
        tell(lambda: Ended("snippet", LUA, raw.decode("utf-8", "replace"), result.usage))
        return result

    def _carry_out(self, request: bytes, limits: Any, chunk_name: str) -> LuaResult:
        link = self._launcher.take()
        try:
            host = ExecHost(self._entries, self._entries.get, self._decide, limits.processes)
            return LuaRun(link, host, limits, self._functions, chunk_name).run(request)
        finally:
            link.end()
            if not self._closed:
                with contextlib.suppress(Exception):  # the next run says why, if it cannot start
                    self._launcher.keep_ready()

    def _prepare_modules(self, modules: object) -> dict[str, Any]:
        if not isinstance(modules, Mapping):
            raise InvalidArgument("modules", modules, "a mapping of names to Lua sources or Python tables")
        prepared: dict[str, Any] = {}
        for name, module in modules.items():
            if not isinstance(name, str) or not name or name in RESERVED_MODULES:
                raise InvalidArgument("the name of a module", name, f"a text other than {' and '.join(RESERVED_MODULES)}")
            if isinstance(module, str | bytes):
                raw = module.encode("utf-8", "surrogatepass") if isinstance(module, str) else module
                prepared[name] = {"source": raw, "chunk": f"{name}.lua"}
            elif isinstance(module, Mapping):
                path = f"modules[{name!r}]"
                prepared[name] = {"value": to_lua(module, path, self._register(name))}
            else:
                raise InvalidArgument(f"modules[{name!r}]", module, "a Lua source, or a mapping of values and functions")
        return prepared

    def _register(self, module: str) -> Callable[[Callable[..., Any]], int]:
        def register(function: Callable[..., Any]) -> int:
            self._functions.append((f"{module}.{getattr(function, '__name__', 'function')}", function))
            return len(self._functions) - 1

        return register


def _as_registry(entries: object) -> tuple[EntryRegistry, bool]:
    if isinstance(entries, EntryRegistry):
        return entries, False
    if entries is None:
        return EntryRegistry({}), True
    if isinstance(entries, str | os.PathLike):
        return load_entries(entries), True
    if isinstance(entries, Iterable):
        return load_entries(*entries), True
    raise InvalidArgument("entries", entries, "an EntryRegistry, or files with entries")


def _check_memory(memory: object) -> None:
    if isinstance(memory, int) and memory < LEAST_MEMORY:
        raise UnsupportedLimit("lua", "memory", memory, f"Lua and its libraries need at least {LEAST_MEMORY} bytes")
