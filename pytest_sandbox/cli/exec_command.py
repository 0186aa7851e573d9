"""Run one command of an entry, with its input and output passed through.

The exit code is that of the command, as a shell reports it; 2 if it could not be run.
"""

from __future__ import annotations

import argparse
import codecs
import os
import sys
import threading
from typing import TYPE_CHECKING, BinaryIO, Final

from pytest_sandbox.durations import parse_duration
from pytest_sandbox.entries import load_entries
from pytest_sandbox.errors import InvalidArgument, ProcessStateError, ProcessTimeout
from pytest_sandbox.result import printable

if TYPE_CHECKING:
    from pytest_sandbox.commands.process import Process
    from pytest_sandbox.commands.streams import Stream

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "run one command of an entry"
VARIABLE: Final = "PYTEST_SANDBOX_ENTRIES"
TIMED_OUT: Final = 124
"""As timeout(1) reports it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Register the arguments."""
    parser.add_argument("entry", metavar="ENTRY", help="id of the entry, such as app:shell")
    parser.add_argument("command", metavar="COMMAND", help="the command, as one argument")
    parser.add_argument(
        "--entries", metavar="FILE", action="append", help=f"file or folder with the entries; default: what {VARIABLE} says"
    )
    parser.add_argument("--work-dir", metavar="FOLDER", help="folder in which it runs; default: the entry's default_work_dir")
    parser.add_argument(
        "--env", metavar="NAME=VALUE", action="append", default=[], help="variable that is added to the entry's default_env"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", help=f"seconds after which it is killed (exit code {TIMED_OUT}), such as 90, 90s or 1.5m"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    timeout = parse_duration("--timeout", arguments.timeout) if arguments.timeout is not None else None
    paths = arguments.entries or [path for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]
    if not paths:
        raise InvalidArgument("--entries", None, f"a file or folder with entries, here or in {VARIABLE}")
    with load_entries(*paths) as registry, registry.get(arguments.entry) as executor:
        process = executor.exec(arguments.command, work_dir=arguments.work_dir, env=_variables(arguments.env))
        with process:
            return _pass_through(process, timeout)


def _variables(given: list[str]) -> dict[str, str] | None:
    for variable in given:
        if "=" not in variable:
            raise InvalidArgument("--env", variable, "NAME=VALUE")
    return {name: value for name, _, value in (variable.partition("=") for variable in given)} or None


def _pass_through(process: Process, timeout: float | None) -> int:
    copies = [
        threading.Thread(target=_copy, args=(process.stdout_stream(), sys.stdout.buffer), daemon=True),
        threading.Thread(target=_copy, args=(process.stderr_stream(), sys.stderr.buffer), daemon=True),
    ]
    process.start()
    threading.Thread(target=_feed, args=(process, sys.stdin.buffer), daemon=True).start()
    for copy in copies:
        copy.start()
    try:
        code = process.wait(timeout)
    except ProcessTimeout as error:
        process.kill()
        process.wait()
        print(f"pytest-sandbox: {error.timeout:g} s are up, and the command was killed", file=sys.stderr)
        code = TIMED_OUT
    for copy in copies:
        copy.join()
    return code


def _copy(stream: Stream, target: BinaryIO) -> None:
    # What a command prints must not command a terminal.
    decoder = codecs.getincrementaldecoder("utf-8")("replace") if target.isatty() else None
    try:
        for piece in stream:
            target.write(piece if decoder is None else printable(decoder.decode(piece)).encode())
            target.flush()
    except BrokenPipeError:
        stream.close()
    except ProcessStateError:
        pass  # closed while it was read: the command is being ended


def _feed(process: Process, source: BinaryIO) -> None:
    try:
        while piece := os.read(source.fileno(), 65536):
            process.write_stdin(piece)
        process.write_stdin(b"")
    except ProcessStateError:
        pass  # it has ended, or reads no more
