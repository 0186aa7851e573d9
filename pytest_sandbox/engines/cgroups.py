"""What a container uses, read from its control groups on this machine: no engine is asked, no client started."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pytest_sandbox.engines.base import Stats

__all__ = ["ROOT", "groups_of", "read_stats"]

ROOT: Final = Path("/sys/fs/cgroup")
"""Where control groups are mounted."""


def groups_of(pid: int, container: str, root: Path = ROOT) -> dict[str, Path]:
    """Return the folders of a container's control groups by controller; "unified" is that of version 2; empty when unknown.

    Args:
        pid: as for `read_stats`.
        container: likewise.
        root: likewise.
    """
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return {}
    groups: dict[str, Path] = {}
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if container not in path:
            continue
        if number == "0":
            for base in (root, root / "unified"):
                if (folder := base / path.lstrip("/")).is_dir():
                    groups.setdefault("unified", folder)
        else:
            for controller in controllers.split(","):
                groups[controller] = root / controller / path.lstrip("/")
                if not groups[controller].is_dir():
                    groups[controller] = root / controllers / path.lstrip("/")
    return groups


def read_stats(pid: int, container: str, root: Path = ROOT) -> Stats | None:
    """Return what the control groups of a container say, or None when they cannot be read here.

    Args:
        pid: the container's main process, as the engine numbers it.
        container: the container's id: it must be part of the group's name, or else the number is that of another process, as for
            an engine in another pid namespace.
        root: where the control groups are mounted.
    """
    groups = groups_of(pid, container, root)
    if "memory" in groups:
        return _version_1(groups)
    if "unified" in groups:
        return _version_2(groups["unified"])
    return None


def _number(path: Path | None, name: str) -> int | None:
    try:
        return int((path / name).read_text()) if path is not None else None
    except (OSError, ValueError):
        return None


def _table(path: Path | None, name: str) -> dict[str, int]:
    try:
        text = (path / name).read_text() if path is not None else ""
    except OSError:
        return {}
    return {key: int(value) for key, _, value in (line.partition(" ") for line in text.splitlines()) if value.strip().isdigit()}


def _without(usage: int | None, droppable: int | None) -> int | None:
    return None if usage is None else max(0, usage - (droppable or 0))


def _version_1(groups: dict[str, Path]) -> Stats:
    memory = groups.get("memory")
    nanoseconds = _number(groups.get("cpuacct") or groups.get("cpu"), "cpuacct.usage")
    return Stats(
        memory=_without(_number(memory, "memory.usage_in_bytes"), _table(memory, "memory.stat").get("total_inactive_file")),
        memory_peak=_number(memory, "memory.max_usage_in_bytes"),
        cpu=None if nanoseconds is None else nanoseconds / 1e9,
        oom_kills=_table(memory, "memory.oom_control").get("oom_kill"),
        pids=_number(groups.get("pids"), "pids.current"),
    )


def _version_2(group: Path) -> Stats:
    microseconds = _table(group, "cpu.stat").get("usage_usec")
    return Stats(
        memory=_without(_number(group, "memory.current"), _table(group, "memory.stat").get("inactive_file")),
        memory_peak=_number(group, "memory.peak"),
        cpu=None if microseconds is None else microseconds / 1e6,
        oom_kills=_table(group, "memory.events").get("oom_kill"),
        pids=_number(group, "pids.current"),
    )
