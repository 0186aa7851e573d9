"""Attacks on `processes-limit`, `cpu-limit` and `memory-limit`: what control groups allow, read from inside and from the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pytest_sandbox.guarantees.attacks import scripted
from pytest_sandbox.guarantees.host_view import from_host
from pytest_sandbox.guarantees.probe import Probe, ScriptedProbe
from pytest_sandbox.guarantees.scripts import sighting, witnessed
from pytest_sandbox.guarantees.stage import NotApplicable, Stage
from pytest_sandbox.guarantees.verdicts import Sighting

__all__ = ["PROBES"]


def _unlimited(pid: int, stage: Stage) -> str:
    asked = stage.limits.processes
    most = _process_limit(pid)
    if isinstance(asked, int) and not stage.is_control:
        return (
            ""
            if most is not None and most <= asked
            else f"process {pid} may make {most or 'any number of'} processes, asked for were {asked}"
        )
    # Without a number to compare with, a few hundred are bounded, and what a user gets is not.
    return "" if most is not None and most <= 1024 else f"process {pid} may make {most or 'any number of'} processes"


def _process_limit(pid: int) -> int | None:
    """Return how many processes a process may make: the least that its limits and its control group say."""
    found: list[int] = []
    try:
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
            if line.startswith("Max processes"):
                found += [int(word) for word in line.split()[2:3] if word.isdigit()]
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            base = "/sys/fs/cgroup" if not names else "/sys/fs/cgroup/pids"
            if names in ("", "pids"):
                file = Path(f"{base}{path}/pids.max")
                found += [int(text) for text in ([file.read_text().strip()] if file.exists() else []) if text.isdigit()]
    except (OSError, ValueError):
        return None
    return min(found) if found else None


# -- from inside --------------------------------------------------------------------------------------------------------------------

_CGROUP: Final = """
const fs = await need("fs");
const read = (...paths) => { for (const path of paths) try { return fs.readFileSync(path, "utf8").trim(); } catch {} return null; };
const least = (...all) => { const numbers = all.filter((one) => /^\\d+$/.test(one ?? "")).map(Number); return numbers.length > 0 ? String(Math.min(...numbers)) : all.find((one) => one != null) ?? null; };
const own = read("/proc/self/cgroup")?.split("\\n").find((line) => line.startsWith("0::"))?.slice(3) ?? "";
return {
  memory: read("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes", `/sys/fs/cgroup${own}/memory.max`),
  processes: least(read("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max", `/sys/fs/cgroup${own}/pids.max`), /^Max processes +(\\S+)/m.exec(read("/proc/self/limits") ?? "")?.[1]),
  cpus: read("/sys/fs/cgroup/cpu.max") ?? [read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us"), read("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us")].join(" "),
};
"""


def _asked(stage: Stage, name: str) -> float | None:
    """Return what the executor was asked for: processes, CPUs, or bytes of memory; None for a control, or for no limit."""
    if stage.is_control:
        return None
    if stage.commands is not None:
        entry: Any = stage.commands.entry
        found = {"processes": "pids_limit", "cpus": "cpu_quota", "memory": "memory_limit"}[name]
        value = getattr(entry, found, 0) or getattr(getattr(entry, "confine", None), name, 0) or None
        return value / 100_000 if value and name == "cpus" else value
    if name == "cpus":
        return getattr(getattr(stage.executor, "options", None), "cpus", None)
    value = getattr(stage.limits, name)
    return value if isinstance(value, int) else None


def _group(id: str, title: str, name: str) -> ScriptedProbe:
    """Read a limit of the control group from inside, and compare it with what was asked for."""

    def script(stage: Stage) -> Sighting:
        ran, witness = witnessed(stage, _CGROUP)
        found = ran.value.get(name) if ran.ended == "returned" and isinstance(ran.value, dict) else None
        if ran.ended == "threw" or (found is None and not stage.is_control):
            raise NotApplicable("the control groups cannot be read inside")
        number = _number(found)
        asked = _asked(stage, name)
        # Engines round to pages, and to hundredths of a processor.
        # Where nothing was asked for, some thousands are what a user has anyway.
        usual = 1024 if name == "processes" else None
        most = asked * 1.02 if asked is not None else usual
        is_bound = number is not None and (most is None or number <= most)
        words = f"asked for were {asked:g}" if asked is not None else "nothing was asked for"
        return sighting(ran, witness, not is_bound, f"inside, the control group allows {name} {found}; {words}")

    return scripted(id, title, _CGROUP, script, vantages=("snippet", "command"))


def _number(text: object) -> float | None:
    """Return a limit as a number; None when it is unlimited."""
    words = str(text).split()
    if not words or not all(word.isdigit() for word in words):
        return None
    numbers = [int(word) for word in words]
    value = numbers[0] / numbers[1] if len(numbers) == 2 and numbers[1] else numbers[0]
    return None if value > 1 << 60 else value  # version 1 of the control groups has such a number for "no limit"


PROBES: tuple[Probe, ...] = (
    from_host("processes-limit.from-host", "make any number of processes, as the host sees its limits", _unlimited),
    _group("processes-limit.cgroup", "make any number of processes, as its limits and its control group tell inside", "processes"),
    _group("cpu-limit.cgroup", "have all processors, as its control group tells inside", "cpus"),
    _group("memory-limit.cgroup", "have all memory, as its control group tells inside", "memory"),
)  # fmt: skip
