"""The contract of a command executor, and all that must not differ between the two kinds."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, ClassVar, Final

from pytest_sandbox.closing import Closable
from pytest_sandbox.commands.calls import Prepared, Stdin, input_bytes, prepare
from pytest_sandbox.commands.masking import Secrets
from pytest_sandbox.commands.process import KILL_TIMEOUT, Process
from pytest_sandbox.commands.records import CommandRecord
from pytest_sandbox.commands.result import CommandResult
from pytest_sandbox.commands.whitelist import Whitelist
from pytest_sandbox.errors import AsyncioRequired, CommandExecutorClosed, CommandNotStarted
from pytest_sandbox.limits import check_seconds
from pytest_sandbox.processes.makers import Maker
from pytest_sandbox.promises import promised

if TYPE_CHECKING:
    from pytest_sandbox.entries.model import Entry
    from pytest_sandbox.entries.registry import LoadedEntry

__all__ = ["CommandExecutor"]

_RECORDS: Final = 50

_open: weakref.WeakSet[CommandExecutor] = weakref.WeakSet()


class CommandExecutor(Closable):
    """Run commands as an entry allows; a context manager, usable from several threads.

    Args:
        loaded: the entry.
        whitelist: what it allows, or None for everything.
    """

    kind: ClassVar[str]

    def __init__(self, loaded: LoadedEntry, *, whitelist: Whitelist | None = None) -> None:
        self.id = loaded.id
        self.loaded = loaded
        self.whitelist = whitelist
        self.log: deque[tuple[CommandExecutor, CommandRecord]] = deque(maxlen=_RECORDS)
        """The latest commands, for failure reports."""
        self.on_close: Callable[[], object] | None = None
        """Called once, when this executor is closed."""
        self.secrets = Secrets(loaded.entry.default_env)
        """What reports do not show."""
        self._closed = False
        self._maker = Maker(self, f'executor "{self.id}"')
        self._lock = threading.Lock()
        self._processes: weakref.WeakSet[Process] = weakref.WeakSet()
        _open.add(self)

    @property
    def entry(self) -> Entry:
        """The fields of the entry."""
        return self.loaded.entry

    # -- what a backend provides ------------------------------------------------------------------------------

    @abstractmethod
    def _create(self, call: Prepared) -> Process:
        """Return a process for a call, after checking what only this kind can check."""

    @abstractmethod
    def _shut_down(self) -> None:
        """Free what outlives single processes; called once, when all processes are closed."""

    def forget_after_fork(self) -> None:
        """Leave, in a forked child, what the parent has started to the parent."""
        self._lock = threading.Lock()
        self._processes = weakref.WeakSet()

    def _close_processes(self, processes: list[Process]) -> None:
        for process in processes:
            process.kill()
        for process in processes:
            process.close(force=True)

    @property
    def guarantees(self) -> frozenset[str]:
        """The ids of the guarantees that this executor promises with its entry: what `promises` has for it."""
        return promised(self.kind, self.circumstances)

    @property
    def circumstances(self) -> frozenset[str]:
        """What the promises of this executor may depend on, see `promises`."""
        return frozenset({"whitelist"} if self.whitelist is not None else ())

    # -- what users call --------------------------------------------------------------------------------------

    def exec(self, cmd: str, *, work_dir: str | PathLike[str] | None = None, env: Mapping[str, str] | None = None) -> Process:
        """Create a process for a command; `Process.start` starts it.

        Args:
            cmd: program and arguments, split as POSIX does; there is no shell.
            work_dir: the working folder; a relative one starts at the entry's default_work_dir.
            env: variables that are added to the entry's default_env.

        Raises:
            CommandNotAllowed: when the entry's whitelist does not allow the command, its environment or its working folder (the
                caller's fault).
            InvalidCommand: when the command, its environment or its working folder makes no sense (the caller's fault).
            ExecutorClosed: when the executor is closed (the caller's fault).
        """
        return self._exec(cmd, work_dir, env, stdin=True)

    def run(
        self,
        cmd: str,
        *,
        work_dir: str | PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Stdin | None = None,
        timeout: float | None = None,
    ) -> CommandResult:
        """Run a command to its end.

        Args:
            cmd: program and arguments, as for `exec`.
            work_dir: the working folder, as for `exec`.
            env: variables that are added to the entry's default_env.
            stdin: what the program reads: bytes, or text that is encoded as UTF-8; None is an empty input.
            timeout: seconds until everything that the command has started is killed; None is no limit.

        Returns:
            What became of it; a failure of the command is data, see `CommandResult.check`.

        Raises:
            CommandNotAllowed: as for `exec`, like InvalidCommand and ExecutorClosed.
            CommandNotStarted: when it cannot be started (the machine's fault, or the entry's).
        """
        limit = check_seconds("timeout", timeout)
        data = input_bytes(stdin)
        process = self._exec(cmd, work_dir, env, stdin=data is not None)
        try:
            process.start()
            if data is not None:
                process.write_soon(data)
            if not process.wait_finished(limit):
                process.record.timed_out = process.returncode is None
                process.kill()
                process.wait_finished(KILL_TIMEOUT)
            return self._result(process)
        finally:
            process.close(force=True)

    async def arun(
        self,
        cmd: str,
        *,
        work_dir: str | PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Stdin | None = None,
        timeout: float | None = None,
    ) -> CommandResult:
        """Do the same as `run` without blocking the running asyncio loop; cancelling the call kills the command.

        Raises:
            AsyncioRequired: when no asyncio loop runs, for example under trio (the caller's fault).
        """
        limit = check_seconds("timeout", timeout)
        data = input_bytes(stdin)
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise AsyncioRequired from None
        process = self._exec(cmd, work_dir, env, stdin=data is not None)
        finished = asyncio.Event()

        def finish() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(finished.set)

        async def is_finished(within: float | None) -> bool:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(finished.wait(), within)
            return finished.is_set()

        try:
            await asyncio.to_thread(process.start)
            process.when_finished(finish)
            if data is not None:
                process.write_soon(data)
            if not await is_finished(limit):
                process.record.timed_out = process.returncode is None
                process.kill()
                await is_finished(KILL_TIMEOUT)
            return self._result(process)
        finally:
            await asyncio.to_thread(process.close, force=True)

    def close(self) -> None:
        """End all processes and free everything; safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            processes = list(self._processes)
        try:
            self._close_processes(processes)
            self._shut_down()
            self._maker.closed = True
        finally:
            if self.on_close is not None:
                self.on_close()

    release = close

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}{' closed' if self._closed else ''}>"

    # -- helpers ----------------------------------------------------------------------------------------------

    def _exec(self, cmd: object, work_dir: str | PathLike[str] | None, env: object, *, stdin: bool) -> Process:
        if self._closed:
            raise CommandExecutorClosed(self.id)
        process = self._create(prepare(cmd, work_dir, env, stdin=stdin, loaded=self.loaded, whitelist=self.whitelist))
        process.made_by(self._maker, self.secrets.mask_text(process.command))
        self._remember(process)
        return process

    def _remember(self, process: Process) -> None:
        self.log.append((self, process.record))
        with self._lock:
            closed = self._closed
            if not closed:
                self._processes.add(process)
        if closed:
            process.close(force=True)
            raise CommandExecutorClosed(self.id)

    def _result(self, process: Process) -> CommandResult:
        with process._condition:
            code = process.returncode
            if process.failure is not None:
                raise process.failure
            if code is None:
                raise CommandNotStarted(
                    process.command, self.id, f"it was killed and is not gone {KILL_TIMEOUT:g} s later: it hangs in the kernel"
                )
            return CommandResult(
                command=process.command,
                entry=self.id,
                exit_code=code,
                signal=process.signal_name,
                stdout_bytes=process._stdout.take(-1),
                stderr_bytes=process._stderr.take(-1),
                stdout_size=process._stdout.total,
                stderr_size=process._stderr.total,
                duration=process.duration,
                timed_out=process.record.timed_out,
                usage=process._usage(),
                oom_killed=process.oom_killed,
                secrets=self.secrets,
            )


def _close_all() -> None:
    for executor in list(_open):
        with contextlib.suppress(Exception):
            executor.close()


def _after_fork() -> None:
    for executor in list(_open):
        executor.forget_after_fork()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
