"""Run one Lua script in a sandbox. What it returns goes to standard output, what it prints and its error go to standard error.

The exit code is 0 if the script succeeded, 1 if it failed or returned "nil, err", 2 if it could not be run.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_sandbox.cli.run_snippet import shown
from pytest_sandbox.durations import parse_duration
from pytest_sandbox.errors import InvalidArgument
from pytest_sandbox.limits import Limits
from pytest_sandbox.result import printable

if TYPE_CHECKING:
    from pytest_sandbox.lua import LuaResult

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = 'run one Lua script, with commands by require("exec")'
VARIABLE: Final = "PYTEST_SANDBOX_ENTRIES"
SCRIPT_FAILED: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Register the arguments."""
    parser.add_argument("file", metavar="FILE", help='file with the script, or "-" for standard input')
    parser.add_argument("args", metavar="ARGUMENT", nargs="*", help="texts that the script, or the method, is given")
    parser.add_argument("--method", metavar="NAME", help="function to call of the table that the script returns")
    parser.add_argument(
        "--entries", metavar="FILE", action="append", help=f"file or folder with entries; default: what {VARIABLE} says, else none"
    )
    parser.add_argument(
        "--policy", metavar="FILE", help="file with rules about what the script may use of the entries; default: all"
    )
    parser.add_argument("--timeout", metavar="SECONDS", help="seconds that it may take, such as 90, 90s or 1.5m")


def run(arguments: argparse.Namespace) -> int:
    """Run the script and print what became of it."""
    from pytest_sandbox.lua import LuaSandbox

    timeout = parse_duration("--timeout", arguments.timeout) if arguments.timeout is not None else None
    limits = Limits(timeout=timeout) if timeout is not None else None
    source = _read(arguments.file)
    paths = arguments.entries or [path for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]
    name = "stdin.lua" if arguments.file == "-" else arguments.file
    with LuaSandbox(paths or None, policy=arguments.policy, limits=limits) as sandbox:
        result = sandbox.run(source, method=arguments.method, args=arguments.args, chunk_name=name)
    _show(result)
    return 0 if result.ok else SCRIPT_FAILED


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InvalidArgument("FILE", file, f"a file that can be read ({error.strerror})") from error


def _show(result: LuaResult) -> None:
    for entry in result.logs:
        print(printable(entry.text if entry.level == "log" else f"{entry.level}: {entry.text}"), file=sys.stderr)
    if result.truncated:
        print('… further text was dropped because of the limit "output"', file=sys.stderr)
    if result.error is not None:
        print(printable(str(result.error)), file=sys.stderr)
        if result.error.traceback:
            print(printable(result.error.traceback), file=sys.stderr)
        return
    for value in result.values:
        print(shown(_plain(value)))


def _plain(value: Any) -> Any:
    """Return a value with error objects as text, which is how they are shown."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str | bytes | None) else str(value)
