"""Reports: what an audit proved and what a test run did, as HTML, JSON and Markdown.

Names are imported on first use: ``listing`` alone is no reason to load any of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_sandbox.reports.writing import write_report, write_step_summary

__all__ = ["write_report", "write_step_summary"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pytest_sandbox.reports import writing

    return getattr(writing, name)
