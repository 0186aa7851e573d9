"""Which tests tox runs in environments of their own, as they take long: those that run containers, and those of the audit."""

from __future__ import annotations

from pathlib import Path

import pytest

_ROOT = Path(__file__).parent
_PLACES = (
    "tests/differential",
    "tests/engines",
    "tests/commands/test_docker.py",
    "tests/integration/test_command_docker_fixture.py",
)
_AUDIT_PLACES = ("tests/guarantees", "tests/lua", "tests/reports", "tests/soak")
_PARAMETERS = ("subject", "engine_name", "name")
_VALUES = ("container", "docker", "podman")


def needs_engine(item: pytest.Item) -> bool:
    """Whether a test runs containers: by its file, or by what it is parametrized with."""
    if any(item.path.is_relative_to(_ROOT / place) for place in _PLACES):
        return True
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    values = [getattr(value, "id", value) for name, value in parameters.items() if name in _PARAMETERS]
    return any(isinstance(value, str) and value.startswith(_VALUES) for value in values)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them."""
    for item in items:
        if needs_engine(item):
            item.add_marker(pytest.mark.engine)
        elif any(item.path.is_relative_to(_ROOT / place) for place in _AUDIT_PLACES):
            item.add_marker(pytest.mark.audit)
