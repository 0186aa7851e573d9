"""What a test executed, kept until its outcome is known, and how a failing test shows it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pytest_sandbox.plugin.usage import in_words
from pytest_sandbox.result import printable

if TYPE_CHECKING:
    from pytest_sandbox.result import ExecuteResult

__all__ = ["Execution", "Recorder"]

KEPT_EXECUTIONS: Final = 5
SHOWN_LINES: Final = 60
"""Lines of a snippet, or of a stack, that are shown."""
SHOWN_LOGS: Final = 20
SHOWN_WIDTH: Final = 300
"""Characters of a line that are shown."""


@dataclass
class Execution:
    """One call of ``execute`` or ``aexecute``.

    Attributes:
        number: which one of the test it was, from 1.
        executor: the executor's name.
        code: the snippet.
        result: what became of it, or None while it runs and when the call raised.
        raised: what the call raised.
    """

    number: int
    executor: str
    code: str
    result: ExecuteResult | None = None
    raised: BaseException | None = None

    def title(self) -> str:
        """Return the heading of this execution's section."""
        if self.result is not None:
            end = "ok" if self.result.ok else "failed"
            outcome = f"{end} after {self.result.duration * 1000:.1f} ms"
        else:
            outcome = "not ended" if self.raised is None else "not run"
        return printable(f"sandbox snippet {self.number} ({self.executor}, {outcome})")

    def text(self) -> str:
        """Return snippet, logs and error, without control characters, and of bounded length."""
        # Split at \n only: other separators are part of a line, and are shown as escapes.
        lines = self.code.split("\n") if isinstance(self.code, str) else [repr(self.code)]
        width = len(str(min(len(lines), SHOWN_LINES)))
        shown = [f"{number:>{width}} | {_line(line)}" for number, line in enumerate(lines[:SHOWN_LINES], 1)]
        shown += _more(len(lines) - SHOWN_LINES, "line")
        if self.raised is not None:
            shown += ["raised:", *_indented(f"{type(self.raised).__name__}: {self.raised}")]
        if self.result is not None:
            shown += self._outcome(self.result)
        return "\n".join(shown)

    @staticmethod
    def _outcome(result: ExecuteResult) -> list[str]:
        shown = []
        if result.logs:
            # The last ones: what happened before the failure.
            earlier = len(result.logs) - SHOWN_LOGS
            shown += ["logs:", *_more(earlier, "earlier entry", "earlier entries")]
            for entry in result.logs[-SHOWN_LOGS:]:
                first, *rest = _indented(entry.text)
                shown += [f"  {entry.time:.3f} {entry.level}: {first.strip()}", *rest]
        if result.truncated:
            shown.append('  … further log text was dropped because of the limit "output"')
        if result.error is not None:
            shown += ["error:", *_indented(str(result.error))]
            if result.error.stack:
                shown += ["stack:", *_indented(result.error.stack)]
        elif result.is_undefined:
            shown.append("value: undefined")
        else:
            shown.append(f"value: {_line(repr(result.value))}")
        return [*shown, f"usage: {in_words(result.usage)}"]


class Recorder:
    """Keep the last few executions of one test."""

    def __init__(self) -> None:
        self._last: deque[Execution] = deque(maxlen=KEPT_EXECUTIONS)
        self._count = 0

    @contextmanager
    def record(self, executor: str, code: str) -> Iterator[Execution]:
        """Keep an execution from before it starts; the caller adds the result."""
        self._count += 1
        execution = Execution(self._count, executor, code)
        self._last.append(execution)
        try:
            yield execution
        except BaseException as error:
            execution.raised = error
            raise

    def sections(self) -> list[tuple[str, str]]:
        """Return title and text for each execution that is kept, and forget them."""
        last = list(self._last)
        self._last.clear()
        sections = [(execution.title(), execution.text()) for execution in last]
        dropped = last[0].number - 1 if last else 0
        if dropped:
            sections.insert(0, ("sandbox snippets", "".join(_more(dropped, "earlier snippet"))))
        return sections


def _more(count: int, what: str, many: str = "") -> list[str]:
    return [f"… {count} more {what if count == 1 else many or what + 's'}"] if count > 0 else []


def _line(text: str) -> str:
    more = len(text) - SHOWN_WIDTH
    shown = printable(text[:SHOWN_WIDTH].replace("\n", "\\n"))
    return f"{shown}{''.join(_more(more, 'character'))}"


def _indented(text: str) -> list[str]:
    lines = text.split("\n")
    return [f"  {_line(line)}" for line in lines[:SHOWN_LINES]] + _more(len(lines) - SHOWN_LINES, "line")
