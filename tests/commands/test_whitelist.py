"""The whitelist: exact, before anything is parsed, and binding for what surrounds the command."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pytest_sandbox.commands import CommandExecutor
from pytest_sandbox.commands.whitelist import Whitelist
from pytest_sandbox.entries import EntryRegistry, NativeEntry
from pytest_sandbox.errors import CommandNotAllowed, EnvironmentNotAllowed, InvalidArgument, InvalidCommand, WorkDirNotAllowed

MakeNative = Callable[..., CommandExecutor]

ALLOWED = ("git status", "git diff", "npm run build", "touch canary", "ls -la '/tmp/a b'", "echo caf\u00e9")

BLANKS = [" ", "\t", "\n", "\r", "\v", "\f", "\0", "\u00a0", "\u2003", "\u200b", "\u3000", "\ufeff", "\u2028", "\x85", "\x1c"]
SHELL = [
    ";",
    "&",
    "&&",
    "||",
    "|",
    "$()",
    "`id`",
    "$(id)",
    "${IFS}",
    ">x",
    "<x",
    "#",
    "*",
    "?",
    "~",
    "{a,b}",
    "!",
    "'",
    '"',
    "\\",
    "''",
    '""',
    "\\\n",
]
LOOK_ALIKES = {
    "a": "\u0430",
    "e": "\u0435",
    "i": "\u0456",
    "o": "\u043e",
    "c": "\u0441",
    "s": "\u0455",
    "t": "\U0001d42d",
    "-": "\u2010",
    " ": "\u00a0",
    "é": "e\u0301",
    "d": "\u0501",
}


@st.composite
def near_misses(draw: st.DrawFn) -> str:
    """A string that is like an allowed command, but is none."""
    command = draw(st.sampled_from(ALLOWED))
    position = draw(st.integers(0, len(command)))
    addition = draw(st.sampled_from(BLANKS + SHELL) | st.characters() | st.text(max_size=5))
    candidate = draw(
        st.sampled_from(
            [
                command[:position] + addition + command[position:],
                command + addition,
                addition + command,
                command[:position],
                command[position:],
                command.upper(),
                command.title(),
                command.replace(" ", draw(st.sampled_from(BLANKS)) or "_"),
                command.replace(" ", "  "),
                f"'{command}'",
                f'"{command}"',
                command.replace(command[:3], f"'{command[:3]}'", 1),
                command + "; " + draw(st.sampled_from(ALLOWED)),
                command + "\n" + draw(st.sampled_from(ALLOWED)),
                f"$({command})",
                f"sh -c '{command}'",
                f"env {command}",
                f"/usr/bin/{command}",
                f"./{command}",
                "".join(LOOK_ALIKES.get(char, char) if index == position else char for index, char in enumerate(command)),
                command.encode("utf-16", "surrogatepass").decode("latin-1"),
                command[::-1],
            ]
        )
    )
    assume(candidate not in ALLOWED)
    return candidate


class Unstartable(Exception):
    pass


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandExecutor:
    """An executor with a whitelist, in which splitting words, or anything later, is a failure of the test."""

    def touched(*_: Any) -> Any:
        raise Unstartable

    monkeypatch.setattr("pytest_sandbox.commands.calls.split_words", touched)
    entry = NativeEntry(name="shell", default_work_dir=str(tmp_path), command_whitelist=ALLOWED)
    return EntryRegistry.of(entry, namespace="app").get("app:shell")


@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(near_misses() | st.text())
def test_near_misses_are_refused_before_anything_is_parsed(guarded: CommandExecutor, command: str) -> None:
    assume(command not in ALLOWED)
    with pytest.raises(CommandNotAllowed) as caught:
        guarded.exec(command)
    error = caught.value
    assert (error.command, error.entry, error.allowed) == (command, "app:shell", ALLOWED)
    assert error.closest in ALLOWED
    assert str(error).isprintable()
    assert str(error).isascii() or "…" in str(error)


@pytest.mark.parametrize("command", ALLOWED)
def test_what_is_allowed_gets_as_far_as_being_parsed(guarded: CommandExecutor, command: str) -> None:
    # The positive control of the property above.
    with pytest.raises(Unstartable):
        guarded.exec(command)


def test_an_allowed_command_runs_and_another_has_no_effect(make_native: MakeNative, tmp_path: Path) -> None:
    shell = make_native(command_whitelist=("touch allowed",))
    shell.run("touch allowed").check()
    with pytest.raises(CommandNotAllowed):
        shell.run("touch other")
    assert [path.name for path in tmp_path.iterdir()] == ["allowed"]


def test_the_message_names_command_entry_and_the_closest_allowed_one(make_native: MakeNative) -> None:
    shell = make_native(command_whitelist=("git status", "git diff", "npm run build"))
    with pytest.raises(CommandNotAllowed) as caught:
        shell.exec("git  status")
    assert str(caught.value) == (
        'Cannot run command "git  status" with entry "app:shell": it is not in the entry\'s command_whitelist of 3, which is '
        'compared character by character; the closest allowed command is "git status"'
    )
    with pytest.raises(CommandNotAllowed, match=r'"git \\u0455tatus" with entry'):
        shell.exec("git \u0455tatus")


def test_an_empty_list_allows_nothing(make_native: MakeNative) -> None:
    shell = make_native(command_whitelist=())
    for command in ("true", "", "git status"):
        with pytest.raises(CommandNotAllowed, match="is empty and allows nothing") as caught:
            shell.exec(command)
        assert caught.value.closest is None


def test_no_list_allows_everything(make_native: MakeNative) -> None:
    assert make_native().run("echo anything at all").check().stdout == "anything at all\n"


def test_a_huge_command_is_refused_quickly(make_native: MakeNative) -> None:
    shell = make_native(command_whitelist=tuple(f"echo {n}" * 20 for n in range(200)))
    with pytest.raises(CommandNotAllowed) as caught:
        shell.exec("echo " * 1_000_000)
    assert len(str(caught.value)) < 1000


def test_a_string_that_pretends_to_be_allowed_is_refused(make_native: MakeNative, tmp_path: Path) -> None:
    class Liar(str):
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return hash("true")

        def __str__(self) -> str:
            return "true"

    shell = make_native(command_whitelist=("true",))
    with pytest.raises(CommandNotAllowed):
        shell.exec(Liar("touch canary"))
    with pytest.raises(InvalidArgument):
        shell.exec(b"true")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


# -- the environment of the call -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_", "GIT_SSH_COMMAND", "NODE_OPTIONS", "BASH_ENV", "A ", "a"]
)
def test_with_a_whitelist_a_call_sets_only_what_env_allow_names(make_native: MakeNative, name: str) -> None:
    shell = make_native(command_whitelist=("env",), env_allow=("A", "B"))
    with pytest.raises(EnvironmentNotAllowed) as caught:
        shell.exec("env", env={"A": "1", name: "x"})
    assert caught.value.names == (name,)
    assert "the variables in env_allow (A, B), never PATH or LD_*" in str(caught.value)
    assert shell.run("env", env={"A": "1"}).stdout == "A=1\n"


def test_with_a_whitelist_and_no_env_allow_a_call_sets_nothing(make_native: MakeNative) -> None:
    shell = make_native(command_whitelist=("env",), default_env={"LANG": "C"})
    with pytest.raises(EnvironmentNotAllowed, match=r"env_allow \(none\)"):
        shell.exec("env", env={"LANG": "x"})
    assert shell.run("env", env={}).stdout == "LANG=C\n"


def test_without_a_whitelist_a_call_sets_what_it_likes(make_native: MakeNative) -> None:
    # The positive control of the refusals above.
    assert make_native().run("env", env={"LD_LIBRARY_PATH": "/x"}).stdout == "LD_LIBRARY_PATH=/x\n"


def test_an_entry_may_set_path_itself(make_native: MakeNative, tmp_path: Path) -> None:
    shell = make_native(command_whitelist=("env",), default_env={"PATH": "/usr/bin:/bin"})
    assert shell.run("env").stdout == "PATH=/usr/bin:/bin\n"


# -- the working folder of the call --------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("base/in/deep", "base-twin", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "base/to_outside").symlink_to("../outside")
    (tmp_path / "base/to_inside").symlink_to("in/deep")
    (tmp_path / "to_base").symlink_to("base")
    return tmp_path


@pytest.mark.parametrize(
    "work_dir",
    [
        "..",
        "../outside",
        "../base-twin",
        "/",
        "to_outside",
        "in/../../outside",
        "in/deep/../../..",
        "/proc/self/root",
        "../base/..",
    ],
)
def test_with_a_whitelist_a_folder_outside_is_refused(make_native: MakeNative, folders: Path, work_dir: str) -> None:
    shell = make_native(command_whitelist=("pwd",), default_work_dir=str(folders / "base"))
    with pytest.raises(WorkDirNotAllowed) as caught:
        shell.exec("pwd", work_dir=work_dir)
    assert caught.value.base == str(folders / "base")
    assert "leads to" in str(caught.value)
    # The positive control: the folder is there, and without a whitelist the command runs in it.
    assert make_native(default_work_dir=str(folders / "base")).run("pwd", work_dir=work_dir).exit_code == 0


@pytest.mark.parametrize(
    ("work_dir", "inside"),
    [(".", ""), ("in", "/in"), ("in/deep/..", "/in"), ("to_inside", "/in/deep"), ("../to_base/in", "/in"), ("../base", "")],
)
def test_with_a_whitelist_a_folder_inside_is_allowed(make_native: MakeNative, folders: Path, work_dir: str, inside: str) -> None:
    shell = make_native(command_whitelist=("pwd -P",), default_work_dir=str(folders / "base"))
    assert shell.run("pwd -P", work_dir=work_dir).check().stdout == f"{folders}/base{inside}\n"


def test_a_base_that_is_itself_a_link_binds_to_where_it_leads(make_native: MakeNative, folders: Path) -> None:
    shell = make_native(command_whitelist=("pwd -P",), default_work_dir=str(folders / "to_base"))
    assert shell.run("pwd -P", work_dir="in").check().stdout == f"{folders}/base/in\n"
    with pytest.raises(WorkDirNotAllowed):
        shell.exec("pwd -P", work_dir="../outside")


def test_a_missing_folder_inside_is_an_error_naming_it(make_native: MakeNative, folders: Path) -> None:
    shell = make_native(command_whitelist=("pwd",), default_work_dir=str(folders / "base"))
    with pytest.raises(InvalidCommand, match="base/none"):
        shell.exec("pwd", work_dir="none")


def test_a_folder_that_is_swapped_after_the_check_is_not_entered(make_native: MakeNative, folders: Path) -> None:
    shell = make_native(command_whitelist=("pwd -P",), default_work_dir=str(folders / "base"))
    process = shell.exec("pwd -P", work_dir="in")
    (folders / "base/in").rename(folders / "base/was_in")
    (folders / "base/in").symlink_to("../outside")
    out = process.stdout_stream()
    process.start()
    assert process.wait(30) == 0
    assert out.read_text() == f"{folders}/base/was_in\n"


def test_a_folder_that_is_swapped_all_the_time_never_lets_a_command_out(make_native: MakeNative, folders: Path) -> None:
    shell = make_native(command_whitelist=("pwd -P",), default_work_dir=str(folders / "base"))
    (folders / "base/inner").mkdir()
    link, spare = folders / "base/flip", folders / "base/spare"
    link.symlink_to("inner")
    stop = threading.Event()

    def flip() -> None:
        target = ["../outside", "inner"]
        while not stop.is_set():
            target.reverse()
            spare.symlink_to(target[0])
            os.replace(spare, link)

    thread = threading.Thread(target=flip)
    thread.start()
    seen: set[str] = set()
    try:
        for _ in range(150):
            try:
                seen.add(shell.run("pwd -P", work_dir="flip").check().stdout)
            except WorkDirNotAllowed:
                seen.add("refused")
    finally:
        stop.set()
        thread.join()
    assert seen <= {"refused", f"{folders}/base/inner\n"}


# -- what was used -------------------------------------------------------------------------------------------------


def test_whitelist_lines_that_were_never_asked_for_are_reported() -> None:
    registry = EntryRegistry.of(
        NativeEntry(name="a", command_whitelist=("true", "false", "echo x")), NativeEntry(name="b"), namespace="n"
    )
    with registry, registry.get("n:a") as one, registry.get("n:a") as two:
        assert registry.unused_whitelist() == {"n:a": ("true", "false", "echo x")}
        one.run("true")
        two.exec("echo x").close()
        with pytest.raises(CommandNotAllowed):
            one.exec("echo y")
        assert registry.unused_whitelist() == {"n:a": ("false",)}
        one.run("false")
        assert registry.unused_whitelist() == {}


def test_a_narrower_whitelist_counts_for_the_wider_one() -> None:
    wide = Whitelist(["a", "b"])
    Whitelist(["a"], parent=wide).check("a", "e")
    assert wide.unused() == ("b",)
