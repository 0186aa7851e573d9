"""One execution as the host sees it: the state machine that decides what a runner may say, and when it is over.

The host is the authority: on which tools there are, on how often they may be called, on sizes, and on time. The first last message
wins; after anything that is not legal the runner is discarded.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final

import msgspec

from pytest_sandbox.limits import MIB
from pytest_sandbox.processes.usage import Sample
from pytest_sandbox.result import ErrorKind, ExecuteResult, LogEntry, SnippetError, Usage
from pytest_sandbox.snippets import protocol
from pytest_sandbox.snippets.base import Request
from pytest_sandbox.snippets.calls import ToolCalls
from pytest_sandbox.snippets.link import Death
from pytest_sandbox.values import UNDEFINED, ValueCannotCross, from_wire

__all__ = ["MEMORY_SLACK", "OUTPUT_FACTOR", "Execution"]

MEMORY_SLACK: Final = 64 * MIB
"""Bytes of resident memory past the limit that are let pass: an engine needs that much for itself."""

OUTPUT_FACTOR: Final = 16
"""At this many times the limit ``output``, the execution ends (`realm/basics.js` has the same number)."""

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
        self.calls = ToolCalls(request, self._limit, self._violation, lambda: self.is_over)
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
                self.calls.receive(message, now)
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

    # -- limits -----------------------------------------------------------------------------------------------------

    def next_check(self, now: float) -> float:
        """Seconds until the next deadline."""
        deadlines = [deadline for deadline in (self._deadline, self.calls.next_deadline()) if deadline is not None]
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
        self.calls.check(now)

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
                wall=wall, cpu=self._cpu, memory=self._peak or None, tool_calls=self.calls.made, output=self._kept + self._lost
            ),
            truncated=self._truncated,
        )
