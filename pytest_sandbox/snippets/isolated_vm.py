"""The executor ``isolated-vm``: a fresh V8 isolate for every execution, in a Node process of ours."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from pytest_sandbox.processes.libraries import runtime_files
from pytest_sandbox.snippets.node_executor import NodeExecutor
from pytest_sandbox.snippets.runner_executor import RUNNERS
from pytest_sandbox.snippets.runtimes import ISOLATED_VM_ABIS, VENDOR

__all__ = ["IsolatedVmExecutor"]


class IsolatedVmExecutor(NodeExecutor):
    """Run snippets in V8 isolates: no API of Node is there, only the common environment."""

    name = "isolated-vm"
    package = "isolated-vm"
    abis = ISOLATED_VM_ABIS
    needs_proc = False

    def _files(self) -> tuple[str, ...]:
        node = os.path.realpath(self._node.path)
        packages = self._package_folders()
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
