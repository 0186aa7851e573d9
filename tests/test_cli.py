from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_sandbox.cli import main
from pytest_sandbox.cli.run_snippet import shown


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXECUTOR_TYPE", raising=False)


def give_input(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))


def test_a_snippet_from_standard_input_prints_its_value_and_logs_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give_input(monkeypatch, b"console.log('hello'); console.error('oh'); return {a: [1, 2.5, null, true, '\xc3\xa9']}")
    assert main(["run", "--executor", "deno", "-"]) == 0
    out, err = capsys.readouterr()
    assert out == '{"a": [1, 2.5, null, true, "é"]}\n'
    assert err == "log: hello\nerror: oh\n"


@pytest.mark.parametrize("executor", ["isolated-vm", "deno", "vm2"])
def test_a_file_of_typescript_runs_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str], executor: str) -> None:
    file = tmp_path / "snippet.ts"
    file.write_text("const n: number = 41; return n + 1;")
    assert main(["run", str(file), f"--executor={executor}"]) == 0
    assert capsys.readouterr().out == "42\n"
    file = tmp_path / "snippet.txt"
    file.write_text("const n: number = 41; return n + 1;")
    assert main(["run", str(file), f"--executor={executor}"]) == 1
    assert main(["run", str(file), f"--executor={executor}", "--language", "ts"]) == 0


def test_a_failing_snippet_exits_with_1_and_tells_error_and_stack(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give_input(monkeypatch, b"\nthrow new RangeError('too \x1b[31m far')")
    assert main(["run", "--executor=isolated-vm", "-"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(r"RangeError: too \x1b[31m far")
    assert "\x1b" not in err
    assert ":2:" in err


def test_a_snippet_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    give_input(monkeypatch, b"for (;;) {}")
    assert main(["run", "--executor=deno", "--timeout=0.3s", "-"]) == 1
    assert capsys.readouterr().err.startswith("[timeout] ")


def test_the_executor_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EXECUTOR_TYPE", "no-such")
    give_input(monkeypatch, b"return 1")
    assert main(["run", "-"]) == 2
    assert 'error: Unknown executor "no-such" (from EXECUTOR_TYPE)' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "/no/such/file"], "Cannot use FILE='/no/such/file': expected a file that can be read (No such file or directory)"),
        (["run", "/"], "Cannot use FILE='/': expected a file that can be read (Is a directory)"),
        (["run", "/dev/null", "--executor=Deno"], 'Unknown executor "Deno" (did you mean "deno"?)'),
        (["run", "/dev/null", "--executor=all"], "Cannot use name='all': expected the name of one executor"),
        (["run", "/dev/null", "--executor="], 'Unknown executor ""'),
        (["run", "/dev/null", "--timeout=0"], "Cannot use --timeout='0': expected seconds greater than 0"),
        (["run", "/dev/null", "--timeout="], "Cannot use --timeout='': expected seconds greater than 0"),
    ],
)
def test_nonsense_exits_with_2_and_says_why(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"pytest-sandbox: error: {message}")


def test_input_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    give_input(monkeypatch, b"return '\xff'")
    assert main(["run", "-"]) == 2
    assert "expected a text in UTF-8 (byte 8 is not)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["no-such-subcommand"], ["run"], ["run", "-", "--language=py"], ["list", "extra"]])
def test_arguments_that_are_none_exit_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: pytest-sandbox" in capsys.readouterr().err


def test_an_empty_snippet_returns_undefined(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "/dev/null", "--executor=deno"]) == 0
    assert capsys.readouterr().out == "undefined\n"


def test_the_list_is_that_of_pytest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "vailable " in line]
    assert names[:4] == ["isolated-vm", "deno", "container", "vm2"]


def test_the_installed_command_shows_version_and_help() -> None:
    command = [sys.executable, "-m", "pytest_sandbox.cli"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("pytest-sandbox 0.")
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True, timeout=60)
    assert "run one snippet" in done.stdout
    done = subprocess.run([*command, "run", "-"], input="return 6 * 7", capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("42\n", "")


def test_an_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import pytest_sandbox.cli.list_executors as module

    def interrupt(registry: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "listing", interrupt)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "pytest-sandbox: interrupted\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1}, '{"a": 1}'),
        ({1: "a"}, "{1: 'a'}"),
        ("a\x1b\x7f\x9b\u202eé", r'"a\u001b\u007f\u009b\u202e\u00e9"'),
        ("é", '"é"'),
        (float("nan"), "nan"),
        ([float("inf")], "[inf]"),
        (b"\x1b", r"b'\x1b'"),
        ({"a": {1, 2}}, "{'a': {1, 2}}"),
        (2**70, str(2**70)),
    ],
)
def test_values_are_shown_as_json_where_json_has_them(value: object, text: str) -> None:
    assert shown(value) == text
    if text.startswith(('{"', '"')):
        assert json.loads(text) == value
