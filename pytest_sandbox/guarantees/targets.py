"""What a whole audit goes over: snippet executors by their names, and commands on the host, in a jail, and in containers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pytest_sandbox.errors import EngineError, ExecutorUnavailable, InvalidArgument, SandboxError, near_miss
from pytest_sandbox.guarantees.audit import EVERYTHING, Audited, AuditSession, Choice, Progress
from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.command_subject import CommandSubject
from pytest_sandbox.guarantees.facts import facts_of, latencies_of, versions_of
from pytest_sandbox.guarantees.machine import machine_of
from pytest_sandbox.guarantees.probes.commands import allowed_command
from pytest_sandbox.guarantees.probes.mounts import VOLUME
from pytest_sandbox.guarantees.results import Audit, ExecutorAudit
from pytest_sandbox.guarantees.stage import Stage
from pytest_sandbox.limits import DEFAULT_LIMITS, MIB, Limits
from pytest_sandbox.names import LUA

if TYPE_CHECKING:
    from pytest_sandbox.commands.base import CommandExecutor
    from pytest_sandbox.entries.model import DockerEntry, NativeEntry
    from pytest_sandbox.registry import Registry

__all__ = ["COMMAND_TARGETS", "audit_all", "audit_commands", "audit_snippets", "commands", "target_names"]

COMMAND_TARGETS: Final = ("exec.native", "exec.native (confined)", "exec.docker", LUA)
"""Commands are audited as entries of ours run them: on the host as it is, in a strict jail, and in a tightened container; and Lua,
whose scripts run such commands."""

_OUTPUT: Final = 1_000_000
_MEMORY: Final = 192 * MIB
_PROCESSES: Final = 64


def target_names(registry: Registry, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is audited, in order.

    Args:
        registry: knows the snippet executors.
        asked: names; "exec.native" stands for both of its kinds; nothing stands for everything.

    Raises:
        InvalidArgument: when there is none of that name (the caller's fault).
    """
    known = (*(spec.name for spec in registry.specs()), *COMMAND_TARGETS)
    for name in asked:
        if name not in known:
            raise InvalidArgument("executor", name, f"one of {', '.join(known)}{near_miss(name, known)}")
    wanted = set(asked) | ({"exec.native (confined)"} if "exec.native" in asked else set())
    return tuple(name for name in known if not asked or name in wanted)


def audit_all(
    registry: Registry,
    session: AuditSession,
    names: tuple[str, ...],
    choice: Choice = EVERYTHING,
    progress: Progress | None = None,
    options: Callable[[str], Mapping[str, Any]] = lambda _name: {},
) -> Audit:
    """Audit executors, one after another; what does not work here is in the audit with the reason.

    Args:
        registry: makes snippet executors.
        session: the open session.
        names: what is audited, see `target_names`.
        choice: which part is wanted.
        progress: is told what comes next.
        options: gives the options with which a snippet executor is made.

    Raises:
        UnknownGuarantee: when there is none of that id (the caller's fault).
        InvalidArgument: when there is no such probe (the caller's fault).
    """
    choice.check(session.catalogue)
    started, began = datetime.now(UTC), time.monotonic()
    audits = []
    with session.canaries.planted():
        for name in names:
            if name in COMMAND_TARGETS:
                audits.append(audit_commands(session, name, choice, progress))
            else:
                audits.append(audit_snippets(registry, session, name, choice, progress, options(name)))
    return Audit(
        tool_version=_version(),
        started=started.isoformat(timespec="seconds"),
        duration=time.monotonic() - began,
        machine=machine_of(audits),
        executors=tuple(audits),
        complete=choice.is_everything,
    )


def _version() -> str:
    from pytest_sandbox import __version__

    return __version__


def audit_snippets(
    registry: Registry,
    session: AuditSession,
    name: str,
    choice: Choice = EVERYTHING,
    progress: Progress | None = None,
    options: Mapping[str, Any] | None = None,
) -> ExecutorAudit:
    """Audit one snippet executor, made for this purpose while the canaries are planted; never raises for what it does."""
    began = time.monotonic()
    try:
        executor = registry.create(name, **(options or {}))
    except ExecutorUnavailable as error:
        return ExecutorAudit(name=name, kind="snippet", available=False, reason=error.reason, fix=error.fix)
    except SandboxError as error:
        return ExecutorAudit(name=name, kind="snippet", available=False, reason=str(error), fix="see 'pytest-sandbox list'")
    with executor:
        created = time.monotonic() - began
        try:
            latencies = latencies_of(executor, created) if choice.is_everything else ()
            with session.snippets(executor) as audited:
                results = session.prove_all(audited, choice, progress)
                facts = facts_of(executor, latencies) if choice.is_everything else ()
            info = executor.info
            return ExecutorAudit(
                name=name,
                kind="snippet",
                info=info.describe(),
                versions=versions_of(info),
                jail=info.jail,
                facts=facts,
                latencies=latencies,
                guarantees=tuple(results),
                duration=time.monotonic() - began,
            )
        except SandboxError as error:
            fix = f"run 'pytest-sandbox run --executor {name} -' to see the whole error"
            return ExecutorAudit(name=name, kind="snippet", available=False, reason=str(error), fix=fix)


# -- commands -----------------------------------------------------------------------------------------------------------------


