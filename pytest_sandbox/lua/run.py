"""One run of a script: the loop that carries its calls out, and the watch that ends it when it goes over a limit.

The loop runs in the caller's thread, which therefore is the one that policies and functions of modules run in. It may wait for a
command, for as long as that takes; the watch, in a thread of its own, kills the process of the script and its commands when the
time is up or the memory is gone, and then the loop comes back.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from pytest_sandbox.errors import InvalidArgument, SandboxError, short_repr
from pytest_sandbox.limits import MIB
from pytest_sandbox.lua import protocol
from pytest_sandbox.lua.host import ExecHost
from pytest_sandbox.lua.kinds import Refused, explain
from pytest_sandbox.lua.pipes import FRAME_ROOM, Pipes, TooLarge
from pytest_sandbox.lua.result import LuaError, LuaResult
from pytest_sandbox.lua.values import to_lua
from pytest_sandbox.processes.usage import Sample
from pytest_sandbox.result import ErrorKind, LogEntry, LogLevel, Usage, printable
from pytest_sandbox.snippets.link import Link
from pytest_sandbox.snippets.threads import start_thread

__all__ = ["MEMORY_SLACK", "OUTPUT_FACTOR", "LuaRun"]

MEMORY_SLACK: Final = 64 * MIB
"""Bytes of resident memory beyond the limit, for what the process needs for itself."""
OUTPUT_FACTOR: Final = 16
"""At this many times the limit ``output``, the run ends."""

_TICK: Final = 0.02
"""Seconds between looks at memory and CPU time."""
_CLOSING: Final = 20.0
"""Seconds that the watch may take to close what a run has left."""
_LUA_IDSIZE: Final = 60
"""Bytes of a name, with its end, that Lua shows: LUA_IDSIZE of luaconf.h."""
_OUT_OF_MEMORY: Final = "not enough memory"
_OUT_OF_MEMORY_EXIT: Final = "with exit code 77"


class LuaRun:
    """One run.

    Args:
        link: a Lua process that is ready.
        host: what it may reach.
        limits: an object with all fields of `Limits` set.
        functions: the functions that the script may call, by number.
        chunk_name: the name of the script.
    """

    def __init__(
        self, link: Link, host: ExecHost, limits: Any, functions: Sequence[tuple[str, Callable[..., Any]]], chunk_name: str
    ) -> None:
        self._link = link
        self._host = host
        host.warn = self._warn
        self._limits = limits
        self._functions = functions
        self._chunk_name = chunk_name
        self._shown_name = shown_name(chunk_name)
        most = 1 << 40 if limits.result is None else limits.result + FRAME_ROOM
        self._pipes = Pipes(link, most, lambda: self._is_done)
        self._over = threading.Event()
        self._watched = threading.Event()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._ended = 0.0
        self._error: LuaError | None = None
        self._values: tuple[Any, ...] = ()
        self._is_done = False
        self._logs: list[LogEntry] = []
        self._kept = self._written = 0
        self._truncated = False
        self._calls = 0
        self._first: Sample | None = None
        self._last: Sample | None = None
        self._peak = 0

    def run(self, request: bytes) -> LuaResult:
        """Carry it through; afterwards, everything that it has used is gone.

        Raises:
            Exception: what the policy raised (the fault of whoever wrote it).
        """
        self._started = time.monotonic()
        start_thread(self._watch)
        try:
            self._pipes.send(request)
            self._carry()
        except TooLarge as error:
            self._end("crash", str(error))
        finally:
            self._ended = time.monotonic()
            self._over.set()
            self._sample()
            self._link.interrupt()
            self._watched.wait(_CLOSING)
            self._host.close()
            death = self._link.end()
            self._explain(death.how)
        return self._result()

    # -- the loop ---------------------------------------------------------------------------------------------------

    def _carry(self) -> None:
        while not self._is_done:
            payload = self._pipes.receive()
            if payload is None:
                return
            try:
                message = protocol.decode(payload)
            except (msgspec.DecodeError, RecursionError, ValueError, UnicodeDecodeError) as error:
                self._end("crash", f"its process sent a message that cannot be read ({error})")
                return
            self._take(message)

    def _take(self, message: protocol.Message) -> None:
        if self._host.answers(message) or isinstance(message, protocol.Call):
            self._calls += 1
            most = self._limits.tool_calls
            if most is not None and self._calls > most:
                self._end("limit", f"it called functions of the host more than {most} times", "tool_calls")
            else:
                self._answer(message)
        elif isinstance(message, protocol.Drop):
            self._host.drop(message)
        elif isinstance(message, protocol.Log):
            self._log("log", protocol.text(message.text), message.written)
        elif isinstance(message, protocol.Result):
            self._finish(message.values)
        elif isinstance(message, protocol.Failure):
            self._fail(message)
        else:
            self._end("crash", "its process said twice that it is ready")

    def _answer(self, message: Any) -> None:
        try:
            frame = self._call(message) if isinstance(message, protocol.Call) else protocol.answer(self._host.do(message))
        except (Refused, SandboxError) as error:
            refused = explain(error)
            frame = protocol.refusal(refused.kind, refused.message, retryable=refused.retryable)
        self._pipes.send(frame)

    def _call(self, message: protocol.Call) -> bytes:
        if not 0 <= message.function < len(self._functions):
            raise Refused("INVALID", f"there is no function {message.function}")
        name, function = self._functions[message.function]
        try:
            returned = function(*message.args)
            values = returned if isinstance(returned, tuple) else (returned,)
            frame = protocol.answer([to_lua(value, f"{name}()") for value in values], len(values))
        except Refused:
            raise
        except InvalidArgument as error:
            raise Refused("INTERNAL", str(error)) from error
        except Exception as error:
            raise Refused("INTERNAL", f"{type(error).__name__}: {_words(error)}") from error
        most = self._limits.result
        if most is not None and len(frame) > most + FRAME_ROOM:
            raise Refused("INTERNAL", f"{name}() returned {len(frame)} bytes, and the limit result is {most} bytes")
        return frame

    def _warn(self, text: str) -> None:
        self._log("warn", text, None)

    def _log(self, level: LogLevel, text: str, written: int | None) -> None:
        most = self._limits.output
        size = len(text.encode("utf-8", "replace")) + 1
        self._written = max(self._written + size, written or 0)
        if most is not None and self._kept + size > most + 1:
            self._truncated = True
            text = text.encode("utf-8", "replace")[: max(0, most - self._kept)].decode("utf-8", "ignore")
            size = len(text.encode()) + 1 if text else 0
        if text or size:
            self._kept += size
            self._logs.append(LogEntry(level, text, time.monotonic() - self._started))
        if most is not None and self._written > OUTPUT_FACTOR * (most + 1):
            self._end("output", f"it printed more than {OUTPUT_FACTOR} times the limit output of {most} bytes", "output")

    # -- the end ----------------------------------------------------------------------------------------------------

    def _finish(self, values: list[Any]) -> None:
        with self._lock:
            if not self._is_done:
                self._is_done = True
                self._values = tuple(values)

    def _fail(self, message: protocol.Failure) -> None:
        words = self._full_names(protocol.text(message.message))
        if words.endswith(_OUT_OF_MEMORY) and not message.error_kind:
            self._end("memory", f"{words}: the limit memory is {self._limits.memory} bytes", "memory")
            return
        kind: ErrorKind = "runtime"
        limit = None
        if message.kind == b"syntax":
            kind = "syntax"
        elif message.kind == b"limit":
            kind, limit = "limit", "result"
        traceback = self._full_names(protocol.text(message.traceback or b""))
        self._end(
            kind,
            words,
            limit,
            error_kind=None if message.error_kind is None else protocol.text(message.error_kind),
            retryable=bool(message.retryable),
            returned=message.returned,
            traceback=traceback,
            line=_line(self._chunk_name, words, traceback),
        )

    def _full_names(self, words: str) -> str:
        return words if self._shown_name == self._chunk_name else words.replace(f"{self._shown_name}:", f"{self._chunk_name}:")

    def _end(self, kind: ErrorKind, message: str, limit: str | None = None, **facts: Any) -> None:
        with self._lock:
            if not self._is_done:
                self._is_done = True
                self._error = LuaError(kind, message, limit=limit, **facts)

    def _explain(self, how: str) -> None:
        """Say why there is no result, if nobody has."""
        words = printable(self._pipes.last_words.decode("utf-8", "replace")).strip()
        if how == _OUT_OF_MEMORY_EXIT or "LuaMemoryError" in words:
            self._end("memory", f"its process ran out of memory: the limit memory is {self._limits.memory} bytes", "memory")
        last = f"; its last words: {words[-1000:]}" if words else ""
        self._end("crash", f"its process ended without a result, {how}{last}")

    def _result(self) -> LuaResult:
        wall = self._ended - self._started
        usage = Usage(wall=wall, cpu=self._cpu, memory=self._peak or None, tool_calls=self._calls, output=self._written)
        return LuaResult(
            ok=self._error is None,
            chunk_name=self._chunk_name,
            duration=wall,
            values=self._values,
            error=self._error,
            logs=tuple(self._logs),
            usage=usage,
            truncated=self._truncated,
        )

    # -- the watch --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        try:
            self._sample()
            timeout = self._limits.timeout
            deadline = None if timeout is None else self._started + timeout
            while not self._over.wait(_TICK if deadline is None else max(0.0, min(_TICK, deadline - time.monotonic()))):
                if self._is_over_a_limit(deadline):
                    self._link.interrupt()
                    self._host.abort()
                    return
        finally:
            self._watched.set()

    def _is_over_a_limit(self, deadline: float | None) -> bool:
        limits = self._limits
        sample = self._sample()
        if deadline is not None and time.monotonic() >= deadline:
            self._end("timeout", f"it did not finish within {limits.timeout:g} s", "timeout")
        elif sample is not None and limits.memory is not None and sample.memory > limits.memory + MEMORY_SLACK:
            found = f"its process has {sample.memory} bytes of resident memory"
            self._end("memory", f"{found}, the limit is {limits.memory} bytes (and {MEMORY_SLACK} of slack)", "memory")
        elif self._cpu is not None and limits.cpu_time is not None and self._cpu > limits.cpu_time:
            self._end("limit", f"it used {self._cpu:.2f} s of CPU time, the limit is {limits.cpu_time:g} s", "cpu_time")
        return self._is_done

    def _sample(self) -> Sample | None:
        sample = self._link.sample()
        if sample is not None:
            self._first = self._first or sample
            self._last = sample
            self._peak = max(self._peak, sample.memory)
        return sample

    @property
    def _cpu(self) -> float | None:
        return None if self._first is None or self._last is None else self._last.cpu - self._first.cpu


def shown_name(chunk_name: str) -> str:
    """Return a name as Lua shows it in messages: of a long one, only the end."""
    raw = chunk_name.encode("utf-8", "surrogateescape")
    return chunk_name if len(raw) < _LUA_IDSIZE else "..." + raw[4 - _LUA_IDSIZE :].decode("utf-8", "replace")


def _words(error: Exception) -> str:
    try:
        return str(error)
    except Exception:
        return short_repr(error)


def _line(chunk_name: str, message: str, traceback: str) -> int | None:
    """Return the line of the script that an error points to: that of its message, else the innermost of its traceback."""
    found = re.compile(re.escape(chunk_name) + r":(\d+):")
    for words in (message, traceback):
        match = found.search(words)
        if match:
            return int(match[1])
    return None
