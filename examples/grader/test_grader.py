"""Submissions that are right, wrong, broken and hostile: each gets the grade that it earns, and hurts nobody else's."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from grader import LIMITS, Case, Grade, grade, grade_all

from pytest_sandbox import ExecutorFactory, SnippetExecutor

# The exercise: "Return the median of the numbers that codemode.input() gives, and null if there are none."
CASES = (Case([3, 1, 2], 2), Case([10, 9, 1], 9), Case([4, 1, 3, 2], 2.5), Case([], None))
ALL_RIGHT = Grade(4, ("", "", "", ""))

SUBMISSIONS = {path.stem: path.read_text() for path in sorted(Path(__file__).parent.glob("submissions/*.js"))}
RIGHT = ("right_sort", "right_heap")
# The points, and one of the remarks.
WRONG = {
    "wrong_sorts_as_text": (3, "wrong answer: 10"),
    "wrong_forgets_the_empty_list": (3, "returned nothing"),
    "wrong_throws": (2, "failed: RangeError: the list is empty"),
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
    "hostile_looks_for_the_answers": "wrong answer: []",
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


# The marker that is closest to a test wins: nobody wants to wait for five seconds here.
SHORT = pytest.mark.executor(timeout=1)


@pytest.mark.parametrize("name", [pytest.param(name, marks=SHORT if "too long" in HOSTILE[name] else ()) for name in HOSTILE])
def test_a_hostile_submission_gets_nothing(executor: SnippetExecutor, name: str) -> None:
    given = grade(executor, SUBMISSIONS[name], CASES)
    assert given.points == 0
    assert given.remarks
    assert all(remark.startswith(HOSTILE[name]) for remark in given.remarks), given.remarks
    assert grade(executor, SUBMISSIONS["right_sort"], CASES[:1]) == Grade(1, ("",)), "the next submission is graded as ever"


def test_a_submission_reaches_nothing_that_the_grader_has(
    executor_factory: ExecutorFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADER_SECRET", "2, 9")
    answers = tmp_path / "answers.json"
    answers.write_text("[2, 9]")
    with socket.create_server(("127.0.0.1", 0)) as listener, executor_factory() as executor:
        submission = (
            SUBMISSIONS["hostile_looks_for_the_answers"]
            .replace("/srv/grader/answers.json", str(answers))
            .replace("127.0.0.1:8080", f"127.0.0.1:{listener.getsockname()[1]}")
        )
        assert executor.execute(submission, {"input": lambda: [1]}).check().value == []
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        # The same code tells what it finds, where there is something to be found.
        bait = "const require = () => ({ readFileSync: () => '[2, 9]' });"
        assert "require" in executor.execute(f"{bait} {{ {submission} }}", {"input": lambda: [1]}).check().value


@pytest.mark.executor(timeout=3)
def test_submissions_that_are_graded_at_the_same_time_do_not_meet(executor: SnippetExecutor) -> None:
    together = ("hostile_memory_bomb", "right_sort", "hostile_endless_loop", "wrong_throws", "hostile_log_flood", "right_heap")
    grades = grade_all(executor, {name: SUBMISSIONS[name] for name in together}, CASES)
    assert [grades[name].points for name in together] == [0, 4, 0, 2, 0, 4]
