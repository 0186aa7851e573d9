"""A shop whose users write the code of their invoices: plug-ins in JavaScript and TypeScript.

A plug-in gets an order and gives an invoice. What it gives is checked here, against types and against the shop's own sums: the
types in a plug-in are taken out before it runs, and prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from pytest_sandbox import Limits, SnippetExecutor

LIMITS = Limits(timeout=5.0, memory=64 * 1024 * 1024, result=256 * 1024, tool_calls=100)
"""For each invoice: seconds, and bytes."""

LANGUAGES: Mapping[str, Literal["js", "ts"]] = {".js": "js", ".ts": "ts"}

Cents = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class Order:
    customer: str
    placed: datetime
    items: Mapping[int, int]
    """How many of each article, by article number."""


class Invoice(msgspec.Struct, forbid_unknown_fields=True):
    """What a plug-in has to return."""

    number: str
    due: datetime
    lines: dict[int, Cents]
    total: Cents
    document: bytes


class PluginFault(Exception):
    """A plug-in does not do its job. Its author's fault.

    Attributes:
        plugin: the file.
        reason: what is wrong, for the author.
    """

    def __init__(self, plugin: str, reason: str) -> None:
        self.plugin = plugin
        self.reason = reason
        super().__init__(f"Plug-in {plugin}: {reason}")


@dataclass(frozen=True)
class Host:
    executor: SnippetExecutor
    folder: Path
    prices: Mapping[int, int]
    """Cents, by article number."""

    def invoice(self, plugin: str, order: Order) -> Invoice:
        """Have a plug-in write the invoice for an order.

        Raises:
            PluginFault: when it fails, or when what it returns is no invoice for this order.
        """
        path = self.folder / plugin
        tools: dict[str, Callable[..., Any]] = {
            "order": lambda: {"customer": order.customer, "placed": order.placed, "items": order.items},
            "price": lambda article: self.prices[article],
        }
        result = self.executor.execute(path.read_text(), tools, language=LANGUAGES[path.suffix])
        if result.error is not None:
            raise PluginFault(plugin, str(result.error))
        return self._checked(plugin, order, result.value)

    def _checked(self, plugin: str, order: Order, value: Any) -> Invoice:
        try:
            # Dates and bytes cross as such: text that looks like them is a mistake.
            invoice = msgspec.convert(value, Invoice, builtin_types=(bytes, datetime))
        except msgspec.ValidationError as error:
            raise PluginFault(plugin, f"what it returns is no invoice: {error}") from error
        expected = {article: count * self.prices[article] for article, count in order.items.items()}
        if invoice.lines != expected:
            raise PluginFault(plugin, f"its lines are {invoice.lines}, the order has {expected}")
        if invoice.total != sum(expected.values()):
            raise PluginFault(plugin, f"its total is {invoice.total}, its lines add up to {sum(expected.values())}")
        return invoice
