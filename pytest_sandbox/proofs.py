"""Prove that an executor works by running a trivial snippet on it, with a deadline, several at a time."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pytest_sandbox.errors import ExecutorBroken, ExecutorUnavailable
from pytest_sandbox.result import printable

if TYPE_CHECKING:
    from pytest_sandbox.snippets.base import ExecutorInfo, SnippetExecutor

__all__ = [
    "PROOF_DEADLINE",
    "PROOF_SNIPPET",
    "PROOF_TIMEOUT",
    "PULL_DEADLINE",
    "Availability",
    "Proof",
    "broken",
    "prove",
    "prove_all",
    "told",
    "try_out",
    "unavailable",
]

PROOF_SNIPPET: Final = "return 1+1"
PROOF_TIMEOUT: Final = 10.0
"""Seconds that the trivial snippet itself may take."""
PROOF_DEADLINE: Final = 30.0
"""Seconds that a whole proof may take, creation included; a container image may have to be built first."""
PULL_DEADLINE: Final = 600.0
"""The same, where an image may be pulled first."""

_LOOKS_LIKE_REASON: Final = re.compile(r"\w*[Ee]rror\b.*:")


@dataclass(frozen=True)
class Availability:
    """Whether an executor works on this machine, found out by running a snippet on it.

    Attributes:
        name: the executor's name.
        available: whether it works.
        reason: why not: what was looked for, where, and what was found; empty if it works.
        fix: what to do about that; empty if it works.
        detail: what runs the snippets, with versions; empty if it does not work.
        info: the same as facts; None if it does not work, or in another process than the one that found out.
    """

    name: str
    available: bool
    reason: str = ""
    fix: str = ""
    detail: str = ""
    info: ExecutorInfo | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Proof:
    """An availability and, if it was asked to be kept, the very executor that was proved."""

    availability: Availability
    executor: SnippetExecutor | None = None


def try_out(executor: SnippetExecutor) -> Availability:
    """Run the trivial snippet on an executor and leave it open; never raises."""
    try:
        result = executor.execute(PROOF_SNIPPET, timeout=PROOF_TIMEOUT)
        if result.ok and result.value == 2:
            info = executor.info
            return Availability(executor.name, True, detail=printable(info.describe()), info=info)
    except Exception as error:  # the answer is "does not work", whatever a backend raises
        return broken(executor.name, f'the trial snippet "{PROOF_SNIPPET}" raised {told(error)}')
    outcome = f"gave {result.value!r} instead of 2" if result.ok else f"failed: {result.error}"
    return broken(executor.name, f'the trial snippet "{PROOF_SNIPPET}" {outcome}')


def prove(name: str, create: Callable[[], SnippetExecutor], *, keep: bool = False) -> Proof:
    """Create an executor and try it out; never raises.

    Args:
        name: the executor's name.
        create: makes the executor.
        keep: when it works, leave it open and hand it over.
    """
    try:
        executor = create()
    except ExecutorUnavailable as error:
        return Proof(unavailable(error))
    except Exception as error:  # as in try_out
        return Proof(broken(name, f"creating it raised {told(error)}"))
    availability = try_out(executor)
    if availability.available and keep:
        return Proof(availability, executor)
    try:
        executor.close()
    except Exception as error:  # an executor that cannot be closed would leak
        return Proof(broken(name, f"closing it raised {told(error)}"))
    return Proof(availability)


def prove_all(
    makers: Mapping[str, Callable[[], SnippetExecutor]], *, keep: bool = False, deadline: float = PROOF_DEADLINE
) -> dict[str, Proof]:
    """Prove several executors at the same time, in threads; never raises.

    Args:
        makers: by name, what makes the executor.
        keep: hand over the executors that work, open.
        deadline: seconds until an executor that has not answered counts as unavailable; it is closed when it does answer.
    """
    attempts = {name: _Attempt(name, create, keep) for name, create in makers.items()}
    end = time.monotonic() + deadline
    return {name: attempt.outcome(end - time.monotonic(), deadline) for name, attempt in attempts.items()}


class _Attempt:
    """One proof in a thread of its own, which may be given up."""

    def __init__(self, name: str, create: Callable[[], SnippetExecutor], keep: bool) -> None:
        self._name = name
        self._create = create
        self._keep = keep
        self._lock = threading.Lock()
        self._given_up = False
        self._proof: Proof | None = None
        self._thread = threading.Thread(target=self._work, name=f"sandbox-proof-{name}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        proof = prove(self._name, self._create, keep=self._keep)
        with self._lock:
            self._proof = proof
            late = self._given_up
        if late and proof.executor is not None:
            proof.executor.close()

    def outcome(self, wait: float, deadline: float) -> Proof:
        self._thread.join(max(wait, 0.0))
        with self._lock:
            if self._proof is None:
                self._given_up = True
                return Proof(broken(self._name, f"it did not run a trial snippet within {deadline:g} seconds"))
            return self._proof


def unavailable(error: ExecutorUnavailable) -> Availability:
    """Return what an executor's refusal means."""
    return Availability(error.name, False, printable(error.reason), printable(error.fix))


def broken(name: str, reason: str) -> Availability:
    """Return that an executor is there and does not work."""
    fix = f'run "pytest-sandbox run --executor {name} -" to see the whole error, or choose another executor'
    return Availability(name, False, printable(reason), fix)


def told(error: Exception) -> str:
    """Return an error on one line; what a runner printed is cut down to the line that looks like the reason."""
    text = f"{type(error).__name__}: {error}".partition("\n")[0]
    if isinstance(error, ExecutorBroken) and error.stderr.strip():
        lines = [line.strip() for line in error.stderr.strip().split("\n")]
        text += f", saying: {next((line for line in lines if _LOOKS_LIKE_REASON.match(line)), lines[0])}"
    return text
