"""The table of guarantees in docs/guarantees.md, made from an audit.

``python -m pytest_sandbox.guarantees.table`` audits everything on this machine, writes what is deterministic of it to
``docs/guarantees.json`` (what is declared, the verdicts, and by which attacks), and the table into the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pytest_sandbox.guarantees.model import FAMILIES, GUARANTEES
from pytest_sandbox.guarantees.results import Audit

__all__ = ["BEGIN", "END", "insert", "render", "summary"]

BEGIN: Final = "<!-- made by python -m pytest_sandbox.guarantees.table -->"
END: Final = "<!-- end of what is made -->"

Summary = Mapping[str, Mapping[str, Mapping[str, Any]]]


def summary(audit: Audit) -> Summary:
    """Return what does not depend on the day: by executor and guarantee, the verdict and the attacks.

    Raises:
        ValueError: when an executor does not work here: the table would lack a column.
    """
    missing = [f"{executor.name}: {executor.reason}" for executor in audit.executors if not executor.available]
    if missing or not audit.complete:
        raise ValueError(f"the table needs a complete audit of all executors; missing are {'; '.join(missing) or 'parts of it'}")
    return {
        executor.name: {
            result.id: {"verdict": result.verdict, "attacks": sorted(probe.id for probe in result.probes)}
            for result in executor.guarantees
        }
        for executor in audit.executors
    }


def render(found: Summary) -> str:
    """Return the table as Markdown."""
    names = list(found)
    lines = []
    for family, heading in FAMILIES.items():
        ids = [one.id for one in GUARANTEES.values() if one.family == family and any(one.id in row for row in found.values())]
        if not ids:
            continue
        lines += [
            f"**{heading}**",
            "",
            f"| Guarantee | {' | '.join(f'`{name}`' for name in names)} |",
            "|---" * (len(names) + 1) + "|",
        ]
        for id_ in ids:
            cells = [_cell(found[name].get(id_)) for name in names]
            lines.append(f"| `{id_}` | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    return "–" if row["verdict"] == "not promised" else f"{row['verdict']} ({len(row['attacks'])})"  # noqa: RUF001 - a dash in prose


def insert(page: str, table: str) -> str:
    """Return a page with another table."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def _main() -> None:
    from pytest_sandbox.guarantees.audit import AuditSession
    from pytest_sandbox.guarantees.targets import audit_all, target_names
    from pytest_sandbox.registry import current_registry

    docs = Path(__file__).parents[2] / "docs"
    registry = current_registry()
    with AuditSession() as session:
        found = summary(audit_all(registry, session, target_names(registry, ())))
    page = docs / "guarantees.md"
    (docs / "guarantees.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    page.write_text(insert(page.read_text("utf-8"), render(found)), "utf-8")


if __name__ == "__main__":
    _main()
