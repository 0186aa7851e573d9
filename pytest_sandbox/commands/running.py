"""A process of `exec.docker` in a container that is running already, and is not ours.

An engine cannot end a process that it was asked to start in a running container: killing its client leaves the process alone. So a
small shell script goes first: it enters the working folder, checks it from inside, tells its own process id, and then becomes the
program; a signal is sent by a second process in there. A container without a shell is refused before anything is started.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import threading
import weakref
from typing import Any, Final

from pytest_sandbox.commands.attached import AttachedProcess
from pytest_sandbox.commands.calls import Prepared
from pytest_sandbox.commands.whitelist import Whitelist
from pytest_sandbox.engines.attachment import ExecAttachment
from pytest_sandbox.engines.base import Engine
from pytest_sandbox.entries.model import DockerEntry
from pytest_sandbox.errors import (
    CommandNotStarted,
    ContainerGone,
    EngineError,
    EngineTimeout,
    InvalidArgument,
    InvalidCommand,
    WorkDirNotAllowed,
)

__all__ = ["RunningContainer", "RunningProcess"]

_ANSWER: Final = 30.0
"""Seconds that a process in the container is given to do a small thing."""
_MOST_HEAD: Final = 16 * 1024

_PROBE: Final = 'kill -0 "$$" && printf %s "$1"'
_KILL: Final = 'kill "-$1" -- "-$2" 2>/dev/null || kill "-$1" "$2"'
# $1: what marks our line; $2: the folder that binds, or nothing; $3: the folder to enter, or nothing; then the program.
# CDPATH would make cd look, and print, elsewhere.
_START: Final = """
mark=$1 base=$2 folder=$3
shift 3
say() { printf '%s %s\\n' "$mark" "$1"; }
if [ -n "$base" ]; then
  CDPATH= cd -- "$base" >/dev/null 2>&1 || { say "no base"; exit 127; }
  base=$(pwd -P)
fi
if [ -n "$folder" ]; then
  CDPATH= cd -- "$folder" >/dev/null 2>&1 || { say "no folder"; exit 127; }
