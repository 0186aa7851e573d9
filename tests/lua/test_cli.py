"""``pytest-sandbox lua``."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_sandbox.cli import main

SCRIPT = """\
local exec = require("exec")
local function main(name)
  print("for " .. name)
  local executor, err = exec.get("app:shell")
  if err then return nil, err end
  local process, refused = executor:exec("echo hello " .. name)
  if refused then return nil, refused end
  local out = process:stdout_stream()
  process:start()
  return out:read(), {code = process:wait()}
end
return {main = main, fail = function() error("no\\27[31m way") end}
"""


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTEST_SANDBOX_ENTRIES", raising=False)
    Path("entries.yaml").write_text("namespace: app\nentries:\n  - {name: shell, kind: exec.native}\n")
    Path("script.lua").write_text(SCRIPT)


def test_a_method_is_called_with_arguments_and_its_values_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["lua", "script.lua", "you", "--method", "main", "--entries", "entries.yaml"])
    output = capsys.readouterr()
    assert (code, output.out, output.err) == (0, '"hello you\\n"\n{"code": 0}\n', "for you\n")


def test_a_script_without_method_prints_what_it_returns(capsys: pytest.CaptureFixture[str]) -> None:
    Path("short.lua").write_text("return 1, 'x', nil, ...")
    assert main(["lua", "short.lua", "--", "-a"]) == 0
    assert capsys.readouterr().out == '1\n"x"\nnull\n"-a"\n'


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ["script.lua", "x", "--method", "main"],
            1,
            'NOT_FOUND: Cannot get an executor: there is no entry "app:shell": loaded entries are none',
        ),
        (["script.lua", "--method", "fail"], 1, "script.lua:12: no\\x1b[31m way\nstack traceback:"),
        (
            ["script.lua", "--method", "nope"],
            1,
            'Cannot call method "nope": expected a table with that function, and what script.lua returned has the functions fail, main',
        ),
        (
            ["script.lua", "x", "--method", "main", "--entries", "entries.yaml", "--policy", "policy.yaml"],
            1,
            "INVALID: Cannot run a command: the policy does not allow action exec.run",
        ),
        (["script.lua", "--policy", "entries.yaml"], 2, "Cannot read the policy: 1 problem found"),
        (["missing.lua"], 2, "Cannot use FILE='missing.lua': expected a file that can be read"),
        (["endless.lua", "--timeout", "0.3"], 1, "[timeout] it did not finish within 0.3 s"),
        (["script.lua", "--timeout", "x"], 2, "Cannot use --timeout='x'"),
    ],
)
def test_what_goes_wrong_is_said(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str) -> None:
    Path("policy.yaml").write_text("allow:\n  - {actions: exec.get, resources: 'app:*'}\n")
    Path("endless.lua").write_text("while true do end")
    assert main(["lua", *arguments]) == code
    output = capsys.readouterr()
    assert words in output.err
    assert output.out == ""
