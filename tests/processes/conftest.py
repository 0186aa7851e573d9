"""A deliberately unhardened runner: plain code in Node or Python, inside the jail and, as the positive control, outside."""

from __future__ import annotations

import _ctypes
import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox.errors import ExecutorUnavailable
from pytest_sandbox.processes.confinement import Confinement
from pytest_sandbox.processes.jail import Confined, Jail, exit_code
from pytest_sandbox.processes.jail_probe import NoJail, find_jail
from pytest_sandbox.processes.libraries import runtime_files
from pytest_sandbox.processes.spawn import end_group, spawn_soon
from pytest_sandbox.snippets.runtimes import find_node

WITNESS = "trying"
NODE_PRELUDE = """
const fs = require("fs"), net = require("net"), os = require("os"), childProcess = require("child_process");
fs.writeSync(1, "trying\\n");
const told = (value) => fs.writeSync(1, JSON.stringify(value) + "\\n");
(async () => {%s})().then((value) => told(value ?? null), (error) => told({ refused: error.code ?? String(error) }))
  .then(() => process.exit(0));
"""
PYTHON_PRELUDE = """
import ctypes, errno, json, os, signal, socket, sys, time
os.write(1, b"trying\\n")
def told(value):
    os.write(1, json.dumps(value).encode() + b"\\n")
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return errno.errorcode.get(ctypes.get_errno(), "?") if result == -1 else "done"
"""


@dataclass(frozen=True)
class Told:
    """What a program has told, and how it ended."""

    lines: list[str]
    errors: str
    code: int

    @property
    def value(self) -> Any:
        """What the code has returned, once it is sure that it ran."""
        assert self.lines[:1] == [WITNESS], f"the code has not run: {self.lines} {self.errors}"
        assert len(self.lines) == 2 and self.code == 0, f"{self.lines} {self.errors} {self.code}"
        return json.loads(self.lines[1])


def hear(starting: Future[subprocess.Popen[bytes]], confined: Confined | None = None) -> Told:
    """Wait for a program to end and return what it has told."""
    process = starting.result()
    try:
        output, errors = process.communicate(timeout=30)
    finally:
        code = end_group(process, kill_inside=confined.kill if confined is not None else None)
        if confined is not None:
            confined.release()
    assert code is not None
    return Told(output.decode().splitlines(), errors.decode(), code if confined is None else exit_code(code))


@dataclass(frozen=True)
class Program:
    """A program that runs any code given to it, inside and outside the jail."""

    jail: Jail
    command: tuple[str, ...]
    prelude: Callable[[str], str]
    files: tuple[str, ...]

    def start(self, code: str, env: dict[str, str] | None = None, **options: Any) -> Confined:
        """Prepare the code to run inside."""
        inside = Confinement(**{"read_only": (), **options})
        inside = replace(inside, read_only=(*self.files, *inside.read_only))
        return self.jail.confine([*self.command, self.prelude(code)], env or {}, inside)

    def inside(self, code: str, env: dict[str, str] | None = None, **options: Any) -> Told:
        """Run the code inside."""
        confined = self.start(code, env, **options)
        return hear(confined.start(stdin=subprocess.DEVNULL), confined)

    def outside(self, code: str, env: dict[str, str] | None = None) -> Told:
        """Run the same code without the jail."""
        return hear(spawn_soon([*self.command, self.prelude(code)], env=env or {}, stdin=subprocess.DEVNULL))


@pytest.fixture(scope="session")
def jail() -> Jail:
    """The jail of this machine; without one the tests are skipped, unless it must work."""
    found = find_jail()
    if isinstance(found, NoJail):
        message = f"no jail: {found.reason}; {found.fix}"
        if os.environ.get("PYTEST_SANDBOX_JAIL_MUST_WORK"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="session")
def node(jail: Jail) -> Program:
    """Plain Node."""
    try:
        path = os.path.realpath(find_node("test").path)
    except ExecutorUnavailable as error:
        pytest.skip(str(error))
    return Program(jail, (path, "-e"), lambda code: NODE_PRELUDE % code, runtime_files(path))


@pytest.fixture(scope="session")
def python(jail: Jail) -> Program:
    """Plain Python: for system calls by number."""
    path = os.path.realpath(sys.executable)
    library = sysconfig.get_path("stdlib")
    files = (*runtime_files(path, str(_ctypes.__file__)), library, sysconfig.get_path("platstdlib"))
    return Program(jail, (path, "-I", "-S", "-c"), lambda code: PYTHON_PRELUDE + code, tuple(dict.fromkeys(files)))


@pytest.fixture(scope="session")
def ordinary_user() -> list[str]:
    """A command that runs the Python at its end, with all that the tests import, as a user without rights; for root."""
    names = [
        sys.executable,
        *(shutil.which(f"python3.{sys.version_info.minor}", path=path) for path in ("/usr/bin", "/usr/local/bin")),
    ]
    path = os.pathsep.join(dict.fromkeys([os.getcwd(), *(entry for entry in sys.path if entry.endswith("-packages"))]))
    env = [
        "env",
        "-i",
        f"PATH={os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        f"PYTHONPATH={path}",
        "PYTHONDONTWRITEBYTECODE=1",
        "HOME=/nonexistent",
    ]
    for name in filter(None, names):
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *env, name]
        with contextlib.suppress(OSError):
            if (
                subprocess.run(
                    [*command, "-c", "import pytest, pytest_sandbox, msgspec"], capture_output=True, check=False
                ).returncode
                == 0
            ):
                return command
    pytest.skip("no Python here can be run by other users together with what the tests import")


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that every user can get to and read, as far as permissions go."""
    folder = Path(tempfile.mkdtemp(prefix="jail-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
