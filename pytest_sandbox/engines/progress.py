"""How a pull shows that it goes on: one line on standard error."""

from __future__ import annotations

import sys
import time
from typing import Final

from pytest_sandbox.engines.base import PullProgress

__all__ = ["PullLine"]

_EVERY: Final = 5.0
"""Seconds between two lines where the line cannot be written over."""


class PullLine:
    """Writes how far a pull is; pass it as ``on_progress``.

    Args:
        image: what is pulled.
    """

    def __init__(self, image: str) -> None:
        self._image = image
        self._written = 0.0

    def __call__(self, progress: PullProgress) -> None:
        """Take one report."""
        is_terminal = sys.stderr.isatty()
        is_done = progress.layers > 0 and progress.layers_done == progress.layers
        now = time.monotonic()
        if now - self._written < (0.1 if is_terminal else _EVERY) and not is_done:
            return
        self._written = now
        text = f"pulling {self._image}: {progress.layers_done} of {progress.layers} layers"
        if progress.bytes_all:
            text += f", {progress.bytes_done / 1e6:.1f} of {progress.bytes_all / 1e6:.1f} MB"
        if is_terminal:
            print(f"\r{text}\x1b[K", end="\n" if is_done else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
