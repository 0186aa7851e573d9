"""The list of executors for a person: ``pytest --sandbox-list`` and ``pytest-sandbox list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_sandbox.result import printable

if TYPE_CHECKING:
    from pytest_sandbox.registry import Registry

__all__ = ["listing"]


def listing(registry: Registry) -> str:
    """Return which executors there are, whether they work here, what runs them, and what to do where they do not."""
    rows = registry.detect()
    width = max(len(row.name) for row in rows)
    lines = []
    for row in rows:
        if row.available:
            lines.append(f"{row.name:<{width}}  available    {row.detail}")
        else:
            lines += [f"{row.name:<{width}}  unavailable  {row.reason}", f"{'':<{width}}               {row.fix}"]
    lines += [f"problem: {problem}" for problem in registry.problems()]
    return "".join(f"{printable(line)}\n" for line in lines)
