"""The engine of an entry: one connection for all executors of a test run."""

from __future__ import annotations

import os
import threading

from pytest_sandbox.engines.base import Engine
from pytest_sandbox.engines.detect import detect_engine

__all__ = ["engine_for"]

_lock = threading.Lock()
_engines: dict[tuple[int, str | None], Engine] = {}


def engine_for(host: str | None) -> Engine:
    """Return the engine at a URL, or the one that is found on this machine.

    Raises:
        EngineUnavailable: when none answers.
    """
    # A forked child must not share a connection with its parent.
    key = (os.getpid(), host or os.environ.get("CONTAINER_RUNTIME") or os.environ.get("DOCKER_HOST"))
    with _lock:
        if key not in _engines:
            _engines[key] = detect_engine(host=host)
        return _engines[key]
