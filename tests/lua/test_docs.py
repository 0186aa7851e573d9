"""docs/lua.md mirrors the API: each method has a section with an example that runs, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_sandbox import EntryRegistry, load_entries
from pytest_sandbox.lua import LuaResult, LuaSandbox
from pytest_sandbox.lua.result import ERROR_KINDS

PAGE = (Path(__file__).parents[2] / "docs/lua.md").read_text()
METHODS = [
    "exec.get",
    "executor:exec",
    "executor:release",
    "process:start",
    "process:wait",
    "process:signal",
    "process:write_stdin",
    "process:stdout_stream",
    "process:stderr_stream",
    "process:close",
    "stream:read",
    "stream:close",
]


def sections() -> dict[str, str]:
    parts = re.split(r"^#+ (.*)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


EXAMPLES = {
    title: example
    for title, text in sections().items()
    for example in re.findall(r"^```lua\n(?!-- )(.*?)^```$", text, re.MULTILINE | re.DOTALL)
}


def test_every_method_has_one_example_in_the_order_of_the_reference() -> None:
    assert list(EXAMPLES) == [*METHODS, "Errors"]
    assert PAGE.count("\n```lua\n") == len(EXAMPLES) + 2, "two files besides"


def test_the_methods_are_all_that_there_are(sandbox: LuaSandbox) -> None:
    """Every name that a script can call on an object is on the page, and the other way round."""
    script = """
        local exec, found = require("exec"), {}
        local executor = exec.get("app:shell")
        local process = executor:exec("true")
        local objects = {executor = executor, process = process, stream = process:stdout_stream()}
        for name in next, exec do found[#found + 1] = "exec." .. name end
        for _, method in ipairs({...}) do
          local kind, name = method:match("(%w+):([%w_]+)")
          if kind and objects[kind][name] then found[#found + 1] = method end
        end
        return found
    """
    assert sorted(sandbox.run(script, args=METHODS).check().value) == sorted(METHODS)


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_runs(title: str, tmp_path: Path, launcher: object) -> None:
    example = EXAMPLES[title]
    assert title == "Errors" or title.replace("exec.get", "exec").split(":")[-1] in example
    assert "assert(" in example, "an example that shows nothing proves nothing"
    (tmp_path / "entries.yaml").write_text(re.findall(r"```yaml\n(# entries.yaml\n.*?)```", PAGE, re.DOTALL)[0])
    with load_entries(tmp_path / "entries.yaml") as entries, LuaSandbox(entries, _launcher=launcher) as sandbox:  # type: ignore[arg-type]
        sandbox.run(example, chunk_name=title).check()


def test_the_table_of_kinds_is_complete(registry: EntryRegistry, sandbox: LuaSandbox) -> None:
    rows = re.findall(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \|", sections()["Errors"], re.MULTILINE)
    told = [kind for row in rows for kind in re.findall(r"[A-Z_]+", row)]
    assert sorted(told) == sorted(ERROR_KINDS)
    script = (
        "local names = {} for name, value in pairs(errors) do if name == value then names[#names + 1] = name end end return names"
    )
    assert sorted(sandbox.run(script).check().value) == sorted(ERROR_KINDS)


def test_the_table_of_attributes_is_complete() -> None:
    table = re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \|", sections()["LuaSandbox"], re.MULTILINE)
    told = {name for row in table for name in re.findall(r"\w+", row)}
    fields = set(LuaResult.__dataclass_fields__) | {"value", "output"}
    assert told == fields
