"""`exec.native`: commands that run on the host, each in a session and process group of its own, with a clean environment."""

from __future__ import annotations

import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from pytest_sandbox.commands.base import CommandExecutor
from pytest_sandbox.commands.calls import Prepared
from pytest_sandbox.commands.native_process import NativeProcess
from pytest_sandbox.commands.programs import find_program
from pytest_sandbox.commands.whitelist import Whitelist
from pytest_sandbox.commands.workdir import open_work_dir
from pytest_sandbox.entries.model import NativeEntry
from pytest_sandbox.errors import ExecutorUnavailable

if TYPE_CHECKING:
    from pytest_sandbox.entries.registry import LoadedEntry
    from pytest_sandbox.processes.jail import Jail

__all__ = ["NativeExecutor"]


class NativeExecutor(CommandExecutor):
    """Run commands on the host as an entry of kind `exec.native` allows.

    Raises:
        ExecutorUnavailable: on a system other than Linux.

    `exec` raises it, too, when the entry asks for confinement that this machine does not have.
    """

    kind: ClassVar[str] = "exec.native"

    def __init__(self, loaded: LoadedEntry, *, whitelist: Whitelist | None = None) -> None:
        if not sys.platform.startswith("linux"):
            raise ExecutorUnavailable(self.kind, f"it needs Linux, and this is {sys.platform}", "use an entry of kind exec.docker")
        super().__init__(loaded, whitelist=whitelist)

    def _create(self, call: Prepared) -> NativeProcess:
        entry = self.loaded.entry
        assert isinstance(entry, NativeEntry)
        self._jail  # noqa: B018 - refuses before anything is opened
        work_dir = open_work_dir(
            call.work_dir,
            entry.default_work_dir,
            base_dir=self.loaded.folder,
            whitelist=self.whitelist,
            command=call.command,
            entry=self.id,
        )
        try:
            path = entry.default_env.get("PATH")
            program = find_program(call.words[0], path, work_dir, command=call.command, entry=self.id)
        except BaseException:
            os.close(work_dir)
            raise
        jail = self._jail
        if jail is None:
            return NativeProcess(call, entry, self.id, program, work_dir)
        from pytest_sandbox.commands.confined import ConfinedProcess

        base_dir = self.loaded.folder
        return ConfinedProcess(call, entry, self.id, program, work_dir, jail=jail, base_dir=base_dir)

    @cached_property
    def _jail(self) -> Jail | None:
        """The jail of this machine, if the entry asks for one and there is one; looked for once."""
        entry = self.loaded.entry
        assert isinstance(entry, NativeEntry)
        if entry.confine is None:
            return None
        from pytest_sandbox.commands.confined import jail_for

        return jail_for(entry.confine, self.id)

    @property
    def circumstances(self) -> frozenset[str]:
        """What the promises of this executor may depend on, see `promises`."""
        entry = self.loaded.entry
        assert isinstance(entry, NativeEntry)
        confine = entry.confine
        if confine is None or self._jail is None:
            return super().circumstances
        found = {
            "jail": True,
            "processes": confine.processes > 0,
            "memory": confine.memory > 0,
            "no network": confine.network == "none",
        }
        return super().circumstances | {name for name, holds in found.items() if holds}

    def _shut_down(self) -> None:
        """Free nothing: processes hold everything."""
