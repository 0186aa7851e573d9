"""What is promised: guarantees by their ids, how grave a breach is, and the four verdicts.

This module is data. What an executor promises stands in `pytest_sandbox.promises`; how a promise is put to the proof, in `probe`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

from pytest_sandbox.errors import InvalidArgument

__all__ = ["FAMILIES", "GUARANTEES", "HARMLESS", "VERDICTS", "Guarantee", "Severity", "Verdict"]

Verdict = Literal["held", "violated", "inconclusive", "not promised"]
"""Held: a witness, an observer that saw nothing, and a control that succeeded. Violated: an attack got through. Inconclusive: one
of the three is missing, so that nothing is known. Not promised: the executor does not declare it, whatever the probes found."""

VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)

Severity = Literal["critical", "high", "medium", "low"]
"""How grave a breach is. Critical: the host or its secrets are in reach. High: other executions, or the machine's health. Medium: a
second wall, or the test run's own resources. Low: an accident becomes possible."""

FAMILIES: Final[dict[str, str]] = {
    "host": "What is out of reach on the host",
    "realm": "What is not there inside",
    "bridge": "What crosses, and what stays behind",
    "limits": "How much can be used",
    "confinement": "What the operating system takes away",
    "commands": "What a command may be",
    "other": "What plugins add",
}
"""Families of guarantees, in the order of reports, each with its heading."""

_ID_REGEXP: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Guarantee:
    """A named promise.

    Attributes:
        id: its stable name, such as "network": lower-case words with hyphens.
        meaning: what holds, in one sentence.
        severity: how grave a breach is.
        family: under which heading it stands, a key of `FAMILIES`.

    Raises:
        InvalidArgument: when a field makes no sense (the caller's fault).
    """

    id: str
    meaning: str
    severity: Severity = "high"
    family: str = "other"

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _ID_REGEXP.fullmatch(self.id):
            raise InvalidArgument("id", self.id, 'lower-case words with hyphens in between, such as "process-spawn"')
        if not isinstance(self.meaning, str) or not self.meaning.strip():
            raise InvalidArgument("meaning", self.meaning, "one sentence that says what holds")
        if self.severity not in get_args(Severity):
            raise InvalidArgument("severity", self.severity, f"one of {', '.join(get_args(Severity))}")
        if self.family not in FAMILIES:
            raise InvalidArgument("family", self.family, f"one of {', '.join(FAMILIES)}")


HARMLESS: Final = frozenset(
    ("network", "filesystem-read", "filesystem-write", "process-spawn", "process-visibility", "environment", "host-objects")
)
"""Guarantees whose attacks leave a plain process as it was: it may serve the next ones, too."""


def _table(*rows: tuple[str, str, Severity, str]) -> dict[str, Guarantee]:
    return {id_: Guarantee(id=id_, family=family, severity=severity, meaning=meaning) for id_, family, severity, meaning in rows}


GUARANTEES: Final[dict[str, Guarantee]] = _table(
    ("network", "host", "critical", "Nothing inside reaches a network, a service of the host or a socket, by any API."),
    ("filesystem-read", "host", "critical", "No file or folder of the host can be read, beyond the runtime's own."),
    ("filesystem-write", "host", "critical", "No file or folder of the host can be made, changed or removed."),
    ("process-spawn", "host", "critical", "No other program is started."),
    ("process-visibility", "host", "high", "Processes of the host can be neither seen, nor looked into, nor signalled."),
    ("environment", "host", "critical", "No variable, argument or proxy setting of the host is handed in."),
    ("host-objects", "realm", "high", "No object of the runtime (require, process, Deno and the like) is in reach, by any chain."),
    ("code-generation", "realm", "medium", "Text does not become code: no eval, no Function, no import."),
    ("frozen-builtins", "realm", "medium", "Builtins and their prototypes cannot be changed."),
    ("sealed-global", "realm", "low", "Nothing can be added to the global object, replaced on it or removed from it."),
    ("tool-bridge", "bridge", "critical", "Only the given tools are called, no more often than allowed, and nothing is forged."),
    ("state", "bridge", "high", "Nothing that one execution leaves behind is found by the next."),
    ("time-limit", "limits", "high", "Whatever runs past its time is ended."),
    ("memory-limit", "limits", "high", "Whatever takes more than its memory is ended or refused."),
    ("output-limit", "limits", "medium", "More output than the limit is neither kept nor waited for."),
    ("availability", "limits", "high", "After any abuse, the next execution works."),
    ("capabilities", "confinement", "high", "There is no capability of the kernel, and no way to one."),
    ("no-new-privileges", "confinement", "high", "No program that is started gains privileges."),
    ("non-root", "confinement", "high", "The user is not root, inside and for the host."),
    ("read-only-root", "confinement", "medium", "The root filesystem cannot be written to."),
    ("noexec-tmp", "confinement", "medium", "What is written to /tmp is bounded, and cannot be executed."),
    ("processes-limit", "confinement", "high", "The number of processes and threads is bounded."),
    ("cpu-limit", "confinement", "medium", "The share of the processors is bounded."),
    ("volumes-read-only", "confinement", "critical", "Volumes that are mounted read-only cannot be written to."),
    ("whitelist", "commands", "critical", "Only the exact commands of the whitelist are started."),
    ("clean-environment", "commands", "critical", "A command has the variables of its entry and call, and no others of the host."),
)  # fmt: skip
"""Our guarantees by id, in the order of reports. Plugins add to a copy, see `catalogue`."""
