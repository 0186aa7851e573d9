"""Who is told of every execution that ends in this process: the plugin, when it lists the slowest. A leaf."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pytest_sandbox.result import Usage

__all__ = ["Ended", "observers", "tell"]


@dataclass(frozen=True, slots=True)
class Ended:
    """An execution that has ended.

    Attributes:
        kind: whether it was a snippet or a command.
        executor: the name of the executor, or the id of the entry.
        text: the snippet, or the command as it may be shown; not made safe for a terminal.
        usage: what it used.
    """

    kind: Literal["snippet", "command"]
    executor: str
    text: str
    usage: Usage


observers: list[Callable[[Ended], None]] = []
"""Called in any thread, with locks held: they must be quick and must not raise."""


def tell(ended: Callable[[], Ended]) -> None:
    """Tell all observers; what is told is only made when there is one."""
    if observers:
        told = ended()
        for observer in list(observers):
            observer(told)
