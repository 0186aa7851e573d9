"""Submissions that are right, wrong, broken and hostile: each gets the grade that it earns, and hurts nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest
from grader import LIMITS, Case, Grade, grade, grade_all

from pytest_sandbox import SnippetExecutor

# The exercise: "Return the median of the numbers that codemode.input() gives, and null if there are none."
CASES = (Case([3, 1, 2], 2), Case([10, 9, 1], 9), Case([4, 1, 3, 2], 2.5), Case([-5, 0, -7], -5), Case([], None))
ALL_RIGHT = Grade(5, ("", "", "", "", ""))

SUBMISSIONS = {path.stem: path.read_text() for path in sorted(Path(__file__).parent.glob("submissions/*.js"))}
RIGHT = ("right_sort", "right_heap")
# The points, and one of the remarks.
WRONG = {
    "wrong_sorts_as_text": (3, "wrong answer: 10"),
    "wrong_forgets_the_empty_list": (4, "returned nothing"),
    "wrong_throws": (3, "failed: RangeError: the list is empty"),
    "wrong_syntax": (0, "cannot be read: [syntax] SyntaxError: Unexpected token ';' (line 2, column 57)"),
}
# How all of the remarks begin.
HOSTILE = {
    "hostile_endless_loop": "took too long: ",
    "hostile_never_settles": "took too long: ",
    "hostile_memory_bomb": "used too much memory: ",
    "hostile_buffer_bomb": "used too much memory: ",
    "hostile_log_flood": "printed too much: ",
    "hostile_huge_answer": "went over a limit: ",
    "hostile_forged_report": "wrong answer: {'ok': True, ",
    "hostile_tampers_with_prototypes": "wrong answer: 'tampered'",
    "hostile_remembers": "wrong answer: 'seen 0'",
    "hostile_fishes_for_the_host": "wrong answer: []",
}

# Every test here runs under the grader's limits, whatever the command line and the ini file say.
pytestmark = pytest.mark.executor(**LIMITS.explicit())


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_submission_gets_all_points(executor: SnippetExecutor, name: str) -> None:
    assert grade(executor, SUBMISSIONS[name], CASES) == ALL_RIGHT


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_submission_gets_the_points_it_earns(executor: SnippetExecutor, name: str) -> None:
    points, remark = WRONG[name]
    given = grade(executor, SUBMISSIONS[name], CASES)
    assert given.points == points
    assert remark in given.remarks


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_submission_gets_nothing(executor: SnippetExecutor, name: str) -> None:
    given = grade(executor, SUBMISSIONS[name], CASES)
    assert given.points == 0
    assert given.remarks
    assert all(remark.startswith(HOSTILE[name]) for remark in given.remarks), given.remarks
    assert grade(executor, SUBMISSIONS["right_sort"], CASES) == ALL_RIGHT, "the next submission is graded as ever"


def test_what_fishes_for_the_host_would_tell_if_it_had_found_something(executor: SnippetExecutor) -> None:
    bait = f"const require = () => 'node:fs'; {{ {SUBMISSIONS['hostile_fishes_for_the_host']} }}"
    assert executor.execute(bait, {"input": lambda: [1]}).check().value == ["require"]


def test_hostile_submissions_do_not_change_the_grades_of_those_beside_them(executor: SnippetExecutor) -> None:
    grades = grade_all(executor, SUBMISSIONS, CASES)
    expected = {**dict.fromkeys(RIGHT, 5), **{name: points for name, (points, _) in WRONG.items()}, **dict.fromkeys(HOSTILE, 0)}
    assert {name: grade.points for name, grade in grades.items()} == expected
