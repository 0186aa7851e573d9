"""What the executors share whose runner is a process on this machine: isolated-vm, deno, vm2, each in a jail where there is one."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, get_args

from pytest_sandbox.errors import ExecutorBroken, ExecutorUnavailable, InvalidArgument, UnsupportedLimit
from pytest_sandbox.limits import MIB
from pytest_sandbox.processes.confinement import Confinement
from pytest_sandbox.processes.jail import Jail
from pytest_sandbox.processes.jail_probe import NoJail, find_jail_soon
from pytest_sandbox.processes.spawn import spawn_soon
from pytest_sandbox.snippets.base import ExecutorOptions
from pytest_sandbox.snippets.channel import Runner
from pytest_sandbox.snippets.link import StartingProcess
from pytest_sandbox.snippets.runner_executor import ENVIRONMENT, RUNNERS, RunnerExecutor

__all__ = ["JailMode", "LocalExecutor", "LocalOptions"]

JailMode = Literal["auto", "required", "off"]

_CORES: Final = os.cpu_count() or 1
_OWN_THREADS: Final = 24 + _CORES
"""What a runner may need for itself; measured on 2 cores: 6 to 12. Engines have some that grow with the cores."""

_LEAST_GROWTH: Final = 32 * MIB
"""What a runner may always keep from one execution for the next; otherwise it is a quarter of the limit ``memory``."""

_MOST_THREADS: Final = 64 + 4 * _CORES
"""Without a limit: more than any engine takes, and few enough to be harmless."""


@dataclass(frozen=True, kw_only=True)
class LocalOptions(ExecutorOptions):
    """Options of the executors whose runner is a process on this machine.

    Attributes:
        jail: "auto" puts the runner into a jail where one can be entered; "required" makes its absence an error; "off" does
            without, and every report says so.
    """

    jail: JailMode = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.jail not in get_args(JailMode):
            raise InvalidArgument("jail", self.jail, '"auto", "required" or "off"')


class LocalExecutor(RunnerExecutor):
    """A snippet executor over processes of this machine; a subclass finds the runtime and says which files it needs."""

    unsupported_limits: ClassVar[Mapping[str, str]] = {}  # "processes" is looked at once the jail is known
    options_class: ClassVar[type[ExecutorOptions]] = LocalOptions
    needs_proc: ClassVar[bool] = True

    @abstractmethod
    def _find_runtime(self) -> None:
        """Find what the runner needs, or raise `ExecutorUnavailable`."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Return program and arguments of a runner."""

    @abstractmethod
    def _files(self) -> tuple[str, ...]:
        """Return the files and folders that the runner reads; nothing else of the host is in its jail.

        Raises:
            OSError: when they cannot be determined.
        """

    def _set_up(self) -> None:
        # Both take a few hundredths of a second at first, so that they go on at the same time.
        looking = None if self.options.jail == "off" else find_jail_soon()
        self._find_runtime()
        self._jail: Jail | None = None
        self._no_jail: NoJail | None = None
        if looking is not None:
            found = self._usable(looking.result())
            if isinstance(found, Jail):
                self._jail = found
            elif self.options.jail == "required":
                raise ExecutorUnavailable(self.name, f"its jail is required, and there is none: {found.reason}", found.fix)
            else:
                self._no_jail = found
        self._check_processes()

    def _usable(self, jail: Jail | NoJail) -> Jail | NoJail:
        """Return the jail, or why this runner cannot be in it."""
        if isinstance(jail, NoJail):
            return jail
        if self.needs_proc and not jail.has_proc:
            return NoJail(
                f"{self.name} needs /proc, and a new one cannot be mounted here", "unmask /proc, or choose executor container"
            )
        try:
            processes = self.limits.processes
            self._inside = Confinement(
                read_only=self._files(),
                proc=self.needs_proc,
                processes=processes if isinstance(processes, int) else _MOST_THREADS,
            )
            unreadable = jail.unreadable(self._inside)
        except OSError as error:
            return NoJail(f"what its runner needs is not known: {error}", "install its runtime as a program, not as a script")
        if unreadable is not None:
            return NoJail(f"inside, nobody could read {unreadable}", f"let everybody read it: 'chmod -R o+rX {unreadable}'")
        return jail

    def _check_processes(self) -> None:
        wanted = self.limits.processes
        reason = None
        if not isinstance(wanted, int):
            return
        if self._jail is None:
            reason = f"only a jail can count, and it is {self.jail}"
        elif not self._jail.counts_processes:
            reason = "before Linux 5.14, processes are counted for each user of the host, and only root can give a jail its own"
        elif wanted < _OWN_THREADS:
            reason = f"its runner alone may need {_OWN_THREADS} threads; set at least that many"
        if reason is not None:
            raise UnsupportedLimit(self.name, "processes", wanted, reason)

    @property
    def jail(self) -> str:
        """The jail, in words."""
        if self._jail is not None:
            return str(self._jail)
        return "off" if self._no_jail is None else f"none ({self._no_jail.reason})"

    @property
    def loosened(self) -> tuple[str, ...]:
        """Settings that are looser than the default."""
        return ("jail off",) if self.options.jail == "off" else ()

    def _start(self) -> Runner:
        if self._jail is None:
            starting = StartingProcess(spawn_soon(self._command(), env=ENVIRONMENT))
        else:
            starting = self._start_jailed(self._jail, ENVIRONMENT, self._inside)
        memory = self.limits.memory
        most_growth = max(_LEAST_GROWTH, memory // 4) if isinstance(memory, int) else None
        return Runner(self.name, starting, most_growth=most_growth)

    @property
    def circumstances(self) -> frozenset[str]:
        """What the promises of this executor may depend on, see `promises`."""
        jail = self._jail
        inside = {"jail"} if jail is not None else set()
        if jail is not None and jail.counts_processes:
            inside.add("processes")
        return super().circumstances | inside

    def start_bare(self, program: str) -> StartingProcess | None:
        """See `SnippetExecutor`: only a jail is there to be seen."""
        return None if self._jail is None else self._start_jailed(self._jail, ENVIRONMENT, self._inside, program)

    def _bare_command(self, program: str) -> list[str]:
        command = list(self._command())
        runner = next(index for index, word in enumerate(command) if word.startswith(f"{RUNNERS}{os.sep}"))
        allowed = [f"--allow-fs-read={program}"] if "--permission" in command else []
        return [*command[:runner], *allowed, program]

    def _start_jailed(self, jail: Jail, env: Mapping[str, str], inside: Confinement, bare: str | None = None) -> StartingProcess:
        """Begin to start a runner, or a bare program in its place, in a jail.

        Raises:
            ExecutorBroken: when a jail cannot be prepared now (the machine's fault).
        """
        program, *arguments = self._command() if bare is None else self._bare_command(bare)
        if bare is not None:
            inside = replace(inside, read_only=(*inside.read_only, bare))
        try:
            # The real path: a loader looks for libraries near the program that it finds there.
            confined = jail.confine([os.path.realpath(program), *arguments], env, inside)
        except OSError as error:
            raise ExecutorBroken(self.name, f"its jail cannot be prepared: {error}") from error
        return StartingProcess(confined.start(), confined.release, confined)
