"""Remove what pytest-sandbox has put on container engines: its images, and containers whose test run is dead.

Looks at Docker and at Podman, or only at the engine that CONTAINER_RUNTIME or DOCKER_HOST names. What is in use, and what
belongs to a test run that is alive or to another machine, is kept. The exit code is 1 when something could not be removed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pytest_sandbox.errors import EngineError, EngineUnavailable
from pytest_sandbox.result import printable

if TYPE_CHECKING:
    from pytest_sandbox.engines.base import Engine

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "remove our images, and containers that dead test runs left behind"
FAILED: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Register the arguments."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")


def run(arguments: argparse.Namespace) -> int:
    """Prune every engine that answers, and tell what became of each thing."""
    sums = _Sums()
    for engine in _engines():
        _say(f"{engine.info.describe()}:")
        try:
            _prune(engine, sums, rehearse=arguments.dry_run)
        except EngineError as error:
            sums.failed += 1
            _say(f"  failed: {error}")
        finally:
            engine.close()
    print(sums.describe(rehearsed=arguments.dry_run), file=sys.stderr)
    return FAILED if sums.failed else 0


@dataclass
class _Sums:
    removed: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    failed: int = 0
    freed: int = 0

    def describe(self, *, rehearsed: bool) -> str:
        """Return all of it in one line."""
        numbers = [f"{self.removed[kind]} {kind}{'' if self.removed[kind] == 1 else 's'}" for kind in ("container", "image")]
        text = f"{'would remove' if rehearsed else 'removed'} {' and '.join(numbers)} ({self.freed / 1e6:.0f} MB), kept {self.kept}"
        return f"{text}, failed at {self.failed}" if self.failed else text


def _prune(engine: Engine, sums: _Sums, *, rehearse: bool) -> None:
    from pytest_sandbox.engines.pruning import prune

    is_empty = True
    for each in prune(engine, rehearse=rehearse):
        is_empty = False
        word: str = each.outcome
        if each.outcome == "removed":
            word = "would remove" if rehearse else word
            sums.removed[each.kind] += 1
            sums.freed += each.size
        elif each.outcome == "kept":
            sums.kept += 1
        else:
            sums.failed += 1
        size = f" ({each.size / 1e6:.0f} MB)" if each.size else ""
        _say(f"  {word} {each.kind} {each.name}{size}: {each.reason}")
    if is_empty:
        _say("  nothing of ours")


def _engines() -> Iterator[Engine]:
    """Yield the engines that answer, and tell about those that do not.

    Raises:
        EngineUnavailable: when none does.
    """
    from pytest_sandbox.engines.detect import detect_engine

    chosen = os.environ.get("CONTAINER_RUNTIME") or os.environ.get("DOCKER_HOST")
    refused: dict[str | None, EngineUnavailable] = {}
    kinds = (None,) if chosen else ("docker", "podman")
    for kind in kinds:
        try:
            engine = detect_engine(kind)
        except EngineUnavailable as error:
            refused[kind] = error
            continue
        yield engine
    if len(refused) == len(kinds):
        tried = [each for error in refused.values() for each in error.tried]
        raise EngineUnavailable(tried, next(iter(refused.values())).source)
    for kind, unavailable in refused.items():
        _say(f"{kind}: {'; '.join(f'{way}: {reason}' for way, reason in unavailable.tried)}")


def _say(line: str) -> None:
    print(printable(line), flush=True)  # before the sum, wherever both go
