"""The executor ``isolated-vm``: a fresh V8 isolate for every execution, in a Node process of ours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pytest_sandbox.errors import ExecutorUnavailable
from pytest_sandbox.snippets.base import ExecutorInfo, ExecutorOptions
from pytest_sandbox.snippets.runner_executor import RUNNERS, RunnerExecutor
from pytest_sandbox.snippets.runtimes import ISOLATED_VM_ABIS, VENDOR, find_node, package_version

__all__ = ["IsolatedVmExecutor", "NodeOptions", "find_package"]


@dataclass(frozen=True, kw_only=True)
class NodeOptions(ExecutorOptions):
    """Options of the executors that run in Node.

    Attributes:
        max_runners: how many executions may run at the same time; None is as many as there are cores.
        node: path of the Node to use; None looks on PATH, then in the extra ``node``.
        node_modules: folder with the npm packages to use instead of those that come with us.
    """

    node: str | None = None
    node_modules: str | None = None


def find_package(executor: str, package: str, node_modules: str | None) -> tuple[Path, str]:
    """Return the node_modules folder that holds an npm package, and the package's version.

    Raises:
        ExecutorUnavailable: when it is not there.
    """
    modules = VENDOR / "node_modules" if node_modules is None else Path(node_modules).absolute()
    version = package_version(modules, package)
    if version is None:
        fix = "reinstall pytest-sandbox" if node_modules is None else "install it there with npm, or unset the node_modules option"
        raise ExecutorUnavailable(executor, f'the npm package "{package}" is not in {modules}', fix)
    return modules, version


class IsolatedVmExecutor(RunnerExecutor):
    """Run snippets in V8 isolates: no API of Node is there, only the common environment."""

    name = "isolated-vm"
    options_class: ClassVar[type[ExecutorOptions]] = NodeOptions
    reuses_runners = True

    def _set_up(self) -> None:
        self._node = find_node(self.name, abis=ISOLATED_VM_ABIS, path=self.options.node)
        self._modules, self._version = find_package(self.name, "isolated-vm", self.options.node_modules)

    def _command(self) -> Sequence[str]:
        # isolated-vm cannot make isolates in a Node that was itself made from a snapshot.
        flags = ["--no-node-snapshot", "--disable-sigusr1"]
        return [self._node.path, *flags, str(RUNNERS / "isolated_vm.mjs"), str(self._modules), str(self.heap_megabytes)]

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
            backend=f"isolated-vm {self._version}",
            fresh="realm",
            max_runners=self.max_runners,
        )
