"""Lua in the audit: what is promised holds, and every probe is able to fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_sandbox.guarantees.audit import Audited, AuditSession, Choice
from pytest_sandbox.guarantees.lua import LuaSubject, PlainLua, lua, open_sandbox
from pytest_sandbox.guarantees.probes.lua import PROBES
from pytest_sandbox.guarantees.results import GuaranteeResult
from pytest_sandbox.limits import Limits
from pytest_sandbox.lua import LuaSandbox
from pytest_sandbox.promises import PROMISES

SLOW = {"time-limit": "lua-coroutine", "memory-limit": "lua-coroutines", "availability": "lua-finalizer"}
"""Attacks that take seconds, of which one each has to do here; tests/lua/test_limits.py has more of their kind."""
CHOSEN = Choice(
    probes=tuple(
        probe.id for probe in PROBES if SLOW.get(probe.guarantee, probe.id.partition(".")[2]) == probe.id.partition(".")[2]
    )
)


@pytest.fixture(scope="module")
def session() -> Iterator[AuditSession]:
    with AuditSession() as session, session.canaries.planted():
        yield session


def test_what_is_promised_is_what_is_attacked() -> None:
    assert {probe.guarantee for probe in PROBES} == set(PROMISES["lua"])
    assert {probe.guarantee for probe in PROBES if probe.id in CHOSEN.probes} == set(PROMISES["lua"])


def test_all_guarantees_of_lua_are_held(session: AuditSession) -> None:
    with lua(session) as (audited, part):
        results = session.prove_all(audited, CHOSEN)
    assert {result.id: result.reason for result in results if result.verdict != "held"} == {}
    assert {result.id for result in results} == set(PROMISES["lua"])
    assert part.versions["lua"] == "Lua 5.4" and part.jail in part.info


def broken(results: list[GuaranteeResult]) -> dict[str, str]:
    return {probe.id: probe.verdict for result in results for probe in result.probes if probe.verdict != "violated"}


def audited_as(audited: Audited, subject: Any, **more: Any) -> Audited:
    return dataclasses.replace(audited, stages={"snippet": dataclasses.replace(audited.stages["snippet"], subject=subject, **more)})


def test_in_a_plain_runtime_every_attack_gets_through(session: AuditSession) -> None:
    """What plain Lua cannot be blamed for is left out: it has no policy, and whoever starts it is the one to end it."""
    wanted = tuple(
        name for name in CHOSEN.probes if not name.startswith(("tool-bridge.", "time-limit.", "availability.", "state."))
    )
    with lua(session) as (audited, _):
        results = session.prove_all(audited_as(audited, PlainLua()), Choice(probes=(*wanted, "state.lua-global")))
    assert broken(results) == {}
    assert sum(len(result.probes) for result in results) >= 30


class Overtime(LuaSubject):
    """Gives each script fifteen times its time."""

    def run_lua(self, pieces: Any, params: Any, timeout: float) -> Any:
        return super().run_lua(pieces, params, timeout * 15)


class Fragile(LuaSubject):
    """Does not run another script once one was ended for its time."""

    is_gone = False

    def run_lua(self, pieces: Any, params: Any, timeout: float) -> Any:
        ran = super().run_lua(["error('gone')"] if self.is_gone else pieces, params, timeout)
        self.is_gone = ran.ended == "timeout"
        return ran


@pytest.mark.parametrize(
    ("kind", "probes"),
    [
        (
            lambda: LuaSubject(lambda tool: open_sandbox(tool, guarded=False)),
            ("tool-bridge.lua-policy-get", "tool-bridge.lua-policy-run", "tool-bridge.lua-whitelist"),
        ),
        (
            lambda: LuaSubject(lambda tool: LuaSandbox(modules={"audit": {"tool": tool}}, limits=Limits())),
            ("tool-bridge.lua-budget",),
        ),
        (lambda: Overtime(open_sandbox), ("time-limit.lua-loop",)),
        (lambda: Fragile(open_sandbox), ("availability.lua-loop",)),
    ],
    ids=["no policy", "no budget", "time", "gone"],
)
def test_a_sandbox_with_a_hole_is_found_out(session: AuditSession, kind: Callable[[], LuaSubject], probes: tuple[str, ...]) -> None:
    subject = kind()
    try:
        with lua(session) as (audited, _):
            results = session.prove_all(audited_as(audited, subject), Choice(probes=probes))
    finally:
        subject.close()
    assert {probe.id: probe.verdict for result in results for probe in result.probes} == dict.fromkeys(probes, "violated")
