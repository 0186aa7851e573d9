"""The settings of Docker's command-line client, and a copy of them that forwards no proxy into containers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pytest_sandbox.engines.cache import cache_folder

__all__ = ["config_folder", "proxy_free_config"]

_KEPT: Final = ("currentContext", "cliPluginsExtraDirs")


def config_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the client's settings."""
    named = environ.get("DOCKER_CONFIG")
    return Path(named) if named else Path(environ.get("HOME") or Path.home()) / ".docker"


def proxy_free_config(environ: Mapping[str, str]) -> Path | None:
    """Return a folder of settings for ``docker create`` without proxies, or None when the user's own have none.

    The client puts the proxies of its settings, with their passwords, into every container that it creates, and has no option
    against it; only other settings help. These hold the user's context and no credentials: creating needs none. The folder is
    made once and kept in the cache, so that a test run that is killed leaves nothing new behind.

    Raises:
        OSError: when it cannot be made anywhere (the machine's fault).
    """
    original = config_folder(environ)
    try:
        loaded: dict[str, Any] = dict(json.loads((original / "config.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None  # no settings, or broken ones: the client says so itself, in its own words
    if not loaded.get("proxies"):
        return None
    settings = json.dumps({key: loaded[key] for key in _KEPT if key in loaded}, sort_keys=True)
    number = hashlib.sha256(f"{original.absolute()}\n{settings}".encode()).hexdigest()[:16]
    for parent in (cache_folder(environ), Path(tempfile.gettempdir()) / f"pytest-sandbox-{os.getuid()}"):
        folder = parent / f"docker-client-{number}"
        with suppress(OSError):
            if not _is_ours(folder):
                _make(folder, settings, original)
            if _is_ours(folder):
                return folder
    raise OSError(f"cannot make a folder for Docker's client settings in {cache_folder(environ)} or {tempfile.gettempdir()}")


def _is_ours(folder: Path) -> bool:
    """Return whether nobody else can have put settings there."""
    with suppress(OSError):
        facts = folder.lstat()
        return facts.st_uid == os.getuid() and facts.st_mode & 0o077 == 0 and (folder / "config.json").exists()
    return False


def _make(folder: Path, settings: str, original: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix="draft-"))
    try:
        (draft / "config.json").write_text(settings)
        for name in ("contexts", "ca.pem", "cert.pem", "key.pem"):
            if (original / name).exists():
                (draft / name).symlink_to((original / name).absolute())
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
