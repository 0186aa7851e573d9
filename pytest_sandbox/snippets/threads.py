"""Threads and loops for code that is not ours and may never come back: none of them is waited for at exit."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from pytest_sandbox.errors import AsyncioRequired

if TYPE_CHECKING:
    import asyncio

__all__ = ["BREATH", "LoopOwner", "running_loop", "start_thread"]

BREATH: Final = 0.001
"""Seconds that a thread which tidies up after an execution waits first: so long its caller has the interpreter for itself."""


class _DaemonThreads:
    """Threads that are used again when they are free, and never waited for at exit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[Callable[[], None]]] = []

    def start(self, work: Callable[[], None]) -> None:
        with self._lock:
            queue = self._idle.pop() if self._idle else None
        if queue is None:
            queue = SimpleQueue()
            queue.put(work)
            threading.Thread(target=self._serve, args=(queue,), name="pytest-sandbox-worker", daemon=True).start()
        else:
            queue.put(work)

    def _serve(self, queue: SimpleQueue[Callable[[], None]]) -> None:
        while True:
            work = queue.get()
            work()
            del work
            with self._lock:
                if len(self._idle) >= 8:
                    return
                self._idle.append(queue)


_threads = _DaemonThreads()


def _after_fork() -> None:
    """Forget all threads: none of them exists in a forked child."""
    global _threads
    _threads = _DaemonThreads()


os.register_at_fork(after_in_child=_after_fork)


def start_thread(work: Callable[[], None]) -> None:
    """Run work, which must not raise, in a daemon thread: nobody waits for it at exit."""
    _threads.start(work)


# -- loops --------------------------------------------------------------------------------------------------


class _PrivateLoop:
    """An asyncio loop in a daemon thread of its own."""

    def __init__(self) -> None:
        import asyncio

        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self._serve, name="pytest-sandbox-loop", daemon=True).start()

    def _serve(self) -> None:
        import asyncio

        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.stop)


class LoopOwner:
    """Keeps one private loop for the async tools of an executor, so that clients bound to a loop outlive one execution."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._private: _PrivateLoop | None = None
        self._closed = False

    def get(self) -> asyncio.AbstractEventLoop:
        """Return the loop, starting it at first use; once this is closed, one that ends at once, for a tool that comes too late."""
        with self._lock:
            if self._closed:
                late = _PrivateLoop()
                late.close()
                return late.loop
            if self._private is None:
                self._private = _PrivateLoop()
            return self._private.loop

    def abandon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take no further calls on this loop: a tool blocks it."""
        with self._lock:
            if self._private is not None and self._private.loop is loop:
                self._private.close()
                self._private = None

    def close(self) -> None:
        """Stop the loop, if there is one."""
        with self._lock:
            self._closed = True
            if self._private is not None:
                self._private.close()
                self._private = None


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running asyncio loop.

    Raises:
        AsyncioRequired: when none runs, for example under trio (the caller's fault).
    """
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise AsyncioRequired from None
