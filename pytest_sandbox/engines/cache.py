"""Where we keep what only saves time: it may be deleted at any moment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return the user's cache folder for this project; it need not exist."""
    variables = os.environ if environ is None else environ
    base = variables.get("XDG_CACHE_HOME") or os.path.join(variables.get("HOME") or os.path.expanduser("~"), ".cache")
    return Path(base) / "pytest-sandbox"
