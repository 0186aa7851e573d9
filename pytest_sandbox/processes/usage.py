"""What a process uses, measured from outside."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

__all__ = ["Meter", "Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement.

    Attributes:
        memory: resident bytes.
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
            return Sample(memory=self._process.memory_info().rss, cpu=times.user + times.system)
        except psutil.Error:
            return None
