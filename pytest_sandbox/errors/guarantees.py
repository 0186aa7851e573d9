"""Errors of guarantees, and of the reports about them."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_sandbox.errors.base import SandboxError
from pytest_sandbox.errors.wording import near_miss, short_repr


class UnknownGuarantee(SandboxError, ValueError):
    """No guarantee of that id is defined. The caller's fault.

    Attributes:
        id: the id that was asked for.
        known: the ids that are defined.
        problems: plugins that could not be asked for guarantees, each as one sentence.
    """

    def __init__(self, id: object, known: Iterable[str], problems: Iterable[str] = ()) -> None:
        self.id = id
        self.known = tuple(known)
        self.problems = tuple(problems)
        missing = "".join(f"; {problem}" for problem in self.problems)
        hint = near_miss(str(id), self.known)
        super().__init__(f"Unknown guarantee {short_repr(id)}{hint}: known guarantees are {', '.join(self.known)}{missing}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.id, self.known, self.problems))


class GuaranteeViolated(SandboxError, AssertionError):
    """A guarantee that a test relies on is not held: it is violated, could not be proved, or is not promised at all.

    The fault of the executor, of how it is set up, or (inconclusive) of the machine.

    Attributes:
        guarantee: its id.
        executor: the executor's name.
        verdict: "violated", "inconclusive" or "not promised".
        report: what the attacks came to, and what to do next, in several lines.
    """

    def __init__(self, guarantee: str, executor: str, verdict: str, report: str) -> None:
        self.guarantee = guarantee
        self.executor = executor
        self.verdict = verdict
        self.report = report
        super().__init__(f'Guarantee "{guarantee}" is {verdict} on executor "{executor}"\n{report}')

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.guarantee, self.executor, self.verdict, self.report))


class ReportImpossible(SandboxError):
    """A report of this format cannot be written here. The fault of the installation.

    Attributes:
        format: the format, such as "HTML".
        reason: why not.
        fix: what to do about that.
    """

    def __init__(self, format: str, reason: str, fix: str) -> None:
        self.format = format
        self.reason = reason
        self.fix = fix
        super().__init__(f"Cannot write a report as {format}: {reason}; {fix}")