def audit_commands(
    session: AuditSession, name: str, choice: Choice = EVERYTHING, progress: Progress | None = None
) -> ExecutorAudit:
    """Audit one kind of command executor; never raises for what it does."""
    began = time.monotonic()
    try:
        with commands(session, name) as (audited, part):
            results = session.prove_all(audited, choice, progress)
            return replace(part, guarantees=tuple(results), duration=time.monotonic() - began)
    except ExecutorUnavailable as error:
        return ExecutorAudit(name=name, kind="command", available=False, reason=error.reason, fix=error.fix)
    except (SandboxError, EngineError) as error:
        return ExecutorAudit(
            name=name, kind="command", available=False, reason=str(error), fix="see docs/commands.md for what is needed"
        )


@contextmanager
def commands(session: AuditSession, name: str) -> Iterator[tuple[Audited, ExecutorAudit]]:
    """Make a kind of command executors ready for an audit, as entries of ours: one that allows everything, one with a whitelist.

    Raises:
        ExecutorUnavailable: when it does not work here.
        EngineError: when no engine answers, or it refuses something.
    """
    if name == LUA:
        from pytest_sandbox.guarantees.lua import lua

        with lua(session) as ready:
            yield ready
        return
    from pytest_sandbox.snippets.runtimes import find_node

    node = find_node(name)
    versions = {"node": node.version}
    with ExitStack() as stack:
        if name == "exec.docker":
            executors, program, info, image_versions = _docker(stack, session.canaries)
            versions |= image_versions
            jail = "the container"
        else:
            executors, info, jail = _native(session.canaries, node.path, confined=name != "exec.native")
            program = node.path
        for executor in executors:
            stack.enter_context(executor)
        free, whitelisted = executors
        entry: Any = free.entry
        memory = getattr(entry, "memory_limit", 0) or getattr(getattr(entry, "confine", None), "memory", 0) or None
        processes = getattr(entry, "pids_limit", 0) or getattr(getattr(entry, "confine", None), "processes", 0) or None
        limits = Limits(memory=memory, processes=processes, output=entry.output_limit).over(DEFAULT_LIMITS)
        stage = Stage(
            subject=CommandSubject(free, name, program),
            canaries=session.canaries,
            limits=limits,
            commands=free,
            whitelisted=whitelisted,
        )
        declared = free.guarantees | whitelisted.guarantees
        audited = Audited(name=name, kind="command", stages={"command": stage}, runtime="command", declared=declared)
        yield audited, ExecutorAudit(name=name, kind="command", info=info, versions=versions, jail=jail)


def _native(canaries: Canaries, node: str, *, confined: bool) -> tuple[tuple[CommandExecutor, CommandExecutor], str, str]:
    from pytest_sandbox.entries.model import Confine, NativeEntry
    from pytest_sandbox.entries.registry import EntryRegistry
    from pytest_sandbox.processes.jail_probe import find_jail
    from pytest_sandbox.processes.libraries import runtime_files

    if not sys.platform.startswith("linux"):
        raise ExecutorUnavailable("exec.native", f"it needs Linux, and this is {sys.platform}", "audit on Linux")
    folder = canaries.folder / "work"
    folder.mkdir(mode=0o755, exist_ok=True)
    confine = None
    if confined:
        files = tuple(runtime_files(os.path.realpath(node)))
        confine = Confine(read_only=files, memory=_MEMORY, processes=_PROCESSES, strict=True)

    def entry(name: str, **more: Any) -> NativeEntry:
        return NativeEntry(
            name=name, default_work_dir=str(folder), default_env={"GIVEN": "1"}, output_limit=_OUTPUT, confine=confine, **more
        )

    real = os.path.realpath(node)
    registry = EntryRegistry.of(entry("audit"), entry("audit-whitelist", command_whitelist=(allowed_command(real),)))
    executors = (registry.get("audit"), registry.get("audit-whitelist"))
    executors[0].circumstances  # noqa: B018 - refuses where it cannot be confined
    return (
        executors,
        f"commands on this host, {'in a jail' if confined else 'as they are'}",
        str(find_jail()) if confined else "none",
    )


def _docker(stack: ExitStack, canaries: Canaries) -> tuple[tuple[CommandExecutor, CommandExecutor], str, str, dict[str, str]]:
    from pytest_sandbox.commands.docker import DockerExecutor
    from pytest_sandbox.engines.detect import detect_engine
    from pytest_sandbox.engines.image import NODE_IN_IMAGE, ensure_image
    from pytest_sandbox.entries.loose import tighten
    from pytest_sandbox.entries.model import DockerEntry
    from pytest_sandbox.entries.registry import EntryRegistry

    engine = detect_engine()
    stack.callback(engine.close)
    image = ensure_image(engine, {}).id

    def entry(name: str, **more: Any) -> DockerEntry:
        return DockerEntry(
            name=name,
            image=image,
            pull="never",
            auto_remove=True,
            cpu_quota=100_000,
            memory_limit=_MEMORY,
            volumes=(f"{canaries.open_folder}:{VOLUME}:ro",),
            default_work_dir="/tmp",
            default_env={"GIVEN": "1"},
            output_limit=_OUTPUT,
            **more,
        )

    registry = EntryRegistry.of(entry("audit"), entry("audit-whitelist", command_whitelist=(allowed_command(NODE_IN_IMAGE),)))
    made = [
        DockerExecutor(tighten(registry.entry(name)), whitelist=registry.whitelist(name), engine=engine)
        for name in ("audit", "audit-whitelist")
    ]
    info = engine.info.describe()
    return (made[0], made[1]), NODE_IN_IMAGE, info, {engine.name: info}
