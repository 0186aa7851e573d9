"""Files ``test_*.sandbox.lua``: each function ``test_*`` of the table that a file returns is a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_sandbox.plugin.lua_run import commands_of, sandbox_for
from pytest_sandbox.result import printable

if TYPE_CHECKING:
    from pytest_sandbox.lua import LuaResult, LuaSandbox

__all__ = ["LuaFile", "LuaTest"]

SHOWN_LOGS: Final = 20
_AROUND: Final = 5
"""Lines of a file that are shown before the one that failed."""


class LuaScriptFailed(Exception):
    """A script of a file has failed; raised here, to be shown by `LuaFile` and `LuaTest`."""

    def __init__(self, result: LuaResult, source: str, hint: str = "") -> None:
        self.result = result
        self.source = source
        self.hint = hint
        super().__init__(str(result.error))


_NO_ENTRIES: Final = "while a file is collected, no executor can be had: call exec.get in the test functions"


class _Nothing:
    """A policy that allows nothing: a run that only collects must not run commands."""

    def __init__(self) -> None:
        self.was_asked = False

    def __call__(self, action: str, resource: str) -> bool:
        self.was_asked = True
        return False


class LuaFile(pytest.File):
    """A file of tests in Lua.

    It is run once to be collected, without entries, and once more for each of its tests, each time in a fresh process.
    """

    def collect(self) -> Iterator[LuaTest]:
        """Run the file and yield its tests."""
        source = self.path.read_bytes()
        policy = _Nothing()
        with sandbox_for(self.config, None, policy=policy) as sandbox:
            result = sandbox.functions(source, "test_", chunk_name=self.chunk_name)
        if not result.ok:
            raise LuaScriptFailed(result, _text(source), _NO_ENTRIES if policy.was_asked else "")
        for name, line in result.value.items():
            yield LuaTest.from_parent(self, name=name, line=line)

    @property
    def chunk_name(self) -> str:
        """What tracebacks call it: its path from where pytest was started, which terminals and editors can follow."""
        return os.path.relpath(self.path, self.config.invocation_params.dir)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str | Any:
        """Show why the file cannot be collected."""
        if isinstance(excinfo.value, LuaScriptFailed):
            return explain(excinfo.value)
        return super().repr_failure(excinfo)


class LuaTest(pytest.Item):
    """One function of a file.

    Args:
        line: the line in which it begins, from 1; 0 when it is not in the file itself.
    """

    def __init__(self, *, line: int, **options: Any) -> None:
        super().__init__(**options)
        self._line = line

    def runtest(self) -> None:
        """Run the file, and then the function."""
        file = self.parent
        assert isinstance(file, LuaFile)
        source = file.path.read_bytes()
        commands = commands_of(self)
        try:
            with sandbox_for(self.config, commands.registry) as sandbox:
                result = self._run(sandbox, source, file.chunk_name)
        finally:
            commands.close()
        if not result.ok:
            raise LuaScriptFailed(result, _text(source))

    def _run(self, sandbox: LuaSandbox, source: bytes, chunk_name: str) -> LuaResult:
        result = sandbox.run(source, method=self.name, chunk_name=chunk_name)
        lines = [printable(f"{entry.level}: {entry.text}") for entry in result.logs[-SHOWN_LOGS:]]
        if lines:
            self.add_report_section("call", "lua logs", "\n".join(lines))
        return result

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str | Any:
        """Show the error, where it was raised, and Lua's traceback."""
        if isinstance(excinfo.value, LuaScriptFailed):
            return explain(excinfo.value, line=self._line or None)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Say where it is."""
        return self.path, max(self._line - 1, 0), self.name


def explain(failure: LuaScriptFailed, *, line: int | None = None) -> str:
    """Return what a person wants to read: the error first, then the lines around it, and the traceback.

    Args:
        failure: what has failed.
        line: the line to show where the error has none.
    """
    error = failure.result.error
    assert error is not None
    shown_line = error.line or line
    place = f"{printable(failure.result.chunk_name)}:{shown_line}"
    head = f"{'it returned an error: ' if error.returned else ''}{error}{' (retryable)' if error.retryable else ''}"
    parts = [head if place in head or shown_line is None else f"{place}: {head}"]
    if failure.hint:
        parts.append(failure.hint)
    if shown_line is not None:
        parts += ["", *_excerpt(failure.source, shown_line)]
    if error.traceback.count("\n"):
        parts += ["", printable(error.traceback)]
    return "\n".join(parts)


def _excerpt(source: str, line: int) -> Iterator[str]:
    lines = source.split("\n")
    for number in range(max(1, line - _AROUND), min(line, len(lines)) + 1):
        mark = ">" if number == line else " "
        yield f"{mark} {number:>4} | {printable(lines[number - 1])}".rstrip()


def _text(source: bytes) -> str:
    return source.decode("utf-8", "replace")