fi
if [ -n "$base" ]; then
  case "$(pwd -P)/" in
    "${base%/}"/*) ;;
    *) say "outside $(pwd -P)"; exit 127 ;;
  esac
fi
command -v -- "$1" >/dev/null 2>&1 || { say "no program"; exit 127; }
say "pid $$"
exec "$@"
"""


class RunningContainer:
    """A running container in which commands are run.

    Args:
        engine: the engine that runs it.
        container: an id or a name, or an object of the Docker SDK or of testcontainers.
        entry: the entry.
        entry_id: its id.

    Raises:
        InvalidArgument: when it is none of these (the caller's fault).
    """

    def __init__(self, engine: Engine, container: Any, entry: DockerEntry, entry_id: str) -> None:
        self.engine = engine
        self.entry = entry
        self.entry_id = entry_id
        self.id = _container_id(container)
        self._lock = threading.Lock()
        self._checked = False

    def check(self, command: str) -> None:
        """Make sure, once, that the container runs, and that what is started in it can be killed.

        Raises:
            CommandNotStarted: when that is not so (the fault of whoever chose the container).
        """
        with self._lock:
            if self._checked:
                return
            try:
                state = self.engine.inspect(self.id)
                if not state.is_running:
                    reason = f'container "{self.id}" is not running but {state.status}; start it first'
                    raise CommandNotStarted(command, self.entry_id, reason)
                mark = secrets.token_hex(16)
                answer = self.ask(_PROBE, mark)
            except EngineError as error:
                raise CommandNotStarted(command, self.entry_id, str(error)) from error
            if answer != mark:
                reason = (
                    f'what runs in container "{self.id}" could not be killed there: that takes a POSIX shell, and its "sh" does '
                    f"not answer ({answer[:200]!a}); use a container with one, or an entry with an image"
                )
                raise CommandNotStarted(command, self.entry_id, reason)
            self._checked = True

    def ask(self, script: str, *arguments: str) -> str:
        """Run a shell script in the container, as the entry's user, and return what it prints."""
        process = self.exec(("sh", "-c", script, "sh", *arguments))
        try:
            out, err = process.streams.collect(timeout=_ANSWER)
        finally:
            process.close()
        return (out or err).decode("utf-8", "replace")

    def exec(self, words: tuple[str, ...], *, env: dict[str, str] | None = None, stdin: bool = False) -> ExecAttachment:
        """Start a process in the container."""
        return self.engine.exec(self.id, words, env=env, user=self.entry.user, stdin=stdin)


class RunningProcess(AttachedProcess):
    """A command in a container that is running already."""

    def __init__(self, call: Prepared, home: RunningContainer, *, work_dir: str | None, whitelist: Whitelist | None) -> None:
        entry = home.entry
        super().__init__(
            command=call.command, entry=home.entry_id, output_limit=entry.output_limit, grace_period=entry.grace_period
        )
        self._call = call
        self._home = home
        self._work_dir = work_dir
        self._whitelist = whitelist
        self._mark = secrets.token_hex(16).encode()
        self._head: bytes | None = b""
        self._said = ""
        self._pid: int | None = None
        self._exec: ExecAttachment | None = None

    @property
    def pid(self) -> int | None:
        """The process id inside the container; None before the program runs."""
        return self._pid

    def _launch(self) -> None:
        bound = self._whitelist is not None and self._home.entry.default_work_dir is not None
        base = self._home.entry.default_work_dir if bound else ""
        words = ("sh", "-c", _START, "sh", self._mark.decode(), base or "", self._work_dir or "", *self._call.words)
        try:
            self._exec = self._home.exec(words, env=self._call.env, stdin=self._call.stdin)
        except EngineError as error:
            raise CommandNotStarted(self.command, self.entry, str(error)) from error
        self._attach(self._exec.streams, stdin=self._call.stdin)
        if self._maker is not None:
            me = weakref.ref(self)
            what = f"the command in container {self._home.id[:12]}"
            self._maker.add_other(what, lambda: (process := me()) is not None and not process._has_ended())
        with self._condition:
            # What it has become is known when the script has told; until then it could not be signalled.
            self._condition.wait_for(lambda: self._head is None or self._has_ended(), _ANSWER)
        if self._pid is None:
            self._abandon()
            raise self._refusal()

    def _filtered(self, name: str, data: bytes) -> bytes:
        if name != "stdout" or self._head is None:
            return data
        self._head += data
        line, newline, rest = self._head.partition(b"\n")
        if not newline and len(line) < _MOST_HEAD:
            return b""
        self._head = None
        mark, _, said = line.partition(b" ")
        if mark == self._mark:
            self._said = said.decode("utf-8", "replace")
            word, _, number = self._said.partition(" ")
            self._pid = int(number) if word == "pid" and number.isdigit() else None
        return rest

    def _refusal(self) -> CommandNotStarted | InvalidCommand | WorkDirNotAllowed:
        """Return why the script did not become the program."""
        word, _, where = self._said.partition(" ")
        shown = ascii(self._work_dir)[1:-1]
        if word == "outside" and self._whitelist is not None:
            base = self._home.entry.default_work_dir or ""
            return WorkDirNotAllowed(self.command, self.entry, self._whitelist.commands, str(self._call.work_dir), where, base)
        if self._said == "no base":
            base = ascii(self._home.entry.default_work_dir)[1:-1]
            return InvalidCommand(self.command, self.entry, f'default_work_dir "{base}" cannot be entered in the container')
        if self._said == "no folder":
            return InvalidCommand(
                self.command, self.entry, f'work_dir "{shown}" cannot be entered in the container; create it there'
            )
        if self._said == "no program":
            program = ascii(self._call.words[0])[1:-1]
            return InvalidCommand(self.command, self.entry, f'the container has no program "{program}"; name one that it has')
        stderr = ascii(self._stderr.excerpt.head[:300].decode("utf-8", "replace"))
        return CommandNotStarted(self.command, self.entry, f"its container did not start it; standard error was {stderr}")

    def _send_signal(self, number: int) -> None:
        if self._pid is None or self._has_ended():
            raise ProcessLookupError
        with contextlib.suppress(EngineTimeout):  # a shell that is held up; whoever waits for the exit finds out
            try:
                self._home.ask(_KILL, str(number), str(self._pid))
            except ContainerGone:
                raise ProcessLookupError from None

    def _settle(self) -> tuple[int, int | None]:
        assert self._exec is not None
        code = self._exec.exit_code(timeout=_ANSWER)
        number = code - 128
        return code, number if number in signal.valid_signals() else None

    def _tidy(self) -> None:
        # What it has left in its process group is killed, as on the host. The engine may be gone, and the container with it.
        if self._pid is not None:
            with contextlib.suppress(EngineError):
                self._home.ask(_KILL, "9", str(self._pid))


def _container_id(container: Any) -> str:
    """Return the id of a container, whoever describes it."""
    if isinstance(container, str):
        if container:
            return container
    elif callable(getattr(container, "get_wrapped_container", None)):
        # testcontainers: there is a container only after start(); before, some versions raise an error of their own.
        try:
            inner = container.get_wrapped_container()
        except Exception as error:
            raise InvalidArgument("container", container, "a container that was started") from error
        if inner is None:
            raise InvalidArgument("container", container, "a container that was started")
        return _container_id(inner)
    elif isinstance(getattr(container, "id", None), str):
        return str(container.id)
    raise InvalidArgument("container", container, "the id or name of a container, or one of the Docker SDK or of testcontainers")
