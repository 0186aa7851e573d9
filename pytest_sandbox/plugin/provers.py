"""Find out once per test run which executors work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pytest_sandbox.registry import Availability, Registry
    from pytest_sandbox.snippets.base import SnippetExecutor

__all__ = ["LocalProver", "Prover"]


class Prover(Protocol):
    """Tell which executors work; every question is answered once, and again from memory."""

    rows: dict[str, Availability]
    """What is known, by name, in the order in which it was found out."""

    def prove(self, names: Iterable[str]) -> Mapping[str, Availability]:
        """Return the availability of each of these executors; they are proved at the same time."""

    def find_best(self) -> list[Availability]:
        """Try executors in priority order, one after the other, and return the outcomes up to the first that works."""


class LocalProver:
    """Prove executors in this process.

    Args:
        registry: knows the executors.
        options: gives the options with which this test run creates an executor.
        adopt: takes over a working executor, with its options; None closes it again.
    """

    def __init__(
        self,
        registry: Registry,
        options: Callable[[str], Mapping[str, Any]],
        adopt: Callable[[SnippetExecutor, Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.rows: dict[str, Availability] = {}
        self._registry = registry
        self._options = options
        self._adopt = adopt
        self._lock = threading.RLock()

    def prove(self, names: Iterable[str]) -> Mapping[str, Availability]:
        """See `Prover`."""
        names = list(names)
        with self._lock:  # several workers may ask at the same time
            options = {name: self._options(name) for name in names if name not in self.rows}
            for name, proof in self._registry.prove(options, keep=self._adopt is not None, options=options).items():
                self.rows[name] = proof.availability
                if self._adopt is not None and proof.executor is not None:
                    self._adopt(proof.executor, options[name])
            return {name: self.rows[name] for name in names}

    def find_best(self) -> list[Availability]:
        """See `Prover`."""
        tried = []
        for spec in self._registry.in_order():
            row = self.prove([spec.name])[spec.name]
            tried.append(row)
            if row.available:
                break
        return tried
