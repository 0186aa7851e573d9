"""The JSON report means what the report says, fits its published schema, and the schema is current."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_sandbox.guarantees.results import Audit
from pytest_sandbox.reports.json_report import SCHEMA_FILE, read_json, render_json, render_schema, schema
from pytest_sandbox.reports.model import Report, report_of

ROOT = Path(__file__).parents[2]


def test_the_shipped_schema_is_current() -> None:
    current = render_schema()
    for path in (SCHEMA_FILE, ROOT / "docs" / SCHEMA_FILE.name):
        assert path.read_text(encoding="utf-8") == current, "run: python -m pytest_sandbox.reports.json_report"


def test_the_schema_describes_every_field() -> None:
    described = schema()
    jsonschema.Draft202012Validator.check_schema(described)
    for name, definition in described["$defs"].items():
        assert definition["description"], name
        for field, facts in definition["properties"].items():
            assert facts.get("description"), f"{name}.{field}"


def test_reports_fit_the_schema_and_come_back_as_they_were(report: Report, audit: Audit) -> None:
    for one in (report, report_of(audit), report_of(None, report.run), report_of()):
        text = render_json(one)
        jsonschema.validate(json.loads(text), schema(), cls=jsonschema.Draft202012Validator)
        assert read_json(text) == one


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.pop("created"),
        lambda data: data.update(schema_version=2),
        lambda data: data["audit"]["executors"][0]["guarantees"][0].update(verdict="perhaps"),
        lambda data: data["run"]["tests"][0].update(outcome="broken"),
        lambda data: data["audit"].pop("machine"),
    ],
)
def test_what_is_no_report_does_not_fit_the_schema(report: Report, damage: Any) -> None:
    data = json.loads(render_json(report))
    damage(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, schema(), cls=jsonschema.Draft202012Validator)


def test_hostile_text_is_kept_and_written_harmlessly(hostile_report: Report, hostile_text: str) -> None:
    text = render_json(hostile_report)
    assert all(char == "\n" or char.isprintable() for char in text)
    assert "</" not in text and "<!--" not in text
    assert not any(line.lstrip().startswith("::") or line.startswith("##[") for line in text.splitlines())
    jsonschema.validate(json.loads(text), schema(), cls=jsonschema.Draft202012Validator)
    assert hostile_report.audit is not None
    back = read_json(text)
    assert back.audit is not None
    expected = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in hostile_text)
    assert back.audit.executors[0].guarantees[0].probes[0].attack == expected
