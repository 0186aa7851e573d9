"""Whether there is a jail is tried, not assumed, and its absence has a reason and a remedy."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import pytest_sandbox
from pytest_sandbox.processes import jail_probe
from pytest_sandbox.processes.confinement import Confinement
from pytest_sandbox.processes.jail import Jail
from pytest_sandbox.processes.jail_probe import NoJail, find_jail, find_jail_soon
from pytest_sandbox.processes.libraries import runtime_files
from pytest_sandbox.processes.system_view import system_view

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/ns"), reason="the jail is for Linux")

ROOT = Path(pytest_sandbox.__file__).parents[1]


def test_the_jail_is_looked_for_once(jail: Jail) -> None:
    assert find_jail() is jail
    assert find_jail_soon() is find_jail_soon()
    assert jail.version[:1].isdigit() and jail.version in str(jail)
    assert ("own user id" in str(jail)) == (os.geteuid() == 0)


def test_a_forked_child_finds_it_too(jail: Jail) -> None:
    code = """
        import os, sys
        from pytest_sandbox.processes import jail_probe
        jail_probe.find_jail_soon()  # under way, in a thread that the child does not have
        child = os.fork()
        if child == 0:
            os._exit(0 if isinstance(jail_probe.find_jail(), jail_probe.Jail) else 9)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0


def packages() -> list[str]:
    """Return the folders of the import path that hold the package and what it imports."""
    import msgspec
    import psutil

    return [str(ROOT), *{str(Path(str(module.__file__)).parents[1]) for module in (msgspec, psutil)}]


def test_a_missing_bubblewrap_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(jail_probe, "_FOLDERS", str(tmp_path))
    remedy = "install it with 'apt-get install bubblewrap', 'dnf install bubblewrap' or 'apk add bubblewrap'"
    assert jail_probe._probe() == NoJail("there is no bwrap on PATH", remedy)


def test_inside_a_jail_there_is_no_second_one(python: Any) -> None:
    view, symlinks = system_view()
    code = f"""
sys.path[:0] = {packages()!r}
from pytest_sandbox.processes.jail_probe import find_jail
told(repr(find_jail()))
"""
    told = python.inside(code, read_only=(*view, *packages()), symlinks=symlinks, forks=True, sockets=True).value
    assert told.startswith("NoJail(") and "bwrap cannot enter one: " in told
    assert "namespace" in told or "not permitted" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--unshare-pid", "--proc", "/proc"], "has_proc=True"),
        # As in a container: where parts of /proc are covered, the kernel gives nobody a whole one.
        (["--unshare-pid", "--proc", "/proc", "--ro-bind", "/dev/null", "/proc/timer_list"], "has_proc=False"),
        (["--unshare-pid", "--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"], "locks_namespaces=False"),
        (["--disable-userns"], "NoJail"),
        (["--uid", "0", "--gid", "0"], "NoJail(reason='this root has no user ids to spare"),
    ],
    ids=["plain", "masked /proc", "read-only /proc/sys", "no user namespaces", "a root of one id"],
)
def test_what_a_machine_lacks_is_found_out(ordinary_user: list[str], options: list[str], expected: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pytest_sandbox.processes.jail_probe import find_jail; print(repr(find_jail()))"
    command, python = ordinary_user[:-1], ordinary_user[-1]
    outer = ["bwrap", "--unshare-user", "--die-with-parent", "--dev-bind", "/", "/", *options]
    done = subprocess.run([*command, *outer, python, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    if not done.stdout:
        pytest.skip(f"such a machine cannot be made here: {done.stderr.strip()[-200:]}")
    assert expected in done.stdout


FAKE = "#!/bin/sh\n{body}\n"


@pytest.fixture
def fake(jail: Jail, tmp_path: Path) -> Any:
    def make(body: str) -> Jail:
        program = tmp_path / "bwrap"
        program.write_text(FAKE.format(body=body))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return dataclasses.replace(jail, program=str(program))

    return make


def test_a_bubblewrap_that_knows_too_little_is_too_old(fake: Any) -> None:
    found = jail_probe._try(fake("echo 'bwrap: Unknown option --size' >&2; exit 1"))
    assert isinstance(found, NoJail)
    assert found.reason.endswith("cannot enter one: Unknown option --size") and found.fix == "install bubblewrap 0.8 or newer"


def test_a_bubblewrap_that_confines_nothing_is_not_believed(fake: Any) -> None:
    # It does as it is told, but for the confinement: the first "--" ends its own options.
    found = jail_probe._try(fake('while [ "$1" != -- ]; do shift; done; shift; exec cat /proc/self/status'))
    assert isinstance(found, NoJail)
    assert found.reason.startswith("a process inside is not confined as it should be: Pid is ")
    assert "Seccomp is 0, not 2" in found.reason


def test_a_bubblewrap_that_hangs_is_given_up(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jail_probe, "_DEADLINE", 0.3)
    found = jail_probe._try(fake("exec sleep 60"))
    assert isinstance(found, NoJail) and "ended with code -9 and no message" in found.reason


def test_a_bubblewrap_that_cannot_lock_namespaces_does_without(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    enter = jail_probe._enter

    def old(tried: Jail) -> tuple[int | None, str, str]:
        return (1, "", "bwrap: Unknown option --disable-userns") if tried.locks_namespaces else enter(tried)

    monkeypatch.setattr(jail_probe, "_enter", old)
    assert jail_probe._try(jail) == dataclasses.replace(jail, locks_namespaces=False)


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "AppArmor profile"),
        ("kernel.unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        ("user.max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
    ],
)
def test_the_setting_that_forbids_namespaces_is_named(
    jail: Jail, monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    monkeypatch.setattr(jail_probe, "_setting", {name: value}.get)
    ordinary = dataclasses.replace(jail, own_ids=False)
    found = jail_probe._explain(ordinary, 1, "bwrap: setting up uid map: Permission denied")
    assert f"setting up uid map: Permission denied; {name} is {value}" in found.reason and remedy in found.fix


def test_files_that_strangers_cannot_read_are_named(jail: Jail, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o755)
    (tmp_path / "folder" / "file").touch(mode=0o644)
    view = Confinement(read_only=(str(tmp_path / "folder"),))
    assert jail.unreadable(view) is None
    (tmp_path / "folder" / "file").chmod(0o640)
    assert jail.unreadable(view) == (str(tmp_path / "folder" / "file") if jail.own_ids else None)
    (tmp_path / "folder").chmod(0o754)
    assert jail.unreadable(view) == (str(tmp_path / "folder") if jail.own_ids else None)


def test_the_libraries_of_a_program_are_those_that_its_loader_finds(tmp_path: Path) -> None:
    files = runtime_files("/bin/cat")
    assert files[0] == "/bin/cat" and any("libc.so" in file or "libc.musl" in file or "ld-musl" in file for file in files)
    assert all(os.path.isabs(file) and os.path.exists(file) for file in files)
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(OSError, match="is not an ELF file of a 64 bit machine"):
        runtime_files(str(script))
    broken = tmp_path / "broken"
    broken.write_bytes(Path("/bin/cat").read_bytes().replace(b"libc.so.6\0", b"libq.so.6\0"))
    if "ld-musl" not in "".join(files):
        with pytest.raises(OSError, match=r"libq\.so\.6"):
            runtime_files(str(broken))
