"""Errors of entries, the descriptions of command executors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_sandbox.errors.base import SandboxError
from pytest_sandbox.errors.wording import near_miss, one_line

if TYPE_CHECKING:
    from pytest_sandbox.entries.model import EntryProblem


class EntriesInvalid(SandboxError, ValueError):
    """Entries files have errors. The fault of whoever wrote them.

    Attributes:
        problems: every problem that was found, each with file, line, field and message.
    """

    def __init__(self, problems: Iterable[EntryProblem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"Cannot load entries: {count} found{lines}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.problems,))


class UnknownEntry(SandboxError, ValueError):
    """No entry of that id is loaded. The caller's fault.

    Attributes:
        id: the id that was asked for.
        known: the ids that are loaded.
    """

    def __init__(self, id: str, known: Iterable[str]) -> None:
        self.id = id
        self.known = tuple(known)
        ids = ", ".join(self.known) or "none"
        super().__init__(f"Unknown entry {one_line(id)}{near_miss(id, self.known)}: loaded entries are {ids}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.id, self.known))
