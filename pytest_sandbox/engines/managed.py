"""What an engine does however it is reached: it minds its containers, and pulls again what was interrupted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, Literal

from pytest_sandbox.engines.base import DEFAULT_TIMEOUT, ContainerState, Created, ImageInfo, PullProgress
from pytest_sandbox.engines.minding import Minding
from pytest_sandbox.engines.oom import OomWatches
from pytest_sandbox.engines.pulling import pull_again
from pytest_sandbox.engines.spec import ContainerSpec
from pytest_sandbox.processes.watchdog import ContainerRemover

__all__ = ["LOAD_TIMEOUT", "PULL_SILENCE", "ManagedEngine"]

PULL_SILENCE: Final = 120.0
"""Seconds between two lines of progress, unless a call says otherwise."""
LOAD_TIMEOUT: Final = 300.0
"""Seconds that loading an image may take, unless a call says otherwise."""


class ManagedEngine(ABC):
    """The half of `Engine` that is the same over a socket and over a command line.

    Args:
        remover: how the watchdog can reach the engine.
    """

    name: Literal["docker", "podman"]

    def __init__(self, remover: ContainerRemover) -> None:
        self.remover = remover
        self._minding = Minding(remover, self.remove)
        self._oom = OomWatches(
            lambda: self.name == "podman" and self.is_local, self._prepare, lambda container: self.inspect(container).pid
        )

    # -- what a way to reach it provides ----------------------------------------------------------------------

    @property
    @abstractmethod
    def is_local(self) -> bool: ...

    @abstractmethod
    def inspect(self, container: str, *, timeout: float | None = None) -> ContainerState: ...

    @abstractmethod
    def _prepare(self, container: str) -> None:
        """Make all that a container of Podman needs, and run nothing in it yet."""

    @abstractmethod
    def _remove(self, container: str, seconds: float) -> bool: ...

    @abstractmethod
    def _pull(
        self, image: str, platform: str | None, on_progress: Callable[[PullProgress], None] | None, timeout: float | None
    ) -> ImageInfo: ...

    # -- what is the same -------------------------------------------------------------------------------------

    def _created(self, container: Created, spec: ContainerSpec) -> Created:
        """Note a container that exists now, and return it."""
        self._minding.created(container.id, container.name)
        self._oom.created(container.id, container.name, spec.memory)
        return container

    def remove(self, container: str, *, timeout: float | None = None) -> bool:
        with self._minding.removing(container):
            removed = self._remove(container, DEFAULT_TIMEOUT if timeout is None else timeout)
        self._oom.gone(container)
        return removed

    def pull(
        self,
        image: str,
        *,
        platform: str | None = None,
        on_progress: Callable[[PullProgress], None] | None = None,
        timeout: float | None = None,
    ) -> ImageInfo:
        return pull_again(lambda: self._pull(image, platform, on_progress, timeout))
