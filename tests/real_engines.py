"""The engines that tests run on: Docker and Podman, each over its socket and over its command line.

What is missing is skipped, in words of one form, "thing: reason", which the summary of the run counts. Where PYTEST_SANDBOX_REQUIRE_ENGINES
lists engines, as in CI, a missing one is a failure.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final, Literal, NoReturn

import pytest

from pytest_sandbox.engines.base import Engine
from pytest_sandbox.engines.detect import detect_engine
from pytest_sandbox.errors import EngineUnavailable

__all__ = ["ACROSS", "COMBINATIONS", "REQUIRED", "TEST_LABEL", "any_engine", "busybox_program", "engine_named"]

REQUIRED: Final = "PYTEST_SANDBOX_REQUIRE_ENGINES"
TEST_LABEL: Final = "pytest-sandbox.test"
COMBINATIONS: Final[dict[str, tuple[Literal["docker", "podman"], Literal["socket", "command line"]]]] = {
    "docker-sdk": ("docker", "socket"),
    "docker-cli": ("docker", "command line"),
    "podman-sdk": ("podman", "socket"),
    "podman-cli": ("podman", "command line"),
}
ACROSS = pytest.mark.parametrize("engine_name", ["docker-sdk", "podman-cli"], indirect=True, scope="session")
"""For what does not depend on how an engine is spoken to: both engines and both transports, but not each with each; that every
setting of a container arrives over each of the four is tested with the engines."""

_found: dict[str, Engine | EngineUnavailable] = {}


def _required() -> set[str]:
    """The engines that must be here.

    A name that is none is an error: it would require nothing, and nobody would know.
    """
    names = {name.strip() for name in os.environ.get(REQUIRED, "").split(",")} - {""}
    if unknown := names - COMBINATIONS.keys():
        listed = ", ".join(sorted(unknown))
        pytest.fail(f"{REQUIRED} lists {listed}; expected some of {', '.join(COMBINATIONS)}", pytrace=False)
    return names


def _missing(thing: str, reason: str, *, is_required: bool) -> NoReturn:
    if is_required:
        pytest.fail(f"{REQUIRED} is {os.environ[REQUIRED]!r}, and there is no {thing}: {reason}", pytrace=False)
    pytest.skip(f"{thing}: {reason}")


def engine_named(name: str) -> Engine:
    """Return one of the four; skip where it is not, or fail where it must be here."""
    required = _required()
    if name not in _found:
        kind, transport = COMBINATIONS[name]
        try:
            _found[name] = detect_engine(kind, transport=transport)
        except EngineUnavailable as error:
            _found[name] = error
    found = _found[name]
    if isinstance(found, EngineUnavailable):
        _missing(name, _words(found), is_required=name in required)
    return found


def any_engine() -> Engine:
    """Return a new connection to the engine that answers first; skip where there is none, or fail where one must be here."""
    required = _required()
    try:
        return detect_engine()
    except EngineUnavailable as error:
        _missing("any engine", _words(error), is_required=bool(required))


def _words(error: EngineUnavailable) -> str:
    return "; ".join(f"{way}: {reason}" for way, reason in error.tried) or "there is nothing to try"


def busybox_program() -> Path:
    """Return the program that images with a shell are made of; skip where it is not, or fail where engines must be here."""
    found = shutil.which("busybox")
    if found is None:
        _missing("busybox", "apt-get install busybox-static", is_required=bool(_required()))
    return Path(found).resolve()
