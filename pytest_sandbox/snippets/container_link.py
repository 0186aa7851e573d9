"""How the channel reaches a runner in a container."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Final, Literal

from pytest_sandbox.engines.attachment import Attachment
from pytest_sandbox.engines.base import Engine
from pytest_sandbox.engines.cgroups import read_stats
from pytest_sandbox.engines.spec import ContainerSpec
from pytest_sandbox.errors import EngineError
from pytest_sandbox.processes import makers
from pytest_sandbox.processes.tree import is_stopped
from pytest_sandbox.processes.usage import Sample
from pytest_sandbox.snippets.link import Death, Link
from pytest_sandbox.snippets.threads import BREATH, start_thread

__all__ = ["ContainerLink", "Removals", "StartingContainer"]

_HELLO: Final = b"H{}\n"
"""What a runner waits for before it says that it is ready, see `runners/container_parent.mjs`."""

_WAIT: Final = 2.0
"""Seconds that the engine may take to say how a container ended."""


class Removals:
    """Removes containers in threads of its own, and can be waited for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._pending = 0

    def remove(self, container: str) -> None:
        """Begin to remove a container; the watchdog still knows it until that is done."""
        with self._changed:
            self._pending += 1

        def work() -> None:
            time.sleep(BREATH)
            try:
                with contextlib.suppress(EngineError):
                    self._engine.remove(container)
            finally:
                with self._changed:
                    self._pending -= 1
                    self._changed.notify_all()

        start_thread(work)

    def wait(self, timeout: float) -> None:
        """Wait until nothing is left to remove, at most so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending == 0, timeout)


class ContainerLink:
    """A runner that is process 1 of a container.

    Args:
        engine: where the container is.
        container: its id.
        attachment: its streams.
        removals: removes it in the end.
        hint: what to look at when the engine could not start it.
    """

    def __init__(self, engine: Engine, container: str, attachment: Attachment, removals: Removals, hint: str = "") -> None:
        self._engine = engine
        self._container = container
        self._attachment = attachment
        self._removals = removals
        self._hint = hint
        self._pid = 0
        self._lock = threading.Lock()
        self._death: Death | None = None
        if engine.is_local:
            start_thread(self._find_pid)

    def _find_pid(self) -> None:
        # It serves measurements only, and the engine may have been closed meanwhile.
        with contextlib.suppress(Exception):
            self._pid = self._engine.inspect(self._container).pid

    @property
    def pid(self) -> int | None:
        """The id on this host of process 1 of the container."""
        return self._pid or None

    @property
    def read_descriptors(self) -> tuple[int, ...]:
        """Descriptors to poll for input."""
        return self._attachment.read_descriptors

    @property
    def write_descriptor(self) -> int | None:
        """The descriptor to poll for output."""
        return self._attachment.write_descriptor

    def read(self, descriptor: int) -> list[tuple[Literal["stdout", "stderr"], bytes]]:
        """Return what has arrived; a connection that breaks is at its end."""
        try:
            return self._attachment.read(descriptor)
        except EngineError:
            return []

    def write(self, data: bytes | memoryview) -> int:
        """Write to the runner."""
        return self._attachment.write(data)

    def has_ended(self) -> bool:
        """Whether the container's streams are at their end."""
        return not self._attachment.read_descriptors

    def is_stopped(self) -> bool:
        """Whether process 1 of the container is stopped."""
        return bool(self._pid) and is_stopped(self._pid)

    def sample(self) -> Sample | None:
        """Measure the container by its control group, where that can be read here."""
        stats = read_stats(self._pid, self._container) if self._pid else None
        if stats is None or stats.memory is None or stats.cpu is None:
            return None
        return Sample(memory=stats.memory, cpu=stats.cpu)

    def interrupt(self) -> None:
        """Begin to remove the container, and wait for nothing: its streams are at their end now, whatever its engine is doing."""
        if self._lock.acquire(blocking=False):  # else it is being ended already
            try:
                if self._death is None:
                    self._death = Death("by our kill")
                    self._removals.remove(self._container)
            finally:
                self._lock.release()
        self._attachment.hang_up()

    def end(self) -> Death:
        """Find out how the container ended if it did, kill it if not, and remove it."""
        with self._lock:
            if self._death is not None:
                self._attachment.close()  # an interruption leaves that to us
                return self._death
            self._death = self._how_it_ended() if self.has_ended() else Death("by our kill")
            self._attachment.close()
            with contextlib.suppress(EngineError):
                self._engine.remove(self._container)
            return self._death

    def end_soon(self) -> None:
        """Let another thread kill and remove the container."""
        with self._lock:
            if self._death is None:
                self._death = Death("by its retirement")
                self._attachment.close()
                self._removals.remove(self._container)

    def _how_it_ended(self) -> Death:
        try:
            state = self._engine.wait(self._container, timeout=_WAIT)
        except EngineError as error:
            return Death(f"and the engine cannot say how: {error}{self._hint}")
        return Death(f"with exit code {state.exit_code} of its container", out_of_memory=state.oom_killed)


class StartingContainer:
    """A container that is being created and started, in another thread.

    Args:
        engine: where it is to run.
        spec: what it is to be.
        removals: removes it in the end.
        on_warnings: called with what the engine said about settings that it could not apply.
        hint: what to look at when the engine cannot start it; its words come first.
    """

    def __init__(
        self,
        engine: Engine,
        spec: ContainerSpec,
        removals: Removals,
        on_warnings: Callable[[tuple[str, ...]], None],
        hint: str = "",
    ) -> None:
        self._engine = engine
        self._spec = spec
        self._removals = removals
        self._hint = hint
        self._on_warnings = on_warnings
        self._changed = threading.Condition()
        self._link: ContainerLink | None = None
        self._error: BaseException | None = None
        self._abandoned = False
        self._maker = makers.current()
        start_thread(self._work)

    def _work(self) -> None:
        link: ContainerLink | None = None
        error: BaseException | None = None
        container: str | None = None
        try:
            with makers.making(self._maker):
                created = self._engine.create(self._spec)
            container = created.id
            self._on_warnings(created.warnings)
            attachment = self._engine.open(container)
            link = ContainerLink(self._engine, container, attachment, self._removals, self._hint)
            attachment.write(_HELLO)
        except BaseException as caught:
            error = caught
            if container is not None:
                self._removals.remove(container)
        with self._changed:
            self._link, self._error = link, error
            abandoned = self._abandoned
            self._changed.notify_all()
        if abandoned and link is not None:
            link.end_soon()

    def wait(self, timeout: float) -> Link:
        """Return the link to the container once it runs; an engine's refusal is an `OSError` with its words."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._link is not None or self._error is not None, timeout):
                raise TimeoutError
            if self._link is not None:
                return self._link
            raise OSError(f"{self._error}{self._hint}") from self._error

    def abandon(self) -> None:
        """End it, however far it has come."""
        with self._changed:
            self._abandoned = True
            link = self._link
        if link is not None:
            link.end_soon()
