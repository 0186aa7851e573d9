from __future__ import annotations

import pytest

from pytest_sandbox import InvalidArgument
from pytest_sandbox.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("0.25h", 900), (".5", 0.5), ("2.", 2), (" 3 s ", 3), ("1e-0"[:1], 1)],
)
def test_a_duration_is_a_number_with_or_without_unit(text: str, seconds: float) -> None:
    assert parse_duration("x", text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "0", "0.0m", "-1", "+1", "inf", "nan", "1e3", "1 s s", "s", "1d", "1,5", "٣", "9" * 400, "5\n6"]
)
def test_anything_else_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(InvalidArgument, match="^Cannot use --x=.*: expected seconds greater than 0, such as 90, 90s, 1.5m or 1h$"):
        parse_duration("--x", text)
