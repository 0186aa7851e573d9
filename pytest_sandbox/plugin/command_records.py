"""How a failing test shows the commands that it ran."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pytest_sandbox.commands.masking import Secrets
from pytest_sandbox.commands.records import CommandRecord, Excerpt
from pytest_sandbox.plugin.usage import in_words
from pytest_sandbox.result import printable

if TYPE_CHECKING:
    from pytest_sandbox.commands.base import CommandExecutor

__all__ = ["sections"]

SHOWN_COMMANDS: Final = 5
SHOWN_BYTES: Final = 4000
"""Bytes of a stream that are shown: half of them its first, half its last."""


def sections(log: Sequence[tuple[CommandExecutor, CommandRecord]]) -> list[tuple[str, str]]:
    """Return title and text for each of the last commands.

    Args:
        log: the commands in order, each with its executor.
    """
    shown = list(enumerate(log, 1))[-SHOWN_COMMANDS:]
    found = [_section(executor.id, number, record, executor.secrets) for number, (executor, record) in shown]
    dropped = len(log) - len(shown)
    if dropped:
        found.insert(0, ("sandbox commands", f"… {dropped} earlier command{'s' if dropped > 1 else ''}"))
    return found


def _section(entry: str, number: int, record: CommandRecord, secrets: Secrets) -> tuple[str, str]:
    title = printable(f"sandbox command {number} ({entry})")
    lines = [f"command: {_line(secrets.mask_text(record.command))}", f"outcome: {_line(secrets.mask_text(record.outcome()), 1000)}"]
    if record.usage is not None:
        lines.append(f"usage: {in_words(record.usage, calls=False)}")
    for name, excerpt in (("stdout", record.stdout), ("stderr", record.stderr)):
        lines += _stream(name, excerpt, secrets)
    return title, "\n".join(lines)


def _stream(name: str, excerpt: Excerpt, secrets: Secrets) -> list[str]:
    if not excerpt.total:
        return [f"{name}: empty"]
    head, omitted, tail = secrets.mask_excerpt(excerpt)
    half = SHOWN_BYTES // 2
    if not omitted and len(head) > SHOWN_BYTES:
        head, tail = head[:half], head[-half:]
        omitted = excerpt.total - len(head) - len(tail)
    elif omitted:
        omitted += max(len(head) - half, 0) + max(len(tail) - half, 0)
        head, tail = head[:half], tail[-half:]
    parts = [_text(head)]
    if omitted:
        parts += [f"… {omitted} bytes omitted", _text(tail)]
    return [f"{name} ({excerpt.total} bytes):", *parts]


def _text(data: bytes) -> str:
    return printable(data.decode("utf-8", "replace").rstrip("\n"))


def _line(text: str, most: int = 300) -> str:
    shown = printable(text[:most].replace("\n", "\\n"))
    return shown if len(text) <= most else f"{shown}… {len(text) - most} more characters"
