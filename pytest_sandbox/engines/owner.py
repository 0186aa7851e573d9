"""Whose container is it? Labels that name the owner, and the sweep of what dead owners left behind."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_sandbox.errors import EngineError
from pytest_sandbox.processes.watchdog import start_ticks

if TYPE_CHECKING:
    from pytest_sandbox.engines.base import Engine

__all__ = ["KEPT_LABEL", "OWNER_LABEL", "describe_owner", "is_dead", "new_name", "owner_label", "sweep"]

OWNER_LABEL: Final = "pytest-sandbox.owner"
KEPT_LABEL: Final = "pytest-sandbox.kept"
"""Bears the containers that somebody has asked to keep: no sweep touches them."""


def _here() -> tuple[str, str]:
    """Return what tells this machine, since its last start, and this pid namespace from all others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:  # not Linux: nothing there tells a reused process id apart, so nothing there is ever swept
        return f"host-{socket.gethostname()}", "-"
    return boot, namespace


def owner_label() -> str:
    """Return who we are: boot id, pid namespace, pid and start of this process in clock ticks, joined with colons."""
    boot, namespace = _here()
    return f"{boot}:{namespace}:{os.getpid()}:{start_ticks(os.getpid())}"


def new_name() -> str:
    """Return a container name that nobody else has."""
    return f"pytest-sandbox-{secrets.token_hex(8)}"


def is_dead(label: str) -> bool:
    """Return whether the owner is certainly dead: of this boot and this pid namespace, and not running.

    Args:
        label: as made by `owner_label`; anything else counts as alive.
    """
    parts = label.split(":")
    if len(parts) != 4 or (parts[0], parts[1]) != _here() or parts[1] == "-":
        return False
    with suppress(ValueError):
        pid, ticks = int(parts[2]), int(parts[3])
        return pid > 0 and ticks >= 0 and start_ticks(pid) != ticks
    return False


def describe_owner(label: str) -> str:
    """Return who an owner is, and whether that is alive, in words.

    Args:
        label: as made by `owner_label`.
    """
    parts = label.split(":")
    boot, namespace = _here()
    if len(parts) != 4:
        return f'not known ("{label}")'
    if is_dead(label):
        return f"process {parts[2]}, which is dead"
    if parts[0] != boot:
        return f"process {parts[2]} of another machine, or of this one before its last start"
    if parts[1] != namespace or namespace == "-":
        return f"process {parts[2]} of another pid namespace"
    return f"process {parts[2]}, which runs"


def sweep(engine: Engine) -> list[str]:
    """Remove the containers that owners left behind who are of this boot and pid namespace and dead.

    Containers of other machines, of other namespaces and of living processes are never touched.

    Returns:
        The names of the containers that were removed. One that cannot be removed is left for the next sweep.
    """
    removed = []
    for state in engine.find(OWNER_LABEL):
        if KEPT_LABEL not in state.labels and is_dead(state.labels.get(OWNER_LABEL, "")):
            with suppress(EngineError):
                if engine.remove(state.id):
                    removed.append(state.name)
    return removed
