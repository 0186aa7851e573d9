"""What an entry leaves open: warnings for whoever wrote it, phrases for the header, and the tightened entry for tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from pytest_sandbox.entries.model import DockerEntry, NativeEntry
from pytest_sandbox.entries.mounts import is_dangerous, parse_volume
from pytest_sandbox.entries.registry import LoadedEntry

__all__ = ["TIGHT", "LooseSetting", "dangers", "loose_settings", "tighten"]

MIB: Final = 1024 * 1024

TIGHT: Final[dict[str, Any]] = {
    "network_mode": "none",
    "read_only_rootfs": True,
    "tmpfs": {"/tmp": "rw,noexec,nosuid,size=64m"},
    "cap_drop": ("ALL",),
    "no_new_privileges": True,
    "user": "65534:65534",
    "pids_limit": 64,
    "memory_limit": 256 * MIB,
}
"""What `tighten` sets where an entry says nothing: the flags of the container executor, and a user that is nobody."""


@dataclass(frozen=True, slots=True)
class LooseSetting:
    """One setting that leaves more open than it could.

    Attributes:
        id: the entry's id.
        field: the field that would tighten it.
        message: what is open, and what to write.
        line: the line of the field, or of the entry when the field is not given; None for an entry made in Python.
        dangerous: whether it hands out the host; such settings are named in the header and in reports.
    """

    id: str
    field: str
    message: str
    line: int | None
    dangerous: bool = False

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def loose_settings(loaded: LoadedEntry) -> list[LooseSetting]:
    """Return everything that an entry leaves open."""
    entry = loaded.entry
    found = [*_common(entry), *(_native(entry) if isinstance(entry, NativeEntry) else _docker(entry))]
    return [
        LooseSetting(loaded.id, field, message, loaded.field_lines.get(field, loaded.line), dangerous)
        for field, message, dangerous in found
    ]


def dangers(loaded: LoadedEntry) -> list[str]:
    """Return, as phrases for the header and for reports, the settings by which an entry hands out the host."""
    return [f"{setting.field}: {setting.message}" for setting in loose_settings(loaded) if setting.dangerous]


def tighten(loaded: LoadedEntry) -> LoadedEntry:
    """Return the entry with strict values in every field that it leaves unset; one of a running container stays as it is."""
    entry = loaded.entry
    if not isinstance(entry, DockerEntry) or entry.container is not None:
        return loaded
    unset = {name: value for name, value in TIGHT.items() if name not in loaded.given}
    return dataclasses.replace(loaded, entry=msgspec.structs.replace(entry, **unset))


_Found = Iterator[tuple[str, str, bool]]


def _common(entry: NativeEntry | DockerEntry) -> _Found:
    if entry.command_whitelist is None:
        yield "command_whitelist", "any command may be run; list the commands that are needed", False
        if entry.env_allow:
            yield "env_allow", "has no effect without command_whitelist; add one", False


def _native(entry: NativeEntry) -> _Found:
    if entry.confine is None:
        yield "confine", "commands run as the user of the test run, with its files and network; add `confine`", False
    elif entry.confine.network == "host":
        yield "confine", "commands reach the host's network; leave out `network: host`", False
    elif not entry.confine.strict:
        yield "confine", "is skipped on machines that cannot confine; add `strict: true`", False
    if entry.default_work_dir is None and entry.command_whitelist is not None:
        yield "default_work_dir", "a call may run whitelisted commands in any folder; name one", False


def _docker(entry: DockerEntry) -> _Found:
    if entry.container is not None:
        yield "container", f'commands run in the running container "{entry.container}", whose settings are not checked', False
        return
    yield from _docker_dangers(entry)
    if entry.network_mode == "bridge":
        yield "network_mode", "`bridge` reaches other machines; write `none` where no network is needed", False
    for field, ok, message in (
        ("memory_limit", entry.memory_limit, "memory is unlimited; write a size such as `256m`"),
        ("cpu_quota", entry.cpu_quota, "CPU time is unlimited; write `100000` for one CPU"),
        ("pids_limit", entry.pids_limit, "the number of processes is unlimited; write `64`"),
        ("read_only_rootfs", entry.read_only_rootfs, "the root filesystem is writable; write `true`"),
        ("no_new_privileges", entry.no_new_privileges, "setuid programs gain privileges; write `true`"),
        ("cap_drop", "ALL" in {name.upper() for name in entry.cap_drop}, "capabilities are left; write `[ALL]`"),
        ("user", entry.user not in (None, "root", "0", "0:0"), "commands may run as root inside; write `65534:65534`"),
        ("auto_remove", entry.auto_remove, "containers are kept until the executor is closed; write `true`"),
    ):
        if not ok:
            yield field, message, False
    if entry.keep:
        yield "keep", "containers stay when the executor is closed; leave it out", False


def _docker_dangers(entry: DockerEntry) -> _Found:
    if entry.network_mode == "host":
        yield "network_mode", "`host` shares the host's network, local services included", True
    if entry.cap_add:
        yield "cap_add", f"adds {', '.join(entry.cap_add)}", True
    for volume in entry.volumes:
        reason = is_dangerous(parse_volume(volume))
        if reason:
            yield "volumes", reason, True
