"""Attacks on what the operating system takes away: read from inside, tried out, and looked at from the host."""

from __future__ import annotations

import os
import re
import secrets
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.probe import (
    BOTH,
    Attempt,
    CannotTell,
    CodeProbe,
    NotApplicable,
    Probe,
    Runtime,
    Scene,
    SceneMaker,
    ScriptedProbe,
    Stage,
    Witness,
)
from pytest_sandbox.guarantees.scenes import change, got
from pytest_sandbox.guarantees.scripts import sighting, witnessed
from pytest_sandbox.guarantees.subjects import Vantage
from pytest_sandbox.guarantees.verdicts import Sighting
from pytest_sandbox.limits import MIB

__all__ = ["PROBES"]

_ABSENT_REGEXP: Final = re.compile(r"no way to|ENOENT|NotFound|No such file")
_INSIDE: Final[tuple[Vantage, ...]] = ("snippet", "process", "command")


def needs_root(scene: SceneMaker) -> SceneMaker:
    """Only root can show, in the control, that the attack is able to succeed."""

    @contextmanager
    def make(canaries: Canaries) -> Iterator[Scene]:
        if os.geteuid() != 0:
            raise NotApplicable("the control would need root to succeed")
        with scene(canaries) as made:
            yield made

    return make


def _told(guarantee: str, what: str, is_breach: Callable[[Any], str]) -> SceneMaker:
    """What code inside reads about itself: the host decides what that means."""

    @contextmanager
    def make(_canaries: Canaries) -> Iterator[Scene]:
        def look(attempt: Attempt) -> tuple[bool, str]:
            if attempt.at == "threw":
                # Where there is nothing to read it with, or nothing to read, others look from the host. Whatever else was in the way
                # may hide what was looked for.
                words = f"{what} cannot be read inside ({attempt.words})"
                raise NotApplicable(words) if _ABSENT_REGEXP.search(attempt.error) else CannotTell(words)
            found = is_breach(attempt.value)
            return bool(found), f"{what}: {found or attempt.value}"

        yield Scene({}, look)

    return make


def _code(
    id_: str,
    title: str,
    code: str,
    scene: SceneMaker,
    vantages: tuple[Vantage, ...] = _INSIDE,
    runtimes: tuple[Runtime, ...] = BOTH,
) -> CodeProbe:
    guarantee = id_.partition(".")[0]
    return CodeProbe(id=id_, guarantee=guarantee, title=title, code=code, scene=scene, vantages=vantages, runtimes=runtimes)


# -- from the host ------------------------------------------------------------------------------------------------------------------


def status_of(pid: int) -> dict[str, str]:
    """Return the fields of a process's status; empty when it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def _family(pids: tuple[int, ...]) -> Iterator[int]:
    for pid in pids:
        yield pid
        try:
            yield from (child.pid for child in psutil.Process(pid).children(recursive=True))
        except psutil.Error:
            continue


_HOLD: Final = "return await codemode.hold(WITNESS);"


def _from_host(id_: str, title: str, look: Callable[[int, Stage], str]) -> ScriptedProbe:
    """Look at the processes that run a snippet, while it waits for a tool."""

    def script(stage: Stage) -> Sighting:
        seen: list[str] = []
        pids: list[int] = []
        witness = Witness()

        def hold(word: object) -> str:
            if str(word) == witness.answer:
                pids.extend(_family(stage.subject.pids()))
                seen.extend(found for pid in pids if (found := look(pid, stage)))
            return "looked"

        ran = stage.subject.run(_HOLD.replace("WITNESS", witness.code), {"hold": hold})
        trouble = "" if pids else f"the host does not know in which process the snippet ran ({ran})"
        observed = f"the host looked at {len(pids)} processes: {seen[0] if seen else 'none is more than it should be'}"
        return sighting(ran, witness.said(witness.answer) if pids else "", bool(seen), observed, trouble)

    return ScriptedProbe(id=id_, guarantee=id_.partition(".")[0], title=title, script=script, shown=_HOLD)


def _capable(status: Mapping[str, str]) -> str:
    sets = ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")
    left = [f"{name} {status[name]}" for name in sets if int(status.get(name, "0"), 16) != 0]
    return ", ".join(left)


def _may_gain(status: Mapping[str, str]) -> str:
    return "NoNewPrivs is 0" if status.get("NoNewPrivs") == "0" else ""


def _is_root(pid: int, stage: Stage) -> str:
    # Where the audit itself is not run by root, a process of root shows that the look is able to tell.
    status = status_of(1 if stage.is_control and os.geteuid() != 0 else pid)
    return f"the user ids of process {pid} are {status.get('Uid', '?')}" if "0" in status.get("Uid", "").split() else ""


def _unfiltered(pid: int, stage: Stage) -> str:
    return f"Seccomp of process {pid} is 0" if status_of(pid).get("Seccomp") == "0" else ""


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

_STATUS: Final = """
const text = (await need("fs")).readFileSync("/proc/self/status", "utf8");
return Object.fromEntries(text.split("\\n").map((line) => line.split(/:\\s*/, 2)).filter(([name]) => /^(Cap|Uid|Gid|Groups|NoNewPrivs|Seccomp$)/.test(name)));
"""
_MOUNTS: Final = """
const lines = (await need("fs")).readFileSync("/proc/self/mountinfo", "utf8").trim().split("\\n");
const found = {};
for (const line of lines) {
  const [before, after] = line.split(" - ");
  const [, , , , point, options] = before.split(" ");
  found[point] = { options: options.split(","), kind: after.split(" ")[0], more: after.split(" ")[2].split(",") };
}
return found;
"""


def _root_options(value: Any) -> str:
    root = value.get("/") if isinstance(value, dict) else None
    options = root.get("options", []) if isinstance(root, dict) else []
    return "" if "ro" in options else f"/ is mounted {','.join(options)}"


def _tmp_options(value: Any) -> str:
    mounts = value if isinstance(value, dict) else {}
    mount = mounts.get("/tmp") or mounts.get("/") or {}
    missing = [option for option in ("noexec", "nosuid") if option not in [*mount.get("options", []), *mount.get("more", [])]]
    return f"/tmp is not mounted {', '.join(missing)}" if missing else ""


def _tiny_program() -> bytes | None:
    """Return a program of a few bytes that exits with 42, for this machine's architecture; None for others."""
    code = {
        "x86_64": bytes.fromhex("bf2a000000b83c0000000f05"),  # mov edi, 42; mov eax, 60; syscall
        "aarch64": bytes.fromhex("400580d2a80b80d2010000d4"),  # mov x0, 42; mov x8, 93; svc 0
    }.get(os.uname().machine)
    if code is None:
        return None
    machine = {"x86_64": 62, "aarch64": 183}[os.uname().machine]
    base, start = 0x400000, 64 + 56
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = start + len(code)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + code


