"""Whether a jail can be entered on this machine: found out by entering one and reading back, from inside, what it is like."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from pytest_sandbox.processes.confinement import Confinement
from pytest_sandbox.processes.host_ids import mapped_ids
from pytest_sandbox.processes.jail import Jail
from pytest_sandbox.processes.libraries import runtime_files
from pytest_sandbox.processes.seccomp import ARCHITECTURES
from pytest_sandbox.processes.spawn import end_group, spawn_soon

__all__ = ["NoJail", "find_jail", "find_jail_soon"]

_DEADLINE: Final = 10.0
"""Seconds for one attempt; it takes a hundredth of one on a machine that is not overloaded."""

_FOLDERS: Final = "/usr/bin:/bin:/usr/sbin:/sbin"
"""Where to look for the tools after PATH: a test run may have a short one."""

_COUNTING_LINUX: Final = (5, 14)
"""From here on, processes are counted for each user namespace, too; before, for a user in the whole."""

_INSTALL: Final = "install it with 'apt-get install {0}', 'dnf install {0}' or 'apk add {0}'"


@dataclass(frozen=True)
class NoJail:
    """There is no jail on this machine.

    Attributes:
        reason: what was tried, and what happened.
        fix: what to do about it.
    """

    reason: str
    fix: str


_lock = threading.Lock()
_found: Future[Jail | NoJail] | None = None


def _after_fork() -> None:
    """Look again in a forked child whose parent was still looking: the thread that does so is not there."""
    global _lock, _found
    _lock = threading.Lock()
    if _found is not None and not _found.done():
        _found = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def find_jail_soon() -> Future[Jail | NoJail]:
    """Begin to look for a jail, once per process, and return at once; the future never has an exception."""
    global _found
    with _lock:
        if _found is None:
            _found = Future()
            threading.Thread(target=_find, args=(_found,), name="pytest-sandbox-jail-probe", daemon=True).start()
        return _found


def find_jail() -> Jail | NoJail:
    """Return the jail of this machine, or why there is none; found out once per process."""
    return find_jail_soon().result()


def _find(found: Future[Jail | NoJail]) -> None:
    try:
        found.set_result(_probe())
    except Exception as error:  # whatever it is, there is no jail
        found.set_result(NoJail(f"looking for one failed: {type(error).__name__}: {error}", "report this as a bug"))


def _probe() -> Jail | NoJail:
    if not sys.platform.startswith("linux"):
        return NoJail(f"it needs Linux, and this is {sys.platform}", "choose executor container")
    if platform.machine() not in ARCHITECTURES:
        known = " and ".join(ARCHITECTURES)
        return NoJail(
            f"its system call filter knows {known}, and this machine is {platform.machine()}", "choose executor container"
        )
    is_root = os.geteuid() == 0
    needed = {"bwrap": "bubblewrap", "prlimit": "util-linux"} | ({"setpriv": "util-linux"} if is_root else {})
    paths = {name: shutil.which(name) or shutil.which(name, path=_FOLDERS) for name in needed}
    for name, package in needed.items():
        if paths[name] is None:
            return NoJail(f"there is no {name} on PATH", _INSTALL.format(package))
    if is_root and not mapped_ids():
        return NoJail("this root has no user ids to spare, in its user namespace", "run as an ordinary user, or as the host's root")
    bwrap, *tools = (str(path) for path in paths.values())
    runtime_files(*tools, _reader())  # at the same time, to be known below
    version = spawn_soon([bwrap, "--version"], env={}, stdin=subprocess.DEVNULL)
    jail = Jail(
        program=bwrap,
        env_program=shutil.which("env", path=_FOLDERS) or "/usr/bin/env",
        tools=tuple(tools),
        tool_files=runtime_files(*tools),
        own_ids=is_root,
        counts_processes=is_root or _linux() >= _COUNTING_LINUX,
    )
    tried = _try(jail)
    if isinstance(tried, NoJail):
        return tried
    return dataclasses.replace(tried, version=(_output(version)[1].split() or [""])[-1])


def _try(jail: Jail) -> Jail | NoJail:
    """Enter a jail, and do without what this bubblewrap or kernel does not have and the jail can lack."""
    code, output, errors = _enter(jail)
    # An old bubblewrap does not know the option; in a container the setting behind it can be read-only.
    if jail.locks_namespaces and ("--disable-userns" in errors or "max_user_namespaces:" in errors):
        return _try(dataclasses.replace(jail, locks_namespaces=False))
    if jail.has_proc and "mount proc" in errors:
        return _try(dataclasses.replace(jail, has_proc=False))
    if code != 0:
        return _explain(jail, code, errors)
    return _loose_end(jail, output) or jail


def _reader() -> str:
    return shutil.which("cat", path=_FOLDERS) or "cat"


def _enter(jail: Jail) -> tuple[int | None, str, str]:
    """Run a harmless program inside, with every flag that a runner gets, and return what it says about its process."""
    # The program that sets the limits prints them when it has nothing to run.
    command = [_reader(), "/proc/self/status"] if jail.has_proc else [jail.tools[0], "--nproc"]
    inside = Confinement(read_only=runtime_files(_reader()), proc=jail.has_proc, processes=16)
    confined = jail.confine(command, {}, inside)
    try:
        return _output(confined.start(stdin=subprocess.DEVNULL))
    finally:
        confined.release()


def _output(starting: Future[subprocess.Popen[bytes]]) -> tuple[int | None, str, str]:
    try:
        process = starting.result(_DEADLINE)
    except OSError as error:
        return None, "", str(error)
    output = errors = b""
    with contextlib.suppress(subprocess.TimeoutExpired):
        output, errors = process.communicate(timeout=_DEADLINE)
    return end_group(process), output.decode("utf-8", "replace"), errors.decode("utf-8", "replace").strip()


def _loose_end(jail: Jail, status: str) -> NoJail | None:
    """Compare what a process inside is like with what it has to be like."""
    if not jail.has_proc:
        return None
    fields = dict(re.findall(r"^(\w+):\s*(.*)$", status, re.MULTILINE))
    wanted = {
        "Pid": "2" if jail.own_ids else "1",
        "NoNewPrivs": "1",
        "Seccomp": "2",
        "CapEff": "0" * 16,
        "CapPrm": "0" * 16,
        "CapAmb": "0" * 16,
    }
    wanted |= {"CapBnd": "0" * 16, "CapInh": "0" * 16}
    found = {name: fields.get(name, "missing") for name in wanted}
    if found != wanted:
        wrong = ", ".join(f"{name} is {found[name]}, not {wanted[name]}" for name in wanted if found[name] != wanted[name])
        return NoJail(
            f"a process inside is not confined as it should be: {wrong}", f"report this, with the version of {jail.program}"
        )
    users = fields.get("Uid", "").split()
    if len(set(users)) != 1 or (jail.own_ids and int(users[0]) not in mapped_ids()):
        return NoJail(f"a process inside has the user ids {users}", f"report this, with the version of {jail.program}")
    return None


def _explain(jail: Jail, code: int | None, errors: str) -> NoJail:
    """Say why a jail could not be entered, and what helps."""
    words = errors.splitlines()[-1].removeprefix("bwrap: ") if errors else f"it ended with code {code} and no message"
    reason = f"{jail.program} cannot enter one: {words[:300]}"
    if "Unknown option" in errors:
        return NoJail(reason, "install bubblewrap 0.8 or newer")
    if "setuid mode" in errors:
        return NoJail(reason, f"let bubblewrap use user namespaces: 'chmod u-s {jail.program}' as root")
    if not jail.own_ids:
        for name, forbidding in _FORBIDDING.items():
            if _setting(name) == forbidding:
                return NoJail(f"{reason}; {name} is {forbidding}", _ALLOW_NAMESPACES[name])
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        rights = "--cap-add SYS_ADMIN --cap-add NET_ADMIN" if jail.own_ids else "--security-opt systempaths=unconfined"
        return NoJail(
            f"{reason}; this is a container",
            f"run it with '{rights} --security-opt seccomp=unconfined' and, where there is AppArmor, "
            "'--security-opt apparmor=unconfined'; or choose executor container with the host's engine",
        )
    return NoJail(reason, "see docs/jail.md for what a jail needs")


_FORBIDDING: Final = {
    "kernel.apparmor_restrict_unprivileged_userns": "1",
    "kernel.unprivileged_userns_clone": "0",
    "user.max_user_namespaces": "0",
}
"""Settings of the kernel with the value that keeps ordinary users from making namespaces."""

_ALLOW_NAMESPACES: Final = {
    "kernel.apparmor_restrict_unprivileged_userns": "install an AppArmor profile that allows bwrap user namespaces (on Ubuntu "
    "'apt-get install apparmor-profiles', 'ln -s /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/' and "
    "'systemctl reload apparmor'), or run 'sysctl kernel.apparmor_restrict_unprivileged_userns=0' as root",
    "kernel.unprivileged_userns_clone": "run 'sysctl kernel.unprivileged_userns_clone=1' as root",
    "user.max_user_namespaces": "run 'sysctl user.max_user_namespaces=10000' as root",
}


def _setting(name: str) -> str:
    with contextlib.suppress(OSError), open("/proc/sys/" + name.replace(".", "/"), encoding="ascii") as file:
        return file.read().strip()
    return ""


def _linux() -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return tuple(int(part) for part in found.groups()) if found else (0, 0)
