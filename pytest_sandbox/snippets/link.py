"""How the channel reaches a runner, wherever it runs: here a process on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from pytest_sandbox.processes.jail import Confined, exit_code
from pytest_sandbox.processes.spawn import end_group, end_group_soon
from pytest_sandbox.processes.tree import is_stopped
from pytest_sandbox.processes.usage import Meter, Sample

__all__ = ["Death", "Link", "ProcessLink", "StartingProcess", "StartingRunner"]

_READ: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Death:
    """How a runner ended.

    Attributes:
        how: in words, such as "by signal SIGKILL".
        out_of_memory: whether the kernel ended it because its container was full.
    """

    how: str
    out_of_memory: bool = False


class Link(Protocol):
    """The pipes of a runner that runs, and the power over its life."""

    @property
    def read_descriptors(self) -> tuple[int, ...]:
        """Descriptors to poll for input; those at their end are gone from it."""

    @property
    def write_descriptor(self) -> int | None:
        """The descriptor to poll for output."""

    def read(self, descriptor: int) -> list[tuple[Literal["stdout", "stderr"], bytes]]:
        """Return what has arrived at one of `read_descriptors`; empty when nothing has, or at the end."""

    def write(self, data: bytes | memoryview) -> int:
        """Return how many bytes were taken, 0 when none can be now; raises `BrokenPipeError` when nobody reads."""

    def has_ended(self) -> bool:
        """Whether the runner is gone, even if something still holds its pipes open."""

    @property
    def pid(self) -> int | None:
        """The runner's process id on this host; None when it has ended, or is somewhere else."""

    def is_stopped(self) -> bool:
        """Whether somebody has stopped the runner with a signal, as far as that can be seen: it will not go on by itself."""

    def sample(self) -> Sample | None:
        """Measure the runner; None when that is not possible."""

    def interrupt(self) -> None:
        """Kill the runner and wait for nothing; from any thread."""

    def end(self) -> Death:
        """Kill the runner, wait until it is gone, and let go of all it had; safe to call twice."""

    def end_soon(self) -> None:
        """Kill the runner now, and leave the waiting to another thread."""


class StartingRunner(Protocol):
    """A runner that is being started."""

    def wait(self, timeout: float) -> Link:
        """Return the runner once it runs.

        Raises:
            TimeoutError: when it does not run within that many seconds.
            OSError: when it cannot be started.
        """

    def abandon(self) -> None:
        """End it, however far it has come."""


class ProcessLink:
    """A runner that is a process of ours.

    Args:
        process: the process, with three pipes.
        on_end: called once when it has ended; not necessarily in the same thread.
        confined: the runner in its jail, of which the process is only the gate.
    """

    def __init__(self, process: subprocess.Popen[bytes], on_end: Callable[[], None], confined: Confined | None = None) -> None:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self._process = process
        self._on_end = on_end
        self._input = process.stdin.fileno()
        self._open: dict[int, Literal["stdout", "stderr"]] = {process.stdout.fileno(): "stdout", process.stderr.fileno(): "stderr"}
        for descriptor in (self._input, *self._open):
            os.set_blocking(descriptor, False)
        self._confined = confined
        self._kill_inside = confined.kill if confined is not None else None
        self._meter = Meter(process.pid) if confined is None else None
        self._lock = threading.Lock()
        self._death: Death | None = None

    @property
    def read_descriptors(self) -> tuple[int, ...]:
        """Descriptors to poll for input."""
        return tuple(self._open)

    @property
    def write_descriptor(self) -> int | None:
        """The descriptor to poll for output."""
        return self._input

    def read(self, descriptor: int) -> list[tuple[Literal["stdout", "stderr"], bytes]]:
        """Return what has arrived."""
        try:
            data = os.read(descriptor, _READ)
        except BlockingIOError:
            return []
        if not data:
            self._open.pop(descriptor, None)
            return []
        return [(self._open[descriptor], data)]

    def write(self, data: bytes | memoryview) -> int:
        """Write to the runner."""
        try:
            return os.write(self._input, data)
        except BlockingIOError:
            return 0

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    @property
    def pid(self) -> int | None:
        """The process id on this host: of what is in the jail, where there is one."""
        return self._process.pid if self._confined is None else self._confined.program_pid()

    def is_stopped(self) -> bool:
        """Whether the process is stopped, or the gate of its jail."""
        return any(is_stopped(pid) for pid in {self._process.pid, self.pid} if pid is not None)

    def sample(self) -> Sample | None:
        """Measure the process."""
        if self._meter is None and self._confined is not None:
            pid = self._confined.program_pid()
            if pid is None:
                return None
            self._meter = Meter(pid)
        return self._meter.sample() if self._meter is not None else None

    def interrupt(self) -> None:
        """Kill the process group."""
        if self._kill_inside is None or not self._kill_inside():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> Death:
        """Kill the process group, reap the process, close the pipes."""
        with self._lock:
            if self._death is None:
                code = end_group(self._process, kill_inside=self._kill_inside)
                self._death = Death(_how_it_ended(code if code is None or self._confined is None else exit_code(code)))
                self._open.clear()
                self._on_end()
            return self._death

    def end_soon(self) -> None:
        """Kill the process group now; reap the process in another thread."""
        with self._lock:
            if self._death is None:
                self._death = Death("by its retirement")
                self._open.clear()
                end_group_soon(self._process, self._on_end, kill_inside=self._kill_inside)


class StartingProcess:
    """A process of ours that is being started.

    Args:
        process: as it comes from `spawn_soon`.
        on_end: as for `ProcessLink`.
        confined: as for `ProcessLink`.
    """

    def __init__(
        self,
        process: Future[subprocess.Popen[bytes]],
        on_end: Callable[[], None] = lambda: None,
        confined: Confined | None = None,
    ) -> None:
        self._process = process
        self._on_end = on_end
        self._confined = confined
        self._kill_inside = confined.kill if confined is not None else None

    @property
    def root(self) -> Path:
        """Where this process sees the runner's root folder, while the runner runs."""
        pid = self._confined.program_pid() if self._confined is not None else None
        return Path("/" if self._confined is None else f"/proc/{pid}/root")

    def wait(self, timeout: float) -> Link:
        """Return the link to the process once it runs."""
        return ProcessLink(self._process.result(timeout), self._on_end, self._confined)

    def abandon(self) -> None:
        """End it, however far it has come."""
        if self._process.cancel():
            self._on_end()
        else:
            with contextlib.suppress(OSError):
                end_group_soon(self._process.result(), self._on_end, kill_inside=self._kill_inside)


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "but it could not be reaped"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"by signal {signal.Signals(-code).name}"
        return f"by signal {-code}"
    return f"with exit code {code}"
