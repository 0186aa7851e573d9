"""What an execution used, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_sandbox.reports.text import size

if TYPE_CHECKING:
    from pytest_sandbox.result import Usage

__all__ = ["in_words"]


def in_words(usage: Usage, *, calls: bool = True) -> str:
    """Return what was used on one line; what cannot be attributed is called unknown.

    Args:
        usage: what was used.
        calls: whether it could call tools.
    """
    cpu = "unknown" if usage.cpu is None else f"{usage.cpu:.2f} s"
    parts = [f"{usage.wall:.3f} s", f"CPU {cpu}", f"memory {size(usage.memory)}"]
    if calls:
        parts.append(f"{usage.tool_calls} tool call{'' if usage.tool_calls == 1 else 's'}")
    return ", ".join([*parts, f"{size(usage.output)} out"])
