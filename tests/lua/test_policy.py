"""The policy: what a script may do with entries, decided by a function or by rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox import EntryRegistry, InvalidArgument, PolicyInvalid
from pytest_sandbox.lua import LuaSandbox, Policy, load_policy
from pytest_sandbox.lua.policy import Rule

SCRIPT = """
local exec = require("exec")
local id, command = ...
local executor, err = exec.get(id)
if err then return nil, err end
local process, err = executor:exec(command)
if err then return nil, err end
local out = process:stdout_stream()
process:start()
return out:read(), process:wait()
"""

RULES = """
allow:
  - actions: exec.get
    resources: ["app:shell", "app:b*"]
  - actions: [exec.run]
    resources: ["echo *", pwd]
"""


def denied(registry: EntryRegistry, launcher: Any, policy: Any, *args: str) -> str | None:
    with LuaSandbox(registry, policy=policy, _launcher=launcher) as sandbox:
        result = sandbox.run(SCRIPT, args=args)
    if result.ok:
        return None
    assert result.error is not None and result.error.error_kind == "INVALID", result
    return result.error.message


def test_a_function_is_asked_for_each_action_and_only_true_allows(registry: EntryRegistry, launcher: Any) -> None:
    asked: list[tuple[str, str]] = []

    def allow(action: str, resource: str) -> bool:
        asked.append((action, resource))
        return True

    assert denied(registry, launcher, allow, "app:shell", "echo hi") is None
    assert asked == [("exec.get", "app:shell"), ("exec.run", "echo hi")]
    message = 'Cannot get an executor: the policy does not allow action exec.get on resource "app:shell"'
    for answer in (False, None, 1, "yes"):
        assert denied(registry, launcher, lambda _action, _resource, answer=answer: answer, "app:shell", "echo hi") == message
    only_get = denied(registry, launcher, lambda action, _: action == "exec.get", "app:shell", "echo hi")
    assert only_get == 'Cannot run a command: the policy does not allow action exec.run on resource "echo hi"'


@pytest.mark.parametrize(
    ("id", "command", "words"),
    [
        ("app:shell", "echo hi", None),
        ("app:shell", "pwd", None),
        ("app:bound", "echo allowed", None),
        ("app:shell", "pwd ", 'exec.run on resource "pwd "'),
        ("app:shell", "echo", 'exec.run on resource "echo"'),
        ("app:shell", "sh -c 'echo x'", "exec.run on resource"),
        ("app:shellx", "pwd", 'exec.get on resource "app:shellx"'),
        ("app:Shell", "pwd", 'exec.get on resource "app:Shell"'),
    ],
)
def test_rules_allow_what_they_name(
    registry: EntryRegistry, launcher: Any, tmp_path: Path, id: str, command: str, words: str | None
) -> None:
    (tmp_path / "policy.yaml").write_text(RULES)
    message = denied(registry, launcher, tmp_path / "policy.yaml", id, command)
    assert (words is None and message is None) or (words is not None and message is not None and words in message)


def test_the_whitelist_holds_as_well(registry: EntryRegistry, launcher: Any) -> None:
    with LuaSandbox(registry, policy=Policy(Rule(("exec.get", "exec.run"), ("*",))), _launcher=launcher) as sandbox:
        result = sandbox.run(SCRIPT, args=("app:bound", "echo denied"))
        assert result.error is not None and result.error.error_kind == "PERMISSION_DENIED"
        assert sandbox.run(SCRIPT, args=("app:bound", "echo allowed")).check().value == "allowed\n"


def test_with_a_policy_the_ids_of_other_entries_are_not_told(registry: EntryRegistry, launcher: Any) -> None:
    with LuaSandbox(registry, policy=lambda *_: True, _launcher=launcher) as sandbox:
        error = sandbox.run("return require('exec').get('app:other')").error
    assert error is not None
    assert (error.error_kind, error.message) == ("NOT_FOUND", 'Cannot get an executor: there is no entry "app:other"')


def test_what_a_policy_raises_comes_out_and_nothing_runs(registry: EntryRegistry, launcher: Any) -> None:
    def broken(action: str, resource: str) -> bool:
        raise LookupError(resource)

    with LuaSandbox(registry, policy=broken, _launcher=launcher) as sandbox:
        with pytest.raises(LookupError, match="app:shell"):
            sandbox.run(SCRIPT, args=("app:shell", "echo hi"))
        assert sandbox.run("return 1").check().value == 1
    assert not registry.log


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["expected a mapping with a list allow, got None"]),
        ("[]", ["expected a mapping with a list allow, got []"]),
        ("allow: {}", ["allow: expected a list of rules, got {}"]),
        ("allow: [5]", ["allow[0]: expected a rule with actions and resources, got 5"]),
        ("{", ["is not YAML: "]),
        (
            "deny: []\nallow:\n  - {action: exec.get, resources: [x]}\n  - {actions: exec.gte, resources: []}",
            [
                "unknown field 'deny': the only field is allow",
                "allow[0]: unknown field 'action' (did you mean \"actions\"?): known fields are actions, resources",
                "allow[0].actions: expected a text or a list of texts, got nothing",
                "allow[1].actions: unknown action 'exec.gte' (did you mean \"exec.get\"?): known actions are exec.get, exec.run",
                "allow[1].resources: expected a text or a list of texts, got []",
            ],
        ),
    ],
)
def test_a_policy_file_with_errors_names_all_of_them(tmp_path: Path, text: str, problems: list[str]) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(PolicyInvalid) as caught:
        load_policy(path)
    assert len(caught.value.problems) == len(problems)
    for found, expected in zip(caught.value.problems, problems, strict=True):
        assert found.startswith(expected)
    assert str(caught.value).startswith(f"Cannot read the policy: {len(problems)} problem")


def test_policies_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyInvalid, match="cannot be read: No such file or directory"):
        LuaSandbox(policy=tmp_path / "missing.yaml")
    with pytest.raises(PolicyInvalid, match="policy: expected a mapping with a list allow"):
        LuaSandbox(policy={})
    with pytest.raises(InvalidArgument, match="Cannot use policy=5"):
        LuaSandbox(policy=5)  # type: ignore[arg-type]


def test_a_star_stands_for_any_characters_and_nothing_else_is_special() -> None:
    policy = Policy(Rule(("exec.run",), ("a.b", "git *", "[x]", "*end")))
    allowed = {
        text for text in ("a.b", "axb", "git ", "git log\n--all", "git", "[x]", "x", "the end", "ended") if policy("exec.run", text)
    }
    assert allowed == {"a.b", "git ", "git log\n--all", "[x]", "the end"}
    assert not policy("exec.get", "a.b") and not policy("exec.other", "a.b")
