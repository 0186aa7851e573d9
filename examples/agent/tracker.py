"""An issue tracker in memory: what the agent's snippets work on.

Some of its methods are coroutines, as clients of web services are, and some are plain functions: a snippet awaits both alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

MOVES = {"open": {"doing", "closed"}, "doing": {"open", "closed"}, "closed": {"open"}}
"""From each status, those that may follow."""


class IssueNotFound(Exception):
    def __init__(self, number: object) -> None:
        super().__init__(f"there is no issue {number}")


class MoveNotAllowed(Exception):
    def __init__(self, number: int, old: str, new: object) -> None:
        super().__init__(f"issue {number} is {old} and cannot become {new}: it may become {', '.join(sorted(MOVES[old]))}")


@dataclass
class Issue:
    number: int
    title: str
    labels: set[str]
    status: str = "open"
    opened: datetime = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
    comments: list[str] = field(default_factory=list)


class Tracker:
    """Keeps issues."""

    def __init__(self, *issues: Issue) -> None:
        self.issues = {issue.number: issue for issue in issues}

    def tools(self) -> dict[str, Callable[..., Any]]:
        """What a snippet reaches as ``codemode.<name>``: these, and no other method."""
        return {"search": self.search, "issue": self.issue, "comment": self.comment, "move": self.move}

    async def search(self, words: str = "", label: str | None = None) -> list[int]:
        """Return the numbers of the issues whose title has these words."""
        await asyncio.sleep(0.01)  # a network, as far as the agent can tell
        return [
            issue.number
            for issue in self.issues.values()
            if words.lower() in issue.title.lower() and (label is None or label in issue.labels)
        ]

    async def issue(self, number: int) -> dict[str, Any]:
        """Return an issue as plain values."""
        await asyncio.sleep(0.01)
        issue = self._find(number)
        return {
            "number": issue.number,
            "title": issue.title,
            "labels": issue.labels,
            "status": issue.status,
            "opened": issue.opened,
            "comments": len(issue.comments),
        }

    def comment(self, number: int, text: str) -> int:
        """Add a comment, and return how many there are now."""
        issue = self._find(number)
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"the text of a comment must not be empty: {text!r}")
        issue.comments.append(text)
        return len(issue.comments)

    def move(self, number: int, status: str) -> None:
        """Give an issue another status."""
        issue = self._find(number)
        if status not in MOVES[issue.status]:
            raise MoveNotAllowed(number, issue.status, status)
        issue.status = status

    def _find(self, number: object) -> Issue:
        # Arguments come from untrusted code: they may be of any type that crosses.
        if not isinstance(number, int) or number not in self.issues:
            raise IssueNotFound(number)
        return self.issues[number]
