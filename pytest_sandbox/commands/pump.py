"""One thread that moves the bytes of all processes, and notices when they exit.

There is one for the whole test run, started on first use: a process of its own needs no thread of its own.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Handler", "Pump", "pump"]

Handler = Callable[[], None]
"""Called in the pump's thread when a descriptor may be ready. Spurious calls happen: descriptors must not block."""

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT


class Pump:
    """An event loop of descriptors and times. Every method but `call_at` may be called from any thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._times: list[tuple[float, int, Handler]] = []
        self._numbers = itertools.count()
        threading.Thread(target=self._serve, name="pytest-sandbox-pump", daemon=True).start()

    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Call the handler whenever the descriptor is ready."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Wait for other events of a descriptor that is watched."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor. Always before it is closed: a copy in a forked process would keep its events coming."""
        self._handlers.pop(fd, None)
        self._epoll.unregister(fd)

    def call_at(self, when: float, handler: Handler) -> None:
        """Call the handler at a time of `time.monotonic`; only from within a handler."""
        heapq.heappush(self._times, (when, next(self._numbers), handler))

    def drop(self) -> None:
        """Close the descriptor that a forked child has inherited; there is no thread in the child."""
        self._epoll.close()

    def _serve(self) -> None:
        while True:
            timeout = max(self._times[0][0] - time.monotonic(), 0) if self._times else None
            for fd, _ in self._epoll.poll(timeout):
                handler = self._handlers.get(fd)
                if handler is not None and not _call(handler):
                    self._forget(fd)
            while self._times and self._times[0][0] <= time.monotonic():
                handler = heapq.heappop(self._times)[2]
                _call(handler)
            # A bound method keeps its process alive, and this thread sleeps for long.
            handler = None

    def _forget(self, fd: int) -> None:
        with contextlib.suppress(OSError):
            self.unwatch(fd)


def _call(handler: Handler) -> bool:
    """Call a handler; an error in one process must not stop the bytes of all others."""
    try:
        handler()
    except Exception as error:
        thread = threading.current_thread()
        threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))
        return False
    return True


_lock = threading.Lock()
_pump: Pump | None = None


def pump() -> Pump:
    """Return the pump of this process, started when needed."""
    global _pump
    if _pump is None:
        with _lock:
            if _pump is None:
                _pump = Pump()
    return _pump


def _after_fork() -> None:
    global _pump, _lock
    _lock = threading.Lock()
    if _pump is not None:
        _pump.drop()
    _pump = None


os.register_at_fork(after_in_child=_after_fork)
