"""The memory of commands: one thread for the whole test run looks at those that run.

The kernel counts the peak of a process for itself, but begins with the memory of whoever started it, which is the test run: so that
number says nothing about a small command. What is looked at instead is the command and all below it, the first time after 20 ms.
"""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final

from pytest_sandbox.processes.tree import TreeMeter

__all__ = ["Peak"]

_FIRST: Final = 0.02
"""Seconds after the start until the first look; the pause doubles from look to look."""
_LONGEST: Final = 0.5


class Peak:
    """The peak memory of one command, as far as it was seen.

    Args:
        pid: gives the process id of the command, or None while there is none.

    Attributes:
        memory: resident bytes of the command and all below it, at most; None when nobody has looked in time.
    """

    def __init__(self, pid: Callable[[], int | None]) -> None:
        self._pid = pid
        self.memory: int | None = None
        self.ended = False

    def watch(self) -> None:
        """Begin to look."""
        _meter.add(self)

    def look(self) -> None:
        """Look now."""
        pid = self._pid()
        sample = TreeMeter(pid).sample() if pid is not None else None
        # A process that has ended and was not reaped yet has no memory.
        if sample is not None and sample.memory:
            self.memory = max(self.memory or 0, sample.memory)


class _Meter:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._looks: list[tuple[float, int, float, weakref.ref[Peak]]] = []
        self._numbers = itertools.count()
        self._started = False

    def add(self, peak: Peak) -> None:
        with self._changed:
            self._push(_FIRST, peak)
            if not self._started:
                self._started = True
                threading.Thread(target=self._serve, name="pytest-sandbox-meter", daemon=True).start()
            self._changed.notify()

    def _push(self, pause: float, peak: Peak) -> None:
        heapq.heappush(self._looks, (time.monotonic() + pause, next(self._numbers), pause, weakref.ref(peak)))

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._looks or self._looks[0][0] > time.monotonic():
                    self._changed.wait(self._looks[0][0] - time.monotonic() if self._looks else None)
                _, _, pause, reference = heapq.heappop(self._looks)
            peak = reference()
            if peak is not None and not peak.ended:
                peak.look()
                with self._changed:
                    self._push(min(2 * pause, _LONGEST), peak)
            del peak


_meter = _Meter()


def _after_fork() -> None:
    """Forget the thread, and what the parent runs."""
    global _meter
    _meter = _Meter()


os.register_at_fork(after_in_child=_after_fork)
