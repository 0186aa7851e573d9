"""One execution as the host sees it: the state machine that decides what a runner may say, and when it is over.

The host is the authority: on which tools there are, on how often they may be called, on sizes, and on time. The first last message
wins; after anything that is not legal the runner is discarded.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from typing import Any, Final

import msgspec

from pytest_sandbox.limits import MIB
from pytest_sandbox.processes.usage import Sample
from pytest_sandbox.result import ErrorKind, ExecuteResult, LogEntry, SnippetError, Usage
from pytest_sandbox.snippets import protocol
from pytest_sandbox.snippets.base import Request
from pytest_sandbox.snippets.link import Death
from pytest_sandbox.snippets.tools import ToolOutcome
from pytest_sandbox.values import UNDEFINED, ValueCannotCross, from_wire

__all__ = ["MEMORY_SLACK", "OUTPUT_FACTOR", "Execution"]

MEMORY_SLACK: Final = 64 * MIB
"""Bytes of resident memory past the limit that are let pass: an engine needs that much for itself."""

OUTPUT_FACTOR: Final = 16
"""At this many times the limit ``output``, the execution ends (`realm/basics.js` has the same number)."""

_CALLS_AT_ONCE: Final = 128
"""Tool calls of one execution that run at the same time, abandoned ones included; further ones wait for their turn."""

_UNSENT_MOST: Final = 64 * MIB
"""While so many bytes of answers wait for the runner to read them, no further call is started."""

_HELD_FACTOR: Final = 32
"""Past this many times the limit ``result``, what tool calls hold in our memory (arguments and answers) ends the execution."""

_CAUSES_MOST: Final = 5
"""Links of a chain of causes that are kept, as in `realm/basics.js`; an open realm can be made to send more."""

_NO_CHECK: Final = 3600.0
_OUT_OF_MEMORY_REGEXP: Final = re.compile(
    r"heap out of memory|out of memory|invalid (array|size|table)|Allocation failed|Last few GCs|Mark-Compact", re.I
)
_OWN_FRAME_REGEXP: Final = re.compile(r"\bsnippet\.[jt]s:\d+")
_FRAME_REGEXP: Final = re.compile(r"^\s+at ")
_MISSING_TOOL_REGEXP: Final = re.compile(r"codemode\.(.+) is not a function", re.S)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8"))


def _own_frames(stack: str) -> str:
    """Cut a stack to the snippet's own frames; empty when the engine shows none."""
    lines = [line for line in stack.splitlines() if not _FRAME_REGEXP.match(line) or _OWN_FRAME_REGEXP.search(line)]
    return "\n".join(lines) if any(_FRAME_REGEXP.match(line) for line in lines) else ""


