"""Inner test runs with executors that write down what is done to them.

Real executors are only used in inner runs in a process of their own: pytester forgets modules when an inner run ends, which
threads of a backend that still import something would not survive.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

CONFTEST = """
from pytest_sandbox import ExecutorSpec

def pytest_sandbox_executors():
    for priority, name in enumerate(("alpha", "beta", "gamma"), 100):
        yield ExecutorSpec(name, f"fake_executors:{name.title()}", priority)
"""

# Auto-detection would find our own executors first: here the fake ones take their place.
CONFTEST_INSTEAD_OF_OURS = """
from pytest_sandbox import ExecutorSpec, catalog

catalog.BUILTINS = tuple(
    ExecutorSpec(name, f"fake_executors:{name.title()}", priority) for priority, name in enumerate(("alpha", "beta", "gamma"))
)
catalog._BUILTIN = {spec.name: spec for spec in catalog.BUILTINS}
"""


class Fakes:
    """The fake executors of an inner test run."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self._pytester = pytester
        self._monkeypatch = monkeypatch
        self._log = pytester.path / "fake.log"
        monkeypatch.setenv("FAKE_LOG", str(self._log))
        monkeypatch.setenv("PYTHONPATH", str(pytester.path), prepend=":")
        shutil.copy(Path(__file__).with_name("fake_executors.py"), pytester.path)
        pytester.syspathinsert()
        pytester.makeconftest(CONFTEST)

    def take_the_place_of_ours(self) -> None:
        """Make alpha, beta and gamma the only executors there are."""
        import pytest_sandbox.catalog as catalog

        # Undone when the outer test ends; the inner conftest changes them.
        self._monkeypatch.setattr(catalog, "BUILTINS", catalog.BUILTINS)
        self._monkeypatch.setattr(catalog, "_BUILTIN", catalog._BUILTIN)
        self._pytester.makeconftest(CONFTEST_INSTEAD_OF_OURS)

    def missing(self, *names: str) -> None:
        """Make executors unavailable."""
        self._monkeypatch.setenv("FAKE_MISSING", ",".join(names))

    def loose(self, *names: str) -> None:
        """Give executors a setting that is looser than the default."""
        self._monkeypatch.setenv("FAKE_LOOSE", ",".join(names))

    def events(self) -> Sequence[str]:
        """Return what was done to the executors."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    def count(self, event: str) -> int:
        """Return how often something was done."""
        return self.events().count(event)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("EXECUTOR_TYPE", "PYTEST_SANDBOX_TIMEOUT", "PYTEST_SANDBOX_REQUIRE"):
        monkeypatch.delenv(variable, raising=False)
    # Plugins that inner runs do not use; hypothesis alone takes a second to import. (pytester itself unsets the variable.)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:timeout")


@pytest.fixture
def fakes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """Three executors, alpha, beta (with an option ``colour``) and gamma (without a memory limit)."""
    return Fakes(pytester, monkeypatch)
