"""Who is to blame for what is left of ours after a test, and how it is told. Loaded when a test has made something.

A test is blamed for what it has made and not closed, unless somebody who outlives it holds it: the plugin itself, a fixture of a
wider scope, a module, a class, or a thread that was there before.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import types
from dataclasses import dataclass
from typing import Any, Final

import pytest

from pytest_sandbox.processes.makers import Maker

__all__ = ["Ledger"]

_OF_ITSELF: Final = 0.3
"""Seconds in which a command that was not closed may still end by itself, having nothing more to do."""
_ENDING: Final = 10.0
"""Seconds that what was closed may take to be gone: it was killed, and the machine may be busy."""
_STATES: Final = {
    (False, False): "was not closed; left is",
    (True, False): "was closed, but not its executor, which keeps",
    (True, True): "was closed, and yet there is",
}
_MOST_STEPS: Final = 25
_MOST_HOLDERS: Final = 50_000


@dataclass(frozen=True)
class _Leak:
    """Something that is left, and what."""

    maker: Maker
    remains: list[str]


class Ledger:
    """What tests and fixtures have made and not closed.

    Args:
        config: that of the test run.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._root = config.rootpath
        self._numbers: set[int] = set()
        self._pending: list[tuple[str, list[Maker]]] = []
        self._over: list[tuple[str, list[Maker]]] = []

    def note_fixture(self, fixturedef: pytest.FixtureDef[Any], made: list[Maker]) -> None:
        """Note what a fixture has made: it must be gone when the fixture is over, and not before."""
        made = [maker for maker in made if not maker.of_the_plugin and maker.number not in self._numbers]
        if not made:
            return
        self._numbers.update(maker.number for maker in made)
        entry = (f'fixture "{fixturedef.argname}" (scope {fixturedef.scope})', made)
        self._pending.append(entry)
        fixturedef.addfinalizer(lambda: self._end(entry))

    def _end(self, entry: tuple[str, list[Maker]]) -> None:
        # Finalizers run in reverse order: the fixture's own teardown may come after this.
        if entry in self._pending:
            self._pending.remove(entry)
            self._over.append(entry)

    def check(self, made: list[Maker], threads: frozenset[int]) -> str:
        """Return what a test, or a fixture that has ended with it, has left, or an empty text. What is left is closed.

        Args:
            made: what was made since it began.
            threads: the identifiers of the threads that ran when it began.
        """
        here = threading.get_ident()
        mine = [
            maker
            for maker in made
            if not (maker.of_the_plugin or maker.number in self._numbers or maker.thread in threads - {here})
        ]
        told = self._tell("this test has", _leaks(mine, threads))
        over, self._over = self._over, []
        for who, makers in over:
            told += self._tell(f"{who} has", _leaks(makers, threads))
            self._numbers.difference_update(maker.number for maker in makers)
        return "\n".join(told)

    def _tell(self, who: str, leaks: list[_Leak]) -> list[str]:
        if not leaks:
            return []
        lines = [f"Sandbox leak: {who} left something behind"]
        is_careless = not all(_holder(leak.maker).closed for leak in leaks)
        for leak in leaks:
            maker = leak.maker
            state = _STATES[maker.closed, _holder(maker).closed]
            left = ", ".join(leak.remains) or "its processes, until they notice"
            lines.append(f"  {maker.what}, made at {self._place(maker)}, {state}: {left}")
            _end(_holder(maker))
        if is_careless:
            lines.append("Close what is made, best with a with statement, or let the fixture executor_factory make and close it")
        return lines

    def _place(self, maker: Maker) -> str:
        try:
            file = os.path.relpath(maker.file, self._root)
        except ValueError:  # on another drive
            file = maker.file
        return f"{maker.file if file.startswith('..') else file}:{maker.line}"


