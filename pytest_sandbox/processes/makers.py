"""Who has made what: the processes, containers, descriptors and folders that an executor has to its name, until they are gone.

The test plugin asks here what a test has left behind. Nothing is ended from here, and nobody's life depends on what is noted.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar

__all__ = ["Maker", "current", "latest", "made_since", "making"]

_PACKAGE: Final = str(Path(__file__).parents[1]) + os.sep
_THREADS: Final = str(Path(threading.__file__))
_PASSED_OVER: Final = (_THREADS, contextlib.__file__, f"{os.sep}concurrent{os.sep}futures{os.sep}", f"{os.sep}asyncio{os.sep}")
"""Files whose frames tell nobody where something was made."""

_MANY: Final = 64
"""So many things noted are worth a look at which of them are gone."""

_K = TypeVar("_K")
_V = TypeVar("_V")


class Maker:
    """An executor, or one process of a command executor: what has to be closed, and what is gone once that is done.

    Args:
        owner: the object that its user has to close.
        what: what it is, such as ``executor "deno"``.
        parent: what it belongs to, which ends it, too, when it is closed.

    Attributes:
        number: makers are counted from 1, in this process.
        file: the file in which it was made.
        line: the line there.
        thread: the identifier of the thread in which it was made.
        of_the_plugin: whether the test plugin made it for itself: it is shared by tests, or is closed by a fixture.
        closed: whether it was closed, and all that this ends has been told to end.
        was_used: whether it has ever made anything.
    """

    def __init__(self, owner: object, what: str, parent: Maker | None = None) -> None:
        self.what = what
        self.parent = parent
        self.thread = threading.get_ident()
        self.closed = False
        self.was_used = False
        self.file, self.line, self.of_the_plugin = _whence(sys._getframe(1))
        self._owner = weakref.ref(owner)
        self._groups: dict[int, int] = {}
        self._others: dict[str, Callable[[], bool]] = {}
        self._descriptors: dict[int, tuple[int, int]] = {}
        self._folders: dict[Path, None] = {}
        self._lock = threading.Lock()
        self.number = _remember(self)

    @property
    def owner(self) -> Any:
        """The object that its user has to close; None when nobody has it any more."""
        return self._owner()

    def forget(self) -> None:
        """Begin with nothing, and with a lock that no thread of a parent process holds."""
        self._groups, self._others, self._descriptors, self._folders = {}, {}, {}, {}
        self._lock = threading.Lock()

    # -- what it has made ---------------------------------------------------------------------------------------

    def add_group(self, pgid: int, ticks: int) -> None:
        """Note a process group, by its number and the start of its leader in clock ticks."""
        self._add(self._groups, pgid, ticks, _lives)

    def add_other(self, what: str, is_there: Callable[[], bool]) -> None:
        """Note something else, such as ``container NAME``, and what tells whether it is still there."""
        self._add(self._others, what, is_there, lambda _what, there: there())

    def add_descriptor(self, descriptor: int) -> None:
        """Note an open descriptor of this process."""
        file = _file(descriptor)
        if file is not None:
            self._add(self._descriptors, descriptor, file, lambda number, file: _file(number) == file)

    def add_folder(self, path: Path) -> None:
        """Note a temporary folder."""
        self._add(self._folders, path, None, lambda path, _none: path.exists())

    def _add(self, noted: dict[_K, _V], key: _K, value: _V, is_there: Callable[[_K, _V], bool]) -> None:
        """Note something; from any thread."""
        self.was_used = True
        with self._lock:
            if len(noted) >= _MANY:
                for old in [old for old, found in noted.items() if not is_there(old, found)]:
                    del noted[old]
            noted[key] = value

    def remains(self) -> list[str]:
        """Return what of all that is still there, each thing in words."""
        with self._lock:
            groups, others, descriptors, folders = (
                dict(self._groups),
                dict(self._others),
                dict(self._descriptors),
                list(self._folders),
            )
        found = [_process(number) for number, start in groups.items() if _lives(number, start)]
        found += [what for what, is_there in others.items() if is_there()]
        # The pipes of a process that is still there would only say the same once more.
        if not found:
            found += [f"descriptor {number}" for number, file in descriptors.items() if _file(number) == file]
        return found + [f"folder {path}" for path in folders if path.exists()]

    def __repr__(self) -> str:
        return f"<Maker {self.what} of {self.file}:{self.line}{' closed' if self.closed else ''}>"


# -- all of them ------------------------------------------------------------------------------------------------

_current: contextvars.ContextVar[Maker | None] = contextvars.ContextVar("pytest_sandbox_maker", default=None)
_lock = threading.Lock()
_all: list[Maker] = []
_latest = 0


def _after_fork() -> None:
    """Forget, in a forked child, what the parent has made: it is the parent's to end."""
    global _lock, _all
    for maker in _all:
        maker.forget()
    _lock, _all = threading.Lock(), []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _remember(maker: Maker) -> int:
    global _latest, _all
    with _lock:
        _latest += 1
        if len(_all) >= 4 * _MANY:
            _all = [other for other in _all if not other.closed or other.remains()]
        _all.append(maker)
        return _latest


def latest() -> int:
    """Return the number of the latest maker; 0 when there has been none."""
    return _latest


def made_since(number: int) -> list[Maker]:
    """Return the makers that have come after a number, but for those that are closed and of which nothing is left."""
    if number == _latest:
        return []
    with _lock:
        return [maker for maker in _all if maker.number > number]


def current() -> Maker | None:
    """Return for whom this thread is making something."""
    return _current.get()


@contextlib.contextmanager
def making(maker: Maker | None) -> Iterator[None]:
    """Note what is made inside to the name of a maker."""
    token = _current.set(maker)
    try:
        yield
    finally:
        _current.reset(token)


# -- facts ------------------------------------------------------------------------------------------------------


def _whence(frame: FrameType | None) -> tuple[str, int, bool]:
    """Return the file and the line that have called us, and whether it was the plugin on its own account."""
    by_plugin = by_proof = False
    place: tuple[str, int] | None = None
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_PACKAGE):
            module = name[len(_PACKAGE) :]
            by_plugin = by_plugin or module.startswith(f"plugin{os.sep}")
            by_proof = by_proof or module == "proofs.py"
        elif not any(part in name for part in _PASSED_OVER):
            return name, frame.f_lineno, by_plugin
        elif place is None:
            place = name, frame.f_lineno
        frame = frame.f_back
    # Nobody but us is on this stack: a thread that proves an executor works, or one that calls us directly.
    return (*(place or ("a thread", 0)), by_plugin or by_proof)


def _lives(pgid: int, ticks: int) -> bool:
    """Whether a process group is there: its leader, also one that was not reaped, or others that the leader has left."""
    from pytest_sandbox.processes.watchdog import start_ticks

    now = start_ticks(pgid)
    if now != -1:
        return now == ticks
    try:
        os.killpg(pgid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _process(pid: int) -> str:
    """Name a process, or what it has left in its group."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            head, _, rest = file.read().rpartition(")")
    except OSError:
        return f"processes of group {pid}"
    name = head.partition("(")[2]
    return f"process {pid} ({name}{', ended and not reaped' if rest.split()[0] == 'Z' else ''})"


def _file(descriptor: int) -> tuple[int, int] | None:
    """Tell what a descriptor stands for, so that it is not mistaken when its number is used again."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino
