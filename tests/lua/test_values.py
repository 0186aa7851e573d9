"""Values, modules, methods, errors: what crosses, in both directions."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_sandbox import EntryRegistry, InvalidArgument, LuaFailed, LuaSandboxClosed
from pytest_sandbox.lua import LuaErrorObject, LuaSandbox


@pytest.fixture(scope="module")
def lua(launcher: Any) -> Any:
    with LuaSandbox(_launcher=launcher) as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    ("given_", "back"),
    [
        (None, None),
        (True, True),
        (0, 0),
        (127, 127),
        (128, 128),
        (-1, -1),
        (-(1 << 63), -(1 << 63)),
        ((1 << 63) - 1, (1 << 63) - 1),
        (1.5, 1.5),
        (1.0, 1.0),
        (math.inf, math.inf),
        ("", ""),
        ("grüße \U0001f600 \0 \n", "grüße \U0001f600 \0 \n"),
        (b"\xff\x00", b"\xff\x00"),
        (b"plain", "plain"),
        ("\udcff", b"\xff"),
        ([], []),
        ({}, []),
        ([1, [2, [3]]], [1, [2, [3]]]),
        ((1, 2), [1, 2]),
        ({"a": {"b": [1, "x"]}}, {"a": {"b": [1, "x"]}}),
        ({1: "a", 2: "b"}, ["a", "b"]),
        ({1: "a", 3: "c"}, {1: "a", 3: "c"}),
        ({"1": "text", 1: "number"}, {"1": "text", 1: "number"}),
        ({1.5: "x", b"\xff": "y"}, {1.5: "x", b"\xff": "y"}),
        (["x" * 70000], ["x" * 70000]),
    ],
)
def test_a_value_crosses_and_comes_back(lua: LuaSandbox, given_: Any, back: Any) -> None:
    value = lua.run("return ...", args=(given_,)).check().value
    assert value == back and type(value) is type(back)


_PLAIN = st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
_NESTED = st.recursive(
    _PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def as_lua(value: Any) -> Any:
    """Return a value as it comes back: bytes that are text are text, and an empty table is a list."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, list):
        return [as_lua(item) for item in value]
    if isinstance(value, dict):
        return {key: as_lua(item) for key, item in value.items()} or []
    return value


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(_NESTED, max_size=20))
def test_any_values_cross_and_come_back(lua: LuaSandbox, values: list[Any]) -> None:
    assert list(lua.run("return ...", args=values).check().values) == as_lua(values)


def test_not_a_number_crosses(lua: LuaSandbox) -> None:
    assert math.isnan(lua.run("local x = ... assert(x ~= x) return 0/0", args=(math.nan,)).check().value)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("return print", "Cannot return value: it is a function, which cannot leave the sandbox"),
        ("return coroutine.create(print)", "Cannot return value: it is a thread"),
        ("return 1, {a = {1, {b = print}}}", "Cannot return values[2].a[2].b: it is a function"),
        ("local t = {} t.me = {t} return t", "Cannot return value.me[1]: it contains itself"),
        ("return {[true] = 1}", "Cannot return value: it has a key of type boolean; only strings and numbers can be keys"),
        ("return {[{}] = 1}", "it has a key of type table"),
        ("local t = {} for i = 1, 200 do t = {t} end return t", "it is nested more than 100 levels deep"),
        ("return require('exec')", "it is a function"),
        ("local p = require('exec').get return {p}", "Cannot return value[1]: it is a function"),
    ],
)
def test_what_cannot_cross_is_an_error_that_names_it(lua: LuaSandbox, script: str, words: str) -> None:
    result = lua.run(script)
    assert result.error is not None and result.error.kind == "runtime"
    assert words in result.error.message


def test_objects_of_the_api_cannot_cross_but_error_objects_can(sandbox: LuaSandbox) -> None:
    result = sandbox.run("return {require('exec').get('app:shell')}")
    assert (
        result.error is not None
        and result.error.message == "Cannot return value[1]: it is an executor, which cannot leave the sandbox"
    )
    error = sandbox.run("return errors.new{kind = 'MINE', message = 'x', retryable = true}").check().value
    assert error == LuaErrorObject("MINE", "x", True) and str(error) == "MINE: x"


def test_metamethods_do_not_run_while_values_cross(lua: LuaSandbox) -> None:
    script = """
        local function no() error("a metamethod ran") end
        return setmetatable({1, 2, x = 3}, {__index = no, __pairs = no, __len = no, __tostring = no, __newindex = no})
    """
    assert lua.run(script).check().value == {1: 1, 2: 2, "x": 3}


@pytest.mark.parametrize("value", [1 << 63, {1, 2}, object(), print, {True: 1}, {None: 1}, {math.nan: 1}, [[object()]]])
def test_arguments_that_cannot_cross_are_refused(lua: LuaSandbox, value: object) -> None:
    with pytest.raises(InvalidArgument, match=r"args\[0\]"):
        lua.run("return 1", args=(value,))


def test_arguments_that_contain_themselves_are_refused(lua: LuaSandbox) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidArgument, match="tables nested at most 100 levels deep"):
        lua.run("return 1", args=(endless,))


# -- methods and errors --------------------------------------------------------------------------------------------


def test_a_method_of_the_returned_table_is_called(lua: LuaSandbox) -> None:
    source = "local calls = 0 return {main = function(a, b, ...) calls = calls + 1 return a + b, calls, select('#', ...) end}"
    assert lua.run(source, method="main", args=(1, 2)).check().values == (3, 1, 0)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("return {other = print}", "what script.lua returned has the functions other"),
        ("return {}", "what script.lua returned has the functions none"),
        ("return 5", "what script.lua returned is a number"),
        ("", "what script.lua returned is nothing"),
        ("return setmetatable({}, {__index = function() return print end})", "has the functions none"),
    ],
)
def test_a_method_that_is_not_there_is_an_error(lua: LuaSandbox, source: str, words: str) -> None:
    result = lua.run(source, method="main")
    assert result.error is not None and words in result.error.message
    assert result.error.message.startswith('Cannot call method "main": expected a table with that function')


def test_errors_point_into_the_script(lua: LuaSandbox) -> None:
    source = "local function inner()\n  error('boom')\nend\nlocal function outer() inner() return 1 end\nreturn {main = function() outer() return 2 end}"
    name = "a/very/long/path/that/lua/would/shorten/to/sixty/bytes/in/every/message/of/its/own/tests.lua"
    result = lua.run(source, method="main", chunk_name=name)
    error = result.error
    assert error is not None
    assert (error.kind, error.message, error.line, error.returned) == ("runtime", f"{name}:2: boom", 2, False)
    assert [line.strip().partition(": ")[0] for line in error.traceback.splitlines()[2:]] == [f"{name}:2", f"{name}:4", f"{name}:5"]
    assert "(sandbox)" not in error.traceback
    with pytest.raises(LuaFailed, match="Lua script .* failed: .*boom") as caught:
        result.check()
    assert caught.value.result is result


