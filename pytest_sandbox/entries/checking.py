"""One entry of a file checked against its type: every problem at once, each with its line and field.

msgspec stops at the first problem of a value, so each field, and each item of a list or mapping, is converted on its own.
"""

from __future__ import annotations

import types
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec.structs import fields

from pytest_sandbox.entries.model import KINDS, Entry
from pytest_sandbox.entries.rules import check_rules
from pytest_sandbox.entries.sizes import parse_size
from pytest_sandbox.entries.tree import BAD, Report, Tree
from pytest_sandbox.errors import near_miss

__all__ = ["check_entry"]


def check_entry(tree: Tree, report: Report) -> Entry | None:
    """Turn one item of ``entries`` into a typed entry.

    Args:
        tree: the item, a mapping whose kind begins with ``exec.``.
        report: called for every problem.

    Returns:
        The entry, or None when there was a problem.
    """
    kind = tree.value["kind"].value
    model = KINDS.get(kind)
    if model is None:
        line = (tree.key_lines or {}).get("kind", tree.line)
        report(line, "kind", f'unknown kind "{kind}"{near_miss(kind, KINDS)}: expected {" or ".join(KINDS)}')
        return None
    noted = _Noted(report)
    values = _check_struct(tree, model, "", noted)
    check_rules(tree, kind, values, noted)
    return None if noted.count or tree.has_bad() else model(**values)


class _Noted:
    """A report that counts."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.count = 0

    def __call__(self, line: int | None, field: str, message: str) -> None:
        self.count += 1
        self._report(line, field, message)


def _check_struct(tree: Tree, model: type[msgspec.Struct], path: str, report: Report) -> dict[str, Any]:
    """Return the values of the fields that are sound."""
    known = {field.name: field for field in fields(model)}
    tag = model.__struct_config__.tag_field
    values: dict[str, Any] = {}
    for name, value in tree.value.items():
        where = f"{path}.{name}" if path else name
        if name in known:
            checked = _check_value(value, known[name].type, where, report)
            if checked is not BAD:
                values[name] = checked
        elif name != tag:
            hint = near_miss(name, known) or f": known fields are {', '.join(known)}"
            report((tree.key_lines or {}).get(name, value.line), where, f"unknown field{hint}")
    for name, field in known.items():
        if field.required and name not in tree.value:
            report(tree.line, f"{path}.{name}" if path else name, f"is missing: expected {_expected(field.type)}")
    return values


def _check_value(tree: Tree, type_: Any, path: str, report: Report, expected: str = "") -> Any:
    """Return the typed value, or `BAD` after a problem was reported; ``expected`` are the words of the type around this one."""
    if tree.value is BAD:
        return BAD
    base = _base(type_)
    if get_origin(base) in (Union, types.UnionType):
        return _check_value(tree, _pick(tree, get_args(base)), path, report, _expected(type_))
    if isinstance(tree.value, list) and get_origin(base) is tuple:
        item_type = get_args(base)[0]
        items = [_check_value(item, item_type, f"{path}[{index}]", report) for index, item in enumerate(tree.value)]
        return BAD if BAD in items else tuple(items)
    if isinstance(tree.value, dict) and get_origin(base) is dict:
        return _check_mapping(tree, get_args(base), path, report)
    if isinstance(tree.value, dict) and isinstance(base, type) and issubclass(base, msgspec.Struct):
        noted = _Noted(report)
        values = _check_struct(tree, base, path, noted)
        return BAD if noted.count or tree.has_bad() else base(**values)
    return _check_leaf(tree, type_, path, report, expected or _expected(type_))


def _check_mapping(tree: Tree, types_: tuple[Any, ...], path: str, report: Report) -> Any:
    key_type, value_type = types_
    result: dict[str, Any] = {}
    sound = True
    for key, item in tree.value.items():
        key_tree = Tree(key, (tree.key_lines or {}).get(key, item.line), key)
        if value_type is Any:
            result[key] = item.plain()
            continue
        checked_key = _check_value(key_tree, key_type, f"{path}.{key}", report)
        checked = _check_value(item, value_type, f"{path}.{key}", report)
        sound = sound and checked_key is not BAD and checked is not BAD
        result[key] = checked
    return result if sound else BAD


def _check_leaf(tree: Tree, type_: Any, path: str, report: Report, expected: str) -> Any:
    value = tree.plain()
    if isinstance(value, str) and _extra(type_, "size"):
        value = parse_size(value)
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError:
        near = near_miss(tree.value, get_args(_base(type_))) if isinstance(tree.value, str) and _is_choice(type_) else ""
        report(tree.line, path, f"expected {expected}, got {tree.shown()}{near}")
        return BAD


def _pick(tree: Tree, options: tuple[Any, ...]) -> Any:
    """Choose the member of a union that a value is meant to be: a mapping is a struct, nothing is None."""
    if tree.value is None and types.NoneType in options:
        return types.NoneType
    present = [option for option in options if option is not types.NoneType]
    structs = [option for option in present if isinstance(option, type) and issubclass(option, msgspec.Struct)]
    return structs[0] if structs and (isinstance(tree.value, dict) or len(present) == 1) else present[0]


def _base(type_: Any) -> Any:
    return get_args(type_)[0] if get_origin(type_) is Annotated else type_


def _is_choice(type_: Any) -> bool:
    return all(isinstance(option, str) for option in get_args(_base(type_)) or (None,))


def _extra(type_: Any, key: str) -> Any:
    """Return what the type's metadata says, the outermost first; for an optional type, what its member says."""
    if get_origin(type_) is Annotated:
        for meta in reversed(type_.__metadata__):
            if meta.extra and key in meta.extra:
                return meta.extra[key]
    base = _base(type_)
    if get_origin(base) in (Union, types.UnionType):
        found = [_extra(option, key) for option in get_args(base) if option is not types.NoneType]
        return next((value for value in found if value is not None), None)
    return None


def _expected(type_: Any) -> str:
    words = _extra(type_, "expected")
    return str(words) if words else {str: "a text"}.get(_base(type_), "another type")
