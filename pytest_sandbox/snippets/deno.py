"""The executor ``deno``: a fresh Deno process, with every permission denied, for every execution."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from pytest_sandbox.limits import Limits
from pytest_sandbox.snippets.base import ExecutorInfo, ExecutorOptions
from pytest_sandbox.snippets.runner_executor import RUNNERS, RunnerExecutor
from pytest_sandbox.snippets.runtimes import find_deno

__all__ = ["DenoExecutor", "DenoOptions"]

_FLAGS: Final = (
    "--no-prompt",
    "--no-config",
    "--no-lock",
    "--no-remote",
    "--no-npm",
    "--cached-only",
    "--deny-read",
    "--deny-write",
    "--deny-net",
    "--deny-env",
    "--deny-run",
    "--deny-sys",
    "--deny-ffi",
    "--deny-import",
)


@dataclass(frozen=True, kw_only=True)
class DenoOptions(ExecutorOptions):
    """Options of executor deno.

    Attributes:
        max_runners: how many executions may run at the same time; None is 1.
        deno: path of the Deno to use; None looks on PATH, then in the extra ``deno``.
    """

    deno: str | None = None


class DenoExecutor(RunnerExecutor):
    """Run snippets in Deno without any permission, in a context that has neither Deno nor imports."""

    name = "deno"
    options_class: ClassVar[type[ExecutorOptions]] = DenoOptions
    reuses_runners = False
    spares = 2

    def _set_up(self) -> None:
        self._deno = find_deno(self.name, path=self.options.deno)
        self._folder = tempfile.mkdtemp(prefix="pytest-sandbox-deno-")

    def _command(self) -> Sequence[str]:
        heap = f"--v8-flags=--max-old-space-size={self.heap_megabytes}"
        return [self._deno.path, "run", *_FLAGS, heap, str(RUNNERS / "deno.mjs")]

    def _environment(self) -> Mapping[str, str]:
        # Storage and caches live in DENO_DIR and would outlast the process: every runner gets an empty one of its own.
        folder = tempfile.mkdtemp(dir=self._folder)
        return {**super()._environment(), "DENO_DIR": folder, "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"}

    def _shut_down(self) -> None:
        super()._shut_down()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def max_runners(self) -> int:
        """How many executions may run at the same time."""
        return self.options.max_runners or 1

    @property
    def info(self) -> ExecutorInfo:
        """What really runs."""
        return ExecutorInfo(
            name=self.name,
            runtime=str(self._deno),
            path=self._deno.path,
            backend=str(self._deno),
            fresh="process",
            max_runners=self.max_runners,
        )
