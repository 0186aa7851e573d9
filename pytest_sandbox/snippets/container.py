"""The executor ``container``: not available yet."""

from __future__ import annotations

from typing import Any, Never

from pytest_sandbox.errors import ExecutorUnavailable
from pytest_sandbox.limits import Limits
from pytest_sandbox.snippets.base import ExecutorInfo, SnippetExecutor

__all__ = ["ContainerExecutor"]


class ContainerExecutor(SnippetExecutor):
    """Refuse to be created, with a reason."""

    name = "container"

    def __init__(self, *, limits: Limits | None = None, **options: Any) -> None:
        super().__init__(limits=limits, **options)
        raise ExecutorUnavailable(
            self.name, "not available yet: this version cannot run snippets in containers", "choose isolated-vm, deno or vm2"
        )

    @property
    def info(self) -> ExecutorInfo:
        """Nothing runs."""
        raise NotImplementedError

    def _run(self, request: Any) -> Never:
        raise NotImplementedError

    def _shut_down(self) -> None:
        pass
