from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_sandbox.commands import CommandExecutor
from pytest_sandbox.entries import EntryRegistry, NativeEntry

MakeNative = Callable[..., CommandExecutor]


@pytest.fixture
def make_native(tmp_path: Path) -> Iterator[MakeNative]:
    """Make an executor of an `exec.native` entry with these fields; afterwards no process with the test's mark is left."""
    registries: list[EntryRegistry] = []

    def make(**fields: Any) -> CommandExecutor:
        fields.setdefault("default_work_dir", str(tmp_path))
        registries.append(EntryRegistry.of(NativeEntry(name="shell", **fields), namespace="app"))
        return registries[-1].get("app:shell")

    before = set(os.listdir("/proc/self/fd"))
    yield make
    for registry in registries:
        registry.close()
    assert children_with(str(tmp_path)) == []
    after = set(os.listdir("/proc/self/fd"))
    # The pump, the spawner and the watchdog keep theirs for the whole run.
    assert len(after - before) <= 4


def children_with(mark: str) -> list[int]:
    """Return the processes that carry a mark in their command line, wherever they hang in the process tree."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        if process.pid != os.getpid() and mark in " ".join(process.info["cmdline"] or ()):
            found.append(process.pid)
    return found
