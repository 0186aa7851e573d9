"""Show all executors, whether they work on this machine, what runs them, and what to do where they do not."""

from __future__ import annotations

import argparse
from typing import Final

from pytest_sandbox.registry import current_registry
from pytest_sandbox.reports.listing import listing

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "show all executors and whether they work here"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Register the arguments: there are none."""


def run(arguments: argparse.Namespace) -> int:
    """Print the list; the exit code is 0, whatever works."""
    print(listing(current_registry()), end="")
    return 0
