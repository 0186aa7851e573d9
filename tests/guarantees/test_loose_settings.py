"""A setting that an engine, a jail or an executor ignores is found out, and nothing else is."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from pytest_sandbox import DockerEntry, NativeEntry
from pytest_sandbox.commands.calls import Prepared
from pytest_sandbox.commands.docker import DockerExecutor
from pytest_sandbox.commands.native import NativeExecutor
from pytest_sandbox.commands.native_process import NativeProcess
from pytest_sandbox.engines.image import NODE_IN_IMAGE, ensure_image
from pytest_sandbox.engines.spec import ContainerSpec
from pytest_sandbox.entries.registry import EntryRegistry
from pytest_sandbox.errors import ExecutorUnavailable
from pytest_sandbox.guarantees.audit import Audited, AuditSession, Choice
from pytest_sandbox.guarantees.command_subject import CommandSubject
from pytest_sandbox.guarantees.probes.commands import allowed_command
from pytest_sandbox.guarantees.probes.mounts import VOLUME
from pytest_sandbox.guarantees.results import GuaranteeResult
from pytest_sandbox.guarantees.stage import Stage
from pytest_sandbox.snippets.container import ContainerExecutor
from pytest_sandbox.snippets.runtimes import find_node
from tests.real_engines import any_engine

OUTSIDE = ("capabilities", "no-new-privileges", "non-root", "read-only-root", "noexec-tmp", "processes-limit", "cpu-limit")


def broken(results: list[GuaranteeResult]) -> set[str]:
    return {result.id for result in results if result.verdict == "violated"}


class LooseContainer(ContainerExecutor):
    """A container that is not what was asked for, and nobody checks."""

    changes: ClassVar[Mapping[str, Any]] = {}

    def _make_spec(self, image: str) -> ContainerSpec:
        return dataclasses.replace(super()._make_spec(image), **self.changes)

    def _check_settings(self, ready: Any) -> None:
        pass


CONTAINER_HOLES: dict[str, dict[str, Any]] = {
    "capabilities": {"cap_drop": ()},
    "no-new-privileges": {"no_new_privileges": False},
    "non-root": {"user": "0:0"},
    "read-only-root": {"read_only": False},
    "noexec-tmp": {"tmpfs": {"/tmp": "rw,exec,nosuid,size=64m"}},
    "processes-limit": {"pids_limit": None},
    "cpu-limit": {"cpus": None},
}


# -- confinement: a real container that is not what was asked for ----------------------------------------------------------


@pytest.mark.parametrize("guarantee", CONTAINER_HOLES)
def test_a_setting_that_the_engine_ignores_is_found_out(session: AuditSession, guarantee: str) -> None:
    class Loose(LooseContainer):
        changes = CONTAINER_HOLES[guarantee]

    try:
        executor = Loose(fresh="process")
    except ExecutorUnavailable as error:
        pytest.skip(str(error))
    with executor, session.snippets(executor) as audited:
        results = session.prove_all(audited, Choice(guarantees=(*OUTSIDE, "network")))
    assert broken(results) == {guarantee}, [result.reason for result in results if result.verdict == "violated"]


# -- commands ----------------------------------------------------------------------------------------------------------------


class Inheriting(NativeExecutor):
    """Hands the variables of the test run to every command."""

    def _create(self, call: Prepared) -> NativeProcess:
        return super()._create(dataclasses.replace(call, env={**os.environ, **call.env}))


@contextmanager
def native(session: AuditSession, kind: type[NativeExecutor], *, has_whitelist: bool) -> Iterator[Audited]:
    node = os.path.realpath(find_node("tests").path)
    folder = str(session.canaries.open_folder)
    whitelist: dict[str, Any] = {"command_whitelist": (allowed_command(node),)} if has_whitelist else {}
    entries = EntryRegistry.of(
        NativeEntry(name="free", default_work_dir=folder), NativeEntry(name="bound", default_work_dir=folder, **whitelist)
    )
    with kind(entries.entry("free")) as free, kind(entries.entry("bound"), whitelist=entries.whitelist("bound")) as bound:
        stage = Stage(subject=CommandSubject(free, "fake", node), canaries=session.canaries, commands=free, whitelisted=bound)
        declared = frozenset({"whitelist", "clean-environment"})
        yield Audited(name="fake", kind="command", stages={"command": stage}, runtime="command", declared=declared)


@pytest.mark.parametrize(
    ("kind", "has_whitelist", "found"),
    [
        (NativeExecutor, True, set()),
        (NativeExecutor, False, {"whitelist"}),
        (Inheriting, True, {"clean-environment"}),
    ],
    ids=["sound", "without a whitelist", "with inherited variables"],
)
def test_a_loose_command_executor_is_found_out(
    session: AuditSession, kind: type[NativeExecutor], has_whitelist: bool, found: set[str]
) -> None:
    with native(session, kind, has_whitelist=has_whitelist) as audited:
        results = session.prove_all(audited, Choice(guarantees=("whitelist", "clean-environment")))
    assert broken(results) == found
    assert {result.id for result in results if result.verdict == "held"} == {"whitelist", "clean-environment"} - found


def test_a_volume_that_can_be_written_to_is_found_out(session: AuditSession) -> None:
    engine = any_engine()
    image = ensure_image(engine, {}).id
    entry = DockerEntry(
        name="volume",
        image=image,
        pull="never",
        auto_remove=True,
        network_mode="none",
        volumes=(f"{session.canaries.open_folder}:{VOLUME}",),
    )
    entries = EntryRegistry.of(entry)
    with DockerExecutor(entries.entry("volume"), engine=engine) as executor:
        stage = Stage(subject=CommandSubject(executor, "fake", NODE_IN_IMAGE), canaries=session.canaries, commands=executor)
        audited = Audited(
            name="fake", kind="command", stages={"command": stage}, runtime="command", declared={"volumes-read-only", "network"}
        )
        results = session.prove_all(audited, Choice(guarantees=("volumes-read-only", "network")))
    engine.close()
    assert broken(results) == {"volumes-read-only"}
