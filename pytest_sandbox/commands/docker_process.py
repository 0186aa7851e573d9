"""A process of `exec.docker` in a fresh container of its own."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pytest_sandbox.commands.attached import AttachedProcess
from pytest_sandbox.commands.calls import Prepared
from pytest_sandbox.engines.attachment import PipeAttachment
from pytest_sandbox.engines.base import Created, Engine
from pytest_sandbox.errors import CommandNotStarted, ContainerGone, EngineError, EngineRefused, InvalidCommand

if TYPE_CHECKING:
    from pytest_sandbox.entries.model import DockerEntry

__all__ = ["ContainerProcess"]

# What the engines' init programs (tini, catatonit) print when there is no such program. A program that prints the same and exits
# with the same code is taken for missing: it only fools whoever runs it.
_INIT_FAILED: Final = re.compile(
    rb"\A(?:\[FATAL tini \(\d+\)\] exec (?P<tini>.*) failed: |ERROR \(catatonit:\d+\): failed to exec pid1: )(?P<why>[^\n]*)\n\Z",
    re.DOTALL,
)
_START: Final = "start a container"
"""What `Engine.wait` could not do when it finds that a container never ran."""
_INIT_READY: Final = 2.0
"""Seconds that an engine's init may take until it takes signals; measured: 1 to 20 ms, on a busy machine some hundreds."""
_INIT_CODES: Final = (1, 126, 127)
# The same, when the engine looks for the program itself.
_NOT_FOUND: Final = re.compile(
    r"executable file .*not found|exec: .*: (no such file or directory|permission denied)|stat .*no such file", re.I
)


def _takes_signals(pid: int) -> bool:
    """Whether process 1 of a container is an init that is ready, not the runtime that becomes one; True if it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            facts = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        masks = int(facts["SigBlk"], 16) | int(facts["SigCgt"], 16)
    except (OSError, KeyError, ValueError):
        return True
    return not facts["Name"].startswith("runc") and bool(masks >> (signal.SIGTERM - 1) & 1)


class ContainerProcess(AttachedProcess):
    """A command in a container.

    Args:
        call: the checked call.
        entry: the entry.
        entry_id: its id.
        engine: the engine.
        create: creates the container; it does not run yet.
        done: called with the container when the program has ended, or was never started.
    """

    def __init__(
        self,
        call: Prepared,
        entry: DockerEntry,
        entry_id: str,
        *,
        engine: Engine,
        create: Callable[[], Created],
        done: Callable[[Created], None],
    ) -> None:
        super().__init__(command=call.command, entry=entry_id, output_limit=entry.output_limit, grace_period=entry.grace_period)
        self._call = call
        self._engine = engine
        self._create = create
        self._done = done
        self._container: Created | None = None
        self._pid: int | None = None
        self._init_ready = False

    @property
    def container(self) -> str | None:
        """The id of the container, or None before the start."""
        return None if self._container is None else self._container.id

    @property
    def pid(self) -> int | None:
        """The id, on the engine's host, of the container's process 1 while it runs, else None."""
        if self._container is None or self._has_ended():
            return None
        if self._pid is None:
            with contextlib.suppress(EngineError):
                self._pid = self._engine.inspect(self._container.id).pid or None
        return self._pid

    def _launch(self) -> None:
        container = self._container = self._created()
        try:
            streams = self._engine.open(container.id)
        except EngineError as error:
            with contextlib.suppress(EngineError):
                self._done(container)
            raise self._not_started(error, error.detail) from error
        self._attach(streams, stdin=self._call.stdin)
        if isinstance(streams, PipeAttachment):
            self._wait_started(container)

    def _wait_started(self, container: Created) -> None:
        """Wait for a client that starts the container while we go on: until then there is nothing to signal or to enter."""
        pause = 0.01
        while not self._has_ended():
            try:
                state = self._engine.inspect(container.id)
            except EngineError:
                return  # whoever waits for the end is told
            if state.is_running or state.has_ended:
                return
            with self._condition:
                self._condition.wait_for(self._has_ended, pause)
            pause = min(pause * 2, 0.1)
        if self._failure is not None:
            raise self._failure

    def _not_started(self, error: EngineError, words: str) -> CommandNotStarted | InvalidCommand:
        if _NOT_FOUND.search(words):
            return InvalidCommand(self.command, self.entry, self._no_program(words))
        return CommandNotStarted(self.command, self.entry, str(error) if words in str(error) else f"{error}: {words}")

    def _created(self) -> Created:
        try:
            return self._create()
        except EngineError as error:
            raise CommandNotStarted(self.command, self.entry, str(error)) from error

    def _send_signal(self, number: int) -> None:
        if self._container is None or self._has_ended():
            raise ProcessLookupError
        if number != signal.SIGKILL:
            self._await_init()
        try:
            if not self._engine.kill(self._container.id, number):
                raise ProcessLookupError
        except ContainerGone:
            raise ProcessLookupError from None

    def _await_init(self) -> None:
        """Wait until the engine's init takes signals: the kernel drops, for a process 1, what that does not expect."""
        pid = self.pid
        end = time.monotonic() + _INIT_READY
        while not self._init_ready and pid is not None and self._engine.is_local and time.monotonic() < end:
            self._init_ready = _takes_signals(pid)
            if not self._init_ready:
                time.sleep(0.002)
        self._init_ready = True

    def _settle(self) -> tuple[int, int | None]:
        assert self._container is not None
        try:
            state = self._engine.wait(self._container.id, timeout=None)
        except EngineRefused as error:
            if error.action != _START:
                raise
            # A client prints, on the stream of the container, why there is none.
            words = self._stderr.excerpt.head.decode("utf-8", "replace").strip() or error.detail
            raise self._not_started(error, words) from error
        code = state.exit_code or 0
        self.oom_killed = state.oom_killed
        missing = _INIT_FAILED.match(self._stderr.excerpt.head)
        if code in _INIT_CODES and missing and not self._stdout.total:
            raise InvalidCommand(self.command, self.entry, self._no_program(missing["why"].decode("utf-8", "replace")))
        number = code - 128
        return code, number if number in signal.valid_signals() else None

    def _tidy(self) -> None:
        assert self._container is not None
        self._done(self._container)

    def _no_program(self, why: str) -> str:
        shown = ascii(self._call.words[0])[1:-1]
        return f'the container cannot run its program "{shown}" ({why.strip()}); name one that the image has'
