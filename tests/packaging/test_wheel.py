"""What a user gets: the built package, installed into fresh environments away from the checkout, really works there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "pytest_sandbox"
EXECUTORS = ["isolated-vm", "deno", "vm2"]

# Building, and installing dependencies over the network, takes longer than any other test.
pytestmark = [pytest.mark.wheel, pytest.mark.timeout(900)]


def run(command: list[str], cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST", "EXECUTOR_TYPE"))}
    return subprocess.run(
        command, cwd=cwd, env={**environment, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def succeed(command: list[str], cwd: Path) -> str:
    result = run(command, cwd)
    assert result.returncode == 0, f"{' '.join(command)} ended with {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packaging")
    assert CHECKOUT not in folder.parents
    return folder


@pytest.fixture(scope="session")
def source(scratch: Path) -> Path:
    """A copy of what version control has, or would take: the state of one moment, with nothing built."""
    listed = succeed(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], CHECKOUT)
    for name in filter(None, listed.split("\0")):
        if (CHECKOUT / name).is_file():  # not one that is deleted, but not yet committed so
            (scratch / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, scratch / "source" / name)
    return scratch / "source"


@pytest.fixture(scope="session")
def our_files(source: Path) -> set[str]:
    """The package's files, so that nothing of it can be forgotten."""
    return {path.relative_to(source).as_posix() for path in (source / "pytest_sandbox").rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def dist(our_files: set[str], source: Path, scratch: Path) -> Path:
    """An sdist, and a wheel built from it, in isolation: only the declared build requirements are there."""
    succeed([sys.executable, "-m", "build", "--outdir", str(scratch / "dist"), str(source)], scratch)
    return scratch / "dist"


@pytest.fixture(scope="session")
def wheel_from_sdist(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def unpacked_sdist(dist: Path, scratch: Path) -> Path:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(scratch / "sdist", filter="data")
    (folder,) = (scratch / "sdist").iterdir()
    return folder


@pytest.fixture(scope="session")
def python(wheel_from_sdist: Path, scratch: Path) -> Path:
    """The Python of a fresh environment that has the wheel, Deno and Node, and nothing else of ours."""
    home = scratch / "venv"
    venv.create(home, with_pip=True)
    interpreter = home / "bin" / "python"
    succeed(
        [str(interpreter), "-m", "pip", "install", "--quiet", f"pytest-sandbox[deno,node] @ {wheel_from_sdist.as_uri()}"], scratch
    )
    return interpreter


def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.startswith("pytest_sandbox/")}


def test_a_wheel_built_from_the_sdist_contains_every_file_of_ours(our_files: set[str], wheel_from_sdist: Path) -> None:
    assert any(name.startswith("pytest_sandbox/snippets/runners/") for name in our_files), "the checkout itself has no runner"

    assert our_files - members(wheel_from_sdist) == set()


def test_a_wheel_contains_whatever_its_build_took_from_npm(wheel_from_sdist: Path) -> None:
    with zipfile.ZipFile(wheel_from_sdist) as archive:
        stamp = json.loads(archive.read("pytest_sandbox/_vendor/build.json"))
        versions = json.loads(archive.read("pytest_sandbox/_vendor/versions.json"))
    vendor = {f"pytest_sandbox/_vendor/{name}" for name in stamp["files"]}

    assert vendor - members(wheel_from_sdist) == set()
    assert versions["isolated-vm"].startswith("7.") and versions["vm2"].startswith("3.12.")
    # A wheel for any platform carries the native parts for all of them, for both ABIs.
    native = {name.split("/prebuilds/")[1] for name in vendor if name.endswith(".node")}
    assert {name.split("/")[0] for name in native} == {"darwin-arm64", "linux-arm64", "linux-x64", "win32-x64"}
    assert {abi for abi in ("abi137", "abi147") if any(abi in name for name in native)} == {"abi137", "abi147"}


def test_a_wheel_carries_the_licences_of_what_it_ships(wheel_from_sdist: Path) -> None:
    with zipfile.ZipFile(wheel_from_sdist) as archive:
        names = archive.namelist()
        bundled = archive.read("pytest_sandbox/_vendor/LICENSES.txt").decode()
        versions = json.loads(archive.read("pytest_sandbox/_vendor/versions.json"))

    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    for package, version in versions.items():
        copied = any(name.startswith(f"pytest_sandbox/_vendor/node_modules/{package}/LICENSE") for name in names)
        assert copied or f"{package} {version}\n" in bundled, f"no licence of {package}"


def test_a_wheel_built_from_the_checkout_has_the_same_files(wheel_from_sdist: Path, source: Path, scratch: Path) -> None:
    target = scratch / "direct"
    succeed([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source)], scratch)
    (direct,) = target.glob("*.whl")

    assert members(direct) == members(wheel_from_sdist)


