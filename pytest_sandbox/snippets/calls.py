"""The tool calls of one execution: which run, which wait for their turn, what they hold of our memory, and their answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from pytest_sandbox.limits import MIB
from pytest_sandbox.result import ErrorKind
from pytest_sandbox.snippets import protocol
from pytest_sandbox.snippets.base import Request
from pytest_sandbox.snippets.tools import ToolOutcome
from pytest_sandbox.values import UNDEFINED, ValueCannotCross, from_wire

__all__ = ["ToolCalls"]

_CALLS_AT_ONCE: Final = 128
"""Tool calls of one execution that run at the same time, abandoned ones included; further ones wait for their turn."""

_UNSENT_MOST: Final = 64 * MIB
"""While so many bytes of answers wait for the runner to read them, no further call is started."""

_HELD_FACTOR: Final = 32
"""Past this many times the limit ``result``, what tool calls hold in our memory (arguments and answers) ends the execution."""


class ToolCalls:
    """The tool calls of one execution.

    Args:
        request: the execution.
        limit: ends the execution for a limit that they went over.
        violation: ends it for a call that no honest runner makes.
        is_over: whether it has ended.
    """

    def __init__(
        self,
        request: Request,
        limit: Callable[[ErrorKind, str, str], None],
        violation: Callable[[str], None],
        is_over: Callable[[], bool],
    ) -> None:
        self._request = request
        self._limits: Any = request.limits  # no field is unset here
        self._limit = limit
        self._violation = violation
        self._is_over = is_over
        self._calls: dict[int, str] = {}
        self._last_call = 0
        self._waiting: deque[tuple[int, str, msgspec.Raw]] = deque()
        self._sizes: dict[int, int] = {}
        self._held = 0
        self._unsent = 0
        self._deadlines: dict[int, float] = {}
        self._frames = bytearray()
        self.made = 0
        """How many calls the snippet has made."""

    def receive(self, message: protocol.Call, now: float) -> None:
        """Take one call, and start it when it is its turn."""
        self.made += 1
        most = self._limits.tool_calls
        if most is not None and self.made > most:
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
        self._waiting.append((message.id, name, message.args))
        self._start_waiting(now)

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

    def _start_waiting(self, now: float) -> None:
        tools = self._request.tools
        while self._waiting and self._unsent <= _UNSENT_MOST and not self._is_over():
            if len(self._calls) - len(self._waiting) + tools.hung >= _CALLS_AT_ONCE:
                return
            call, name, raw = self._waiting.popleft()
            # Not before its turn: what is decoded takes many times the memory.
            values = self._arguments(call, name, raw)
            if values is None:
                continue
            if self._request.tool_timeout is not None:
                self._deadlines[call] = now + self._request.tool_timeout
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
        return bool(self._waiting) or self._request.tools.cancelled or self._is_over()

    def encode(self, outcome: ToolOutcome, name: str) -> bytes:
        """Return the answer to a tool call, as a line; called in the tool's thread, where it holds up nobody."""
        if outcome.error is not None:
            return protocol.tool_error_frame(outcome.call, outcome.error)
        return protocol.tool_value_frame(outcome.call, name, outcome.value, self._limits.result)

    def take_frames(self, now: float, unsent: int = 0) -> bytes:
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
                self._deadlines.pop(outcome.call, None)
                self._frames += outcome.frame
        self._unsent += len(self._frames)
        self._start_waiting(now)
        frames = bytes(self._frames)
        self._frames.clear()
        return frames

    def next_deadline(self) -> float | None:
        """When the next call must have returned; None when none has to."""
        return min(self._deadlines.values(), default=None)

    def check(self, now: float) -> None:
        """Answer the calls whose time is up, and let their tools go."""
        for call, deadline in list(self._deadlines.items()):
            if now >= deadline:
                name = self._calls.pop(call)
                self._release(call)
                del self._deadlines[call]
                self._request.tools.abandon(call)
                self._frames += protocol.error_frame(
                    call, "ToolTimeout", f'Tool "{name}" did not return within the tool timeout of {self._request.tool_timeout:g} s'
                )
