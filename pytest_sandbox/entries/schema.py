"""The JSON Schema of entries files, for completion in editors; made from the types that validate."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from pytest_sandbox.entries.model import KINDS
from pytest_sandbox.entries.rules import CONTAINER_FIELDS
from pytest_sandbox.entries.sizes import SIZE_PATTERN

__all__ = ["entries_schema", "schema_text"]

_DEFS: Final = "#/$defs/{name}"


def entries_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of a whole entries file."""
    _, parts = msgspec.json.schema_components(KINDS.values(), ref_template=_DEFS)
    parts = {name: _with_sizes(part) for name, part in parts.items()}
    docker = parts["DockerEntry"]
    docker["anyOf"] = [{"required": ["image"]}, {"required": ["container"]}]
    docker["dependentSchemas"] = {"container": {"properties": dict.fromkeys(CONTAINER_FIELDS, False)}}
    parts["Entry"] = {
        "description": "One entry; kinds that do not begin with `exec.` are passed over.",
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"anyOf": [{"enum": list(KINDS)}, {"type": "string", "pattern": r"^(?!exec\.)"}]}},
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": _DEFS.format(name=model.__name__)},
            }
            for kind, model in KINDS.items()
        ],
    }
    entries = {"type": "array", "items": {"$ref": _DEFS.format(name="Entry")}}
    document = {
        "type": "object",
        "required": ["entries"],
        "additionalProperties": False,
        "properties": {
            "version": {"description": "Version of the document, such as `1.0`.", "type": ["string", "number"]},
            "namespace": {"description": "First part of every id.", "type": "string", "pattern": r"^[^\s:]+$"},
            "meta": {"description": "Notes for people and other tools.", "type": "object"},
            "entries": entries,
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pytest-sandbox entries",
        "anyOf": [entries, document],
        "$defs": dict(sorted(parts.items())),
    }


def schema_text() -> str:
    """Return the schema as it is published in ``pytest_sandbox/entries/schema.json``."""
    return json.dumps(entries_schema(), indent=2, ensure_ascii=False) + "\n"


def _with_sizes(value: Any) -> Any:
    """Let what is marked as a size also be a text such as ``512m``."""
    if isinstance(value, list):
        return [_with_sizes(item) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: _with_sizes(item) for key, item in value.items()}
    if result.pop("x-size", False):
        result |= {"type": ["integer", "string"], "pattern": SIZE_PATTERN}
    return result