@pytest.mark.parametrize(
    ("script", "message", "kind"),
    [
        ("error('plain')", "script.lua:1: plain", None),
        ("error('no position', 0)", "no position", None),
        ("error({code = 5})", "table: 0x", None),
        ("error()", "nil", None),
        ("error(errors.new('CONFLICT', 'both'))", "both", "CONFLICT"),
        ("error(setmetatable({}, {__tostring = function() return 'told' end}))", "told", None),
        (
            "error(setmetatable({}, {__tostring = function() return {} end}))",
            "(an error object of type table that cannot be shown)",
            None,
        ),
        ("error(setmetatable({}, {__tostring = function() error('x') end}))", "that cannot be shown)", None),
        ("return nil, 'a text'", "a text", None),
        ("return nil, errors.new('CONFLICT', 'both')", "both", "CONFLICT"),
        ("coroutine.wrap(function() error('inside') end)()", "script.lua:1: inside", None),
        ("error('\\27]0;title\\7')", "script.lua:1: \x1b]0;title\x07", None),
    ],
)
def test_whatever_is_raised_or_returned_as_an_error_is_told(lua: LuaSandbox, script: str, message: str, kind: str | None) -> None:
    error = lua.run(script).error
    assert error is not None
    assert message in error.message and (error.kind, error.error_kind) == ("runtime", kind)
    assert error.returned == script.startswith("return")
    assert str(error).isprintable() or "\n" in str(error)


def test_nil_and_false_with_something_else_are_values(lua: LuaSandbox) -> None:
    assert lua.run("return nil, 5").check().values == (None, 5)
    assert lua.run("return false, 'text'").check().values == (False, "text")
    assert lua.run("return nil, nil, 'x'").check().values == (None, None, "x")
    assert lua.run("").check().value is None


def test_the_module_errors(lua: LuaSandbox) -> None:
    script = """
        assert(require("errors") == errors)
        local plain = errors.new("just a message")
        local kind = errors.new(errors.TIMEOUT, "slow")
        local full = errors.new({kind = errors.NOT_FOUND, message = "gone", retryable = true, details = {id = 7}})
        local wrapped = errors.wrap(full, "outer")
        assert(plain:kind() == "UNKNOWN" and plain:message() == "just a message" and plain:retryable() == false)
        assert(kind:kind() == errors.TIMEOUT and kind:retryable() == true and tostring(kind) == "TIMEOUT: slow")
        assert(full:retryable() and full:details().id == 7 and full:stack():find("\\n\\tscript.lua:5: in main chunk", 1, true))
        assert(wrapped:message() == "outer: gone" and wrapped:kind() == "NOT_FOUND" and wrapped:details().id == 7)
        assert(errors.is(full, errors.NOT_FOUND) and not errors.is(full, errors.INVALID) and errors.is(full) and not errors.is("x"))
        local ok, raised = pcall(error, full)
        assert(raised == full)
        local bad = {}
        for index, arguments in ipairs({{}, {print}, {{}}, {{message = "x", retryable = 1}}, {"K", print}}) do
          bad[index] = select(2, pcall(errors.new, table.unpack(arguments)))
        end
        return bad, select(2, pcall(function() local kind = full.kind() return kind end))
    """
    bad, without_colon = lua.run(script).check().values
    assert len(bad) == 5 and all("of errors.new: expected a" in message for message in bad)
    assert "call its methods with a colon, such as err:kind()" in without_colon and without_colon.startswith("script.lua:")


def test_print_is_logged_and_not_written_anywhere(lua: LuaSandbox, capfd: pytest.CaptureFixture[str]) -> None:
    result = lua.run("print('a', 1, nil, 2.5) print() print('\\255\\27[0m')").check()
    assert [entry.text for entry in result.logs] == ["a\t1\tnil\t2.5", "", "\ufffd\x1b[0m"]
    assert {entry.level for entry in result.logs} == {"log"} and all(entry.time >= 0 for entry in result.logs)
    assert result.output == "a\t1\tnil\t2.5\n\n\ufffd\x1b[0m\n"
    assert "\x1b" not in repr(result)
    assert capfd.readouterr() == ("", "")


# -- modules ---------------------------------------------------------------------------------------------------------


