"""Where a probe performs: who runs the attack, what the attack goes for, and what it says became of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.subjects import Ran, Subject
from pytest_sandbox.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from pytest_sandbox.commands.base import CommandExecutor
    from pytest_sandbox.snippets.base import SnippetExecutor

__all__ = ["Attempt", "CannotTell", "NotApplicable", "Scene", "SceneMaker", "Stage"]


class CannotTell(Exception):
    """An attack ran, and yet shows nothing, in neither direction: its probe is inconclusive."""


class NotApplicable(Exception):
    """This machine has nothing that this probe could attack, such as a bridge."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where a probe performs.

    Attributes:
        subject: what runs the attack.
        canaries: what is planted.
        limits: the limits that the subject is to keep to; for a control, those of the executor that is audited.
        is_control: whether this is the control.
        executor: the executor that is audited; None for a control, and where it is of another kind.
        commands: the same of a command executor.
        whitelisted: one like `commands`, whose entry has a whitelist of one command.
    """

    subject: Subject
    canaries: Canaries
    limits: Limits = DEFAULT_LIMITS
    is_control: bool = False
    executor: SnippetExecutor | None = None
    commands: CommandExecutor | None = None
    whitelisted: CommandExecutor | None = None


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one attack came to, in its own words.

    Attributes:
        at: "returned", "threw", "pending" (it had not ended when the next one began), or "" (it never told).
        value: what it returned.
        error: what it threw.
        ran: the whole run that it was a part of.
    """

    at: str
    value: Any = None
    error: str = ""
    ran: Ran

    @property
    def words(self) -> str:
        """What became of it, for a report."""
        if self.at == "returned":
            return f"returned {json.dumps(self.value)}"[:300]
        return self.error or {"pending": "it did not end"}.get(self.at, str(self.ran))


@dataclass(frozen=True)
class Scene:
    """What an attack goes for.

    Attributes:
        params: what it is told, as ``P``.
        look: returns whether it got through, and what was seen.
    """

    params: Mapping[str, Any]
    look: Callable[[Attempt], tuple[bool, str]]


SceneMaker = Callable[[Canaries], AbstractContextManager[Scene]]
