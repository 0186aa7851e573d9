"""What conftest.py prints at the end of a run, and that a missing engine fails where it is required."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_sandbox.errors import EngineUnavailable
from tests import real_engines

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_of_an_engine(number):
    pytest.skip(f"docker-sdk: socket unix:///{'here' if number else 'there'}: there is no such socket")

def test_of_an_executor():
    pytest.skip('Cannot use executor "deno": it is not on PATH; install it')

def test_of_a_module():
    pytest.importorskip("no_such_module")

@pytest.mark.parametrize("number", range(2))
@pytest.mark.xfail(strict=True, reason="declared")
def test_of_a_difference(number):
    assert False

def test_that_passes():
    pass
"""


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_there_is_one_line_for_each_thing_and_none_for_each_test(pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
    if options:
        pytest.importorskip("xdist")
    pytester.makeconftest((Path(__file__).parents[1] / "conftest.py").read_text())
    pytester.makepyfile(TESTS)
    result = pytester.runpytest("-rfEXR", *options)
    result.assert_outcomes(passed=1, skipped=5, xfailed=2)
    said = [line for line in result.outlines if line.startswith(("not exercised", "fails as", "SKIPPED", "XFAIL"))]
    assert said[0] == "not exercised: docker-sdk: socket unix:///here: there is no such socket (3 tests)"
    assert sorted(said[1:]) == [
        "fails as declared: declared (2 tests)",
        "not exercised: executor deno: it is not on PATH; install it (1 test)",
        "not exercised: module no_such_module: No module named 'no_such_module' (1 test)",
    ]


def test_a_missing_engine_is_skipped_and_fails_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = EngineUnavailable([("socket unix:///x", "there is no such socket")], None)
    monkeypatch.setitem(real_engines._found, "podman-sdk", gone)
    monkeypatch.setenv(real_engines.REQUIRED, "docker-sdk")
    with pytest.raises(pytest.skip.Exception, match="^podman-sdk: socket unix:///x: there is no such socket$"):
        real_engines.engine_named("podman-sdk")
    monkeypatch.setenv(real_engines.REQUIRED, "docker-sdk, podman-sdk")
    with pytest.raises(pytest.fail.Exception, match="there is no podman-sdk: socket unix:///x"):
        real_engines.engine_named("podman-sdk")
    monkeypatch.setenv(real_engines.REQUIRED, "docker")
    with pytest.raises(pytest.fail.Exception, match="lists docker; expected some of docker-sdk, docker-cli"):
        real_engines.engine_named("podman-sdk")
