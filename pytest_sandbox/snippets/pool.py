"""The runners of one executor: who gets one, who waits, and which are made ahead of time."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Final

from pytest_sandbox.errors import ExecutorBroken, ExecutorClosed
from pytest_sandbox.snippets.channel import Runner
from pytest_sandbox.snippets.threads import BREATH, start_thread
from pytest_sandbox.snippets.tools import ToolBox

__all__ = ["RunnerPool"]

_AT_ONCE: Final = 0.002
"""Seconds from one execution to the next that count as back to back."""

_HEAD_START: Final = 0.02
"""Seconds that the spare which replaces a runner waits for its execution: starting one takes turns from the thread of that."""

_IN_A_ROW: Final = 20
"""So many executions back to back are worth a second runner: the two then take turns."""


class RunnerPool:
    """Lends runners, each to one execution at a time.

    Args:
        name: the executor's name, for errors.
        start: begins to start a runner, and does not wait for it.
        most: how many may be lent at the same time.
        reuse: whether a runner may serve another execution after the first.
        spares: how many are kept ready ahead of time, from the first execution on; one is started at once.
        announce: called before a spare is started in the background, with what tells whether it is still to come.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], Runner],
        *,
        most: int,
        reuse: bool,
        spares: int,
        announce: Callable[[Callable[[], bool]], None],
    ) -> None:
        self._name = name
        self._start = start
        self._most = most
        self._reuse = reuse
        self._spares = spares
        self._announce = announce
        self._owner = os.getpid()
        self._forget()
        self._idle.append(start())

    def _forget(self) -> None:
        """Begin with nothing; also after a fork, when the runners are our parent's."""
        self._changed = threading.Condition()
        self._idle: list[Runner] = []
        self._lent: set[Runner] = set()
        self._warming: set[Runner] = set()
        self._coming = 0
        self._growing = 0
        self._taken = 0
        self._returned = 0.0
        self._in_a_row = 0
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
        is_over = threading.Event()
        try:
            runner = self._ready_runner()
            if not self._reuse and self._spares:
                self._grow(is_over)
            yield runner
        finally:
            self._give_back(runner, extra=extra)
            is_over.set()

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
            self._in_a_row = self._in_a_row + 1 if time.monotonic() - self._returned < _AT_ONCE else 0
            grow = self._reuse and self._in_a_row == _IN_A_ROW and self._most > 1 and not self._idle_after_this()
        if grow:
            self._add_runner()
        return True

    def _idle_after_this(self) -> bool:
        return len(self._idle) > 1 or bool(self._warming)

    def _add_runner(self) -> None:
        """Start a second runner, for one that has just served needs a moment to make its next realm."""
        runner = self._start()
        with self._changed:
            self._warming.add(runner)

        def warm() -> None:
            try:
                runner.wait_until_ready()
            except Exception:
                runner.kill()  # the first runner goes on alone; if starting fails for good, an execution will say so
                return
            finally:
                with self._changed:
                    self._warming.discard(runner)
            with self._changed:
                if not self._closed:
                    self._idle.append(runner)
                    return
            runner.kill()

        start_thread(warm)

    def _ready_runner(self) -> Runner:
        while True:
            with self._changed:
                if self._closed:
                    raise ExecutorClosed(self._name)
                # The one that has rested longest: it has had the most time to make its next realm ready.
                runner = self._idle.pop(0) if self._idle else None
                is_new = runner is None
                if runner is not None:
                    self._lent.add(runner)
            if runner is None:
                runner = self._start()
                with self._changed:
                    self._lent.add(runner)
            if self._is_usable(runner, is_new=is_new):
                return runner

    def _is_usable(self, runner: Runner, *, is_new: bool) -> bool:
        """Wait until a runner is ready; one that rested may have died, and is not worth an error."""
        try:
            if not runner.is_ready:
                runner.wait_until_ready()
            if runner.is_reusable() and not self._closed:
                return True
        except BaseException as error:
            with self._changed:
                self._lent.discard(runner)
            if self._closed:
                raise ExecutorClosed(self._name) from error
            if is_new or not isinstance(error, ExecutorBroken):
                raise
            return False
        with self._changed:
            self._lent.discard(runner)
        runner.kill()
        return False

    def _grow(self, is_over: threading.Event) -> None:
        """Have another thread start the spares that are missing, soon after the execution or while it takes long."""
        pool = weakref.ref(self)
        with self._changed:
            self._growing += 1
        self._announce(lambda: (found := pool()) is not None and found._growing > 0 and not found._closed)

        def work() -> None:
            if is_over.wait(_HEAD_START):
                time.sleep(BREATH)
            try:
                self._keep_spares()
            finally:
                with self._changed:
                    self._growing -= 1

        try:
            start_thread(work)
        except RuntimeError:  # no thread is to be had: the next execution starts its runner itself
            with self._changed:
                self._growing -= 1

    def _keep_spares(self) -> None:
        with self._changed:
            missing = 0 if self._closed else self._spares - len(self._idle) - self._coming
            self._coming += max(0, missing)
        for _ in range(missing):
            runner: Runner | None = None
            with contextlib.suppress(Exception):  # an execution that finds no spare starts one, and says why that fails
                runner = self._start()
            with self._changed:
                self._coming -= 1
                if runner is not None and not self._closed:
                    self._idle.append(runner)
                    runner = None
            if runner is not None:
                runner.kill()

    def _give_back(self, runner: Runner | None, *, extra: bool) -> None:
        with self._changed:
            if not extra:
                self._taken -= 1
                self._returned = time.monotonic()
            if runner is not None:
                self._lent.discard(runner)
                if self._reuse and runner.is_idle and not self._closed and len(self._idle) < self._most:
                    self._idle.append(runner)
                    runner = None
            self._changed.notify()
        if runner is not None:
            runner.retire()

    def pids(self) -> tuple[int, ...]:
        """Return the process ids, on this host, of the runners that serve an execution now."""
        with self._changed:
            lent = list(self._lent)
        return tuple(pid for runner in lent if (pid := runner.pid) is not None)

    def close(self) -> None:
        """End all runners; executions that are under way end with `ExecutorClosed`."""
        if os.getpid() != self._owner:
            self._owner = os.getpid()
            self._forget()
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            lent = [*self._lent, *self._warming]
            self._changed.notify_all()
        for runner in lent:
            runner.interrupt()
        for runner in idle:
            runner.kill()
