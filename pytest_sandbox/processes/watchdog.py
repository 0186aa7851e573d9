"""The watchdog: one process per test run that ends our processes and removes our containers and folders when we die.

It is started at the first registration, never by import, and runs `watchdog_script.py` in a session of its own. We hold one end
of a socket, it holds the other: when we are gone, however we died, it reads the end of file, kills every process group and
removes every container and folder that is still registered, and goes.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = [
    "ContainerRemover",
    "is_watched_container",
    "shut_down",
    "start_ticks",
    "unwatch_container",
    "unwatch_folder",
    "unwatch_group",
    "watch_container",
    "watch_folder",
    "watch_group",
    "watchdog_pid",
]

GONE_AFTER: Final = 10.0
"""Seconds after our death by which the watchdog is gone, too."""

_SCRIPT: Final = Path(__file__).with_name("watchdog_script.py")
_KEPT_VARIABLES: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "SYSTEMROOT")
_BLOCKED: Final = (signal.SIGINT, signal.SIGTERM) + ((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ())
_WRITE_PATIENCE: Final = 1.0  # seconds that a write may be held up before the watchdog counts as stuck


@dataclass(frozen=True)
class ContainerRemover:
    """How the watchdog reaches an engine: plain data, so that nothing of ours need be alive to use it.

    Attributes:
        address: the engine's API as ``unix:///path`` or (without TLS) ``tcp://host:port``; empty where there is none.
        command: a program (a path) and arguments to which container names are appended, such as ``docker rm -f -v``; used where
            there is no address or nobody answers there; may be empty.
        environment: the whole environment of that command.
    """

    address: str = ""
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


def start_ticks(pid: int) -> int:
    """Return the start of a process in clock ticks since boot, or -1 when there is no such process (or no /proc)."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            # The second field is the program's name in parentheses and may itself contain any of ") (".
            return int(file.read(4096).rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return -1


def _group_line(pgid: int, ticks: int) -> bytes:
    return b"+g %d %d\n" % (pgid, ticks)


def _field(*values: str) -> str:
    return ":" + ",".join(value.encode("utf-8", "surrogateescape").hex() for value in values)


def _container_body(remover: ContainerRemover, reference: str) -> bytes:
    variables = (f"{name}={value}" for name, value in remover.environment)
    fields = (_field(reference), _field(remover.address), _field(*remover.command), _field(*variables))
    return " ".join(fields).encode()


class _Watchdog:
    """The registered set and the process that knows it. Every method is called with the lock held."""

    def __init__(self) -> None:
        self.groups: dict[int, int] = {}
        self.containers: dict[tuple[ContainerRemover, str], bytes] = {}
        self.folders: dict[str, bytes] = {}
        self.link: int | None = None  # a plain number: a socket object would complain about being open when Python ends
        self.pid = 0

    def tell(self, line: bytes) -> bool:
        """Tell the watchdog one line; a dead or stuck one is replaced, and told everything. Return whether one knows."""
        if self.link is not None:
            if self._send(line):
                return True
            self.end(kill=True)
        try:
            return self._start()
        except OSError:  # no memory, no process, no descriptor left: the next call tries again
            return False

    def _start(self) -> bool:
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        # The mask is inherited: a signal that comes before the script has had its say must not end it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        try:
            process = subprocess.Popen(
                [sys.executable or "/proc/self/exe", "-I", "-S", str(_SCRIPT)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self.link, self.pid = ours.detach(), process.pid
        # It outlives us by design, so the warning of Popen about a process that still runs at exit would be wrong.
        process.returncode = 0
        lines = [_group_line(*item) for item in self.groups.items()]
        lines += [b"+c %s\n" % body for body in self.containers.values()]
        lines += [b"+d %s\n" % body for body in self.folders.values()]
        return self._send(b"".join(lines))

    def _send(self, data: bytes) -> bool:
        """Return whether all of it was taken within the patience we have."""
        assert self.link is not None
        deadline = 0.0
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=self.link)
        try:
            while data:
                try:
                    # No SIGPIPE, whatever the user's program has done with it, and no write into a file that got our number.
                    data = data[link.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]
                except BlockingIOError:
                    now = time.monotonic()
                    deadline = deadline or now + _WRITE_PATIENCE
                    if now >= deadline:
                        return False
                    poll = select.poll()
                    poll.register(link, select.POLLOUT)
                    poll.poll((deadline - now) * 1000)
                except OSError:
                    return False
            return True
        finally:
            link.detach()

    def end(self, *, kill: bool, timeout: float = GONE_AFTER) -> None:
        """Close the link, upon which the watchdog ends what is registered, and reap it."""
        link, pid, self.link, self.pid = self.link, self.pid, None, 0
        if link is not None:
            if kill:  # before it can see the end of file: what is registered shall live on
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.close(link)
        deadline = time.monotonic() + timeout
        while pid:
            try:
                reaped, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # the user's own os.wait() took it
                return
            if reaped or time.monotonic() > deadline:
                return
            time.sleep(0.005)


_lock = threading.RLock()  # re-entrant: a signal handler or finalizer of the same thread may come in
_watchdog = _Watchdog()
_SUPPORTED: Final = hasattr(os, "killpg") and hasattr(socket, "MSG_NOSIGNAL")


def _after_fork_in_child() -> None:
    # The child neither keeps the parent's watchdog waiting for an end of file, nor owns what the parent registered.
    global _lock, _watchdog
    link, _watchdog, _lock = _watchdog.link, _Watchdog(), threading.RLock()
    if link is not None:
        with contextlib.suppress(OSError):
            os.close(link)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _lock.acquire(),
        after_in_parent=lambda: _lock.release(),
        after_in_child=_after_fork_in_child,
    )


def watch_group(pgid: int) -> bool:
    """Have this process group killed when this process dies.

    Call it while the group's leader is alive or not yet reaped: its start time guards against a number that is used again.

    Args:
        pgid: the number of the group, which is its leader's process id.

    Returns:
        Whether a watchdog knows; False where none can be started (the machine's fault), and the next call tries again.
    """
    if not _SUPPORTED:
        return False
    ticks = start_ticks(pgid)
    with _lock:
        _watchdog.groups[pgid] = ticks
        return _watchdog.tell(_group_line(pgid, ticks))


def unwatch_group(pgid: int) -> None:
    """Forget a process group that has ended; unknown numbers are ignored."""
    with _lock:
        if _watchdog.groups.pop(pgid, None) is not None:
            _watchdog.tell(b"-g %d\n" % pgid)


def watch_container(remover: ContainerRemover, reference: str) -> bool:
    """Have this container removed, by force, when this process dies.

    Give it a name of its own and register that *before* the engine is asked to create it: then no moment is left in which our
    death would leak it. The watchdog asks again for a young name that the engine does not know yet.

    Args:
        remover: how to reach the engine.
        reference: the container's name or id.

    Returns:
        Whether a watchdog knows, as for `watch_group`.
    """
    if not _SUPPORTED:
        return False
    body = _container_body(remover, reference)
    with _lock:
        _watchdog.containers[remover, reference] = body
        return _watchdog.tell(b"+c %s\n" % body)


def unwatch_container(remover: ContainerRemover, reference: str) -> None:
    """Forget a container that has been removed; unknown ones are ignored."""
    with _lock:
        body = _watchdog.containers.pop((remover, reference), None)
        if body is not None:
            _watchdog.tell(b"-c %s\n" % body)


def watch_folder(path: Path) -> bool:
    """Have a temporary folder removed, with all that is in it, when this process dies.

    Args:
        path: the folder; nobody else may put there what is to stay.

    Returns:
        Whether a watchdog knows, as for `watch_group`.
    """
    if not _SUPPORTED:
        return False
    body = _field(str(path)).encode()
    with _lock:
        _watchdog.folders[str(path)] = body
        return _watchdog.tell(b"+d %s\n" % body)


def unwatch_folder(path: Path) -> None:
    """Forget a folder that has been removed; unknown ones are ignored."""
    with _lock:
        body = _watchdog.folders.pop(str(path), None)
        if body is not None:
            _watchdog.tell(b"-d %s\n" % body)


def is_watched_container(remover: ContainerRemover, reference: str) -> bool:
    """Return whether a container is registered: it was to be created, and has not been removed."""
    return (remover, reference) in _watchdog.containers


def watchdog_pid() -> int | None:
    """Return the process id of the running watchdog, or None where none has been needed yet."""
    return _watchdog.pid or None


def shut_down(*, timeout: float = GONE_AFTER) -> None:
    """End whatever is still registered, now, and the watchdog with it; the next registration starts a new one.

    Args:
        timeout: seconds to wait for it.
    """
    with _lock:
        _watchdog.groups.clear()
        _watchdog.containers.clear()
        _watchdog.folders.clear()
        _watchdog.end(kill=False, timeout=timeout)
