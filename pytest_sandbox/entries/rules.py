"""What must hold between the fields of an entry, beyond the type of each."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, Final

from pytest_sandbox.commands.words import split_words
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
    _check_whitelist(tree, values, report)
    if kind == "exec.docker":
        _check_image(tree, values, report)
        _check_volumes(tree, values, report)
        _check_numbers(tree, values, report)
        if values.get("keep") and values.get("auto_remove"):
            report(_field_line(tree, "keep"), "keep", "contradicts auto_remove: true; leave out one of them")


def _field_line(tree: Tree, name: str) -> int:
    return (tree.key_lines or {}).get(name, tree.line)


def _item_line(tree: Tree, name: str, item: int | str) -> int:
    line: int = tree.value[name].value[item].line
    return line


def _check_whitelist(tree: Tree, values: Mapping[str, Any], report: Report) -> None:
    for index, command in enumerate(values.get("command_whitelist") or ()):
        try:
            split_words(command)
        except ValueError as error:
            line = _item_line(tree, "command_whitelist", index)
            report(line, f"command_whitelist[{index}]", f"can never run: {error}")


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
    for index, volume in enumerate(values.get("volumes", ())):
        where = f"volumes[{index}]"
        line = _item_line(tree, "volumes", index)
        try:
            mount = parse_volume(volume)
        except ValueError as error:
            report(line, where, str(error))
            continue
        wrong = check_mount(mount)
        target = posixpath.normpath(mount.target)
        if wrong:
            report(line, where, wrong)
        elif target in targets:
            report(line, where, f"mounts on {target} again: {targets[target]} does so already")
        targets.setdefault(target, where)
    for path in values.get("tmpfs", {}):
        target = posixpath.normpath(path)
        if target in targets:
            report(_item_line(tree, "tmpfs", path), f"tmpfs.{path}", f"mounts on {target} again: {targets[target]} does so already")


def _check_numbers(tree: Tree, values: Mapping[str, Any], report: Report) -> None:
    memory = values.get("memory_limit", 0)
    if 0 < memory < LEAST_MEMORY:
        line = _field_line(tree, "memory_limit")
        report(line, "memory_limit", f"expected 0 (unlimited) or at least 6m ({LEAST_MEMORY} bytes), got {memory} bytes")
    quota = values.get("cpu_quota", 0)
    if 0 < quota < LEAST_CPU_QUOTA:
        line = _field_line(tree, "cpu_quota")
        report(line, "cpu_quota", f"expected 0 (unlimited) or at least {LEAST_CPU_QUOTA} (1 % of a CPU), got {quota}")
