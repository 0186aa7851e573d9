"""What attacks that are functions share: a run with a witness, and the sighting that follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_sandbox.guarantees.stage import Stage
from pytest_sandbox.guarantees.subjects import Ran
from pytest_sandbox.guarantees.together import harness
from pytest_sandbox.guarantees.verdicts import Sighting
from pytest_sandbox.guarantees.witness import Witness

__all__ = ["sighting", "witnessed"]


def witnessed(
    stage: Stage, code: str, tools: Mapping[str, Callable[..., Any]] | None = None, *, timeout: float = 10.0
) -> tuple[Ran, str]:
    """Run code that says a witness's word first; return what became of it, and the witness, or nothing."""
    witness = Witness()
    ran = stage.subject.run(f"console.log({witness.code});\n{harness()}\n{code}", tools, timeout=timeout)
    return ran, witness.said("\n".join(ran.logs[:5]))


def sighting(ran: Ran, witness: str, breached: bool, observed: str, trouble: str = "") -> Sighting:
    """Return what one run came to."""
    return Sighting(breached=breached, witness=witness, attack=str(ran), observer=observed, trouble=trouble, duration=ran.duration)
