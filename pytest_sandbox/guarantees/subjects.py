"""Where attacks run: as a snippet on an executor, as plain JavaScript in a process, or as a command."""

from __future__ import annotations

import contextlib
import json
import secrets
import select
import shlex
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from pytest_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from pytest_sandbox.commands.base import CommandExecutor
    from pytest_sandbox.result import ExecuteResult
    from pytest_sandbox.snippets.base import SnippetExecutor
    from pytest_sandbox.snippets.link import Link, StartingProcess

__all__ = ["PLAIN", "CommandSubject", "Done", "PlainSubject", "Ran", "SnippetSubject", "Subject", "Vantage"]

PLAIN: Final = Path(__file__).with_name("plain.mjs")
"""The program of a `PlainSubject`."""

Vantage = Literal["snippet", "process", "command"]
Tools = Mapping[str, Callable[..., Any]]

_START_TIMEOUT: Final = 20.0
_DRAIN: Final = 0.2
_OUTPUT_MOST: Final = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What became of a piece of code.

    Attributes:
        ended: "returned", "threw", "timeout" (it was ended by whoever minds the time), or how else it ended: "memory", "output",
            "limit", "crash", "syntax", "refused" (it never began).
        value: what it returned.
        error: what it threw, or what ended it.
        limit: the limit that ended it.
        logs: what it logged, by the line.
        duration: seconds, by the host's clock.
        memory: peak of resident bytes, where that was measured.
    """

    ended: str
    value: Any = None
    error: str = ""
    limit: str = ""
    logs: tuple[str, ...] = ()
    duration: float = 0.0
    memory: int | None = None

    @property
    def everything(self) -> str:
        """All that came back, as one text."""
        return "\n".join([json.dumps(self.value, default=repr), self.error, *self.logs])

    def __str__(self) -> str:
        what = self.error or json.dumps(self.value, default=repr)
        return f"{self.ended}: {what}"[:500]


class Subject(ABC):
    """Something that runs JavaScript.

    Attributes:
        name: who it is, in words.
        runtime: "node" or "deno": which APIs there would be, if nothing was in the way.
        vantage: how far outside of the realm the code runs.
    """

    vantage: ClassVar[Vantage]

    def __init__(self, name: str, runtime: str) -> None:
        self.name = name
        self.runtime = runtime

    @abstractmethod
    def run(self, code: str, tools: Tools | None = None, *, timeout: float = 10.0) -> Ran:
        """Run the body of an async function; never raises for what it does.

        Args:
            code: the code.
            tools: what it reaches as ``codemode``; commands have none.
            timeout: seconds until it is ended.
        """

    def renew(self) -> None:  # noqa: B027 - not every subject has something to renew
        """Begin anew where one process serves several runs by itself: what earlier attacks did to it must not count."""

    def pids(self) -> tuple[int, ...]:
        """Return the processes, by their ids on the host, in which code runs now; empty where that is not known."""
        return ()

    def close(self) -> None:  # noqa: B027 - nor to close
        """End what was started."""


class SnippetSubject(Subject):
    """A snippet executor, which stays its owner's."""

    vantage = "snippet"

    def __init__(self, executor: SnippetExecutor) -> None:
        super().__init__(executor.name, executor.control_runtime)
        self.executor = executor

    def run(self, code: str, tools: Tools | None = None, *, timeout: float = 10.0) -> Ran:
        """See `Subject`."""
        began = time.monotonic()
        try:
            result = self.executor.execute(code, tools, timeout=timeout)
        except SandboxError as error:
            return Ran(ended="refused", error=f"{type(error).__name__}: {error}", duration=time.monotonic() - began)
        return self.ran(result, time.monotonic() - began)

    @staticmethod
    def ran(result: ExecuteResult, duration: float) -> Ran:
        """Return an executor's result in our terms."""
        error = result.error
        kind = "returned" if error is None else {"runtime": "threw"}.get(error.kind, error.kind)
        return Ran(
            ended=kind,
            value=result.value,
            error="" if error is None else f"{error.name}: {error.message}",
            limit="" if error is None else error.limit or "",
            logs=tuple(line for entry in result.logs for line in entry.text.split("\n")),
            duration=duration,
            memory=result.usage.memory,
        )

    def pids(self) -> tuple[int, ...]:
        """See `Subject`."""
        return self.executor.processes()


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
        self._size = 0
        self._pid = 0
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
        self._size = 0
        began = time.monotonic()

        def ran(ended: str, **more: Any) -> Ran:
            return Ran(ended=ended, logs=tuple(logs), duration=time.monotonic() - began, **more)

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
                words = " ".join(self._loose)[-300:]
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
                        self._loose += data.decode("utf-8", "replace").splitlines()

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


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of a command.

    Attributes:
        stdout: what it printed, as far as that was kept.
        stderr: the same of standard error.
        exit_code: its exit code.
        timed_out: whether it was ended because its time was up.
        truncated: whether more was printed than was kept.
    """

    stdout: str
    stderr: str
    exit_code: int
    timed_out: bool = False
    truncated: bool = False


_AS_COMMAND: Final = """
const say = (text) => require("node:fs").writeSync(1, `${text}\\n`);
const console_ = { log: (...values) => say(values.map(String).join(" ")) };
new (async () => {}).constructor("console", "require", CODE)(console_, require).then(
  (value) => say(MARK + JSON.stringify({ value: value === undefined ? null : value })),
  (error) => say(MARK + JSON.stringify({ error: `${error?.name}: ${error?.message ?? error}` })),
).then(() => process.kill(process.pid, "SIGKILL")); // Node's own exit can hang for buffers that are still to be swept
"""


class CommandSubject(Subject):
    """A command executor, which stays its owner's: each piece of code is a command of Node.

    Args:
        executor: the executor; its entry must allow any command.
        name: who it is, in words.
        node: path of Node where its commands run.
    """

    vantage = "command"

    def __init__(self, executor: CommandExecutor, name: str, node: str) -> None:
        super().__init__(name, "node")
        self.executor = executor
        self.node = node

    def words(self, code: str, mark: str = "@") -> list[str]:
        """Return the command that runs a piece of code."""
        script = _AS_COMMAND.replace("CODE", json.dumps(code)).replace("MARK", json.dumps(mark))
        return [self.node, "-e", script]

    def invoke(self, words: Sequence[str], timeout: float) -> Done:
        """Run a command to its end.

        Raises:
            SandboxError: when it cannot be run.
        """
        result = self.executor.run(shlex.join(words), timeout=timeout)
        errors = f"{result.stderr}\nout of memory" if result.oom_killed else result.stderr
        return Done(
            stdout=result.stdout,
            stderr=errors,
            exit_code=result.exit_code,
            timed_out=result.timed_out,
            truncated=result.truncated,
        )

    def run(self, code: str, tools: Tools | None = None, *, timeout: float = 10.0) -> Ran:
        """See `Subject`."""
        began = time.monotonic()
        mark = f"@{secrets.token_hex(8)} "
        try:
            done = self.invoke(self.words(code, mark), timeout)
        except SandboxError as error:
            return Ran(ended="refused", error=f"{type(error).__name__}: {error}", duration=time.monotonic() - began)
        lines = done.stdout.split("\n")
        last = next((line for line in reversed(lines) if line.startswith(mark)), None)
        duration = time.monotonic() - began
        logs = tuple(line for line in lines if line is not last)
        if last is not None:
            told = json.loads(last[len(mark) :])
            if "error" in told:
                return Ran(ended="threw", error=told["error"], logs=logs, duration=duration)
            return Ran(ended="returned", value=told["value"], logs=logs, duration=duration)
        out_of_memory = "out of memory" in done.stderr
        ended = "timeout" if done.timed_out else "memory" if out_of_memory else "output" if done.truncated else "crash"
        limit = "" if ended == "crash" else ended
        return Ran(
            ended=ended,
            error=f"exit code {done.exit_code}, {done.stderr[-300:].strip()}",
            limit=limit,
            logs=logs,
            duration=duration,
        )
