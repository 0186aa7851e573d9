from __future__ import annotations

import ast
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_sandbox
import pytest_sandbox.errors


def test_all_names_can_be_had_and_are_documented() -> None:
    for name in pytest_sandbox.__all__:
        value = getattr(pytest_sandbox, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{name} has no docstring"
            assert value.__module__.startswith("pytest_sandbox."), f"{name} is not ours"


def test_all_names_are_sorted_unique_and_listed_by_dir() -> None:
    names = pytest_sandbox.__all__
    assert len(set(names)) == len(names)
    assert set(names) <= set(dir(pytest_sandbox))


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(pytest_sandbox.__file__).read_text())
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    homes = {}
    for node in checked.body:
        if isinstance(node, ast.ImportFrom):
            homes.update({alias.name: node.module for alias in node.names})
    assert {*homes, "__version__"} == set(pytest_sandbox.__all__)
    assert homes == {name: f"pytest_sandbox.{module}" for name, module in pytest_sandbox._HOMES.items()}


def test_every_exception_is_public() -> None:
    errors = {
        name
        for name, value in vars(pytest_sandbox.errors).items()
        if inspect.isclass(value) and issubclass(value, pytest_sandbox.SandboxError) and not name.startswith("_")
    }
    assert errors <= set(pytest_sandbox.__all__)
    assert errors <= set(pytest_sandbox.errors.__all__)


def test_every_exception_is_shown_and_pickled_under_the_name_that_users_import() -> None:
    for name in pytest_sandbox.errors.__all__:
        value = getattr(pytest_sandbox.errors, name)
        assert f"{value.__module__}.{value.__qualname__}" == f"pytest_sandbox.errors.{name}"
        assert pickle.loads(pickle.dumps(value)) is value


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="module 'pytest_sandbox' has no attribute 'no_such_name'"):
        pytest_sandbox.no_such_name  # noqa: B018
    with pytest.raises(ImportError):
        from pytest_sandbox import no_such_name  # noqa: F401


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert pytest_sandbox.__version__ == version("pytest-sandbox")


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    code = "import sys, pytest_sandbox; print([name for name in sys.modules if name.startswith('pytest_sandbox.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_the_library_works_without_importing_pytest() -> None:
    code = """
import sys, pytest_sandbox
with pytest_sandbox.create_executor("deno") as executor:
    print(executor.execute("return 1+1").value, "pytest" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "2 False\n"
