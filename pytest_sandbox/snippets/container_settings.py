"""Whether a container is what was asked for: the settings that its process 1 has read from inside, against the request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_sandbox.engines.spec import ContainerSpec

__all__ = ["TMP_OPTIONS", "ignored_settings"]

TMP_OPTIONS = ("rw", "noexec", "nosuid")
"""Mount options of /tmp, besides its size."""


def ignored_settings(found: Mapping[str, Any], spec: ContainerSpec, *, tmp_size: int, is_our_image: bool) -> list[str]:
    """Return one phrase for each setting that the engine or its runtime did not apply.

    Args:
        found: what `container_settings.mjs` read.
        spec: what was asked for.
        tmp_size: bytes of /tmp.
        is_our_image: whether Node must be unreadable, too.
    """
    try:
        return list(_mismatches(found, spec, tmp_size, is_our_image))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        return [f"the settings cannot be read from inside ({type(error).__name__}: {error})"]


def _mismatches(found: Mapping[str, Any], spec: ContainerSpec, tmp_size: int, is_our_image: bool) -> Iterator[str]:
    uids = str(found["uids"]).split()
    if len(uids) != 4 or "0" in uids:
        yield f"user node: the user ids are {' '.join(uids)}"
    if any(int(mask, 16) != 0 for mask in found["capabilities"]):
        yield f"cap-drop ALL: the capabilities are {' '.join(found['capabilities'])}"
    if found["no_new_privileges"] != "1":
        yield f"no-new-privileges: NoNewPrivs is {found['no_new_privileges']!r}"
    if "ro" not in found["root"]:
        yield f"read-only: / is mounted {','.join(found['root'])}"
    yield from _tmp(found["tmp"], tmp_size)
    if [name for name in found["interfaces"] if name not in ("lo", "")]:
        yield f"network none: the interfaces are {', '.join(found['interfaces'])}"
    yield from _control_groups(found, spec)
    if found["process"] != 1:
        yield f"the runner is to be process 1: it is process {found['process']}"
    if is_our_image and found["readable_node"]:
        yield "an unreadable Node: it can be read inside"


def _tmp(mount: Mapping[str, Any] | None, size: int) -> Iterator[str]:
    if mount is None or mount["kind"] != "tmpfs":
        yield f"tmpfs /tmp: it is {mount}"
        return
    missing = [option for option in TMP_OPTIONS if option not in mount["options"]]
    if missing or f"size={size // 1024}k" not in mount["options"]:
        yield f"tmpfs /tmp with {','.join(TMP_OPTIONS)} and {size} bytes: its options are {','.join(mount['options'])}"


def _control_groups(found: Mapping[str, Any], spec: ContainerSpec) -> Iterator[str]:
    if spec.memory is not None:
        # Control groups count in pages.
        if not found["memory"].isdigit() or not spec.memory - 65_536 <= int(found["memory"]) <= spec.memory:
            yield f"memory {spec.memory}: the control group has {found['memory'] or 'no limit'}"
        no_swap = found["swap"] == "0" or found["memory_and_swap"] == found["memory"] or found["swap_devices"] == 0
        if not no_swap:
            yield f"no swap: the control group allows {found['swap'] or found['memory_and_swap'] or 'any'}"
    if spec.pids_limit is not None and found["pids"] != str(spec.pids_limit):
        yield f"pids-limit {spec.pids_limit}: the control group has {found['pids'] or 'no limit'}"
    if spec.cpus is not None:
        quota, period = found["cpu"]
        if not quota.isdigit() or not period.isdigit() or abs(int(quota) / int(period) - spec.cpus) > 0.011:
            yield f"cpus {spec.cpus:g}: the control group has a quota of {quota or 'nothing'} in each {period or '?'} microseconds"
