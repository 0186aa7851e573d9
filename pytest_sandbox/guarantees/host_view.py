"""Probes that look from the host at the processes in which a snippet runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psutil

from pytest_sandbox.guarantees.attacks import scripted
from pytest_sandbox.guarantees.probe import ScriptedProbe
from pytest_sandbox.guarantees.scripts import sighting
from pytest_sandbox.guarantees.stage import Stage
from pytest_sandbox.guarantees.verdicts import Sighting
from pytest_sandbox.guarantees.witness import Witness

__all__ = ["from_host", "status_of"]


def status_of(pid: int) -> dict[str, str]:
    """Return the fields of a process's status; empty when it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def _family(pids: tuple[int, ...]) -> Iterator[int]:
    for pid in pids:
        yield pid
        try:
            yield from (child.pid for child in psutil.Process(pid).children(recursive=True))
        except psutil.Error:
            continue


_HOLD: Final = "return await codemode.hold(WITNESS);"


def from_host(id: str, title: str, look: Callable[[int, Stage], str]) -> ScriptedProbe:
    """Look at the processes that run a snippet, while it waits for a tool.

    Args:
        id: the guarantee, a dot, and a name.
        title: what they would be able to do, as a phrase.
        look: looks at one process, by its id; returns what is more than it should be in words, or nothing.
    """

    def script(stage: Stage) -> Sighting:
        seen: list[str] = []
        pids: list[int] = []
        witness = Witness()

        def hold(word: object) -> str:
            if str(word) == witness.answer:
                pids.extend(_family(stage.subject.pids()))
                seen.extend(found for pid in pids if (found := look(pid, stage)))
            return "looked"

        ran = stage.subject.run(_HOLD.replace("WITNESS", witness.code), {"hold": hold})
        trouble = "" if pids else f"the host does not know in which process the snippet ran ({ran})"
        observed = f"the host looked at {len(pids)} processes: {seen[0] if seen else 'none is more than it should be'}"
        return sighting(ran, witness.said(witness.answer) if pids else "", bool(seen), observed, trouble)

    return scripted(id, title, _HOLD, script)
