"""Which executors the user asked for."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_sandbox.names import AUTO, KEYWORDS
from pytest_sandbox.plugin.options import parse_names, refuse

__all__ = ["Request", "parse_request"]


@dataclass(frozen=True)
class Request:
    """Which executors were asked for.

    Attributes:
        mode: "auto" (the best one), "all" (every registered one), "available" (those that work) or "names".
        names: the names, in the order given; empty unless the mode is "names".
        source: what asked for them, such as ``--executor``; empty for the default.
    """

    mode: str
    names: tuple[str, ...] = ()
    source: str = ""

    @property
    def reason(self) -> str:
        """Why these executors are selected, as a phrase."""
        if self.mode == "names":
            return f"from {self.source}"
        what = "auto-detected" if self.mode == AUTO else self.mode
        return f"{what}, from {self.source}" if self.source else what


def parse_request(text: str, source: str) -> Request:
    """Parse what selects executors; the names are not looked up.

    Raises:
        pytest.UsageError: when it is empty, names one twice, or mixes a keyword with names.
    """
    if not source:
        return Request(AUTO)
    names = parse_names(text, source)
    keywords = [name for name in names if name in KEYWORDS]
    if not keywords:
        return Request("names", names, source)
    if len(names) > 1:
        raise refuse(source, text, f'names of executors, or "{keywords[0]}" alone')
    return Request(keywords[0], (), source)
