"""The settings of Docker's command-line client, and a copy of them that forwards no proxy into containers."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

__all__ = ["CleanConfig", "config_folder"]

_KEPT: Final = ("currentContext", "cliPluginsExtraDirs")


def config_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the client's settings."""
    named = environ.get("DOCKER_CONFIG")
    return Path(named) if named else Path(environ.get("HOME") or Path.home()) / ".docker"


class CleanConfig:
    """A folder of settings for ``docker create``: the user's context, no proxies and no credentials.

    The client puts the proxies of its settings, with their passwords, into every container that it creates, and has no option
    against it; only other settings help. What else the settings hold is not needed to create a container.

    Attributes:
        path: the folder; it goes with this object.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        original = config_folder(environ)
        self.path = Path(tempfile.mkdtemp(prefix="pytest-sandbox-docker-"))
        self._pid = os.getpid()
        self._remove = weakref.finalize(self, _remove, str(self.path), self._pid)
        settings: dict[str, Any] = {}
        with suppress(OSError, ValueError):  # no settings, or broken ones: the client says so itself, in its own words
            loaded = json.loads((original / "config.json").read_bytes())
            settings = {key: loaded[key] for key in _KEPT if key in loaded}
        (self.path / "config.json").write_text(json.dumps(settings))
        for name in ("contexts", "ca.pem", "cert.pem", "key.pem"):
            if (original / name).exists():
                (self.path / name).symlink_to(original / name)

    def close(self) -> None:
        """Remove the folder; safe to call twice."""
        self._remove()


def _remove(path: str, pid: int) -> None:
    if os.getpid() == pid:  # not by a forked child
        shutil.rmtree(path, ignore_errors=True)
