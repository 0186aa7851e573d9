"""What an engine's API says about itself, and what the SDK's errors say about what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pytest_sandbox.engines.apiconfig import normal_architecture
from pytest_sandbox.engines.base import EngineInfo, Stats
from pytest_sandbox.engines.quirks import is_local

__all__ = ["engine_info", "innermost", "parse_stats", "spoken_version", "was_refused"]

_NEWEST_KNOWN: Final = (1, 47)
_OLDEST: Final = (1, 40)


def spoken_version(offered: str) -> str:
    """Return the API version to speak with an engine: its own, unless that is newer than what was tried.

    Raises:
        ValueError: when the engine is too old, or says something else than a version.
    """
    try:
        major, minor = (int(part) for part in offered.split("."))
    except ValueError:
        raise ValueError(
            f'expected an API version such as "1.41" in the answer, got "{offered}": this is no container engine'
        ) from None
    if (major, minor) < _OLDEST:
        raise ValueError(f"its API version is {offered}, at least {_OLDEST[0]}.{_OLDEST[1]} is needed: install a newer engine")
    return "{}.{}".format(*min((major, minor), _NEWEST_KNOWN))


def _innermost(error: BaseException) -> BaseException:
    while True:
        inner = error.__cause__ or error.__context__ or next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        if inner is None:
            return error
        error = inner


def innermost(error: BaseException) -> str:
    """Return what went wrong without the layers of libraries around it."""
    error = _innermost(error)
    return str(error) or type(error).__name__


def was_refused(error: BaseException) -> bool:
    """Return whether there was nobody to be asked."""
    return isinstance(_innermost(error), ConnectionRefusedError | FileNotFoundError)


def engine_info(url: str, api_version: str, version: Mapping[str, Any], facts: Mapping[str, Any]) -> EngineInfo:
    """Return the facts of an engine from its answers to ``/version`` and ``/info``."""
    components = {str(part.get("Name")): part for part in version.get("Components") or ()}
    podman = components.get("Podman Engine")
    runtime = str(facts.get("DefaultRuntime") or "")
    for name, part in components.items():
        if runtime and name in (runtime, f"OCI Runtime ({runtime})"):
            words = str(part.get("Version") or "").split("\n")[0].split()
            runtime = f"{runtime} {words[-1]}" if words else runtime
    return EngineInfo(
        name="podman" if podman else "docker",
        version=str((podman or version).get("Version") or "unknown"),
        api_version=api_version,
        transport="socket",
        endpoint=url,
        rootless=any("rootless" in str(option) for option in facts.get("SecurityOptions") or ()),
        cgroup_version=str(facts.get("CgroupVersion") or "").removeprefix("v"),
        runtime=runtime or "an unnamed runtime",
        architecture=normal_architecture(str(facts.get("Architecture") or version.get("Arch") or "")),
        is_local=is_local(url),
    )


def parse_stats(facts: Mapping[str, Any]) -> Stats:
    """Return what a container has used, from an engine's answer to ``/containers/…/stats``."""
    memory, cpu = facts.get("memory_stats") or {}, (facts.get("cpu_stats") or {}).get("cpu_usage") or {}
    details = memory.get("stats") or {}
    droppable = details.get("inactive_file", details.get("total_inactive_file", 0))
    return Stats(
        memory=max(0, memory["usage"] - droppable) if "usage" in memory else None,
        memory_peak=memory.get("max_usage") or None,
        cpu=cpu["total_usage"] / 1e9 if "total_usage" in cpu else None,
        pids=(facts.get("pids_stats") or {}).get("current"),
    )
