"""What a person reads when a guarantee is not held: which attack, what it managed to do, and what to do next."""

from __future__ import annotations

from typing import Final

from pytest_sandbox.guarantees.results import ExecutorAudit, GuaranteeResult, ProbeResult
from pytest_sandbox.names import COMMAND_KINDS
from pytest_sandbox.promises import PROMISES
from pytest_sandbox.result import printable

__all__ = ["told_failure"]

_ATTACKS: Final = 3
_LINES: Final = 40
_WIDTH: Final = 300


def told_failure(executor: ExecutorAudit, result: GuaranteeResult) -> str:
    """Return in several lines why a guarantee is not held on an executor; without control characters."""
    lines = [f"promise:  {result.meaning} ({result.severity})", f"executor: {executor.info or executor.name}"]
    lines.append(f"reason:   {result.reason}")
    wrong = "violated" if result.verdict == "not promised" else result.verdict
    failing = [probe for probe in result.probes if probe.verdict == wrong]
    for probe in failing[:_ATTACKS]:
        lines += ["", *_attack(probe)]
    if len(failing) > _ATTACKS:
        lines.append(f"… {len(failing) - _ATTACKS} more attacks: {', '.join(probe.id for probe in failing[_ATTACKS:])}")
    lines += ["", f"next:     {_advice(executor, result)}"]
    if failing:
        lines.append(f"again:    {failing[0].rerun}")
    return "\n".join(_line(line) for line in lines)


def _attack(probe: ProbeResult) -> list[str]:
    shown = probe.source.split("\n")
    width = len(str(min(len(shown), _LINES)))
    lines = [f"attack:   {probe.id}: {probe.title} ({probe.verdict})", f"result:   {probe.attack or 'it told nothing'}"]
    lines.append(f"seen:     {probe.observer or 'nothing'}")
    lines.append(f"witness:  {probe.witness or 'none: nothing shows that it ran'}")
    if probe.control is not None:
        success = "got through" if probe.control.succeeded else "did not get through"
        lines.append(f"control:  {success} in {probe.control.runner}: {probe.control.evidence}")
    lines += [f"  {number:>{width}} | {text}" for number, text in enumerate(shown[:_LINES], 1)]
    if len(shown) > _LINES:
        lines.append(f"… {len(shown) - _LINES} more lines")
    return lines


def _advice(executor: ExecutorAudit, result: GuaranteeResult) -> str:
    if result.verdict == "violated":
        return "run no untrusted code on it: update its runtime or choose another executor, and report it, as SECURITY.md says"
    if result.verdict == "inconclusive":
        return "nothing is known: mend what the reason says (often a control that cannot succeed on this machine), and run it again"
    is_command = executor.kind == "command"
    needs = {name: row[result.id] for name, row in PROMISES.items() if result.id in row and (name in COMMAND_KINDS) == is_command}
    known = ", ".join(f"{name} ({', '.join(sorted(given))})" if given else name for name, given in needs.items())
    promising = list(needs)
    if executor.name in promising:
        return f"set the executor up as its promise needs it: {', '.join(sorted(needs[executor.name]))}"
    return f"choose an executor that promises it ({known or 'none of ours does'}), or do without this guarantee"


def _line(text: str) -> str:
    # Other separators are part of a line, and are shown as escapes.
    shown = printable(text[:_WIDTH])
    return shown if len(text) <= _WIDTH else f"{shown}… {len(text) - _WIDTH} more characters"