class Execution:
    """One execution.

    Args:
        executor: the executor's name.
        request: what to run.
        nonce: the stamp of its messages.
    """

    def __init__(self, executor: str, request: Request, nonce: str) -> None:
        self._executor = executor
        self._request = request
        self._limits: Any = request.limits  # no field is unset here
        self._nonce = nonce
        self._started = self._ended = 0.0
        self._deadline: float | None = None
        self._error: SnippetError | None = None
        self._value: Any = None
        self._logs: list[LogEntry] = []
        self._kept = 0
        self._lost = 0
        self._truncated = False
        self._calls: dict[int, str] = {}
        self._last_call = 0
        self._calls_made = 0
        self._calls_waiting: deque[tuple[int, str, msgspec.Raw]] = deque()
        self._sizes: dict[int, int] = {}
        self._held = 0
        self._unsent = 0
        self._call_deadlines: dict[int, float] = {}
        self._frames = bytearray()
        self._first: Sample | None = None
        self._last: Sample | None = None
        self._peak = 0
        self._unstamped = 0
        self.is_over = False
        self.is_clean = True
        """Whether the runner may serve another execution: it is idle, and has said nothing illegal."""

    @property
    def line_most(self) -> int:
        """Bytes that a legal line can have: the limits count characters, of 3 bytes at most (result), or 6 when escaped (logs)."""
        if self._limits.result is None or self._limits.output is None:
            return 1 << 40
        return int(max(3 * self._limits.result, 6 * self._limits.output)) + 65_536

    def begin(self, now: float) -> bytes:
        """Start the clock and return the request's line."""
        self._started = now
        if self._limits.timeout is not None:
            self._deadline = now + self._limits.timeout
        return protocol.run_frame(
            nonce=self._nonce,
            source=self._request.source,
            language=self._request.language,
            tools=self._request.tools.names,
            output=self._limits.output,
            result=self._limits.result,
        )

    # -- what the runner says -----------------------------------------------------------------------------------

    def receive(self, line: bytes, now: float) -> None:
        """Take one line; an empty one stands for a line without the right stamp."""
        if not line:
            # Not ours: a forger that guesses, or something that wrote past us. It is dropped, and the runner with it at the end.
            self._unstamped += 1
            self.is_clean = False
            return
        try:
            message = protocol.decode(line)
            if isinstance(message, protocol.Log):
                self._log(message, now)
            elif isinstance(message, protocol.Call):
                self._call(message, now)
            elif isinstance(message, protocol.Result):
                self._result(message)
            elif isinstance(message, protocol.Error):
                self._fail_with(message.error, message.written)
            elif isinstance(message, protocol.Retire):
                self.is_clean = False
            else:
                self._violation("a second ready message")
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            self._violation(f"a message that cannot be read ({error})")

    def overflowed(self, size: int) -> None:
        """End it because one line is larger than any legal one."""
        self._limit("limit", "result", f"one message of the runner is larger than {self.line_most} bytes (it has {size} so far)")

    def explain_death(self, death: Death, last_words: str) -> None:
        """End it because the runner ended without a last message."""
        words = f"; its last words: {last_words}" if last_words else ""
        if death.out_of_memory or _OUT_OF_MEMORY_REGEXP.search(last_words):
            found = f"the engine ran out of memory, the limit is {self._limits.memory} bytes"
            self._limit("memory", "memory", f"{found} (the runner ended {death.how})")
        else:
            self._end(SnippetError("crash", "RunnerCrashed", f"the runner ended without a result, {death.how}{words}"))

    def _violation(self, what: str) -> None:
        self._end(SnippetError("crash", "ProtocolViolation", f"the runner sent {what}"))

    def _log(self, message: protocol.Log, now: float) -> None:
        most = self._limits.output
        text = message.text
        size = _size(text) + 1
        self._truncated = self._truncated or message.cut
        if message.cut and not text:
            return
        if most is not None and self._kept + size > most + 1:
            self._truncated = True
            self._lost += size
            text = text.encode("utf-8")[: max(0, most - self._kept)].decode("utf-8", "ignore")
            size = _size(text) + 1 if text else 0
            self._lost -= size
        if text or size:
            self._kept += size
            self._logs.append(LogEntry(message.level, text, now - self._started))
        if most is not None and self._kept + self._lost > OUTPUT_FACTOR * most + OUTPUT_FACTOR:
            self._limit("output", "output", f"it wrote more than {OUTPUT_FACTOR} times the limit output of {most} bytes")

    def _result(self, message: protocol.Result) -> None:
        most = self._limits.result
        self._note_written(message.written)
        if most is not None and len(message.value) > most:
            self._limit(
                "limit", "result", f"Cannot return value: it has {len(message.value)} bytes, the limit result is {most} bytes"
            )
            return
        try:
            self._value = from_wire(protocol.decode_value(message.value))
        except ValueCannotCross as error:
            self._end(SnippetError("runtime", "TypeError", f"Cannot return {error}"))
            return
        self._end(None)

    def _fail_with(self, body: protocol.ErrorBody, written: int) -> None:
        self._note_written(written)
        error = self._snippet_error(body, _CAUSES_MOST)
        missing = _MISSING_TOOL_REGEXP.fullmatch(error.message)
        if missing and error.kind == "runtime":
            # Where codemode cannot be a Proxy, an unknown tool is just undefined.
            listed = protocol.unknown_tool_message(missing[1], self._request.tools.names)
            error = dataclasses.replace(error, message=f"{error.message}. {listed}")
        self._end(error)

    def _snippet_error(self, body: protocol.ErrorBody, causes: int) -> SnippetError:
        most = protocol.TEXT_MOST
        name, message, stack = body.name[:most], body.message[:most], _own_frames(body.stack[:most])
        if body.kind == "syntax" and body.line is not None:
            stack = f"{name}: {message}\n    at snippet.{self._request.language}:{body.line}:{body.column}"
        return SnippetError(
            kind=body.kind,
            name=name,
            message=message,
            stack=stack,
            cause=None if body.cause is None or causes == 0 else self._snippet_error(body.cause, causes - 1),
            limit=body.limit,
            line=body.line,
            column=body.column,
        )

    def _note_written(self, written: int) -> None:
        self._lost = max(self._lost, written - self._kept)

    # -- tools ----------------------------------------------------------------------------------------------------

    def _call(self, message: protocol.Call, now: float) -> None:
        self._calls_made += 1
        most = self._limits.tool_calls
        if most is not None and self._calls_made > most:
            self._limit("limit", "tool_calls", f"it called tools more than {most} times")
            return
        if message.id <= self._last_call:
            self._violation(f"the tool call id {message.id} after {self._last_call}")
            return
        self._last_call = message.id
        if self._limits.result is not None and len(message.args) > self._limits.result + 2 * MIB:
            self._violation("tool arguments that are larger than the limit result")
            return
        name, tools = message.name, self._request.tools
        if name not in tools.names:
            self._frames += protocol.unknown_tool_frame(message.id, name, tools.names)
            return
        self._calls[message.id] = name
        self._hold(message.id, len(message.args))
        self._calls_waiting.append((message.id, name, message.args))
        self._start_calls(now)

    def _hold(self, call: int, size: int) -> None:
        self._sizes[call] = self._sizes.get(call, 0) + size
        self._held += size
        most = self._limits.result
        if most is not None and self._held + self._unsent > _HELD_FACTOR * max(most, MIB):
            held = self._held + self._unsent
            self._limit(
                "limit",
                "result",
                f"its tool calls hold {held} bytes, more than {_HELD_FACTOR} times the limit result of {most} bytes",
            )

    def _release(self, call: int) -> None:
        self._held -= self._sizes.pop(call, 0)

    def _start_calls(self, now: float) -> None:
        tools = self._request.tools
        while self._calls_waiting and self._unsent <= _UNSENT_MOST and not self.is_over:
            if len(self._calls) - len(self._calls_waiting) + tools.hung >= _CALLS_AT_ONCE:
                return
            call, name, raw = self._calls_waiting.popleft()
            # Not before its turn: what is decoded takes many times the memory.
            values = self._arguments(call, name, raw)
            if values is None:
                continue
            if self._request.tool_timeout is not None:
                self._call_deadlines[call] = now + self._request.tool_timeout
            tools.start(call, name, values)

    def _arguments(self, call: int, name: str, raw: msgspec.Raw) -> list[Any] | None:
        """Return the arguments of a call; None when it has failed already."""
        try:
            args = protocol.decode_value(raw)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            self._violation(f"tool arguments that cannot be read ({error})")
            return None
        if not isinstance(args, list):
            self._violation("tool arguments that are not a list")
            return None
        try:
            return [None if value is UNDEFINED else value for value in (from_wire(arg, f"args[{i}]") for i, arg in enumerate(args))]
        except ValueCannotCross as error:
            del self._calls[call]
            self._release(call)
            self._frames += protocol.error_frame(call, "TypeError", f'Cannot call tool "{name}": {error}')
            return None

    @property
    def must_be_watched(self) -> bool:
        """Whether an answer changes what the loop waits for: it may start another call, or the end has been asked for."""
        return bool(self._calls_waiting) or self._request.tools.cancelled or self.is_over

    def encode(self, outcome: ToolOutcome, name: str) -> bytes:
        """Return the answer to a tool call, as a line; called in the tool's thread, where it holds up nobody."""
        if outcome.error is not None:
            return protocol.tool_error_frame(outcome.call, outcome.error)
        return protocol.tool_value_frame(outcome.call, name, outcome.value, self._limits.result)

    def tool_frames(self, now: float, unsent: int = 0) -> bytes:
        """Return the answers to tool calls that are ready, as lines.

        Args:
            now: the time.
            unsent: bytes of earlier answers that the runner has not read yet.
        """
        self._unsent = unsent
        for outcome in self._request.tools.take():
            # One whose time was up as it ended has been answered.
            if self._calls.pop(outcome.call, None) is not None:
                self._release(outcome.call)
                self._call_deadlines.pop(outcome.call, None)
                self._frames += outcome.frame
        self._unsent += len(self._frames)
        self._start_calls(now)
        frames = bytes(self._frames)
        self._frames.clear()
        return frames

    # -- limits -----------------------------------------------------------------------------------------------------

    def next_check(self, now: float) -> float:
        """Seconds until the next deadline."""
        deadlines = list(self._call_deadlines.values())
        if self._deadline is not None:
            deadlines.append(self._deadline)
        return max(0.0, min(deadlines) - now) if deadlines else _NO_CHECK

    def sampled(self, sample: Sample | None) -> None:
        """Note a measurement; the first one is the start."""
        if sample is not None:
            self._first = self._first or sample
            self._last = sample
            self._peak = max(self._peak, sample.memory)

    def check(self, now: float, sample: Sample | None) -> None:
        """End the execution when it was cancelled, or has gone past a limit that only time or a measurement can tell."""
        self.sampled(sample)
        limits = self._limits
        if self._request.tools.cancelled:
            self._end(SnippetError("cancelled", "Cancelled", "the caller was cancelled"))
        elif self._deadline is not None and now >= self._deadline:
            self._limit(
                "timeout",
                "timeout",
                f"it did not finish within {limits.timeout:g} s (it was ended after {now - self._started:.3f} s)",
            )
        elif sample is not None and limits.memory is not None and sample.memory > limits.memory + MEMORY_SLACK:
            found = f"its process has {sample.memory} bytes of resident memory"
            self._limit("memory", "memory", f"{found}, the limit is {limits.memory} bytes (and {MEMORY_SLACK} of slack)")
        elif self._cpu is not None and limits.cpu_time is not None and self._cpu > limits.cpu_time:
            self._limit("limit", "cpu_time", f"it used {self._cpu:.2f} s of CPU time, the limit is {limits.cpu_time:g} s")
        for call, deadline in list(self._call_deadlines.items()):
            if now >= deadline:
                name = self._calls.pop(call)
                self._release(call)
                del self._call_deadlines[call]
                self._request.tools.abandon(call)
                self._frames += protocol.error_frame(
                    call, "ToolTimeout", f'Tool "{name}" did not return within the tool timeout of {self._request.tool_timeout:g} s'
                )

    @property
    def _cpu(self) -> float | None:
        return None if self._first is None or self._last is None else self._last.cpu - self._first.cpu

    def _limit(self, kind: ErrorKind, field: str, message: str) -> None:
        names = {"timeout": "Timeout", "memory": "OutOfMemory"}
        self._end(SnippetError(kind, names.get(kind, "LimitExceeded"), message, limit=field))

    # -- the end ------------------------------------------------------------------------------------------------------

    def _end(self, error: SnippetError | None) -> None:
        if not self.is_over:
            self.is_over = True
            self._error = error
            # Only these two kinds are the end of the snippet's own code; whatever else ended it may have left it running.
            self.is_clean = self.is_clean and (error is None or error.kind in ("syntax", "runtime"))

    def finished(self, now: float) -> None:
        """Stop the clock."""
        self._ended = now

    def result(self) -> ExecuteResult:
        """Return what became of it."""
        wall = self._ended - self._started
        undefined = self._value is UNDEFINED
        return ExecuteResult(
            ok=self._error is None,
            executor=self._executor,
            duration=wall,
            value=None if undefined else self._value,
            is_undefined=undefined,
            error=self._error,
            logs=tuple(self._logs),
            usage=Usage(
                wall=wall, cpu=self._cpu, memory=self._peak or None, tool_calls=self._calls_made, output=self._kept + self._lost
            ),
            truncated=self._truncated,
        )
