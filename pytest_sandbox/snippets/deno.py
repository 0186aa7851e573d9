"""The executor ``deno``: a fresh Deno process, with every permission denied, for every execution."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from pytest_sandbox.limits import MIB
from pytest_sandbox.processes import watchdog
from pytest_sandbox.processes.jail import Jail
from pytest_sandbox.processes.libraries import runtime_files
from pytest_sandbox.processes.spawn import spawn_soon
from pytest_sandbox.snippets.base import ExecutorInfo, ExecutorOptions
from pytest_sandbox.snippets.channel import Runner
from pytest_sandbox.snippets.link import StartingProcess
from pytest_sandbox.snippets.local_executor import LocalExecutor, LocalOptions
from pytest_sandbox.snippets.runner_executor import ENVIRONMENT, RUNNERS
from pytest_sandbox.snippets.runtimes import VENDOR, find_deno

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
# Young objects get so many MiB at once: no garbage is collected while Deno starts, a seventh of its time (measured with Deno 2.9).
_V8_FLAGS: Final = "--min-semi-space-size=16"
_HOME: Final = "/deno"
_HOME_SIZE: Final = 32 * MIB  # bytes; what Deno keeps there is a tenth of that, and localStorage holds 10 MiB
_ENVIRONMENT: Final = {"DENO_DISABLE_NODE_SHIM": "1", "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"}


@dataclass(frozen=True, kw_only=True)
class DenoOptions(LocalOptions):
    """Options of executor deno.

    Attributes:
        max_runners: how many executions may run at the same time; None is 1.
        jail: "auto", "required" or "off", see `LocalOptions`.
        deno: path of the Deno to use; None looks on PATH, then in the extra ``deno``.
    """

    deno: str | None = None


class DenoExecutor(LocalExecutor):
    """Run snippets in Deno without any permission, in a context that has neither Deno nor imports."""

    name = "deno"
    options_class: ClassVar[type[ExecutorOptions]] = DenoOptions
    control_runtime = "deno"
    reuses_runners = False
    spares = 2  # on two cores, two that start while one runs

    def _set_up(self) -> None:
        super()._set_up()
        self._template: dict[str, bytes] = {}
        self._folder = None if self._jail is not None else Path(tempfile.mkdtemp(prefix="pytest-sandbox-deno-"))
        if self._folder is not None:
            watchdog.watch_folder(self._folder)
            self._maker.add_folder(self._folder)

    def _find_runtime(self) -> None:
        self._deno = find_deno(self.name, path=self.options.deno)

    def _files(self) -> tuple[str, ...]:
        return (*runtime_files(os.path.realpath(self._deno.path)), str(RUNNERS), str(VENDOR))

    def _command(self) -> Sequence[str]:
        engine = f"--v8-flags=--max-old-space-size={self.heap_megabytes},{_V8_FLAGS}"
        return [self._deno.path, "run", *_FLAGS, engine, str(RUNNERS / "deno.mjs")]

    def _start(self) -> Runner:
        # Storage and caches live in DENO_DIR and would outlast the process, so every runner gets one of its own. It begins as a
        # copy of the first runner's, taken before a snippet ran there: compiled code of ours that halves the start.
        if self._jail is not None:
            return self._start_in(self._jail)
        home = Path(tempfile.mkdtemp(dir=self._folder))
        for name, content in self._template.items():
            (home / name).write_bytes(content)
        process = spawn_soon(self._command(), env={**ENVIRONMENT, **_ENVIRONMENT, "DENO_DIR": str(home)})
        starting = StartingProcess(process, on_end=lambda: self._remove(home))
        return Runner(self.name, starting, on_ready=lambda _ready: self._keep_template(home))

    def _start_in(self, jail: Jail) -> Runner:
        # Here that folder is in memory, and the kernel limits its size.
        copies = {f"{_HOME}/{name}": content for name, content in self._template.items()}
        inside = replace(self._inside, tmpfs={**self._inside.tmpfs, _HOME: _HOME_SIZE}, copies=copies)
        starting = self._start_jailed(jail, {**ENVIRONMENT, **_ENVIRONMENT, "DENO_DIR": _HOME}, inside)
        return Runner(self.name, starting, on_ready=lambda _ready: self._keep_template(starting.root / _HOME[1:]))

    def start_bare(self, program: str) -> StartingProcess | None:
        """See `SnippetExecutor`: Deno's permissions are there to be seen, and the jail, if there is one."""
        if self._jail is not None:
            inside = replace(self._inside, tmpfs={**self._inside.tmpfs, _HOME: _HOME_SIZE})
            return self._start_jailed(self._jail, {**ENVIRONMENT, **_ENVIRONMENT, "DENO_DIR": _HOME}, inside, program)
        home = Path(tempfile.mkdtemp(dir=self._folder))
        process = spawn_soon(self._bare_command(program), env={**ENVIRONMENT, **_ENVIRONMENT, "DENO_DIR": str(home)})
        return StartingProcess(process, on_end=lambda: shutil.rmtree(home, ignore_errors=True))

    def _keep_template(self, home: Path) -> None:
        if not self._template:
            with contextlib.suppress(OSError):  # then the next runner starts as slowly as this one, and is asked again
                # A link would be followed out of the jail; Deno makes none.
                files = [entry.path for entry in os.scandir(home) if entry.is_file(follow_symlinks=False)]
                self._template = {os.path.basename(path): Path(path).read_bytes() for path in files}

    def _shut_down(self) -> None:
        super()._shut_down()
        if self._folder is not None:
            self._remove(self._folder)

    def _remove(self, folder: Path) -> None:
        """Remove the folder of a runner, or of all; what was killed may still write there: the last one to end removes the rest."""
        shutil.rmtree(folder, ignore_errors=True)
        if self._closed and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            if not self._folder.exists():
                watchdog.unwatch_folder(self._folder)

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
            jail=self.jail,
            loosened=self.loosened,
        )