@contextmanager
def _program(_canaries: Canaries) -> Iterator[Scene]:
    program = _tiny_program()
    if program is None:
        raise NotApplicable(f"there is no tiny program for {os.uname().machine}")

    def look(attempt: Attempt) -> tuple[bool, str]:
        ran = attempt.at == "returned" and attempt.value == 42
        return ran, "a program that was written to /tmp was executed" if ran else "no program that was written to /tmp was executed"

    yield Scene({"bytes": list(program), "name": f"program-{secrets.token_hex(6)}"}, look)


_EXECUTE: Final = """
const fs = await need("fs");
const path = `/tmp/${P.name}`;
fs.writeFileSync(path, new Uint8Array(P.bytes));
fs.chmodSync(path, 0o755);
try {
  const done = (await need("child_process")).spawnSync(path);
  if (done.error) throw done.error;
  return done.status;
} finally { fs.unlinkSync(path); }
"""


def _filled() -> SceneMaker:
    wanted = 96 * MIB

    @contextmanager
    def make(_canaries: Canaries) -> Iterator[Scene]:
        def look(attempt: Attempt) -> tuple[bool, str]:
            size = attempt.value if attempt.at == "returned" and isinstance(attempt.value, int) else 0
            return size >= wanted, f"{size // MIB} MiB of {wanted // MIB} MiB could be written to /tmp"

        yield Scene({"size": wanted, "name": f"fill-{secrets.token_hex(6)}"}, look)

    return make


_FILL: Final = """
const fs = await need("fs");
const path = `/tmp/${P.name}`;
const piece = new Uint8Array(1 << 20).fill(7);
const file = fs.openSync(path, "w");
let size = 0;
try { while (size < P.size) size += fs.writeSync(file, piece); }
catch (error) { if (error.code !== "ENOSPC" && error.code !== "EFBIG") throw error; }
finally { fs.closeSync(file); fs.unlinkSync(path); }
return size;
"""

_WRITE_ROOT: Final = """
const fs = await need("fs");
const open = ["/", "/etc", "/usr", "/usr/bin", "/var", "/opt", "/home", "/root"].filter((folder) => {
  try { fs.accessSync(folder, fs.constants.W_OK); return true; } catch { return false; }
});
return open.length > 0 && { token: P.token, got: open.join() };
"""

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


def _group(id_: str, title: str, name: str) -> ScriptedProbe:
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

    return ScriptedProbe(
        id=id_, guarantee=id_.partition(".")[0], title=title, script=script, shown=_CGROUP, vantages=("snippet", "command")
    )


def _number(text: object) -> float | None:
    """Return a limit as a number; None when it is unlimited."""
    words = str(text).split()
    if not words or not all(word.isdigit() for word in words):
        return None
    numbers = [int(word) for word in words]
    value = numbers[0] / numbers[1] if len(numbers) == 2 and numbers[1] else numbers[0]
    return None if value > 1 << 60 else value  # version 1 of the control groups has such a number for "no limit"


# -- the probes ---------------------------------------------------------------------------------------------------------------------


def _root_ids(value: Any) -> str:
    ids = str(value.get("Uid", "")).split() if isinstance(value, dict) else []
    return f"the user ids are {' '.join(ids)}" if "0" in ids else ""


