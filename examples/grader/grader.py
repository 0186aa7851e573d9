"""A grader: runs submissions against hidden cases, and gives points for right answers.

What keeps the grades right, whatever a submission tries:

* The expected answers never leave this process. A submission gets its input from a tool, and what it returns is compared here; so
  it can print what it likes, and nothing it says about itself counts.
* Every case is an execution of its own: nothing that one case leaves behind is there in the next.
* An answer counts if its type is right, too: ``true == 1`` in Python, and "returns nothing" is not ``null``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from pytest_sandbox import ExecuteResult, Limits, SnippetExecutor

LIMITS = Limits(timeout=5.0, memory=64 * 1024 * 1024, output=16 * 1024, result=64 * 1024, source=64 * 1024, tool_calls=3)
"""For each case: seconds, and bytes."""

FAULTS = {
    "syntax": "cannot be read",
    "runtime": "failed",
    "timeout": "took too long",
    "memory": "used too much memory",
    "output": "printed too much",
    "limit": "went over a limit",
    "crash": "ended its sandbox",
}


@dataclass(frozen=True)
class Case:
    input: Any
    expected: Any


@dataclass(frozen=True)
class Grade:
    """What a submission is worth.

    Attributes:
        points: one for each case with the right answer.
        remarks: one for each case that was run, in order; empty where the answer was right.
    """

    points: int
    remarks: tuple[str, ...]


def grade(executor: SnippetExecutor, submission: str, cases: Iterable[Case]) -> Grade:
    """Run a submission on every case, up to the first where it cannot be read or goes over a limit."""
    points = 0
    remarks = []
    for case in cases:
        result = executor.execute(submission, {"input": partial(_input, case)})
        if is_right(result, case.expected):
            points += 1
            remarks.append("")
            continue
        remarks.append(remark(result))
        if result.error is not None and result.error.kind != "runtime":
            break
    return Grade(points, tuple(remarks))


def grade_all(executor: SnippetExecutor, submissions: Mapping[str, str], cases: Sequence[Case]) -> dict[str, Grade]:
    """Grade submissions several at a time; those that find no free runner wait for one."""
    with ThreadPoolExecutor(max_workers=8) as threads:
        grades = threads.map(lambda submission: grade(executor, submission, cases), submissions.values())
        return dict(zip(submissions, grades, strict=True))


def _input(case: Case) -> Any:
    return case.input


def is_right(result: ExecuteResult, expected: Any) -> bool:
    """Whether a submission returned the expected value, of the expected type."""
    return result.ok and not result.is_undefined and type(result.value) is type(expected) and result.value == expected


def remark(result: ExecuteResult) -> str:
    """Word what went wrong for the person who handed the submission in."""
    if result.error is not None:
        return f"{FAULTS[result.error.kind]}: {result.error}"
    return "returned nothing" if result.is_undefined else f"wrong answer: {result.value!r:.100}"
