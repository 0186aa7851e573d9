"""Make a report of a test harmless to print: a snippet or command chooses what stands in values, messages and captured output."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from pytest_sandbox.result import printable

__all__ = ["make_harmless"]

_OWN_COLOUR_REGEXP: Final = re.compile(r"(\x1b\[(?:0?[0-3]|22|3[0-79]|49|9[0-7])?(?:;(?:0?[0-3]|22|3[0-79]|49|9[0-7]))*m)")
"""The colours that pytest itself puts into the differences it shows: letters, never the background, and nothing hidden."""


def make_harmless(report: pytest.TestReport, *, has_colour: bool) -> None:
    """Replace control characters in all of a report's text.

    Args:
        report: of a test that has used an executor of either kind; it is changed.
        has_colour: whether pytest may have coloured the text.
    """

    def clean(text: str) -> str:
        if not has_colour:
            return printable(text)
        return "".join(part if at % 2 else printable(part) for at, part in enumerate(_OWN_COLOUR_REGEXP.split(text)))

    def cleaned(part: Any) -> Any:
        if isinstance(part, str):
            return clean(part)
        if isinstance(part, list):
            return [cleaned(item) for item in part]
        if type(part) is tuple:
            return tuple(cleaned(item) for item in part)
        if type(part).__module__ == "_pytest._code.code":
            for name, value in vars(part).items():
                setattr(part, name, cleaned(value))
        return part

    report.longrepr = cleaned(report.longrepr)
    report.sections = [(name, clean(text)) for name, text in report.sections]
