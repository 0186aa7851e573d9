"""Run one snippet. Its value goes to standard output, its logs and its error go to standard error.

The exit code is 0 if the snippet returned, 1 if it failed, 2 if it could not be run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_sandbox.durations import parse_duration
from pytest_sandbox.errors import InvalidArgument
from pytest_sandbox.limits import Limits
from pytest_sandbox.registry import create_executor
from pytest_sandbox.result import printable

if TYPE_CHECKING:
    from pytest_sandbox.result import ExecuteResult
    from pytest_sandbox.snippets.base import Language

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "run one snippet"
SNIPPET_FAILED: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Register the arguments."""
    parser.add_argument("file", metavar="FILE", help='file with the snippet, or "-" for standard input')
    parser.add_argument(
        "--executor", metavar="NAME", help="executor that runs it; default: what EXECUTOR_TYPE says, else the best one that works"
    )
    parser.add_argument(
        "--language", choices=("js", "ts"), help='its language; default: "ts" for a FILE that ends with .ts, else "js"'
    )
    parser.add_argument("--timeout", metavar="SECONDS", help="seconds that it may take, such as 90, 90s or 1.5m")


def run(arguments: argparse.Namespace) -> int:
    """Run the snippet and print what became of it."""
    limits = Limits(timeout=parse_duration("--timeout", arguments.timeout)) if arguments.timeout is not None else None
    code = _read(arguments.file)
    language: Language = arguments.language or ("ts" if arguments.file.endswith(".ts") else "js")
    with create_executor(arguments.executor, limits=limits) as executor:
        result = executor.execute(code, language=language)
    _show(result)
    return 0 if result.ok else SNIPPET_FAILED


def _read(file: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return raw.decode()
    except OSError as error:
        raise InvalidArgument("FILE", file, f"a file that can be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InvalidArgument("FILE", file, f"a text in UTF-8 (byte {error.start} is not)") from error


def _show(result: ExecuteResult) -> None:
    for entry in result.logs:
        print(printable(f"{entry.level}: {entry.text}"), file=sys.stderr)
    if result.truncated:
        print('… further log text was dropped because of the limit "output"', file=sys.stderr)
    if result.error is not None:
        print(printable(str(result.error)), file=sys.stderr)
        if result.error.stack:
            print(printable(result.error.stack), file=sys.stderr)
    else:
        print("undefined" if result.is_undefined else shown(result.value))


def shown(value: Any) -> str:
    """Return a value as JSON if JSON has it, else as Python writes it; without control characters in either case."""
    if not _is_json(value):
        return printable(repr(value))
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return json.dumps(value).replace("\x7f", "\\u007f")


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    if isinstance(value, float):
        return value - value == 0  # neither infinite nor NaN
    return value is None or isinstance(value, bool | int | str)
