"""The JSON report, and its schema, which is made from the types.

The schema is shipped as ``report.schema.json`` beside this module and under ``docs/``; to write it anew, run
``python -m pytest_sandbox.reports.json_report``.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, Final

from pytest_sandbox.guarantees import results
from pytest_sandbox.reports import model
from pytest_sandbox.reports.model import Report
from pytest_sandbox.reports.text import ascii_json, scrub

__all__ = ["SCHEMA_FILE", "read_json", "render_json", "schema"]

SCHEMA_FILE: Final = Path(__file__).with_name("report.schema.json")


def render_json(report: Report) -> str:
    """Return a report as JSON, indented by two; text stays what it was, written with escapes where it could do harm."""
    import msgspec

    data = msgspec.json.encode(scrub(msgspec.to_builtins(report)))
    return ascii_json(msgspec.json.format(data, indent=2)) + "\n"


def read_json(text: str | bytes) -> Report:
    """Return a report from its JSON; unknown fields are passed over.

    Raises:
        msgspec.DecodeError: when it is none.
    """
    import msgspec

    return msgspec.json.decode(text, type=Report)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of reports."""
    import msgspec

    (body,), components = msgspec.json.schema_components([Report], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of pytest-sandbox",
        **body,
        "$defs": {name: _tidied(name, component) for name, component in components.items()},
    }


def _tidied(name: str, component: dict[str, Any]) -> dict[str, Any]:
    """Return a class's schema with the text of its docstring spread over its fields."""
    head, _, attributes = inspect.cleandoc(_class(name).__doc__ or "").partition("\n\nAttributes:\n")
    properties = {field: dict(value) for field, value in component["properties"].items()}
    for field, text in re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", attributes, re.MULTILINE):
        properties[field]["description"] = " ".join(text.split())
    if "schema_version" in properties:
        properties["schema_version"]["const"] = properties["schema_version"]["default"]
    return {**component, "description": " ".join(head.split()), "properties": properties}


def _class(name: str) -> type:
    found: type = getattr(model, name, None) or getattr(results, name)
    return found


def render_schema() -> str:
    """Return the text of the schema's file."""
    import json

    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path in (SCHEMA_FILE, Path(__file__).parents[2] / "docs" / SCHEMA_FILE.name):
        path.write_text(render_schema(), encoding="utf-8")
        print(f"wrote {path}")
