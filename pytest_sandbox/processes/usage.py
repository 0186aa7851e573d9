"""What a process uses, measured from outside."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

__all__ = ["Meter", "Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement.

    Attributes:
        memory: resident bytes, page tables included: memory that is only read, never written, costs nothing but those.
        cpu: seconds of CPU time since the process started, user and system.
    """

    memory: int
    cpu: float


class Meter:
    """Measures one process; cheap enough for every few milliseconds.

    Args:
        pid: the process.
    """

    def __init__(self, pid: int) -> None:
        try:
            self._process: psutil.Process | None = psutil.Process(pid)
        except psutil.Error:
            self._process = None

    def sample(self) -> Sample | None:
        """Return a measurement, or None when the process has ended."""
        if self._process is None:
            return None
        try:
            times = self._process.cpu_times()
            memory = self._process.memory_info().rss + _page_tables(self._process.pid)
            return Sample(memory=memory, cpu=times.user + times.system)
        except psutil.Error:
            return None


def _page_tables(pid: int) -> int:
    """Return the bytes of a process's page tables; 0 where the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            text = file.read()
    except OSError:
        return 0
    at = text.find(b"VmPTE:")
    return 0 if at < 0 else int(text[at + 6 :].split(None, 1)[0]) * 1024
