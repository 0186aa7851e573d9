"""Which executor a test gets, or why it gets none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_sandbox.errors import ExecutorUnavailable
from pytest_sandbox.names import AUTO
from pytest_sandbox.registry import nothing_available

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_sandbox.plugin.markers import ExecutorMark
    from pytest_sandbox.plugin.provers import Prover
    from pytest_sandbox.plugin.requests import Request
    from pytest_sandbox.registry import Availability, Registry

__all__ = ["Choice", "Selection"]


@dataclass(frozen=True)
class Choice:
    """The executors that a test gets; if none, the reason, and whether that skips or fails the test."""

    names: tuple[str, ...] = ()
    reason: str = ""
    fails: bool = False


class Selection:
    """Choose executors for tests.

    Args:
        request: what was asked for, with names that are registered.
        registry: knows the executors.
        prover: knows which of them work.
        required: executors whose absence fails a test.
        required_by: what asked for that.
    """

    def __init__(self, request: Request, registry: Registry, prover: Prover, required: tuple[str, ...], required_by: str) -> None:
        self.request = request
        self._registry = registry
        self._prover = prover
        self._required = required
        self._required_by = required_by

    @property
    def names(self) -> tuple[str, ...]:
        """All executors that may be used, as far as that is known without a proof: none for "auto"."""
        if self.request.mode in ("all", "available"):
            return tuple(spec.name for spec in self._registry.specs())
        return self.request.names

    def variants(self, mark: ExecutorMark) -> tuple[str, ...]:
        """Return the executors for each of which a test function is collected; none if it is collected once."""
        if self.request.mode == "names" and len(self.request.names) == 1:
            return ()
        return tuple(name for name in self.names if mark.allows(name))

    def needed(self, mark: ExecutorMark, variant: str | None, *, compares: bool = False) -> tuple[str, ...]:
        """Return the executors that must be proved for a test; with "auto" none by name.

        Args:
            mark: what the test's markers say.
            variant: the executor of its variant, if it was collected once for each.
            compares: whether it wants all executors.
        """
        allowed = tuple(name for name in self.names if mark.allows(name))
        if compares:
            return allowed
        if variant is not None:
            return (variant,) if mark.allows(variant) else ()
        # By name, the first one is forced; else the next one takes its place when it does not work.
        return allowed[:1] if self.request.mode == "names" else allowed

    def prove(self, names: Iterable[str]) -> None:
        """Find out about executors that tests need: the best one for "auto", else the named ones, in parallel.

        Raises:
            ExecutorUnavailable: when an executor that was asked for by name does not work.
        """
        if self.request.mode == AUTO:
            self._prover.find_best()
        needed = set(names)
        self._prove([name for name in self.names if name in needed] + self._unselected())

    def prove_forced(self) -> None:
        """Find out about the executors that were asked for by name, whether or not a test needs them.

        Raises:
            ExecutorUnavailable: when one of them does not work.
        """
        self._prove([*self.request.names, *self._unselected()])

    def _prove(self, names: list[str]) -> None:
        rows = self._prover.prove(names)
        for row in rows.values():
            if row.available:
                continue
            if row.name in self.request.names:
                raise ExecutorUnavailable(row.name, row.reason, row.fix, self.request.source)
            if row.name not in self.names:
                raise ExecutorUnavailable(row.name, row.reason, row.fix, self._required_by)

    def _unselected(self) -> list[str]:
        """Return the required executors that no test can be collected for: nothing else would show that one is missing."""
        return [name for name in self._required if name not in self.names]

    def choose_one(self, mark: ExecutorMark, variant: str | None) -> Choice:
        """Return the one executor of a test: that of its variant, else the first that is selected and works."""
        if variant is None and self.request.mode == AUTO:
            tried = self._prover.find_best()
            if not tried[-1].available:
                return Choice(reason=str(nothing_available(tried, self._registry.problems())))
            variant = tried[-1].name
        candidates = self.needed(mark, None) or self.names if variant is None else (variant,)
        choice = self._choose(mark, candidates)
        return Choice(choice.names[:1], choice.reason, choice.fails)

    def choose_all(self, mark: ExecutorMark) -> Choice:
        """Return all executors of a test that compares them: the selected ones that work."""
        if self.request.mode == AUTO:
            return self.choose_one(mark, None)
        choice = self._choose(mark, self.names)
        missing = [row for row in self._rows(mark, self.names) if row.name in self._required and not row.available]
        return Choice(reason=self._told(missing), fails=True) if missing else choice

    def _choose(self, mark: ExecutorMark, candidates: tuple[str, ...]) -> Choice:
        rows = self._rows(mark, candidates)
        if not rows:
            selected = f"{', '.join(candidates)} ({self.request.reason})"
            if not mark.names:
                return Choice(reason="The executor markers of this test have no name in common")
            return Choice(reason=f"The executor marker names {', '.join(mark.names)}; selected is {selected}")
        working = tuple(row.name for row in rows if row.available)
        if working:
            return Choice(working)
        fails = any(row.name in self._required for row in rows)
        return Choice(reason=self._told(rows), fails=fails)

    def _rows(self, mark: ExecutorMark, candidates: tuple[str, ...]) -> list[Availability]:
        return list(self._prover.prove(name for name in candidates if mark.allows(name)).values())

    def _told(self, rows: Iterable[Availability]) -> str:
        """Say why executors cannot be used."""
        told = []
        for row in rows:
            source = f" (required by {self._required_by})" if row.name in self._required else ""
            told.append(f'Executor "{row.name}"{source} is unavailable: {row.reason}; {row.fix}')
        return "; ".join(told)