def _volume() -> SceneMaker:
    def changed(path: Path) -> str:
        text = path.read_text() if path.exists() else "gone"
        return "" if text == "untouched" else f"the file in the read-only volume now says {text[:40]!r}"

    return change(Canaries.file, changed)


VOLUME: Final = "/read-only-volume"
"""Where the folder of canaries is mounted in the containers that an audit makes for commands."""

_TRY_VOLUME: Final = f"""
const fs = await need("fs");
const paths = [P.path, P.path.replace(P.folder, "{VOLUME}")].filter((path) => fs.existsSync(path));
if (paths.length === 0) throw new Error("the volume is not there");
"""

PROBES: tuple[Probe, ...] = (
    _from_host("capabilities.from-host", "have capabilities, as the host sees it", lambda pid, _stage: _capable(status_of(pid))),
    _code("capabilities.status", "have capabilities, as the kernel tells inside", _STATUS, _told("capabilities", "the sets of capabilities", lambda value: _capable(value) if isinstance(value, dict) else "")),
    _code(
        "capabilities.change-owner", "give a file away to root",
        "const fs = await need('fs'); const path = `/tmp/own-${P.token}`; fs.writeFileSync(path, ''); try { fs.chownSync(path, 12345, 12345); return fs.statSync(path).uid === 12345 && { token: P.token, got: 'CAP_CHOWN' }; } finally { fs.unlinkSync(path); }",
        needs_root(got("a file of somebody else")),
    ),
    _code("capabilities.change-user", "become another user", "const process = needProcess(); process.seteuid(12345); const is = process.geteuid() === 12345; try { process.seteuid(0); } catch {} return is && { token: P.token, got: 'CAP_SETUID' };", needs_root(got("another user's id"))),
    _code("capabilities.groups", "join other groups", "const process = needProcess(); const before = process.getgroups(); process.setgroups([12345]); const is = process.getgroups().includes(12345); process.setgroups(before); return is && { token: P.token, got: 'CAP_SETGID' };", needs_root(got("membership in a group")), runtimes=("node",)),
    _code("capabilities.priority", "raise its own priority", "const os = await need('os'); os.setPriority(-5); const is = os.getPriority() === -5; os.setPriority(0); return is && { token: P.token, got: 'CAP_SYS_NICE' };", needs_root(got("a higher priority"))),
    _from_host("no-new-privileges.from-host", "be able to gain privileges, as the host sees it", lambda pid, _stage: _may_gain(status_of(pid))),
    _code("no-new-privileges.status", "be able to gain privileges, as the kernel tells inside", _STATUS, _told("no-new-privileges", "NoNewPrivs", lambda value: _may_gain(value) if isinstance(value, dict) else "")),
    _from_host("no-new-privileges.filter", "make any system call, without a filter", _unfiltered),
    _from_host("non-root.from-host", "be root, as the host sees it", _is_root),
    _code("non-root.status", "be root, as the kernel tells inside", _STATUS, needs_root(_told("non-root", "the user ids", _root_ids))),
    _code("non-root.become", "become root", "const process = needProcess(); process.setuid(0); return process.getuid() === 0 && { token: P.token, got: 'root' };", needs_root(got("the user id 0"))),
    _code("read-only-root.mounts", "have a root filesystem that can be written to", _MOUNTS, _told("read-only-root", "the options of /", _root_options)),
    _code("read-only-root.access", "have folders of the system that can be written to", _WRITE_ROOT, needs_root(got("folders that can be written to"))),
    _code("noexec-tmp.mounts", "have a /tmp from which programs run", _MOUNTS, _told("noexec-tmp", "the options of /tmp", _tmp_options)),
    _code("noexec-tmp.execute", "write a program to /tmp, and execute it", _EXECUTE, _program),
    _code("noexec-tmp.fill", "write more to /tmp than the memory is for", _FILL, _filled()),
    _from_host("processes-limit.from-host", "make any number of processes, as the host sees its limits", _unlimited),
    _group("processes-limit.cgroup", "make any number of processes, as its limits and its control group tell inside", "processes"),
    _group("cpu-limit.cgroup", "have all processors, as its control group tells inside", "cpus"),
    _group("memory-limit.cgroup", "have all memory, as its control group tells inside", "memory"),
    _code("volumes-read-only.overwrite", "overwrite a file in a read-only volume", _TRY_VOLUME + "fs.writeFileSync(paths.at(-1), 'touched');", _volume(), ("command",)),
    _code("volumes-read-only.append", "append to a file in a read-only volume", _TRY_VOLUME + "fs.appendFileSync(paths.at(-1), 'touched');", _volume(), ("command",)),
    _code("volumes-read-only.remove", "remove a file in a read-only volume", _TRY_VOLUME + "fs.unlinkSync(paths.at(-1));", _volume(), ("command",)),
    _code("volumes-read-only.mode", "change the mode of a file in a read-only volume, and write to it", _TRY_VOLUME + "fs.chmodSync(paths.at(-1), 0o777); fs.writeFileSync(paths.at(-1), 'touched');", _volume(), ("command",)),
)  # fmt: skip