def test_an_editable_install_of_the_unpacked_sdist_fills_its_vendor_folder(unpacked_sdist: Path, scratch: Path) -> None:
    assert not (unpacked_sdist / "pytest_sandbox" / "_vendor").exists(), "the sdist ships what comes from npm"
    home = scratch / "editable"
    venv.create(home, with_pip=True, system_site_packages=False)
    python = str(home / "bin" / "python")
    succeed([python, "-m", "pip", "install", "--quiet", "--no-deps", "--editable", str(unpacked_sdist)], scratch)

    found = succeed([python, "-c", "import pytest_sandbox; print(pytest_sandbox.__file__)"], scratch).strip()
    assert Path(found).parent == unpacked_sdist / "pytest_sandbox"
    stamp = json.loads((unpacked_sdist / "pytest_sandbox/_vendor/build.json").read_text("utf-8"))
    missing = [name for name in stamp["files"] if not (unpacked_sdist / "pytest_sandbox/_vendor" / name).is_file()]
    assert missing == [] and len(stamp["files"]) > 30


def test_a_build_that_cannot_reach_npm_says_so_and_what_to_do(unpacked_sdist: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(unpacked_sdist, source, ignore=shutil.ignore_patterns("_vendor"))
    # Nothing listens on port 9, and the cache is empty.
    environment = {
        "npm_config_registry": "http://127.0.0.1:9/",
        "npm_config_cache": str(tmp_path / "cache"),
        "npm_config_fetch_retries": "0",
    }
    result = run([sys.executable, "-m", "build", "--wheel", "--no-isolation", str(source)], tmp_path, environment)

    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert "pytest-sandbox: Cannot fetch the JavaScript packages: npm ci failed with exit code" in output
    assert "check that this machine reaches an npm registry" in output
    assert "127.0.0.1:9" in output, output
    assert "Traceback" not in output
    assert not (source / "pytest_sandbox" / "_vendor").exists()
    assert list((source / "pytest_sandbox").glob("._vendor-*")) == []


def test_a_second_build_does_not_run_npm_again(unpacked_sdist: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(unpacked_sdist, source, ignore=shutil.ignore_patterns("_vendor"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(source)]
    succeed(build, tmp_path)
    unreachable = {
        "npm_config_registry": "http://127.0.0.1:9/",
        "npm_config_cache": str(tmp_path / "cache"),
        "npm_config_fetch_retries": "0",
    }

    again = run(build, tmp_path, unreachable)
    assert again.returncode == 0, again.stdout + again.stderr
    # The control: a folder that is not complete is noticed.
    (source / "pytest_sandbox/_vendor/amaro.wasm").unlink()
    assert run(build, tmp_path, unreachable).returncode != 0


def test_every_runner_is_found_through_importlib_resources(our_files: set[str], python: Path, tmp_path: Path) -> None:
    home = "pytest_sandbox/snippets/runners/"
    runners = {name.removeprefix(home) for name in our_files if name.startswith(home)}
    program = """
import json
from importlib import resources
import pytest_sandbox
folder = resources.files("pytest_sandbox") / "snippets" / "runners"
def names(folder, before=""):
    for item in folder.iterdir():
        if item.is_dir():
            yield from names(item, f"{before}{item.name}/")
        elif item.read_bytes():
            yield before + item.name
print(json.dumps([pytest_sandbox.__file__, list(names(folder))]))
"""
    where, found = json.loads(succeed([str(python), "-c", program], tmp_path))

    assert CHECKOUT not in Path(where).parents
    assert len(runners) > 0 and runners - set(found) == set()
    assert (Path(where).parent / "py.typed").is_file()


@pytest.mark.parametrize("name", EXECUTORS)
def test_a_snippet_runs_on_every_executor(python: Path, tmp_path: Path, name: str) -> None:
    program = """
import sys
from pytest_sandbox import create_executor
with create_executor(sys.argv[1]) as executor:
    assert executor.name == sys.argv[1]
    assert executor.execute("return 1+1").check().value == 2
    asked = executor.execute("const n: number = await codemode.add(40, 2); return n", {"add": lambda a, b: a + b}, language="ts")
    assert asked.check().value == 42
    used = executor.execute('return [new URL("http://EXAMPLE.com/a").hostname, atob("aGk="), structuredClone(new Map([[1, 2]]))]')
    assert used.check().value == ["example.com", "hi", {1: 2}], used.value
    print("ran on", executor.info.describe())
"""
    assert "ran on" in succeed([str(python), "-c", program, name], tmp_path)


def test_pytest_runs_a_users_test_file_with_the_installed_plugin(python: Path, tmp_path: Path) -> None:
    (tmp_path / "test_user.py").write_text(
        "def test_snippet(executor):\n"
        "    assert executor.name == 'vm2'\n"
        "    assert executor.execute('return 6 * 7').check().value == 42\n"
    )
    output = succeed([str(python), "-m", "pytest", "--executor=vm2", "-p", "no:cacheprovider"], tmp_path)

    assert "1 passed" in output


def test_the_console_script_answers(python: Path, tmp_path: Path) -> None:
    output = succeed([str(python.parent / "pytest-sandbox"), "--help"], tmp_path)

    assert "usage: pytest-sandbox" in output.lower()
