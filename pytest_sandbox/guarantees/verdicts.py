"""How a verdict comes about: of one probe from its three parts, and of one guarantee from its probes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pytest_sandbox.guarantees.model import Verdict
from pytest_sandbox.guarantees.results import ControlResult, GuaranteeResult, ProbeResult

__all__ = ["Sighting", "judge", "sum_up"]


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What one run of an attack came to, wherever it ran.

    Attributes:
        breached: whether the attack got through, as the observer sees it.
        witness: what shows that the attack ran; empty when nothing does.
        attack: what the attack says became of it.
        observer: what was looked at, and what was seen.
        trouble: why nothing can be concluded although the attack ran, such as an error of another kind than the expected one.
        duration: seconds.
    """

    breached: bool
    witness: str = ""
    attack: str = ""
    observer: str = ""
    trouble: str = ""
    duration: float = 0.0


def judge(seen: Sighting, control: ControlResult | None) -> tuple[Verdict, str]:
    """Return the verdict on one probe, with the reason.

    A breach counts whatever else is missing. For "held", all three parts must be there.

    Args:
        seen: the attack in the sandbox.
        control: the same attack without one; None when it was not run.
    """
    if seen.breached:
        return "violated", f"the attack got through: {seen.observer or seen.attack}"
    if not seen.witness:
        return "inconclusive", f"nothing shows that the attack ran in the sandbox: {seen.trouble or seen.attack or 'no answer'}"
    if seen.trouble:
        return "inconclusive", seen.trouble
    if control is None:
        return "inconclusive", "there is no control runner that could show that the attack is able to succeed"
    if not control.succeeded:
        return "inconclusive", f"the control did not succeed in {control.runner}, so the attack proves nothing: {control.evidence}"
    return "held", f"the attack ran and was kept out ({seen.attack or seen.observer}); the control got through"


_WORST: Final[tuple[Verdict, ...]] = ("violated", "inconclusive", "held")


def sum_up(result: GuaranteeResult, probes: tuple[ProbeResult, ...]) -> GuaranteeResult:
    """Return a guarantee's result with these probes: the verdict is that of the worst of them."""
    counts = {verdict: [probe for probe in probes if probe.verdict == verdict] for verdict in _WORST}
    tally = ", ".join(f"{len(found)} {verdict}" for verdict, found in counts.items() if found) or "no probe ran"
    worst = next((verdict for verdict in _WORST if counts[verdict]), None)
    if not result.declared:
        open_ = counts["violated"]
        reason = f"not declared; {len(open_)} of {len(probes)} attacks got through" if probes else "not declared, and not probed"
        if open_:
            reason += f", such as {open_[0].id} ({open_[0].title})"
        return replace(result, verdict="not promised", reason=reason, probes=probes)
    if worst is None:
        return replace(result, verdict="inconclusive", reason="no probe applies, so nothing is proved", probes=probes)
    if worst == "held":
        return replace(result, verdict="held", reason=f"all {len(probes)} attacks were kept out", probes=probes)
    first = counts[worst][0]
    return replace(result, verdict=worst, reason=f"{tally}; {first.id}: {first.reason}", probes=probes)
