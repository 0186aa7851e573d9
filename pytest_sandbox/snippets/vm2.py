"""The executor ``vm2``: a fresh vm2 sandbox for every execution, in a Node process of ours."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pytest_sandbox.limits import MIB
from pytest_sandbox.processes.libraries import runtime_files
from pytest_sandbox.snippets.node_executor import NodeExecutor
from pytest_sandbox.snippets.runner_executor import RUNNERS
from pytest_sandbox.snippets.runtimes import VENDOR

__all__ = ["Vm2Executor"]


class Vm2Executor(NodeExecutor):
    """Run snippets in vm2: the last choice, for its wall is JavaScript that checks JavaScript."""

    name = "vm2"
    least_memory = 64 * MIB  # a sandbox has no heap of its own: the runner's is inside of the limit
    package = "vm2"

    def _files(self) -> tuple[str, ...]:
        return (*runtime_files(os.path.realpath(self._node.path)), str(RUNNERS), str(VENDOR), *self._package_folders())

    def _command(self) -> Sequence[str]:
        flags = [
            "--disable-sigusr1",
            "--no-addons",
            # A seat belt, not the wall: no files but ours, no child processes, no workers.
            "--permission",
            *(f"--allow-fs-read={folder}" for folder in (RUNNERS, VENDOR, self._modules)),
            f"--max-old-space-size={self.heap_megabytes}",
        ]
        return [self._node.path, *flags, str(RUNNERS / "vm2.mjs"), str(self._modules)]
