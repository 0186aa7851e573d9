"""Plug-ins in JavaScript and TypeScript: values with dates, maps and bytes both ways, and outputs that are checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from host import LIMITS, Host, Invoice, Order, PluginFault

from pytest_sandbox import SnippetExecutor

FOLDER = Path(__file__).parent / "plug_ins"
PRICES = {1: 100, 2: 450}
ORDER = Order("Zoë", datetime(2026, 1, 31, 12, tzinfo=UTC), {1: 3, 2: 1})

pytestmark = pytest.mark.executor(**LIMITS.explicit())


@pytest.fixture
def host(executor: SnippetExecutor) -> Host:
    return Host(executor, FOLDER, PRICES)


def test_a_plugin_in_javascript_writes_an_invoice(host: Host) -> None:
    assert host.invoice("plain.js", ORDER) == Invoice(
        number="2026-0001",
        due=datetime(2026, 3, 2, 12, tzinfo=UTC),
        lines={1: 300, 2: 450},
        total=750,
        document="Dear Zoë,\nplease pay 7.50 € until 2026-03-02.\n".encode(),
    )


def test_a_plugin_in_typescript_writes_an_invoice(host: Host) -> None:
    invoice = host.invoice("typed.ts", ORDER)
    assert invoice.due == datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert invoice.lines == {1: 300, 2: 450}
    assert invoice.document == "Zoë: €7.50\n".encode()


@pytest.mark.parametrize("plugin", ["plain.js", "typed.ts"])
def test_a_plugin_writes_the_same_invoice_on_every_executor(executors: Mapping[str, SnippetExecutor], plugin: str) -> None:
    invoices = {name: Host(executor, FOLDER, PRICES).invoice(plugin, ORDER) for name, executor in executors.items()}
    first = next(iter(invoices.values()))
    assert invoices == dict.fromkeys(invoices, first)


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        ("broken_lies_about_types.ts", "what it returns is no invoice: Expected `int`, got `str` - at `$.total`"),
        ("broken_date_as_text.js", "what it returns is no invoice: Expected `datetime`, got `str` - at `$.due`"),
        ("broken_forgets_a_field.js", "what it returns is no invoice: Object missing required field `due`"),
        ("broken_sum.js", "its total is 1, its lines add up to 750"),
        ("broken_returns_a_function.js", "TypeError: Cannot return value.lines.of: a function cannot cross"),
        ("broken_enum.ts", "[syntax] SyntaxError: TypeScript enum is not supported in strip-only mode (line 2, column 1)"),
        ("broken_unknown_article.js", "KeyError: 99"),
    ],
)
def test_the_author_of_a_broken_plugin_is_told_what_is_wrong(host: Host, plugin: str, reason: str) -> None:
    with pytest.raises(PluginFault) as caught:
        host.invoice(plugin, ORDER)
    assert caught.value.reason == reason
    assert host.invoice("plain.js", ORDER).total == 750, "the next plug-in works"


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        # The marker that is closest to a test wins: nobody wants to wait for five seconds here.
        pytest.param(
            "hostile_never_ends.js", "[timeout] Timeout: it did not finish within 1 s", marks=pytest.mark.executor(timeout=1)
        ),
        ("hostile_asks_without_end.js", "[limit] LimitExceeded: it called tools more than 100 times"),
        ("hostile_huge_document.ts", "[limit] LimitExceeded: Cannot return value.document: it is larger than the limit result"),
    ],
)
def test_a_hostile_plugin_is_stopped(host: Host, plugin: str, reason: str) -> None:
    with pytest.raises(PluginFault) as caught:
        host.invoice(plugin, ORDER)
    assert caught.value.reason.startswith(reason)
    assert host.invoice("plain.js", ORDER).total == 750, "the next plug-in works"
