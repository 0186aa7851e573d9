"""Which containers of an engine the watchdog minds: from before they exist until after they are gone."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from pytest_sandbox.engines.owner import new_name
from pytest_sandbox.errors import EngineError, EngineGone, EngineTimeout
from pytest_sandbox.processes import makers, watchdog
from pytest_sandbox.processes.watchdog import ContainerRemover

__all__ = ["Minding"]

_IN_THE_MAKING: Final = 60.0  # seconds after which an engine no longer makes what it was asked for


class Minding:
    """Keep the watchdog informed about the containers that are created through one connection to an engine.

    Args:
        remover: how the watchdog reaches the engine.
        remove: removes a container by name and returns whether it was there; used for those of which nobody knows.
    """

    def __init__(self, remover: ContainerRemover, remove: Callable[[str], bool]) -> None:
        self._remover = remover
        self._remove = remove
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}
        self._doubtful: dict[str, float] = {}

    @contextlib.contextmanager
    def creating(self) -> Iterator[str]:
        """Yield a new name for a container that is created inside; it is minded unless creating it fails for certain."""
        self.remove_doubtful()
        name = new_name()
        # Before the engine hears of it: our death in between must not leave a container behind.
        watchdog.watch_container(self._remover, name)
        maker = makers.current()
        if maker is not None:
            maker.add_other(f"container {name}", lambda: watchdog.is_watched_container(self._remover, name))
        try:
            yield name
        except (EngineTimeout, EngineGone) as error:
            if isinstance(error, EngineGone) and not error.was_asked:
                self.gone(name)
                raise
            # It may exist, or may come into existence: it stays minded, and is removed when the engine answers again.
            with self._lock:
                self._doubtful[name] = time.monotonic()
            raise
        except BaseException:
            with contextlib.suppress(EngineError):
                self._remove(name)
            self.gone(name)
            raise

    def created(self, number: str, name: str) -> None:
        """Note the id of a container that exists now."""
        with self._lock:
            self._names[number] = name

    @contextlib.contextmanager
    def removing(self, container: str) -> Iterator[None]:
        """Remove a container, given by id or name, inside; when the engine does not answer, that is tried again later."""
        try:
            yield
        except (EngineTimeout, EngineGone):
            with self._lock:
                self._doubtful[self._names.get(container, container)] = -_IN_THE_MAKING
            raise
        self.gone(container)

    def gone(self, container: str) -> None:
        """Forget a container, given by id or name, that exists no more."""
        with self._lock:
            name = self._names.pop(container, container)
            self._doubtful.pop(name, None)
        watchdog.unwatch_container(self._remover, name)

    def remove_doubtful(self) -> None:
        """Remove what may exist because the engine had not answered in time."""
        with self._lock:
            doubtful = dict(self._doubtful)
        for name, since in doubtful.items():
            try:
                was_there = self._remove(name)
            except EngineError:
                return  # it still does not answer; the watchdog has the last word
            if not was_there and time.monotonic() - since < _IN_THE_MAKING:
                with self._lock:
                    self._doubtful[name] = since
                watchdog.watch_container(self._remover, name)
