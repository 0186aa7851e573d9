"""The executor ``vm2``: a fresh vm2 sandbox for every execution, in a Node process of ours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

from pytest_sandbox.processes.libraries import runtime_files
from pytest_sandbox.snippets.base import ExecutorInfo, ExecutorOptions
from pytest_sandbox.snippets.isolated_vm import NodeOptions, find_package, package_folders
from pytest_sandbox.snippets.local_executor import LocalExecutor
from pytest_sandbox.snippets.runner_executor import RUNNERS
from pytest_sandbox.snippets.runtimes import VENDOR, find_node

__all__ = ["Vm2Executor"]


class Vm2Executor(LocalExecutor):
    """Run snippets in vm2: the last choice, for its wall is JavaScript that checks JavaScript."""

    name = "vm2"
    options_class: ClassVar[type[ExecutorOptions]] = NodeOptions
    reuses_runners = True

    def _find_runtime(self) -> None:
        self._node = find_node(self.name, path=self.options.node)
        self._modules, self._version = find_package(self.name, "vm2", self.options.node_modules)

    def _files(self) -> tuple[str, ...]:
        packages = package_folders(self._modules, "vm2")
        return (*runtime_files(os.path.realpath(self._node.path)), str(RUNNERS), str(VENDOR), *packages)

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

    @property
    def max_runners(self) -> int:
        """How many executions may run at the same time."""
        return self.options.max_runners or os.cpu_count() or 1

    @property
    def info(self) -> ExecutorInfo:
        """What really runs."""
        return ExecutorInfo(
            name=self.name,
            runtime=str(self._node),
            path=self._node.path,
            backend=f"vm2 {self._version}",
            fresh="realm",
            max_runners=self.max_runners,
            jail=self.jail,
            loosened=self.loosened,
        )
