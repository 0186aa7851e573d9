"""The executors that the tests of one run share: one for each name, limits and options."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_sandbox.limits import UNSET, Limits

if TYPE_CHECKING:
    from pytest_sandbox.snippets.base import SnippetExecutor

__all__ = ["ExecutorPool"]


@dataclass(frozen=True)
class _Shared:
    name: str
    limits: Limits
    options: Mapping[str, Any]
    executor: SnippetExecutor


class ExecutorPool:
    """Create executors on demand and keep them until `close`.

    Args:
        create: makes an executor from a name, and by keyword limits and options.
    """

    def __init__(self, create: Callable[..., SnippetExecutor]) -> None:
        self._create = create
        self._shared: list[_Shared] = []
        self._lock = threading.Lock()

    def get(self, name: str, limits: Limits, options: Mapping[str, Any]) -> SnippetExecutor:
        """Return the shared executor of these limits and options, creating it if need be.

        The timeout plays no part, because it can be set for each execution.
        """
        limits = replace(limits, timeout=UNSET)
        with self._lock:
            # A list, because options need not be hashable; it is short.
            for shared in self._shared:
                if (shared.name, shared.limits, shared.options) == (name, limits, options):
                    return shared.executor
            executor = self._create(name, limits=limits, **options)
            self._shared.append(_Shared(name, limits, dict(options), executor))
            return executor

    def adopt(self, executor: SnippetExecutor, options: Mapping[str, Any]) -> None:
        """Share an executor that was made without limits of its own."""
        with self._lock:
            self._shared.append(_Shared(executor.name, Limits(), dict(options), executor))

    def close(self) -> None:
        """Close all executors, and raise what the first of them raised, when all have been asked."""
        with self._lock:
            shared, self._shared = self._shared, []
        errors = []
        for entry in shared:
            try:
                entry.executor.close()
            except Exception as error:  # the others must be closed, too
                errors.append(error)
        if errors:
            raise errors[0]
