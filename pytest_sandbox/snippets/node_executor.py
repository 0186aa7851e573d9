"""What the executors that run in Node share: its options, its npm packages, and what is said of it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pytest_sandbox.errors import ExecutorUnavailable, InvalidArgument
from pytest_sandbox.snippets.base import ExecutorInfo, ExecutorOptions
from pytest_sandbox.snippets.local_executor import LocalExecutor, LocalOptions
from pytest_sandbox.snippets.runtimes import VENDOR, find_node, package_version

__all__ = ["NodeExecutor", "NodeOptions"]


@dataclass(frozen=True, kw_only=True)
class NodeOptions(LocalOptions):
    """Options of the executors that run in Node.

    Attributes:
        max_runners: how many executions may run at the same time; None is as many as there are cores.
        fresh: what is new for each execution: a "realm" in a process that serves many, or a "process".
        jail: "auto", "required" or "off", see `LocalOptions`.
        node: path of the Node to use; None looks on PATH, then in the extra ``node``.
        node_modules: folder with the npm packages to use instead of those that come with us.
    """

    fresh: Literal["realm", "process"] = "realm"
    node: str | None = None
    node_modules: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fresh not in ("realm", "process"):
            raise InvalidArgument("fresh", self.fresh, '"realm" or "process"')


def _find_package(executor: str, package: str, node_modules: str | None) -> tuple[Path, str]:
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


def _package_folders(modules: Path, package: str) -> tuple[str, ...]:
    """Return the folders of an npm package and of the packages that it depends on, each as npm lays them out."""
    waiting, found = [package], dict[str, None]()
    while waiting:
        folder = modules / waiting.pop()
        if str(folder) not in found and folder.is_dir():  # what is not there is inside the package that needs it
            found[str(folder)] = None
            waiting += json.loads((folder / "package.json").read_text("utf-8")).get("dependencies", {})
    return tuple(found)


class NodeExecutor(LocalExecutor):
    """Run snippets with an npm package in a Node process of ours, which serves one execution after the other.

    Attributes:
        package: the npm package.
        abis: the module ABIs of the Nodes that it can be loaded into; None is any.
    """

    options_class: ClassVar[type[ExecutorOptions]] = NodeOptions
    options: NodeOptions
    package: ClassVar[str]
    abis: ClassVar[tuple[str, ...] | None] = None

    def _set_up(self) -> None:
        super()._set_up()
        self.reuses_runners = self.options.fresh == "realm"
        self.spares = 0 if self.reuses_runners else 2

    def _find_runtime(self) -> None:
        self._node = find_node(self.name, abis=self.abis, path=self.options.node)
        self._modules, self._version = _find_package(self.name, self.package, self.options.node_modules)

    def _package_folders(self) -> tuple[str, ...]:
        """Return the folders of the package (first) and of those that it depends on."""
        return _package_folders(self._modules, self.package)

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
            backend=f"{self.package} {self._version}",
            fresh=self.options.fresh,
            max_runners=self.max_runners,
            jail=self.jail,
            loosened=self.loosened,
        )
