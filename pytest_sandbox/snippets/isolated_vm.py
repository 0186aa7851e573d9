"""The executor ``isolated-vm``: a fresh V8 isolate for every execution, in a Node process of ours."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pytest_sandbox.errors import ExecutorUnavailable
from pytest_sandbox.processes.libraries import runtime_files
from pytest_sandbox.snippets.base import ExecutorInfo, ExecutorOptions
from pytest_sandbox.snippets.local_executor import LocalExecutor, LocalOptions
from pytest_sandbox.snippets.runner_executor import RUNNERS
from pytest_sandbox.snippets.runtimes import ISOLATED_VM_ABIS, VENDOR, find_node, package_version

__all__ = ["IsolatedVmExecutor", "NodeOptions", "find_package", "package_folders"]


@dataclass(frozen=True, kw_only=True)
class NodeOptions(LocalOptions):
    """Options of the executors that run in Node.

    Attributes:
        max_runners: how many executions may run at the same time; None is as many as there are cores.
        jail: "auto", "required" or "off", see `LocalOptions`.
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
    if modules.name != "node_modules":
        reason = f'node_modules is {modules}, and Node finds packages only in a folder that is called "node_modules"'
        raise ExecutorUnavailable(executor, reason, "name that folder, or unset the node_modules option")
    version = package_version(modules, package)
    if version is None:
        fix = "reinstall pytest-sandbox" if node_modules is None else "install it there with npm, or unset the node_modules option"
        raise ExecutorUnavailable(executor, f'the npm package "{package}" is not in {modules}', fix)
    return modules, version


def package_folders(modules: Path, package: str) -> tuple[str, ...]:
    """Return the folders of an npm package and of the packages that it depends on, each as npm lays them out."""
    waiting, found = [package], dict[str, None]()
    while waiting:
        folder = modules / waiting.pop()
        if str(folder) not in found and folder.is_dir():  # what is not there is inside the package that needs it
            found[str(folder)] = None
            waiting += json.loads((folder / "package.json").read_text("utf-8")).get("dependencies", {})
    return tuple(found)


class IsolatedVmExecutor(LocalExecutor):
    """Run snippets in V8 isolates: no API of Node is there, only the common environment."""

    name = "isolated-vm"
    options_class: ClassVar[type[ExecutorOptions]] = NodeOptions
    reuses_runners = True
    needs_proc = False

    def _find_runtime(self) -> None:
        self._node = find_node(self.name, abis=ISOLATED_VM_ABIS, path=self.options.node)
        self._modules, self._version = find_package(self.name, "isolated-vm", self.options.node_modules)

    def _files(self) -> tuple[str, ...]:
        node = os.path.realpath(self._node.path)
        packages = package_folders(self._modules, "isolated-vm")
        return (*runtime_files(node, *self._add_ons(packages[0])), str(RUNNERS), str(VENDOR), *packages)

    def _add_ons(self, package: str) -> list[str]:
        """Return what of the package Node may load: a prebuilt add-on for its ABI and C library, or one that the user has built."""
        libc = "musl" if "musl" in "".join(runtime_files(os.path.realpath(self._node.path))) else "glibc"
        machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), "*")
        prebuilt = Path(package, "prebuilds", f"linux-{machine}").glob(f"*.abi{self._node.abi}.{libc}.node")
        return [str(path) for path in (*prebuilt, *Path(package, "build", "Release").glob("*.node"))]

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
            jail=self.jail,
            loosened=self.loosened,
        )
