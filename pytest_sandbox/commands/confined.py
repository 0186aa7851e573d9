"""Native commands in a jail: the field `confine` of an entry, on the module that also confines runners.

Inside, a command sees the programs and libraries of the system, its working folder, and what its entry lists; nothing else of the
host. Where the test run is root, it runs as a user of its own, who may do only what everybody may, also with a folder that is
listed as writable.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import threading
import warnings
from pathlib import Path
from typing import Final

from pytest_sandbox.commands.calls import Prepared
from pytest_sandbox.commands.native_process import NativeProcess
from pytest_sandbox.commands.workdir import fd_path
from pytest_sandbox.entries.model import Confine, NativeEntry
from pytest_sandbox.errors import CommandNotStarted, ExecutorUnavailable, InvalidCommand, NotConfined
from pytest_sandbox.processes.confinement import Confinement
from pytest_sandbox.processes.jail import Confined, Jail, exit_code
from pytest_sandbox.processes.jail_probe import find_jail
from pytest_sandbox.processes.system_view import system_view
from pytest_sandbox.processes.tree import TreeMeter, descendants

__all__ = ["ConfinedProcess", "jail_for"]

_TMP_SIZE: Final = 64 << 20
_LOOK: Final = 0.04
"""Seconds between two looks at the memory of a command."""


def jail_for(confine: Confine, entry_id: str) -> Jail | None:
    """Return the jail that an entry asks for; None, with a warning, when there is none here and the entry is not strict.

    Raises:
        ExecutorUnavailable: when there is none and the entry is strict.
    """
    jail = find_jail()
    if isinstance(jail, Jail) and confine.processes and not jail.counts_processes:
        reason, fix = "this kernel counts processes for a user, not for each jail, and the entry limits them", "leave out processes"
    elif isinstance(jail, Jail):
        return jail
    else:
        reason, fix = f"commands cannot be confined here: {jail.reason}", jail.fix
    if confine.strict:
        raise ExecutorUnavailable("exec.native", reason, fix, source=f'confine: {{strict: true}} of entry "{entry_id}"')
    warnings.warn(NotConfined(entry_id, reason, fix), stacklevel=2)
    return None


class ConfinedProcess(NativeProcess):
    """A command in a jail of its own."""

    def __init__(
        self, call: Prepared, entry: NativeEntry, entry_id: str, program: str, work_dir: int, *, jail: Jail, base_dir: Path | None
    ) -> None:
        super().__init__(call, entry, entry_id, program, work_dir)
        assert entry.confine is not None
        self._jail = jail
        self._confine = entry.confine
        self._base_dir = base_dir
        self._confined: Confined | None = None
        self._ended = threading.Event()

    @property
    def pid(self) -> int | None:
        """The process id, on the host, of the command itself; None before the start, and when it has ended."""
        return None if self._confined is None else self._confined.program_pid()

    def _spawn(self) -> subprocess.Popen[bytes]:
        folder = os.readlink(fd_path(self._work_dir))
        inside = self._inside(folder)
        program = os.path.normpath(os.path.join(folder, self._program))
        if not _is_visible(program, inside):
            reason = f'program "{program}" is not inside the jail; list it, or its folder, in confine.read_only'
            raise InvalidCommand(self.command, self.entry, reason)
        self._check_rights(inside, folder)
        try:
            self._confined = self._jail.confine([program, *self._call.words[1:]], self._call.env, inside)
        except (OSError, ValueError) as error:
            raise CommandNotStarted(self.command, self.entry, f"its jail cannot be made: {error}") from error
        stdin = subprocess.PIPE if self._call.stdin else subprocess.DEVNULL
        try:
            popen = self._confined.start(stdin=stdin).result()
        except BaseException:
            self._confined.release()
            raise
        if self._confine.memory:
            threading.Thread(target=self._watch_memory, args=(popen.pid,), name="pytest-sandbox-memory", daemon=True).start()
        return popen

    def _inside(self, folder: str) -> Confinement:
        files, links = system_view()
        confine = self._confine
        writable = tuple(self._absolute(path) for path in confine.writable)
        listed = tuple(self._absolute(path) for path in confine.read_only)
        for path in (*writable, *listed):
            if not os.path.exists(path):
                raise CommandNotStarted(self.command, self.entry, f'confine lists "{path}", which does not exist; create it')
        return Confinement(
            read_only=(*files, *listed, folder),
            writable=writable,
            symlinks=links,
            tmpfs={"/tmp": _TMP_SIZE},
            network=confine.network,
            forks=True,
            sockets=True,
            processes=confine.processes or None,
            open_files=None,
            file_size=None,
            cpu_time=confine.cpu_time or None,
            work_dir=folder,
        )

    def _absolute(self, path: str) -> str:
        return os.path.normpath(os.path.join(self._base_dir or Path.cwd(), path))

    def _check_rights(self, inside: Confinement, folder: str) -> None:
        """Refuse folders that the jail's user could not use: a command would fail there, and nobody would know why."""
        if not self._jail.own_ids:
            return
        for path, needed, words in [
            (folder, stat.S_IXOTH | stat.S_IROTH, "read and enter it"),
            *((path, stat.S_IWOTH, "write to it") for path in inside.writable),
        ]:
            if os.stat(path).st_mode & needed != needed:
                reason = f'a confined command runs as a user of its own, who may not {words}: "{path}"; allow it with chmod o+rwx'
                raise CommandNotStarted(self.command, self.entry, reason)

    def _watch_memory(self, pid: int) -> None:
        meter = TreeMeter(pid)
        while not self._ended.wait(_LOOK):
            sample = meter.sample()
            if sample is not None and sample.memory > self._confine.memory and not self._ended.is_set():
                self.oom_killed = True
                self.kill()
                return

    def _kill_group(self, number: int) -> None:
        if number == signal.SIGKILL or self._confined is None:
            # All that is inside, which bubblewrap reaps and ends after; or bubblewrap itself, when nothing is inside yet.
            if self._confined is None or not self._confined.kill():
                super()._kill_group(number)
            return
        # Not bubblewrap, which would take all others with it, nor its reaper.
        program = self._confined.program_pid()
        for pid in [program, *descendants(program)] if program is not None else []:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def _exit_code(self, code: int) -> int:
        return exit_code(code) if code >= 0 else code

    def _reaped(self) -> None:
        self._ended.set()
        if self._confined is not None:
            self._confined.release()


def _is_visible(path: str, inside: Confinement) -> bool:
    for folder, target in inside.symlinks.items():
        if path.startswith(folder + "/"):
            path = os.path.normpath(os.path.join("/", target, path[len(folder) + 1 :]))
    return any(path == shown or path.startswith(shown.rstrip("/") + "/") for shown in (*inside.read_only, *inside.writable))