def test_modules_in_lua_and_as_python_tables(launcher: Any) -> None:
    seen: list[Any] = []

    def add(*numbers: Any) -> Any:
        seen.append((numbers, threading.current_thread()))
        return sum(numbers)

    modules: dict[str, Any] = {
        "greet": "local name = ... return {hello = function(who) return 'hello ' .. who .. ' from ' .. name end}",
        "twice": "local greet = require('greet') return {greet = greet}",
        "tools": {"add": add, "pair": lambda: (1, None, [2]), "limits": {"most": 5}, "nothing": lambda: None},
    }
    with LuaSandbox(modules=modules, _launcher=launcher) as sandbox:
        script = """
            local tools = require("tools")
            assert(require("greet") == require("twice").greet)
            local one, none, list = tools.pair()
            assert(one == 1 and none == nil and list[1] == 2 and select("#", tools.nothing()) == 1)
            return require("greet").hello("me"), tools.add(1, 2, 3), tools.limits.most
        """
        assert sandbox.run(script).check().values == ("hello me from greet", 6, 5)
    assert seen == [((1, 2, 3), threading.current_thread())], "functions run in the thread that called run()"


def test_what_functions_raise_is_an_error_object_and_not_an_object_of_python(launcher: Any) -> None:
    def fail() -> None:
        raise RuntimeError("no \x1b way")

    modules = {"tools": {"fail": fail, "bad": lambda: object(), "big": lambda: "x" * (18 << 20)}}
    with LuaSandbox(modules=modules, _launcher=launcher) as sandbox:
        script = """
            local tools, found = require("tools"), {}
            for index, call in ipairs({tools.fail, tools.bad, tools.big, function() return tools.fail(print) end}) do
              local value, err = call()
              assert(value == nil and type(err) == "table")
              found[index] = err
            end
            return found
        """
        errors = sandbox.run(script).check().value
    assert [error.kind for error in errors] == ["INTERNAL", "INTERNAL", "INTERNAL", "INVALID"]
    assert errors[0].message == "RuntimeError: no \x1b way"
    assert "tools.<lambda>()" in errors[1].message and "and the limit result is 16777216 bytes" in errors[2].message
    assert errors[3].message == "Cannot call the function: args[1] is a function, which cannot leave the sandbox"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("require('nope')", "module 'nope' not found: known modules are errors, exec, good, loop, wrong"),
        ("require('wrong')", "error loading module 'wrong': wrong.lua:1:"),
        ("require('loop')", "module 'loop' requires itself"),
        ("require()", "bad argument #1 to 'require' (string expected, got nil)"),
        ("require('os')", "module 'os' not found"),
        ("require('io')", "module 'io' not found"),
        ("require('../../etc/passwd')", "not found: known modules are"),
    ],
)
def test_modules_that_are_not_there_or_wrong(launcher: Any, script: str, words: str) -> None:
    modules: dict[str, Any] = {"good": "return 1", "wrong": "return (", "loop": "return require('loop')"}
    with LuaSandbox(modules=modules, _launcher=launcher) as sandbox:
        error = sandbox.run(script).error
    assert error is not None and words in error.message


@pytest.mark.parametrize("modules", [5, {"exec": "return 1"}, {"": "x"}, {"x": 5}, {"x": {"a": object()}}, {1: "x"}])
def test_modules_that_make_no_sense_are_refused(modules: Any) -> None:
    with pytest.raises(InvalidArgument):
        LuaSandbox(modules=modules)


def test_arguments_that_make_no_sense_are_refused(lua: LuaSandbox, registry: EntryRegistry, launcher: Any) -> None:
    for options in ({"source": 5}, {"source": "", "method": ""}, {"source": "", "chunk_name": ""}, {"source": "", "args": "text"}):
        with pytest.raises(InvalidArgument):
            lua.run(**options)
    with pytest.raises(InvalidArgument, match="Cannot use jail='maybe'"):
        LuaSandbox(jail="maybe")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="Cannot use entries=5"):
        LuaSandbox(5)  # type: ignore[arg-type]
    with LuaSandbox(registry, _launcher=launcher) as closed:
        pass
    with pytest.raises(LuaSandboxClosed, match="the sandbox is closed"):
        closed.run("return 1")
    closed.close()
