"""Which executors work here, and how one is made."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_sandbox import active_runs
from pytest_sandbox.catalog import BUILTINS, Catalog, ExecutorSpec
from pytest_sandbox.errors import ExecutorBroken, ExecutorUnavailable, InvalidArgument, InvalidPlugin
from pytest_sandbox.limits import Limits
from pytest_sandbox.names import AUTO, EXECUTOR_TYPE, KEYWORDS
from pytest_sandbox.proofs import PROOF_DEADLINE, PULL_DEADLINE, Availability, Proof, broken, prove_all, told, try_out, unavailable

if TYPE_CHECKING:
    from pytest_sandbox.snippets.base import SnippetExecutor

__all__ = [
    "BUILTINS",
    "Availability",
    "ExecutorSpec",
    "Registry",
    "create_executor",
    "current_registry",
    "detect_executors",
    "nothing_available",
]


_importing = threading.RLock()
"""Executors are made in several threads at once, and imported in one after the other: pytest parses what it imports of a plugin,
and two threads that parse at once fail now and then (measured on Python 3.11: "AST constructor recursion depth mismatch")."""


def _after_fork() -> None:
    """Let a forked child import whose parent was just importing, in another thread."""
    global _importing
    _importing = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Registry(Catalog):
    """Create executors by name, and find out which of them work; usable from several threads."""

    def __init__(self, plugins: Callable[[], Iterable[tuple[str, Any]]] | None = None) -> None:
        super().__init__(plugins)
        self._proven: dict[str, Availability] = {}

    def load(self, name: str) -> type[SnippetExecutor]:
        """Import the class of an executor.

        Raises:
            UnknownExecutor: when there is none of that name (the caller's fault).
            ExecutorUnavailable: when it cannot be imported (the fault of its author, or of the installation).
            InvalidPlugin: when it is no executor class, or one of another name (the fault of its author).
        """
        from pytest_sandbox.snippets.base import SnippetExecutor

        spec = self.find(name)
        module, _, attribute = spec.factory.partition(":")
        try:
            with _importing:
                factory = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # whatever a foreign module raises on import
            reason = f"its class {spec.factory} cannot be imported ({type(error).__name__}: {error})"
            raise ExecutorUnavailable(name, reason, "repair the installation of the package that provides it") from error
        if not isinstance(factory, type) or not issubclass(factory, SnippetExecutor):
            reason = f'the factory "{spec.factory}" of executor "{name}" is {factory!r}'
            raise InvalidPlugin(self.owner(name), reason, "name a class that derives from pytest_sandbox.SnippetExecutor")
        if getattr(factory, "name", None) != name:
            reason = f'executor "{name}" is made by a class whose name is {getattr(factory, "name", None)!r}'
            raise InvalidPlugin(self.owner(name), reason, "use one name in both places")
        return factory

    def create(self, name: str, *, limits: Limits | None = None, **options: Any) -> SnippetExecutor:
        """Create an executor by name, without proving that it works.

        Raises:
            UnknownExecutor: when there is none of that name (the caller's fault).
            ExecutorUnavailable: when it does not work on this machine.
        """
        factory = self.load(name)
        with _importing:
            factory.import_late()
        return factory(limits=limits, **options)

    def create_best(self, *, limits: Limits | None = None, **options: Any) -> SnippetExecutor:
        """Create the first executor, in priority order, that works.

        Raises:
            ExecutorUnavailable: named "auto", when none works on this machine; the reason tells why, for each.
        """
        failed: list[Availability] = []
        for spec in self.in_order():
            try:
                executor = self.create(spec.name, limits=limits, **options)
            except ExecutorUnavailable as error:
                failed.append(unavailable(error))
                continue
            except ExecutorBroken as error:
                failed.append(broken(spec.name, f"creating it raised {told(error)}"))
                continue
            if spec.name in self._proven:
                return executor
            availability = try_out(executor)
            if availability.available:
                self._proven[spec.name] = availability
                return executor
            failed.append(availability)
            executor.close()
        raise nothing_available(failed, self.problems())

    def prove(
        self, names: Iterable[str], *, keep: bool = False, options: Mapping[str, Mapping[str, Any]] | None = None
    ) -> dict[str, Proof]:
        """Prove executors by name, in parallel; never raises.

        That one works is remembered; that one does not is found out anew each time, as it may have been installed meanwhile.

        Args:
            names: which executors.
            keep: hand over the working executors, open.
            options: by executor name, options for creating it.
        """
        makers = {name: self._maker(name, (options or {}).get(name, {})) for name in names}
        pulls = any(each.get("pull") for each in (options or {}).values())
        proofs = prove_all(makers, keep=keep, deadline=PULL_DEADLINE if pulls else PROOF_DEADLINE)
        for name, proof in proofs.items():
            if proof.availability.available:
                self._proven[name] = proof.availability
        return proofs

    def detect(self) -> list[Availability]:
        """Return for every executor, in priority order, whether it works here; never raises."""
        names = [spec.name for spec in self.specs()]
        proofs = self.prove([name for name in names if name not in self._proven])
        return [proofs[name].availability if name in proofs else self._proven[name] for name in names]

    def _maker(self, name: str, options: Mapping[str, Any]) -> Callable[[], SnippetExecutor]:
        return lambda: self.create(name, **options)


def nothing_available(failed: Iterable[Availability], problems: Iterable[str] = ()) -> ExecutorUnavailable:
    """Return the error for a machine on which no executor works."""
    reasons = [f"{row.name}: {row.reason}" for row in failed] + list(problems)
    fix = "install one with 'pip install \"pytest-sandbox[all]\"', and see 'pytest-sandbox list' for what each of them needs"
    return ExecutorUnavailable(AUTO, f"none works on this machine ({'; '.join(reasons)})", fix)


_default = Registry()


def current_registry() -> Registry:
    """Return the registry of the innermost test run in this process, or the process-wide one outside of test runs."""
    return active_runs.innermost() or _default


def create_executor(name: str | None = None, *, limits: Limits | None = None, **options: Any) -> SnippetExecutor:
    """Create a snippet executor; close it, or use it as a context manager.

    Args:
        name: the executor's name; "auto" for the best one that works; None for what the environment variable
            ``EXECUTOR_TYPE`` says, and else the best one.
        limits: limits for every execution; unset fields take the executor's defaults.
        **options: the options of that executor, see its options class.

    Raises:
        UnknownExecutor: when there is none of that name (the caller's fault).
        ExecutorUnavailable: when it, or with "auto" any, does not work on this machine.
        UnsupportedLimit: when a limit was set that it cannot enforce (the caller's fault).
        InvalidArgument: when an argument or option makes no sense (the caller's fault).
        InvalidPlugin: when a plugin's registrations make no sense (the fault of its author).
    """
    if name is not None and not isinstance(name, str):
        raise InvalidArgument("name", name, "the name of an executor, or None")
    if limits is not None and not isinstance(limits, Limits):
        raise InvalidArgument("limits", limits, "a Limits object, or None")
    registry = current_registry()
    source = None
    if name is None:
        name = os.environ.get(EXECUTOR_TYPE, "").strip() or AUTO
        source = EXECUTOR_TYPE
    if name == AUTO:
        return registry.create_best(limits=limits, **options)
    if name in KEYWORDS or "," in name:
        raise InvalidArgument(source or "name", name, 'the name of one executor, or "auto": several are for pytest --executor')
    registry.find(name, source)
    try:
        return registry.create(name, limits=limits, **options)
    except ExecutorUnavailable as error:
        raise ExecutorUnavailable(error.name, error.reason, error.fix, source) from error


def detect_executors() -> list[Availability]:
    """Find out, by running a snippet on each, which executors work here; never raises.

    Returns:
        One entry for each known executor, in priority order. What works is found out once per process.
    """
    return current_registry().detect()
