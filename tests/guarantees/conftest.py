"""One set of canaries and controls for all tests of a worker: controls are what takes the time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_sandbox import SnippetExecutor, create_executor
from pytest_sandbox.errors import ExecutorUnavailable
from pytest_sandbox.guarantees.audit import AuditSession


@pytest.fixture(scope="session")
def session() -> Iterator[AuditSession]:
    with AuditSession() as session, session.canaries.planted():
        yield session


@pytest.fixture(scope="session")
def isolated_vm(session: AuditSession) -> Iterator[SnippetExecutor]:
    try:
        executor = create_executor("isolated-vm")
    except ExecutorUnavailable as error:
        pytest.skip(str(error))
    with executor:
        yield executor
