"""Attacks on `capabilities`, `no-new-privileges` and `non-root`: read from inside, tried out, and looked at from the host."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from pytest_sandbox.guarantees.attacks import attack
from pytest_sandbox.guarantees.host_view import from_host, status_of
from pytest_sandbox.guarantees.probe import BOTH, CodeProbe, Probe, Runtime
from pytest_sandbox.guarantees.scenes import got, needs_root, told
from pytest_sandbox.guarantees.stage import SceneMaker, Stage
from pytest_sandbox.guarantees.subjects import Vantage

__all__ = ["PROBES"]

_INSIDE: Final[tuple[Vantage, ...]] = ("snippet", "process", "command")


def _code(id: str, title: str, code: str, scene: SceneMaker, *, runtimes: tuple[Runtime, ...] = BOTH) -> CodeProbe:
    return attack(id, title, code, scene, runtimes=runtimes, vantages=_INSIDE)


# -- from the host ------------------------------------------------------------------------------------------------------------------


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


# -- from inside --------------------------------------------------------------------------------------------------------------------

_STATUS: Final = """
const text = (await need("fs")).readFileSync("/proc/self/status", "utf8");
return Object.fromEntries(text.split("\\n").map((line) => line.split(/:\\s*/, 2)).filter(([name]) => /^(Cap|Uid|Gid|Groups|NoNewPrivs|Seccomp$)/.test(name)));
"""


def _root_ids(value: Any) -> str:
    ids = str(value.get("Uid", "")).split() if isinstance(value, dict) else []
    return f"the user ids are {' '.join(ids)}" if "0" in ids else ""


PROBES: tuple[Probe, ...] = (
    from_host("capabilities.from-host", "have capabilities, as the host sees it", lambda pid, _stage: _capable(status_of(pid))),
    _code("capabilities.status", "have capabilities, as the kernel tells inside", _STATUS, told("the sets of capabilities", lambda value: _capable(value) if isinstance(value, dict) else "")),
    _code(
        "capabilities.change-owner", "give a file away to root",
        "const fs = await need('fs'); const path = `/tmp/own-${P.token}`; fs.writeFileSync(path, ''); try { fs.chownSync(path, 12345, 12345); return fs.statSync(path).uid === 12345 && { token: P.token, got: 'CAP_CHOWN' }; } finally { fs.unlinkSync(path); }",
        needs_root(got("a file of somebody else")),
    ),
    _code("capabilities.change-user", "become another user", "const process = needProcess(); process.seteuid(12345); const is = process.geteuid() === 12345; try { process.seteuid(0); } catch {} return is && { token: P.token, got: 'CAP_SETUID' };", needs_root(got("another user's id"))),
    _code("capabilities.groups", "join other groups", "const process = needProcess(); const before = process.getgroups(); process.setgroups([12345]); const is = process.getgroups().includes(12345); process.setgroups(before); return is && { token: P.token, got: 'CAP_SETGID' };", needs_root(got("membership in a group")), runtimes=("node",)),
    _code("capabilities.priority", "raise its own priority", "const os = await need('os'); os.setPriority(-5); const is = os.getPriority() === -5; os.setPriority(0); return is && { token: P.token, got: 'CAP_SYS_NICE' };", needs_root(got("a higher priority"))),
    from_host("no-new-privileges.from-host", "be able to gain privileges, as the host sees it", lambda pid, _stage: _may_gain(status_of(pid))),
    _code("no-new-privileges.status", "be able to gain privileges, as the kernel tells inside", _STATUS, told("NoNewPrivs", lambda value: _may_gain(value) if isinstance(value, dict) else "")),
    from_host("no-new-privileges.filter", "make any system call, without a filter", _unfiltered),
    from_host("non-root.from-host", "be root, as the host sees it", _is_root),
    _code("non-root.status", "be root, as the kernel tells inside", _STATUS, needs_root(told("the user ids", _root_ids))),
    _code("non-root.become", "become root", "const process = needProcess(); process.setuid(0); return process.getuid() === 0 && { token: P.token, got: 'root' };", needs_root(got("the user id 0"))),
)  # fmt: skip
