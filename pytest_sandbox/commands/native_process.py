"""A process of `exec.native`: pipes, process group, exit.

A command ends when its program ends: what it has left in its process group is killed then, as a container does it. What has left
the session (a daemon) is out of reach.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import subprocess
import threading
import time
import weakref
from typing import IO, Final

from pytest_sandbox.commands.calls import Prepared
from pytest_sandbox.commands.metering import Peak
from pytest_sandbox.commands.output_pipe import OutputPipe
from pytest_sandbox.commands.process import Process
from pytest_sandbox.commands.pump import READ, WRITE, pump
from pytest_sandbox.commands.workdir import fd_path
from pytest_sandbox.entries.model import NativeEntry
from pytest_sandbox.errors import CommandNotStarted
from pytest_sandbox.processes import watchdog
from pytest_sandbox.processes.spawn import end_group, spawn_soon
from pytest_sandbox.result import Usage

__all__ = ["NativeProcess"]

_DRAIN: Final = 0.5
"""Seconds that a pipe stays open after the exit, when somebody out of reach holds its other end."""

_live: weakref.WeakSet[NativeProcess] = weakref.WeakSet()


class NativeProcess(Process):
    """A command on the host."""

    def __init__(self, call: Prepared, entry: NativeEntry, entry_id: str, program: str, work_dir: int) -> None:
        super().__init__(command=call.command, entry=entry_id, output_limit=entry.output_limit, grace_period=entry.grace_period)
        self._call = call
        self._program = program
        self._work_dir = work_dir
        self._popen: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._pipes: list[OutputPipe] = []
        self._stdin_watched = False
        self._drain_until = 0.0
        self._cpu: float | None = None
        self._peak: Peak | None = None
        _live.add(self)

    @property
    def pid(self) -> int | None:
        """The process id, which is also the id of its group and session; None before the start."""
        return None if self._popen is None else self._popen.pid

    # -- starting ---------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        try:
            popen = self._spawn()
        except OSError as error:
            raise CommandNotStarted(self.command, self.entry, _start_failure(error)) from error
        finally:
            self._discard()
        try:
            pidfd = os.pidfd_open(popen.pid)
        except OSError as error:
            end_group(popen)
            raise CommandNotStarted(self.command, self.entry, _start_failure(error)) from error
        with self._condition:
            self._popen = popen
            self._state = "running"
            self._stdin_open = popen.stdin is not None
            for file, output, handler in (
                (popen.stdout, self._stdout, self._on_stdout),
                (popen.stderr, self._stderr, self._on_stderr),
            ):
                assert file is not None
                os.set_blocking(file.fileno(), False)
                pipe = OutputPipe(file, output, handler)
                output.resume = functools.partial(self._resume, pipe)
                self._pipes.append(pipe)
                pipe.watch()
            if popen.stdin is not None:
                os.set_blocking(popen.stdin.fileno(), False)
            self._pidfd = pidfd
            pump().watch(self._pidfd, READ, self._on_exit)
        me = weakref.ref(self)
        self._peak = Peak(lambda: process.pid if (process := me()) is not None else None)
        self._peak.watch()

    def _spawn(self) -> subprocess.Popen[bytes]:
        return spawn_soon(
            self._call.words,
            executable=self._program,
            env=self._call.env,
            cwd=fd_path(self._work_dir),
            stdin=subprocess.PIPE if self._call.stdin else subprocess.DEVNULL,
        ).result()

    def _held(self) -> tuple[int, ...]:
        return (self._work_dir,)

    def _discard(self) -> None:
        fd, self._work_dir = self._work_dir, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if self._work_dir >= 0:
            self._discard()

    # -- output -----------------------------------------------------------------------------------------------

    def _on_stdout(self) -> None:
        self._on_output(self._pipes[0])

    def _on_stderr(self) -> None:
        self._on_output(self._pipes[1])

    def _on_output(self, pipe: OutputPipe) -> None:
        with self._condition:
            if pipe.output.ended:
                return
            moved = pipe.pull()
            if moved is None:
                return
            if not moved or self._drained(pipe):
                pipe.end()
                self._check_finished()
            self._condition.notify_all()

    def _resume(self, pipe: OutputPipe) -> None:
        if self._drained(pipe):
            pipe.end()
            self._check_finished()
        else:
            pipe.watch()

    def _drained(self, pipe: OutputPipe) -> bool:
        """Return whether what the process has written is read, and all that keeps the pipe open is out of reach."""
        return self._exited_at > 0 and pipe.left <= 0 and time.monotonic() >= self._drain_until

    # -- input ------------------------------------------------------------------------------------------------

    def _push(self) -> None:
        stdin = self._popen.stdin if self._popen is not None else None
        if stdin is None or stdin.closed:
            self._input.drop()
            return
        fd = stdin.fileno()
        if not self._input.push(lambda data: os.write(fd, data)):
            if not self._stdin_watched:
                self._stdin_watched = True
                pump().watch(fd, WRITE, self._on_writable)
            return
        if self._stdin_watched:
            self._stdin_watched = False
            pump().unwatch(fd)
        if self._input.is_over:
            self._close_stdin()
        self._condition.notify_all()

    def _reads_no_more(self) -> bool:
        return self._returncode is not None

    def _on_writable(self) -> None:
        with self._condition:
            self._push()

    def _close_stdin(self) -> None:
        stdin = self._popen.stdin if self._popen is not None else None
        if stdin is not None and not stdin.closed:
            if self._stdin_watched:
                self._stdin_watched = False
                pump().unwatch(stdin.fileno())
            stdin.close()

    # -- the end ----------------------------------------------------------------------------------------------

    def _on_exit(self) -> None:
        with self._condition:
            if self._pidfd < 0 or self._popen is None:
                return
            pid = self._popen.pid
            try:
                if os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    return
                # While the leader is not reaped, its number belongs to its group and to nobody else.
                self._kill_group(signal.SIGKILL)
                _, status, usage = os.wait4(pid, 0)
            except ChildProcessError:
                # Somebody else has reaped it (a SIGCHLD handler, SIG_IGN): the code is lost, and that is not success.
                code, self._cpu = 255, None
            else:
                code = self._exit_code(os.waitstatus_to_exitcode(status))
                self._cpu = usage.ru_utime + usage.ru_stime
            self._popen.returncode = code
            pump().unwatch(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
            watchdog.unwatch_group(pid)
            if self._peak is not None:
                self._peak.ended = True
            self._reaped()
            self._input.drop()
            self._close_stdin()
            self._drain_until = time.monotonic() + _DRAIN
            for pipe in self._pipes:
                pipe.empty()
            pump().call_at(self._drain_until, self._end_drain)
            self._exited(code if code >= 0 else 128 - code, -code if code < 0 else None)

    def _exit_code(self, code: int) -> int:
        """Return the program's exit code, negative for a signal, from that of the process which was started."""
        return code

    def _reaped(self) -> None:
        """Free what the process has held; called once, with the lock held."""

    def _end_drain(self) -> None:
        with self._condition:
            for pipe in self._pipes:
                if not pipe.output.ended and self._drained(pipe):
                    pipe.end()
            self._check_finished()

    def _send_signal(self, number: int) -> None:
        with self._condition:
            if self._pidfd < 0:
                raise ProcessLookupError
            self._kill_group(number)

    def _kill_group(self, number: int) -> None:
        assert self._popen is not None
        # The group may hold programs of other users (setuid), or nobody but a leader that has exited.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)

    def _abandon(self) -> None:
        with self._condition:
            for pipe in self._pipes:
                if not pipe.output.ended:
                    pipe.end()
            self._close_stdin()

    def _usage(self) -> Usage:
        memory = self._peak.memory if self._peak is not None else None
        return Usage(wall=self.duration, cpu=self._cpu, memory=memory, output=self._stdout.total + self._stderr.total)

    def forget_after_fork(self) -> None:
        """Close, in a forked child, the inherited descriptors; the process is the parent's."""
        self._condition = threading.Condition(threading.Lock())
        self._state = "closed"
        self._discard()
        files: list[IO[bytes] | None] = [pipe.file for pipe in self._pipes]
        if self._popen is not None:
            files.append(self._popen.stdin)
            # Or else the child would try to reap what is not its own.
            self._popen.returncode = 255
        for file in files:
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _start_failure(error: OSError) -> str:
    reason = error.strerror or str(error)
    fixes = {
        "ENOEXEC": "a script needs a first line such as #!/bin/sh",
        "E2BIG": "its arguments and environment are too long",
        "EMFILE": "too many files are open in this test run",
        "EAGAIN": "too many processes run on this machine",
        "ENOENT": "the program, or the interpreter that its first line names, is gone",
    }
    fix = fixes.get(errno.errorcode.get(error.errno or 0, ""), "look at the entry and at the machine")
    return f"{reason}; {fix}"


def _after_fork() -> None:
    for process in list(_live):
        process.forget_after_fork()


os.register_at_fork(after_in_child=_after_fork)
