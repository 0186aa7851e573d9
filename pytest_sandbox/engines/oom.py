"""Whether the kernel killed something in a container for want of memory, where the engine does not tell.

Podman learns it from its monitor, which with version 1 of the control groups notes it where nobody looks. The control group itself
knows, but is removed with the container's end, so it is asked for notice beforehand: the kernel then counts for us, and its count
outlives the group.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_sandbox.engines.cgroups import ROOT, groups_of
from pytest_sandbox.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_sandbox.engines.base import ContainerState

__all__ = ["OomWatch", "OomWatches"]

_NOTICE: Final = 1.0
"""Seconds that the kernel may take to tell that it has removed a group; measured: 10 to 60 ms."""
_NEVER: Final = 1 << 62  # bytes of memory that no group ever uses


class OomWatch:
    """Count how often a control group ran out of memory, from now to its end and beyond.

    Args:
        group: the folder of a memory control group of version 1.

    Raises:
        OSError: when it cannot be watched: it is gone, or of version 2.
    """

    def __init__(self, group: Path) -> None:
        self._lock = threading.Lock()
        self._events = 0
        self._descriptors: list[int] = []
        try:
            self._control = self._open(group / "memory.oom_control")
            # The removal of a group is told to all who wait for anything of it, to the last one first.
            self._gone = self._notify(group, self._open(group / "memory.usage_in_bytes"), str(_NEVER))
            self._told = self._notify(group, self._control)
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path) -> int:
        self._descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        return self._descriptors[-1]

    def _notify(self, group: Path, subject: int, *arguments: str) -> int:
        counter = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._descriptors.append(counter)
        (group / "cgroup.event_control").write_text(" ".join((str(counter), str(subject), *arguments)))
        return counter

    def has_happened(self) -> bool:
        """Whether something in the group has been killed for want of memory."""
        with self._lock:
            if not self._descriptors:
                return self._events > 1
            try:
                words = os.pread(self._control, 4096, 0).split()
                return int(words[words.index(b"oom_kill") + 1]) > 0
            except OSError:
                pass  # the group is gone
            except ValueError:  # Linux before 4.13 counts no kills
                return self._count(0) > 0
            # What is told of the removal counts as one.
            _wait_for(self._gone, _NOTICE)
            return self._count(_NOTICE / 10) > 1

    def _count(self, wait: float) -> int:
        if self._events == 0 and wait:
            _wait_for(self._told, wait)
        with contextlib.suppress(BlockingIOError):
            self._events += os.eventfd_read(self._told)
        return self._events

    def close(self) -> None:
        """Let go of the group; safe to call twice."""
        with self._lock:
            descriptors, self._descriptors = self._descriptors, []
            for descriptor in descriptors:
                os.close(descriptor)


def _wait_for(descriptor: int, seconds: float) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(seconds * 1000)


class OomWatches:
    """The watches over the containers of one engine.

    Args:
        needed: whether this engine has to be helped, asked once a container has a limit of memory.
        prepare: makes a created container's control group, before anything runs in it.
        find_pid: returns the main process of a container that is prepared.
    """

    def __init__(self, needed: Callable[[], bool], prepare: Callable[[str], None], find_pid: Callable[[str], int]) -> None:
        self._needed = needed
        self._prepare = prepare
        self._find_pid = find_pid
        self._lock = threading.Lock()
        self._limited: dict[str, str] = {}
        self._watches: dict[str, OomWatch] = {}

    def created(self, container: str, name: str, memory: int | None) -> None:
        """Note a new container by id and name, and the bytes of memory that it is limited to."""
        if memory is not None and (ROOT / "memory").is_dir() and self._needed():
            with self._lock:
                self._limited[container] = name

    def starting(self, container: str) -> None:
        """Begin to watch a container that is about to be started; where that is impossible, nothing is told."""
        with self._lock:
            if container not in self._limited or container in self._watches:
                return
        # A container that cannot be prepared cannot be started either, and starting it says why.
        with contextlib.suppress(EngineError, OSError):
            self._prepare(container)
            watch = OomWatch(self._group(container))
            with self._lock:
                self._watches[container] = watch

    def _group(self, container: str) -> Path:
        likely = ROOT / "memory" / "libpod_parent" / f"libpod-{container}"
        if likely.is_dir():
            return likely
        groups = groups_of(self._find_pid(container), container)
        if "memory" not in groups:
            raise FileNotFoundError(f"no memory control group of container {container}")
        return groups["memory"]

    def completed(self, state: ContainerState) -> ContainerState:
        """Return a container's state with what its watch knows."""
        if not state.has_ended or state.oom_killed:
            return state
        with self._lock:
            watch = self._watches.get(state.id)
        return replace(state, oom_killed=True) if watch is not None and watch.has_happened() else state

    def gone(self, container: str) -> None:
        """Forget a container, given by id or name."""
        with self._lock:
            number = next((number for number, name in self._limited.items() if name == container), container)
            self._limited.pop(number, None)
            watch = self._watches.pop(number, None)
        if watch is not None:
            watch.close()