def _leaks(makers: list[Maker], threads: frozenset[int]) -> list[_Leak]:
    """Return what is left of these, and is nobody else's."""
    found = []
    # What is left of a closed process whose executor is open is the executor's: a container that it keeps.
    own = [maker for maker in makers if not maker.closed or maker.parent is None or maker.parent in makers]
    commands = [maker for maker in own if not maker.closed and maker.parent is not None]
    for maker, remains in [
        *_lasting([maker for maker in own if _holder(maker).closed], _ENDING),
        *_lasting(commands, _OF_ITSELF),
        *_lasting([maker for maker in own if not _holder(maker).closed and maker not in commands], 0.0),
    ]:
        holder = _holder(maker)
        if holder.closed or holder.owner is None or not _is_held(holder.owner, threads):
            found.append(_Leak(maker, remains))
    return found


def _holder(maker: Maker) -> Maker:
    """Return who still has to be closed, if anybody."""
    return maker.parent if maker.closed and maker.parent is not None else maker


def _lasting(makers: list[Maker], seconds: float) -> list[tuple[Maker, list[str]]]:
    """Return the makers of which something is left, with that, after they were given some time."""
    deadline = time.monotonic() + seconds
    while True:
        left = [(maker, remains) for maker in makers if (remains := maker.remains()) or _was_dropped(maker)]
        if not any(remains for _, remains in left) or time.monotonic() > deadline:
            return left
        time.sleep(0.005)


def _was_dropped(maker: Maker) -> bool:
    """Whether an executor was forgotten rather than closed: its processes end some time later, if not only with the test run."""
    return maker.parent is None and maker.was_used and not maker.closed and maker.owner is None


def _end(maker: Maker) -> None:
    """Close what was left, so that the next test is not hurt by it."""
    owner = maker.owner
    if not maker.closed and owner is not None:
        try:
            owner.close()
        except Exception as error:  # it is told that it was left; that it cannot be closed either must not hide that
            print(f"{maker.what} cannot be closed: {type(error).__name__}: {error}", file=sys.stderr)


# -- who holds it -----------------------------------------------------------------------------------------------

_OURS: Final = __name__.partition(".")[0]
_OUR_THREADS: Final = "pytest-sandbox-"
_LASTING: Final = (pytest.Config, pytest.FixtureDef, pytest.Collector)
_PASSING: Final = (pytest.Item, types.FrameType, types.TracebackType, BaseException, _Leak)
"""What ends with the test, or belongs to the search."""


def _is_held(thing: object, threads: frozenset[int]) -> bool:
    """Whether something that outlives the test refers to an object.

    Found out backwards, from the object to what refers to it, and so on: that takes a tenth of a second, and is done only for what
    a test has not closed.
    """
    seen = {id(thing)}
    level: list[object] = [thing]
    for _ in range(_MOST_STEPS):
        referrers = gc.get_referrers(*level)
        seen.update((id(level), id(referrers)))
        level = []
        for referrer in referrers:
            if id(referrer) in seen:
                continue
            seen.add(id(referrer))
            outlives = _outlives(referrer, threads)
            if outlives:
                return True
            if outlives is None:
                level.append(referrer)
        if not level or len(seen) > _MOST_HOLDERS:
            break
    return False


def _outlives(holder: object, threads: frozenset[int]) -> bool | None:
    """Whether something outlives any test; None when it depends on what refers to it."""
    kind = type(holder)  # not isinstance(), which asks the object, and that may be anybody's
    if issubclass(kind, dict):
        name = dict.get(holder, "__name__")  # type: ignore[call-overload]  # it is one
        is_module = isinstance(name, str) and getattr(sys.modules.get(name), "__dict__", None) is holder
        return not _is_ours(name) if is_module else None
    if issubclass(kind, types.ModuleType | type):
        return not _is_ours(getattr(holder, "__module__" if issubclass(kind, type) else "__name__", ""))
    if issubclass(kind, threading.Thread):
        return holder.ident in threads and not holder.name.startswith(_OUR_THREADS)  # type: ignore[attr-defined]  # it is one
    if issubclass(kind, _PASSING):
        return False
    return True if issubclass(kind, _LASTING) else None


def _is_ours(module: object) -> bool:
    """Whether it is the name of a module of ours: those know all processes, in order to serve them."""
    return str(module).partition(".")[0] == _OURS
