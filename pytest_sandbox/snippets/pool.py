"""The runners of one executor: who gets one, who waits, and which are made ahead of time."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from pytest_sandbox.errors import ExecutorClosed
from pytest_sandbox.snippets.channel import Runner
from pytest_sandbox.snippets.tools import ToolBox

__all__ = ["RunnerPool"]


class RunnerPool:
    """Lends runners, each to one execution at a time.

    Args:
        name: the executor's name, for errors.
        start: begins to start a runner, and does not wait for it.
        most: how many may be lent at the same time.
        reuse: whether a runner may serve another execution after the first.
        spares: how many are kept ready ahead of time, from the first execution on; one is started at once.
    """

    def __init__(self, name: str, start: Callable[[], Runner], *, most: int, reuse: bool, spares: int) -> None:
        self._name = name
        self._start = start
        self._most = most
        self._reuse = reuse
        self._spares = spares
        self._owner = os.getpid()
        self._forget()
        self._idle.append(start())

    def _forget(self) -> None:
        """Begin with nothing; also after a fork, when the runners are our parent's."""
        self._changed = threading.Condition()
        self._idle: list[Runner] = []
        self._lent: set[Runner] = set()
        self._taken = 0
        self._closed = False

    @contextlib.contextmanager
    def lend(self, box: ToolBox, *, extra: bool) -> Iterator[Runner | None]:
        """Lend a runner that is ready; wait for one while all are lent.

        Args:
            box: the execution's tools; when it is cancelled, the waiting ends with None.
            extra: do not wait for a place: the caller is a tool of an execution that holds one.

        Raises:
            ExecutorClosed: when the pool is closed.
            ExecutorBroken: when a new runner cannot be started.
        """
        if os.getpid() != self._owner:
            self._owner = os.getpid()
            self._forget()
        if not extra and not self._take_place(box):
            yield None
            return
        runner: Runner | None = None
        try:
            runner = self._ready_runner()
            self._keep_spares()
            yield runner
        finally:
            self._give_back(runner, extra=extra)

    def _take_place(self, box: ToolBox) -> bool:
        def wake() -> None:
            with self._changed:
                self._changed.notify_all()

        with self._changed:
            if self._taken >= self._most:
                box.attach(wake)
                self._changed.wait_for(lambda: self._taken < self._most or self._closed or box.cancelled)
                box.attach(None)
            if self._closed:
                raise ExecutorClosed(self._name)
            if box.cancelled:
                return False
            self._taken += 1
            return True

    def _ready_runner(self) -> Runner:
        while True:
            with self._changed:
                if self._closed:
                    raise ExecutorClosed(self._name)
                # The one that has rested longest: it has had the most time to make its next realm ready.
                runner = self._idle.pop(0) if self._idle else None
                if runner is not None:
                    self._lent.add(runner)
            if runner is None:
                runner = self._start()
                with self._changed:
                    self._lent.add(runner)
            if runner.is_ready and runner.is_reusable():
                return runner
            try:
                if not runner.is_ready:
                    runner.wait_until_ready()
                    if not self._closed:
                        return runner
            except BaseException:
                with self._changed:
                    self._lent.discard(runner)
                raise
            with self._changed:
                self._lent.discard(runner)
            runner.kill()

    def _keep_spares(self) -> None:
        with self._changed:
            missing = 0 if self._reuse or self._closed else self._spares - len(self._idle)
        for _ in range(missing):
            runner = self._start()
            with self._changed:
                self._idle.append(runner)

    def _give_back(self, runner: Runner | None, *, extra: bool) -> None:
        with self._changed:
            if not extra:
                self._taken -= 1
            if runner is not None:
                self._lent.discard(runner)
                if self._reuse and runner.is_idle and not self._closed and len(self._idle) < self._most:
                    self._idle.append(runner)
                    runner = None
            self._changed.notify()
        if runner is not None:
            runner.retire()

    def close(self) -> None:
        """End all runners; executions that are under way end with `ExecutorClosed`."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            lent = list(self._lent)
            self._changed.notify_all()
        for runner in lent:
            runner.interrupt()
        for runner in idle:
            runner.kill()
