"""What each executor promises: the one table.

A row is a guarantee, a column an executor, a cell the circumstances that a promise rests on: all of them have to be given. An empty
cell is a promise without conditions, no cell is none. What the circumstances are, an executor says of itself:

    jail       its processes are in a jail
    processes  something counts its processes and threads
    hardened   its realm is hardened
    fresh      nothing is used again
    timeout, memory, output: that limit is set

Audits (`pytest_sandbox.guarantees`) prove what stands here; a cell that is not true is a fault. A leaf.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["PROMISES", "promised"]


def _on(*circumstances: str) -> frozenset[str]:
    return frozenset(circumstances)


_HOST: Final = ("network", "filesystem-read", "filesystem-write", "process-spawn", "process-visibility")
_REALM: Final = ("host-objects", "code-generation", "frozen-builtins", "sealed-global")
_ALWAYS: Final = {
    "environment": _on(),
    "tool-bridge": _on(),
    "time-limit": _on("timeout"),
    "memory-limit": _on("memory"),
    "output-limit": _on("output"),
    "availability": _on("timeout", "memory"),
}
_JAILED: Final = {
    **dict.fromkeys(("capabilities", "no-new-privileges", "non-root", "read-only-root"), _on("jail")),
    "processes-limit": _on("jail", "processes"),
}

PROMISES: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "isolated-vm": {**dict.fromkeys((*_HOST, *_REALM, "state"), _on()), **_ALWAYS, **_JAILED},
    "deno": {**dict.fromkeys((*_HOST, *_REALM, "state"), _on()), **_ALWAYS, **_JAILED},
    "container": {
        # Inside of it is all of Node: another program can be started, there. The container is the wall.
        **dict.fromkeys((name for name in _HOST if name != "process-spawn"), _on()),
        **dict.fromkeys((*_REALM, "process-spawn"), _on("hardened")),
        "state": _on("fresh"),
        **_ALWAYS,
        **dict.fromkeys(("capabilities", "no-new-privileges", "non-root", "read-only-root", "noexec-tmp", "cpu-limit"), _on()),
        "processes-limit": _on("processes"),
    },
    "vm2": {
        # Its realm is treated as breached: what is kept from the host, the jail keeps. It cannot seal its global object.
        **dict.fromkeys(_HOST, _on("jail")),
        **dict.fromkeys(("host-objects", "code-generation", "frozen-builtins", "state"), _on()),
        **_ALWAYS,
        **_JAILED,
    },
    "lua": {
        **dict.fromkeys((*_HOST, "host-objects", "state"), _on()),
        **_ALWAYS,
    },
    "exec.native": {
        "network": _on("jail", "no network"),
        **dict.fromkeys(("filesystem-read", "filesystem-write", "process-visibility"), _on("jail")),
        "clean-environment": _on(),
        "whitelist": _on("whitelist"),
        "time-limit": _on(),
        "output-limit": _on(),
        "availability": _on(),
        "memory-limit": _on("jail", "memory"),
        **dict.fromkeys(("capabilities", "no-new-privileges", "non-root", "read-only-root"), _on("jail")),
        "processes-limit": _on("jail", "processes"),
    },
    "exec.docker": {
        "network": _on("no network"),
        **dict.fromkeys(("filesystem-read", "filesystem-write", "process-visibility"), _on("own container")),
        "clean-environment": _on(),
        "whitelist": _on("whitelist"),
        "time-limit": _on("own container"),
        "output-limit": _on(),
        "availability": _on("own container"),
        "memory-limit": _on("memory"),
        "capabilities": _on("no capabilities"),
        "no-new-privileges": _on("no new privileges"),
        "non-root": _on("user"),
        "read-only-root": _on("read-only root"),
        "noexec-tmp": _on("noexec tmp"),
        "processes-limit": _on("processes"),
        "cpu-limit": _on("cpu"),
        "volumes-read-only": _on("read-only volumes"),
    },
}
"""By executor, by guarantee: the circumstances. Executors of plugins say themselves what they promise."""


def promised(executor: str, circumstances: Iterable[str]) -> frozenset[str]:
    """Return the ids of what an executor promises in these circumstances; nothing for one that is not ours."""
    given = frozenset(circumstances)
    return frozenset(name for name, needed in PROMISES.get(executor, {}).items() if needed <= given)
