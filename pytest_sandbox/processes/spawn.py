"""The one place that starts processes.

Everything is started from one long-lived thread: a death signal (PR_SET_PDEATHSIG, bubblewrap's --die-with-parent) is tied to
the *thread* that spawned, so a process started from a short-lived thread would die with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, cast

from pytest_sandbox.processes import makers, watchdog

__all__ = ["end_group", "end_group_soon", "spawn", "spawn_soon"]

_Job = tuple["Future[subprocess.Popen[bytes]]", Sequence[str], dict[str, Any], makers.Maker | None]
_lock = threading.Lock()
_queue: SimpleQueue[_Job] | None = None


def _serve(queue: SimpleQueue[_Job]) -> None:
    while True:
        future, argv, options, maker = queue.get()
        if not future.set_running_or_notify_cancel():
            continue
        try:
            process = cast("subprocess.Popen[bytes]", subprocess.Popen(argv, **options))
        except BaseException as error:
            future.set_exception(error)
        else:
            watchdog.watch_group(process.pid)
            if maker is not None:
                _note(maker, process)
            future.set_result(process)
        del future, argv, options, maker


def _note(maker: makers.Maker, process: subprocess.Popen[bytes]) -> None:
    maker.add_group(process.pid, watchdog.start_ticks(process.pid))
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            maker.add_descriptor(pipe.fileno())


def _after_fork() -> None:
    """Forget the spawning thread: it does not exist in a forked child."""
    global _queue, _reaping, _lock
    _lock = threading.Lock()
    _queue = _reaping = None


os.register_at_fork(after_in_child=_after_fork)


def spawn_soon(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    executable: str | None = None,
    cwd: str | Path = "/",
    stdin: int = subprocess.PIPE,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    pass_fds: Sequence[int] = (),
) -> Future[subprocess.Popen[bytes]]:
    """Start a process in a session and process group of its own; return at once.

    Args:
        argv: program (a path) and arguments.
        env: the whole environment: nothing is inherited.
        executable: the program, when ``argv[0]`` is not its path; a relative one starts at ``cwd``.
        cwd: the working folder; ``/proc/self/fd/N`` enters the folder that descriptor N of this process holds.
        stdin: as for `subprocess.Popen`; pipes are unbuffered.
        stdout: likewise.
        stderr: likewise.
        pass_fds: descriptors to keep open; all others are closed.

    Returns:
        A future of the process; its exception is the `OSError` of a failed start.
    """
    global _queue
    future: Future[subprocess.Popen[bytes]] = Future()
    options: dict[str, Any] = {
        "env": dict(env),
        "executable": executable,
        "cwd": str(cwd),
        "stdin": stdin,
        "stdout": stdout,
        "stderr": stderr,
        "pass_fds": tuple(pass_fds),
        "bufsize": 0,
        "start_new_session": True,
    }
    with _lock:
        if _queue is None:
            _queue = SimpleQueue()
            threading.Thread(target=_serve, args=(_queue,), name="pytest-sandbox-spawner", daemon=True).start()
        _queue.put((future, list(argv), options, makers.current()))
    return future


def spawn(argv: Sequence[str], *, env: Mapping[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """Do the same as `spawn_soon`, but wait for the process.

    Raises:
        OSError: when the program cannot be started.
    """
    return spawn_soon(argv, env=env, **options).result()


_OF_ITSELF: Final = 0.25
"""Seconds that a process may take to end after its only child."""


def end_group(
    process: subprocess.Popen[bytes], *, timeout: float = 5.0, kill_inside: Callable[[], bool] | None = None
) -> int | None:
    """Kill a process and its whole group with SIGKILL, reap it, and close its pipes.

    Args:
        process: a process started by this module.
        timeout: seconds to wait for the kernel to let it go.
        kill_inside: kills what the process has only been waiting for, so that it ends by itself, and says whether there was
            anything. The process then reaps its child, which otherwise would fall to the first process of this machine; that of
            a container often reaps nothing.

    Returns:
        Its return code, or None when it could not be reaped in time.
    """
    if kill_inside is not None and kill_inside():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_OF_ITSELF)
    # The group is killed even when its leader has already been reaped: a child may have stayed behind. The number cannot have
    # been given to anybody else while a member is alive, and killing an empty group fails.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        code: int | None = process.wait(timeout)
    except subprocess.TimeoutExpired:
        code = None
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    watchdog.unwatch_group(process.pid)
    return code


_Ending = tuple["subprocess.Popen[bytes]", Callable[[], None], Callable[[], bool] | None]
_reaping: SimpleQueue[_Ending] | None = None


def _reap(queue: SimpleQueue[_Ending]) -> None:
    while True:
        process, after, kill_inside = queue.get()
        end_group(process, kill_inside=kill_inside)
        with contextlib.suppress(Exception):
            after()
        del process, after, kill_inside


def end_group_soon(
    process: subprocess.Popen[bytes], after: Callable[[], None], *, kill_inside: Callable[[], bool] | None = None
) -> None:
    """Kill a process and its whole group now; wait for the kernel, then call ``after``, in another thread.

    Args:
        process: a process started by this module.
        after: called when it has ended.
        kill_inside: as for `end_group`.
    """
    global _reaping
    if kill_inside is None or not kill_inside():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with _lock:
        if _reaping is None:
            _reaping = SimpleQueue()
            threading.Thread(target=_reap, args=(_reaping,), name="pytest-sandbox-reaper", daemon=True).start()
        _reaping.put((process, after, kill_inside))
