"""What must hold between the fields of an entry, beyond the type of each."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pytest_sandbox.commands.words import split_words
from pytest_sandbox.entries.model import Mount
from pytest_sandbox.entries.mounts import check_mount, parse_volume
from pytest_sandbox.entries.tree import Report, Tree

__all__ = ["CONTAINER_FIELDS", "check_rules"]

CONTAINER_FIELDS: Final = (
    "image",
    "network_mode",
    "volumes",
    "memory_limit",
    "cpu_quota",
    "auto_remove",
    "read_only_rootfs",
    "no_new_privileges",
    "cap_drop",
    "cap_add",
    "pids_limit",
    "tmpfs",
    "runtime",
    "platform",
    "pull",
    "keep",
)
"""What describes a container to be made: without meaning for one that is running."""

LEAST_MEMORY: Final = 6 * 1024 * 1024
"""Bytes: engines refuse less."""
LEAST_CPU_QUOTA: Final = 1_000
"""Microseconds in each tenth of a second: kernels refuse less."""


def check_rules(tree: Tree, kind: str, values: Mapping[str, Any], report: Report) -> None:
    """Report every contradiction in an entry.

    Args:
        tree: the entry as written.
        kind: its kind.
        values: its sound fields.
        report: called for every problem.
    """
    _check_whitelist(tree, report)
    if kind == "exec.docker":
        _check_image(tree, values, report)
        _check_volumes(tree, values, report)
        _check_numbers(tree, values, report)
        if values.get("keep") and values.get("auto_remove"):
            report(_field_line(tree, "keep"), "keep", "contradicts auto_remove: true; leave out one of them")


def _field_line(tree: Tree, name: str) -> int:
    return (tree.key_lines or {}).get(name, tree.line)


def _items(tree: Tree, name: str) -> list[Tree]:
    """Return the items of a list, wrong ones included: one bad item hides no problem of the others."""
    field = tree.value.get(name)
    return field.value if field is not None and isinstance(field.value, list) else []


def _check_whitelist(tree: Tree, report: Report) -> None:
    for index, item in enumerate(_items(tree, "command_whitelist")):
        if isinstance(item.value, str) and item.value:
            try:
                split_words(item.value)
            except ValueError as error:
                report(item.line, f"command_whitelist[{index}]", f"can never run: {error}")


def _check_image(tree: Tree, values: Mapping[str, Any], report: Report) -> None:
    if tree.value.get("container") is None or tree.value["container"].value is None:
        if "image" not in tree.value or tree.value["image"].value is None:
            report(tree.line, "image", 'is missing: expected an image such as "python:3.11-slim", or a running "container"')
        return
    for name in CONTAINER_FIELDS:
        if name in tree.value:
            line = _field_line(tree, name)
            report(line, name, "describes a container to be made, but container names one that is running: leave out one")


def _check_volumes(tree: Tree, values: Mapping[str, Any], report: Report) -> None:
    targets: dict[str, str] = {}
    for index, item in enumerate(_items(tree, "volumes")):
        where = f"volumes[{index}]"
        try:
            mount = parse_volume(item.value if isinstance(item.value, str) else msgspec.convert(item.plain(), Mount))
        except msgspec.ValidationError:
            continue  # reported with its type
        except ValueError as error:
            report(item.line, where, str(error))
            continue
        wrong = check_mount(mount)
        target = posixpath.normpath(mount.target)
        if wrong:
            report(item.line, where, wrong)
        elif target in targets:
            report(item.line, where, f"mounts on {target} again: {targets[target]} does so already")
        targets.setdefault(target, where)
    for path in values.get("tmpfs", {}):
        target = posixpath.normpath(path)
        if target in targets:
            line = tree.value["tmpfs"].value[path].line
            report(line, f"tmpfs.{path}", f"mounts on {target} again: {targets[target]} does so already")


def _check_numbers(tree: Tree, values: Mapping[str, Any], report: Report) -> None:
    memory = values.get("memory_limit", 0)
    if 0 < memory < LEAST_MEMORY:
        line = _field_line(tree, "memory_limit")
        report(line, "memory_limit", f"expected 0 (unlimited) or at least 6m ({LEAST_MEMORY} bytes), got {memory} bytes")
    quota = values.get("cpu_quota", 0)
    if 0 < quota < LEAST_CPU_QUOTA:
        line = _field_line(tree, "cpu_quota")
        report(line, "cpu_quota", f"expected 0 (unlimited) or at least {LEAST_CPU_QUOTA} (1 % of a CPU), got {quota}")
