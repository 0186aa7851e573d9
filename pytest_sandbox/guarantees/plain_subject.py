"""Attacks as plain JavaScript, in a process with nothing in the way."""

from __future__ import annotations

import contextlib
import json
import select
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_sandbox.guarantees.subjects import Ran, Subject, Tools

if TYPE_CHECKING:
    from pytest_sandbox.snippets.link import Link, StartingProcess

__all__ = ["PLAIN", "PlainSubject"]

PLAIN: Final = Path(__file__).with_name("plain.mjs")
"""The program of a `PlainSubject`."""

_START_TIMEOUT: Final = 20.0
_DRAIN: Final = 0.2
_OUTPUT_MOST: Final = 64 << 20


class PlainSubject(Subject):
    """Plain Node or Deno: one process that runs one piece of code after another, in one global scope.

    Args:
        name: who it is, in words.
        runtime: "node" or "deno".
        start: starts `PLAIN`, with three pipes.
    """

    vantage = "process"

    def __init__(self, name: str, runtime: str, start: Callable[[], StartingProcess]) -> None:
        super().__init__(name, runtime)
        self._start = start
        self._link: Link | None = None
        self._held = bytearray()
        self._searched = 0
        self._loose: list[str] = []
        self._errors: list[str] = []
        self._size = 0
        self._count = 0
        self._brittle = False

    @contextlib.contextmanager
    def brittle(self) -> Iterator[None]:
        """Leave, for a while, the process as attacks leave it: it is neither ended nor started anew."""
        self._brittle = True
        try:
            yield
        finally:
            self._brittle = False
            self.close()

    def run(self, code: str, tools: Tools | None = None, *, timeout: float = 10.0) -> Ran:
        """See `Subject`."""
        tools = {} if tools is None else tools
        logs: list[str] = []
        self._loose = logs
        # After the logs: which of two pipes is read first is chance, and whoever looks for a witness looks at the first lines.
        errors: list[str] = []
        self._errors = errors
        self._size = 0
        began = time.monotonic()

        def ran(ended: str, **more: Any) -> Ran:
            return Ran(ended=ended, logs=(*logs, *errors), duration=time.monotonic() - began, **more)

        try:
            link = self._ready()
        except (OSError, TimeoutError) as error:
            return ran("refused", error=f"{type(error).__name__}: {error}")
        began = time.monotonic()
        self._count += 1
        self._send({"op": "run", "id": self._count, "code": code, "tools": list(tools)})
        deadline = began + timeout
        while True:
            message = self._receive(link, deadline)
            if message is None:
                if self._brittle and not link.has_ended():
                    return ran("timeout", error=f"{self.name} has not answered")
                ended = "crash" if link.has_ended() else "output" if self._size > _OUTPUT_MOST else "timeout"
                death = link.end()
                if not self._brittle:
                    self._link = None
                return ran(
                    ended, error=f"its process ended {death.how}" if ended == "crash" else f"{self.name} was ended from outside"
                )
            if message["op"] == "log":
                logs += str(message["text"]).split("\n")
            elif message["op"] == "call":
                self._answer(message, tools)
            elif message["op"] == "result" and message.get("id") == self._count:
                return ran("returned", value=message.get("value"))
            elif message["op"] == "error" and message.get("id") == self._count:
                return ran("threw", error=f"{message['name']}: {message['message']}")

    def pids(self) -> tuple[int, ...]:
        """See `Subject`."""
        from pytest_sandbox.snippets.link import ProcessLink

        return (self._link.pid,) if isinstance(self._link, ProcessLink) and self._link.pid else ()

    def renew(self) -> None:
        """See `Subject`."""
        self.close()

    def close(self) -> None:
        """See `Subject`."""
        if self._link is not None:
            self._link.end()
            self._link = None

    def _ready(self) -> Link:
        if self._link is not None and self._brittle and self._link.has_ended():
            raise OSError(f"{self.name} is gone")
        if self._link is None or self._link.has_ended():
            self.close()
            self._held, self._searched, self._count = bytearray(), 0, 0
            self._link = self._start().wait(_START_TIMEOUT)
            message = self._receive(self._link, time.monotonic() + _START_TIMEOUT)
            if message is None:
                words = " ".join((*self._loose, *self._errors))[-300:]
                death = self._link.end()
                self._link = None
                raise OSError(f"{self.name} did not start (it ended {death.how}): {words}")
        return self._link

    def _send(self, message: object) -> None:
        link = self._link
        assert link is not None
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            try:
                written = link.write(data)
            except BrokenPipeError:
                return  # its end is told by whoever reads
            data = data[written:]
            if not written and link.write_descriptor is not None:
                select.select([], [link.write_descriptor], [], 0.1)
                if link.has_ended():
                    return

    def _answer(self, message: Mapping[str, Any], tools: Tools) -> None:
        try:
            value = {"value": tools[message["name"]](*message["args"])}
        except Exception:  # the snippet's affair, the whole trace of it: this bridge keeps nothing back
            value = {"error": traceback.format_exc()}
        self._send({"op": "answer", "call": message["call"], **value})

    def _receive(self, link: Link, deadline: float) -> dict[str, Any] | None:
        """Return the next message; None at the end, when the time is up, and after a flood."""
        drained = 0.0
        while True:
            end = self._held.find(b"\n", self._searched)
            if end >= 0:
                line = bytes(self._held[:end])
                del self._held[: end + 1]
                self._searched = 0
                message = self._parse(line)
                if message is not None:
                    return message
                continue
            self._searched = len(self._held)
            now = time.monotonic()
            if link.has_ended():  # something that it started may hold its pipes
                drained = drained or now + _DRAIN
            if now >= (drained or deadline) or not link.read_descriptors or self._size > _OUTPUT_MOST:
                return None
            ready, _, _ = select.select(link.read_descriptors, [], [], max(0.0, min(deadline - now, 0.05)))
            for descriptor in ready:
                for stream, data in link.read(descriptor):
                    self._size += len(data)
                    if stream == "stdout":
                        self._held += data
                    else:
                        self._errors += data.decode("utf-8", "replace").splitlines()

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        """Return a message; what is none is something that was printed."""
        if line.startswith(b"@"):
            try:
                message = json.loads(line[1:])
            except ValueError:
                message = None
            if isinstance(message, dict) and "op" in message:
                return message
        self._loose.append(line.decode("utf-8", "replace"))
        return None
