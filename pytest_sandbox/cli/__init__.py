"""The command line ``pytest-sandbox``: hands over to one module for each subcommand.

A subcommand's module has ``HELP`` (one phrase), ``add_arguments(parser)`` and ``run(arguments) -> int``, the exit code.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Final

from pytest_sandbox.errors import SandboxError
from pytest_sandbox.result import printable

__all__ = ["main"]

SUBCOMMANDS: Final = {
    "audit": "pytest_sandbox.cli.audit",
    "entries": "pytest_sandbox.cli.entries_files",
    "exec": "pytest_sandbox.cli.exec_command",
    "list": "pytest_sandbox.cli.list_executors",
    "lua": "pytest_sandbox.cli.lua_script",
    "prune": "pytest_sandbox.cli.prune",
    "run": "pytest_sandbox.cli.run_snippet",
}
"""By name, the module of each subcommand."""

USAGE_ERROR: Final = 2
INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        argv: the arguments, without the program's name; None for those of this process.

    Returns:
        0 for success; 2 when what was asked for makes no sense or cannot be done on this machine; other codes are the
        subcommand's own.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except SandboxError as error:
        print(f"{parser.prog}: error: {printable(str(error))}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pytest-sandbox", description="Run untrusted code in real sandboxes, and see which of them work here."
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    subparsers = parser.add_subparsers(title="subcommands", metavar="SUBCOMMAND", required=True)
    for name, path in SUBCOMMANDS.items():
        module = importlib.import_module(path)
        subparser = subparsers.add_parser(name, help=module.HELP, description=module.__doc__)
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


class _Version(argparse.Action):
    """Look the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: object) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=str(options["help"]))

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from pytest_sandbox import __version__

        print(f"{parser.prog} {__version__}")
        parser.exit()
