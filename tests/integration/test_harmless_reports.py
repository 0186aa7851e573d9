"""What a snippet chose to say does not steer the terminal of whoever reads that a test failed."""

from __future__ import annotations

import pytest

TEST = r"""
def test_it(executor):
    value = executor.execute("return 'hello\\u001b]0;OWNED\\u0007\\u001b[2J\\u202eworld'").value
    assert "\x1b]0;OWNED" in value  # it did cross
    print(value)
    if %s:
        raise ValueError(value)
    assert [value, value.splitlines()] == ["hello", "world"]
"""


@pytest.mark.parametrize("colour", ["no", "yes"])
@pytest.mark.parametrize("raises", [True, False], ids=["raised", "compared"])
def test_no_escape_sequence_of_a_snippet_reaches_the_terminal(pytester: pytest.Pytester, colour: str, raises: bool) -> None:
    pytester.makepyfile(TEST % raises)
    out = pytester.runpytest("--executor=isolated-vm", f"--color={colour}", "-vv", "-rA", "--showlocals").stdout.str()
    assert "OWNED" in out and r"\x1b]0;OWNED\x07" in out
    assert not {"\x1b]", "\x07", "\x1b[2J", "\u202e"} & {mark for mark in ("\x1b]", "\x07", "\x1b[2J", "\u202e") if mark in out}
    assert ("\x1b[" in out) == (colour == "yes")


COMMAND = r"""
def test_it(native_executor):
    out = native_executor.run("printf 'hello\\033]0;OWNED\\007'").stdout
    assert "\x1b]0;OWNED" in str(out)  # it did come back
    print(out)
    assert out == "hello"
"""


def test_no_escape_sequence_of_a_command_reaches_the_terminal(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(COMMAND)
    out = pytester.runpytest("--color=no").stdout.str()
    assert r"\x1b]0;OWNED\x07" in out and "1 failed" in out
    assert "\x1b" not in out
