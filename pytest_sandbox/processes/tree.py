"""Processes below a process, as this host numbers them: what runs in a jail is found, and measured, from outside."""

from __future__ import annotations

import os

import psutil

from pytest_sandbox.processes.usage import Sample

__all__ = ["TreeMeter", "children", "descendants", "is_stopped"]


def children(pid: int) -> list[int]:
    """Return the children of a process; empty when it has none, or has ended."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                found += [int(word) for word in file.read().split()]
    except FileNotFoundError:
        # It has ended, or this kernel is built without CONFIG_PROC_CHILDREN: then all processes have to be looked through.
        try:
            return [child.pid for child in psutil.Process(pid).children()]
        except psutil.Error:
            return []
    except (OSError, ValueError):  # a thread that has ended meanwhile
        return found
    return found


def descendants(pid: int) -> list[int]:
    """Return all processes below a process; what is in a pid namespace cannot leave the tree below its first process."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        new = children(waiting.pop())
        found += new
        waiting += new
    return found


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped a process, or a debugger holds it."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return file.read(4096).rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False


class TreeMeter:
    """Measures a process and all below it.

    Pages that several of them share are counted for each. CPU time includes that of children which have ended and were waited for.

    Args:
        pid: the topmost process.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def sample(self) -> Sample | None:
        """Return a measurement, or None when the topmost process has ended."""
        if not psutil.pid_exists(self._pid):
            return None
        memory, cpu = 0, 0.0
        for pid in [self._pid, *descendants(self._pid)]:
            try:
                process = psutil.Process(pid)
                memory += process.memory_info().rss
                cpu += sum(process.cpu_times()[:4])  # user, system, and both of the children waited for
            except psutil.Error:
                continue
        return Sample(memory=memory, cpu=cpu)
