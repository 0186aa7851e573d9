"""Lua processes: how they are started, in a jail where there is one, and kept ready.

A process serves one run. It is a Python without site-packages that has imported lupa and nothing else; what it needs of the files
of this machine is asked of one that is started for that, once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

from pytest_sandbox.errors import ExecutorBroken, ExecutorUnavailable, InvalidArgument
from pytest_sandbox.lua import protocol
from pytest_sandbox.processes.confinement import Confinement
from pytest_sandbox.processes.jail import Jail
from pytest_sandbox.processes.jail_probe import NoJail, find_jail_soon
from pytest_sandbox.processes.libraries import runtime_files
from pytest_sandbox.processes.spawn import end_group, spawn_soon
from pytest_sandbox.result import printable
from pytest_sandbox.snippets.link import Link, StartingProcess

__all__ = ["JailMode", "Launcher", "LuaProcess", "Runtime", "find_runtime"]

JailMode = Literal["auto", "required", "off"]

START_TIMEOUT: Final = 30.0
"""Seconds that a process may take until it is ready; normally less than a tenth of one, but machines are shared."""

_RUNNER: Final = Path(__file__).parent / "runner"
_NAME: Final = "lua"
_INSTALL: Final = "install it with 'pip install \"pytest-sandbox[lua]\"'"
_ENVIRONMENT: Final = {"TZ": "UTC"}
_FLAGS: Final = ("-I", "-S", "-E", "-B")
_PROBE: Final = """
import os, sys
sys.path.append(sys.argv[1])
import lupa.lua54 as lua54
version = lua54.LuaRuntime(max_memory=1 << 30).lua_implementation
modules = [module for module in list(sys.modules.values()) if getattr(module.__spec__, "origin", None) != "frozen"]
# os.py is what Python finds its own folder by.
files = {str(getattr(module, "__file__", None) or "") for module in (*modules, os)}
print("\\n".join([version, *sorted(files)]))
"""


@dataclass(frozen=True)
class Runtime:
    """What runs Lua on this machine.

    Attributes:
        python: the program.
        lupa: the folder that lupa is in.
        versions: of Lua, lupa and Python.
        files: all files that a process reads.
    """

    python: str
    lupa: str
    versions: dict[str, str]
    files: tuple[str, ...]

    def command(self) -> list[str]:
        """Return program and arguments of a process."""
        return [self.python, *_FLAGS, str(_RUNNER / "main.py"), self.lupa, str(_RUNNER)]

    def __str__(self) -> str:
        return f"{self.versions['lua']}, lupa {self.versions['lupa']}, Python {self.versions['python']}"


_lock = threading.Lock()
_found: Future[Runtime] | None = None


def _after_fork() -> None:
    global _lock, _found
    _lock = threading.Lock()
    if _found is not None and not _found.done():
        _found = None


os.register_at_fork(after_in_child=_after_fork)


def find_runtime() -> Runtime:
    """Return what runs Lua here; found out once.

    Raises:
        ExecutorUnavailable: when lupa is missing, or does not work (the machine's fault).
    """
    global _found
    with _lock:
        found, mine = _found, _found is None
        if found is None:
            found = _found = Future()
    if mine:
        try:
            found.set_result(_find())
        except BaseException as error:
            found.set_exception(error)
            with _lock:
                _found = None  # it may be installed meanwhile
    return found.result()


def _find() -> Runtime:
    # Found and not imported: the test run itself has no use for it.
    spec = PathFinder.find_spec("lupa")
    if spec is None or spec.origin is None:
        raise ExecutorUnavailable(_NAME, "the package lupa is not installed", _INSTALL)
    folder = str(Path(spec.origin).parents[1])
    python = os.path.realpath(sys.executable)
    process = spawn_soon([python, *_FLAGS, "-c", _PROBE, folder], env=_ENVIRONMENT, stdin=subprocess.DEVNULL).result()
    try:
        output, errors = process.communicate(timeout=START_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise ExecutorUnavailable(_NAME, f"{python} has not imported lupa within {START_TIMEOUT:g} s", "try again") from None
    finally:
        code = end_group(process)
    if code != 0:
        words = printable(errors.decode("utf-8", "replace")).strip().rpartition("\n")[2]
        raise ExecutorUnavailable(_NAME, f"{python} cannot import lupa from {folder}: {words}", f"{_INSTALL}, again")
    version, *names = output.decode("utf-8", "surrogateescape").splitlines()
    from importlib.metadata import version as version_of

    versions = {"lua": version, "lupa": version_of("lupa"), "python": sys.version.split()[0]}
    return Runtime(python, folder, versions, tuple(name for name in names if name.startswith("/")))


class LuaProcess:
    """A Lua process that is being started; serves one run.

    Args:
        starting: as it is being started.
    """

    def __init__(self, starting: StartingProcess) -> None:
        self._starting = starting

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> Link:
        """Return the process once it can take its request.

        Raises:
            ExecutorBroken: when it cannot be started (the machine's fault, or ours).
        """
        try:
            link = self._starting.wait(timeout)
        except TimeoutError:
            self._starting.abandon()
            raise ExecutorBroken(_NAME, f"its process was not started within {timeout:g} s") from None
        except OSError as error:
            raise ExecutorBroken(_NAME, f"its process cannot be started: {error}") from error
        try:
            self._read_ready(link, timeout)
        except BaseException:
            link.end()
            raise
        return link

    def abandon(self) -> None:
        """End it, however far it has come."""
        self._starting.abandon()

    def _read_ready(self, link: Link, timeout: float) -> None:
        import select
        import time

        deadline = time.monotonic() + timeout
        data, words = b"", b""
        poll = select.poll()
        for descriptor in link.read_descriptors:
            poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll(max(0.0, min(0.2, deadline - time.monotonic())) * 1000):
                pieces = link.read(descriptor)
                if not pieces:
                    poll.unregister(descriptor)
                for stream, piece in pieces:
                    if stream == "stdout":
                        data += piece
                    else:
                        words = (words + piece)[-4096:]
            if len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[:4], "big"):
                break
            last = printable(words.decode("utf-8", "replace")).strip()
            if link.has_ended() and not link.read_descriptors:
                raise ExecutorBroken(_NAME, f"its process ended before it was ready ({link.end().how})", last)
            if time.monotonic() >= deadline:
                raise ExecutorBroken(_NAME, f"its process was not ready within {timeout:g} s", last)
        try:
            message: object = protocol.decode(data[4:])
        except msgspec.DecodeError:
            message = None
        if not isinstance(message, protocol.Ready) or message.protocol != protocol.PROTOCOL:
            raise ExecutorBroken(_NAME, f"the first message of its process is not the expected one: {data[:200]!r}")


class Launcher:
    """Starts Lua processes and keeps one ready, from the second on: a launcher that is used once needs none ahead of time.

    Args:
        jail: "auto" puts them into a jail where one can be entered; "required" makes its absence an error; "off" does without.

    Raises:
        ExecutorUnavailable: when Lua cannot run here, or a required jail is missing.
        InvalidArgument: when ``jail`` makes no sense (the caller's fault).
    """

    def __init__(self, jail: JailMode = "auto") -> None:
        if jail not in get_args(JailMode):
            raise InvalidArgument("jail", jail, '"auto", "required" or "off"')
        looking = None if jail == "off" else find_jail_soon()
        self.runtime = find_runtime()
        self._jail: Jail | None = None
        self._no_jail: NoJail | None = None
        if looking is not None:
            found = self._usable(looking.result())
            if isinstance(found, Jail):
                self._jail = found
            elif jail == "required":
                raise ExecutorUnavailable(_NAME, f"its jail is required, and there is none: {found.reason}", found.fix)
            else:
                self._no_jail = found
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._taken = 0
        self._closed = False
        self._spares = [self._start()]

    @property
    def jail(self) -> str:
        """The jail, in words."""
        if self._jail is not None:
            return str(self._jail)
        return "off" if self._no_jail is None else f"none ({self._no_jail.reason})"

    @property
    def is_jailed(self) -> bool:
        """Whether the processes are in a jail."""
        return self._jail is not None

    def take(self) -> Link:
        """Return a process that is ready; whoever takes it ends it.

        Raises:
            ExecutorBroken: when none can be started.
        """
        if os.getpid() != self._owner:  # in a forked child, what is ready is the parent's
            self._owner, self._spares, self._lock = os.getpid(), [], threading.Lock()
        with self._lock:
            spare = self._spares.pop() if self._spares else None
            self._taken += 1
        while spare is not None:
            try:
                link = spare.wait_until_ready()
            except ExecutorBroken:
                break  # a spare may have died meanwhile; a new one tells why, if it does not start either
            if not link.has_ended():
                return link
            link.end()
            break
        return self._start().wait_until_ready()

    def keep_ready(self) -> None:
        """Start the next process, if there is reason to think that it will be needed."""
        with self._lock:
            wanted = self._taken > 1 and not self._spares and not self._closed
            if wanted:
                self._spares.append(self._start())

    def close(self) -> None:
        """End the processes that nobody has taken."""
        with self._lock:
            self._closed = True
            spares, self._spares = self._spares, []
        if os.getpid() == self._owner:
            for spare in spares:
                spare.abandon()

    def _usable(self, jail: Jail | NoJail) -> Jail | NoJail:
        if isinstance(jail, NoJail):
            return jail
        try:
            libraries = [name for name in self.runtime.files if ".so" in os.path.basename(name)]
            files = (*runtime_files(self.runtime.python, *libraries), *self._other_files(), str(_RUNNER))
            self._inside = Confinement(read_only=files, tmpfs={}, proc=False, processes=4, open_files=64, file_size=0)
            unreadable = jail.unreadable(self._inside)
        except OSError as error:
            return NoJail(f"what Lua's process needs is not known: {error}", "report this as a bug")
        if unreadable is not None:
            return NoJail(f"inside, nobody could read {unreadable}", f"let everybody read it: 'chmod -R o+rX {unreadable}'")
        return jail

    def _other_files(self) -> tuple[str, ...]:
        files = [name for name in self.runtime.files if ".so" not in os.path.basename(name) and os.path.exists(name)]
        # Whole packages: compiled code is beside the sources, and encodings are looked up by name.
        folders = dict.fromkeys(os.path.dirname(name) for name in files if os.path.basename(name) == "__init__.py")
        inside = tuple(f"{folder}/" for folder in folders)
        single = [name for name in files if not name.startswith(inside)]
        # With their compiled code, or else every start would compile them again.
        compiled = [cache_from_source(name) for name in single if name.endswith(".py")]
        return (*folders, *single, *(name for name in compiled if os.path.exists(name)))

    def _start(self) -> LuaProcess:
        command = self.runtime.command()
        if self._jail is None:
            return LuaProcess(StartingProcess(spawn_soon(command, env=_ENVIRONMENT)))
        try:
            confined = self._jail.confine(command, _ENVIRONMENT, self._inside)
        except OSError as error:
            raise ExecutorBroken(_NAME, f"its jail cannot be prepared: {error}") from error
        return LuaProcess(StartingProcess(confined.start(), confined.release, confined))
