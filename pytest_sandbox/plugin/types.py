"""The types of fixtures, for annotations in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pytest_sandbox.limits import Limits
    from pytest_sandbox.snippets.base import SnippetExecutor

__all__ = ["ExecutorFactory"]


class ExecutorFactory(Protocol):
    """The type of the fixture ``executor_factory``."""

    def __call__(self, name: str | None = None, *, limits: Limits | None = None, **options: Any) -> SnippetExecutor:
        """Create an executor of this test's own, which is closed when the test ends.

        Args:
            name: the executor's name; None for the one that is selected for this test.
            limits: limits for every execution; unset fields are taken from marker and options, then from the executor.
            **options: the options of that executor.
        """
