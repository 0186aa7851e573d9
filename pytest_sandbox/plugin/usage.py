"""What an execution used, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_sandbox.result import Usage

__all__ = ["in_bytes", "in_words"]


def in_words(usage: Usage, *, calls: bool = True) -> str:
    """Return what was used on one line; what cannot be attributed is called unknown.

    Args:
        usage: what was used.
        calls: whether it could call tools.
    """
    cpu = "unknown" if usage.cpu is None else f"{usage.cpu:.2f} s"
    parts = [f"{usage.wall:.3f} s", f"CPU {cpu}", f"memory {in_bytes(usage.memory)}"]
    if calls:
        parts.append(f"{usage.tool_calls} tool call{'' if usage.tool_calls == 1 else 's'}")
    return ", ".join([*parts, f"{in_bytes(usage.output)} out"])


def in_bytes(number: int | None) -> str:
    """Return a number of bytes as a person would say it."""
    if number is None:
        return "unknown"
    size, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{number} B" if unit == "B" else f"{size:.1f} {unit}"
