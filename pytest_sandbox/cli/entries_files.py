"""Check entries files, or print their JSON Schema.

The exit code of "check" is 0 if the files are sound, 1 if they have errors (or, with --strict, warnings).
"""

from __future__ import annotations

import argparse
import sys
from typing import Final

from pytest_sandbox.entries import load_entries
from pytest_sandbox.errors import EntriesInvalid
from pytest_sandbox.result import printable

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "check entries files, or print their JSON Schema"
FOUND: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Register the arguments."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    check = actions.add_parser("check", help="name every error, and every setting that is loose")
    check.add_argument("files", metavar="FILE", nargs="+", help="file or folder with entries")
    check.add_argument("--strict", action="store_true", help="fail for loose settings, too")
    actions.add_parser("schema", help="print the JSON Schema of entries files, for editors")


def run(arguments: argparse.Namespace) -> int:
    """Check files or print the schema."""
    if arguments.action == "schema":
        from pytest_sandbox.entries.schema import schema_text

        print(schema_text(), end="")
        return 0
    return _check(arguments.files, strict=arguments.strict)


def _check(files: list[str], *, strict: bool) -> int:
    from pytest_sandbox.entries.loose import loose_settings

    try:
        registry = load_entries(*files)
    except EntriesInvalid as error:
        for problem in error.problems:
            print(printable(f"error: {problem}"), flush=True)  # before the sum, wherever both go
        print(f"{len(error.problems)} error{'' if len(error.problems) == 1 else 's'}", file=sys.stderr)
        return FOUND
    count = 0
    for loaded in registry:
        for setting in loose_settings(loaded):
            count += 1
            word = "danger" if setting.dangerous else "warning"
            print(printable(f'{word}: {loaded.file}:{setting.line}: entry "{loaded.entry.name}", {setting}'), flush=True)
    entries = f"{len(registry)} {'entry' if len(registry) == 1 else 'entries'}"
    print(f"{entries}, {count} loose setting{'' if count == 1 else 's'}", file=sys.stderr)
    return FOUND if strict and count else 0
