"""The host's side of ``require("exec")``: one run's executors, processes and streams, by the numbers that its script has for them.

The script is not trusted. Its numbers count for its own run only, everything that it asks for is checked here, and what it leaves
open is closed when the run ends.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

from pytest_sandbox.lua import protocol
from pytest_sandbox.lua.kinds import Refused
from pytest_sandbox.lua.protocol import text

if TYPE_CHECKING:
    from pytest_sandbox.commands.base import CommandExecutor
    from pytest_sandbox.commands.process import Process
    from pytest_sandbox.commands.streams import Stream
    from pytest_sandbox.entries.registry import EntryRegistry
    from pytest_sandbox.lua.policy import Decide

__all__ = ["MOST_EXECUTORS", "ExecHost"]

MOST_EXECUTORS: Final = 1000
"""Executors that one run may hold at the same time."""

_T = TypeVar("_T")


class _Numbered(Generic[_T]):
    """Things of one run by number; numbers are never used again."""

    def __init__(self) -> None:
        self._things: dict[int, _T] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._things)

    def add(self, thing: _T) -> int:
        number = self._next
        self._next += 1
        self._things[number] = thing
        return number

    def get(self, number: int) -> _T | None:
        return self._things.get(number)

    def pop(self, number: int) -> _T | None:
        return self._things.pop(number, None)

    def all(self) -> list[_T]:
        return list(self._things.values())


class _Executor:
    """What ``exec.get`` gave; the executor itself is made when it is first needed."""

    __slots__ = ("id", "made")

    def __init__(self, id: str) -> None:
        self.id = id
        self.made: CommandExecutor | None = None


class _Process:
    """A process, and what a script may still do with it."""

    __slots__ = ("executor", "is_closed", "is_started", "number", "process", "streams", "was_waited_for")

    def __init__(self, process: Process, executor: _Executor) -> None:
        self.process = process
        self.executor = executor
        self.number = 0
        self.streams: dict[str, tuple[int, _Stream]] = {}
        self.is_started = False
        self.is_closed = False
        self.was_waited_for = False


class _Stream:
    """A stream that was taken; once its end was read, it goes on to say so."""

    __slots__ = ("owner", "state", "stream")

    def __init__(self, stream: Stream, owner: _Process) -> None:
        self.stream = stream
        self.owner = owner
        self.state: Literal["open", "ended", "closed"] = "open"


class ExecHost:
    """What one run may reach.

    Args:
        entries: the entries.
        make: makes an executor for the id of an entry.
        decide: the policy; None allows what the entries allow.
        most_processes: how many processes may be there at the same time; None is any number.
    """

    def __init__(
        self,
        entries: EntryRegistry,
        make: Callable[[str], CommandExecutor],
        decide: Decide | None,
        most_processes: int | None,
    ) -> None:
        self._entries = entries
        self._make = make
        self._decide = decide
        self._most_processes = most_processes
        self._executors: _Numbered[_Executor] = _Numbered()
        self._processes: _Numbered[_Process] = _Numbered()
        self._streams: _Numbered[_Stream] = _Numbered()
        self.warn: Callable[[str], object] = lambda _text: None
        """Called with a sentence that the script's author should read."""
        self._made: set[CommandExecutor] = set()
        self._lock = threading.Lock()
        self._aborted = False
        self._actions: dict[type, Callable[[Any], object]] = {
            protocol.Get: self._get,
            protocol.Exec: self._exec,
            protocol.Release: self._release,
            protocol.Start: self._start,
            protocol.Wait: self._wait,
            protocol.Signal: self._signal,
            protocol.WriteStdin: self._write_stdin,
            protocol.OpenStream: self._open_stream,
            protocol.Close: self._close,
            protocol.Read: self._read,
            protocol.CloseStream: self._close_stream,
        }

    def answers(self, message: object) -> bool:
        """Whether a message is a call of the module ``exec``."""
        return type(message) in self._actions

    def do(self, message: object) -> object:
        """Carry a call out and return what it returns.

        Raises:
            Refused: when the script asked for what it may not have (the script's fault).
            SandboxError: when it did not work; see `kinds.explain`.
        """
        return self._actions[type(message)](message)

    def drop(self, message: protocol.Drop) -> None:
        """Forget an executor that has created no process."""
        executor = self._executors.get(message.executor)
        if executor is not None and executor.made is None:
            self._executors.pop(message.executor)

    def abort(self) -> None:
        """Kill all processes, from another thread, so that a call that waits for one comes back."""
        with self._lock:
            self._aborted = True
            made = list(self._made)
        for process in self._processes.all():
            with contextlib.suppress(Exception):
                process.process.kill()
        for executor in made:
            with contextlib.suppress(Exception):
                executor.close()

    def close(self) -> None:
        """End everything that the run has left open."""
        with self._lock:
            self._aborted = True
            made, self._made = self._made, set()
        for process in self._processes.all():
            process.process.kill()
        for executor in made:
            executor.close()

    # -- executors ------------------------------------------------------------------------------------------------

    def _check(self, action: str, resource: str, verb: str) -> None:
        if self._decide is not None and self._decide(action, resource) is not True:
            raise Refused("INVALID", f'Cannot {verb}: the policy does not allow action {action} on resource "{_shown(resource)}"')

    def _get(self, message: protocol.Get) -> int:
        id_ = text(message.id)
        if not id_:
            raise Refused("INVALID", 'Cannot get an executor: the id is empty; expected the id of an entry, such as "app:shell"')
        self._check("exec.get", id_, "get an executor")
        if id_ not in self._entries:
            # With a policy, the ids of other entries are none of the script's business.
            known = f": loaded entries are {', '.join(self._entries.ids()) or 'none'}" if self._decide is None else ""
            raise Refused("NOT_FOUND", f'Cannot get an executor: there is no entry "{_shown(id_)}"{known}')
        if len(self._executors) >= MOST_EXECUTORS:
            reason = f"{MOST_EXECUTORS} of them are held already; release some"
            raise Refused("UNAVAILABLE", f'Cannot get an executor for "{_shown(id_)}": {reason}', retryable=True)
        return self._executors.add(_Executor(id_))

    def _exec(self, message: protocol.Exec) -> int:
        executor = self._executors.get(message.executor)
        # A command that is not UTF-8 keeps its bytes.
        command = _decoded(message.command)
        if executor is None:
            raise Refused("INVALID", f'Cannot run command "{_shown(command)}": its executor is released; get a new one')
        if not command:
            raise Refused("INVALID", "Cannot run a command: it is empty; expected a program and its arguments")
        self._check("exec.run", command, "run a command")
        if self._most_processes is not None and len(self._processes) >= self._most_processes:
            reason = f"{len(self._processes)} processes are open, which is the limit processes; wait for some, or close them"
            raise Refused("UNAVAILABLE", f'Cannot run command "{_shown(command)}": {reason}', retryable=True)
        env = {_decoded(name): _decoded(value) for name, value in zip(message.names, message.variables, strict=False)}
        work_dir = None if message.work_dir is None else _decoded(message.work_dir)
        made = self._executor(executor).exec(command, work_dir=work_dir, env=env or None)
        process = _Process(made, executor)
        process.number = self._processes.add(process)
        return process.number

    def _executor(self, executor: _Executor) -> CommandExecutor:
        if executor.made is None:
            made = self._make(executor.id)
            with self._lock:
                self._made.add(made)
                is_late = self._aborted
            if is_late:
                made.close()
            executor.made = made
        return executor.made

    def _release(self, message: protocol.Release) -> bool:
        executor = self._executors.pop(message.executor)
        if executor is not None and executor.made is not None:
            executor.made.close()
            with self._lock:
                self._made.discard(executor.made)
            for process in self._processes.all():
                if process.executor is executor:
                    self._forget(process)
        return True

    # -- processes ------------------------------------------------------------------------------------------------

    def _process(self, number: int, operation: str) -> _Process:
        process = self._processes.get(number)
        if process is None or process.is_closed:
            raise Refused("INVALID", f"Cannot {operation}: the process is closed; create another with executor:exec()")
        return process

    def _start(self, message: protocol.Start) -> bool:
        process = self._process(message.process, "start")
        if process.is_started:
            raise Refused("INVALID", "Cannot start: the process is started already; create another with executor:exec()")
        process.is_started = True
        try:
            process.process.start()
        except BaseException:
            self._forget(process)
            raise
        return True

    def _wait(self, message: protocol.Wait) -> int:
        process = self._process(message.process, "wait")
        code = process.process.wait()
        process.is_closed = process.was_waited_for = True
        self._close_if_read(process)
        return code

    def _signal(self, message: protocol.Signal) -> bool:
        self._process(message.process, "send a signal").process.signal(message.number)
        return True

    def _write_stdin(self, message: protocol.WriteStdin) -> bool:
        data = message.data
        self._process(message.process, "write to stdin").process.write_stdin(data)
        return True

    def _close(self, message: protocol.Close) -> bool:
        process = self._processes.get(message.process)
        if process is not None and not process.was_waited_for:
            process.process.close(force=message.force)
            self._forget(process)
        return True

    def _close_if_read(self, process: _Process) -> None:
        """Free a process that was waited for; what an open stream has not given yet is kept until that has ended or is closed."""
        if process.was_waited_for and all(stream.state != "open" for _, stream in process.streams.values()):
            process.process.close(force=True)
            self._forget(process)

    def _forget(self, process: _Process) -> None:
        process.is_closed = True
        self._processes.pop(process.number)
        for _, stream in process.streams.values():
            if stream.state == "open":
                stream.state = "closed"

    # -- streams --------------------------------------------------------------------------------------------------

    def _open_stream(self, message: protocol.OpenStream) -> int:
        name = "stderr" if message.name == b"stderr" else "stdout"
        process = self._process(message.process, f"take {name}")
        if name not in process.streams:
            taken = process.process.stderr_stream() if name == "stderr" else process.process.stdout_stream()
            stream = _Stream(taken, process)
            process.streams[name] = (self._streams.add(stream), stream)
        return process.streams[name][0]

    def _read(self, message: protocol.Read) -> bytes | None:
        stream = self._streams.get(message.stream)
        if stream is None or stream.state == "closed":
            raise Refused("INVALID", "Cannot read: the stream, or its process, is closed; read before closing")
        if stream.state == "ended":
            return None
        data = stream.stream.read(-1 if message.size is None else message.size)
        if not data or message.size is None:
            stream.state = "ended"
            self._tell_dropped(stream)
            self._close_if_read(stream.owner)
        return data or None

    def _close_stream(self, message: protocol.CloseStream) -> bool:
        stream = self._streams.get(message.stream)
        if stream is not None:
            if stream.state == "open":
                stream.stream.close()
            stream.state = "closed"
            self._close_if_read(stream.owner)
        return True

    def _tell_dropped(self, stream: _Stream) -> None:
        if stream.stream.truncated:
            command = stream.owner.process.command
            self.warn(
                f'{stream.stream.dropped} bytes of "{_shown(command)}" were not kept, because nobody read them in time; read in '
                "pieces while it runs, or raise output_limit of the entry"
            )


def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _shown(value: str) -> str:
    return value if len(value) <= 200 else f"{value[:200]}…"
