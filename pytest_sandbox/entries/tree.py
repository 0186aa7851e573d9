"""YAML read into a tree that knows where each value stands, so that an error can name file, line and field.

Only plain data is understood: a tag is a problem, never a constructor call. Aliases and merge keys work; what refers to itself,
or grows out of all proportion when its aliases are followed, is a problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

__all__ = ["BAD", "Report", "Tree", "read_tree"]

Report = Callable[[int | None, str, str], None]
"""Takes line, field and message of a problem."""

MOST_NODES: Final = 100_000
_STR: Final = "tag:yaml.org,2002:str"
_MERGE: Final = "tag:yaml.org,2002:merge"
# A date that nobody quoted is a text here: no field is a date.
_SCALARS: Final = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null")}


class _Bad:
    """The type of `BAD`: a value that was reported already."""

    def __repr__(self) -> str:
        return "BAD"


BAD: Final = _Bad()


@dataclass(slots=True)
class Tree:
    """A value and where it stands.

    Attributes:
        value: a scalar, a list of trees, a dict of trees by key, or `BAD`.
        line: its line, from 1.
        text: a scalar as it was written.
        key_lines: for a dict, the line of each key.
    """

    value: Any
    line: int
    text: str = ""
    key_lines: dict[str, int] | None = None

    def plain(self) -> Any:
        """Return the value without positions."""
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        return self.value

    def has_bad(self) -> bool:
        """Return whether a part of it was reported already."""
        if isinstance(self.value, list):
            return any(item.has_bad() for item in self.value)
        if isinstance(self.value, dict):
            return any(item.has_bad() for item in self.value.values())
        return self.value is BAD

    def shown(self) -> str:
        """Return the value in a form fit for an error message."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        if self.value is None:
            return "nothing"
        if isinstance(self.value, str):
            text = ascii(self.value[:61])[1:-1]
            return f'"{text}"' if len(self.value) <= 60 else f'"{text[:60]}…"'
        kind = {bool: "true or false", int: "a number", float: "a number"}[type(self.value)]
        return f"{self.text[:60]} (YAML reads it as {kind})"


class _Loader(yaml.SafeLoader):
    """A composer that notes explicit tags, which a composed node no longer tells apart from resolved ones."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.tagged: dict[int, str] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        tag = getattr(event, "tag", None)
        node = super().compose_node(parent, index)
        if tag is not None:
            self.tagged[id(node)] = tag
        return node


def read_tree(text: str, report: Report) -> Tree | None:
    """Read one YAML document.

    Args:
        text: the whole file.
        report: called for every problem.

    Returns:
        The tree, or None when there is none (then a problem was reported).
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            report(None, "", "is empty: expected a list of entries, or a mapping with version, namespace and entries")
            return None
        return _Converter(loader.tagged, report).convert(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        report(mark.line + 1 if mark else None, "", f"is not YAML: {problem}")
    except yaml.YAMLError as error:
        report(None, "", f"is not YAML: {' '.join(str(error).split())}")
    except RecursionError:
        report(None, "", "is nested too deeply: expected a list of entries")
    return None


class _Converter:
    def __init__(self, tagged: dict[int, str], report: Report) -> None:
        self._tagged = tagged
        self._report = report
        self._active: set[int] = set()
        self._nodes = 0

    def convert(self, node: Any) -> Tree:
        line = node.start_mark.line + 1
        self._nodes += 1
        if self._nodes > MOST_NODES:
            if self._nodes == MOST_NODES + 1:
                self._report(line, "", f"holds more than {MOST_NODES} values once its aliases are followed")
            return Tree(BAD, line)
        tag = self._tagged.get(id(node))
        if tag is not None:
            self._report(line, "", f"YAML tag {tag!r} is not allowed: write the plain value")
            return Tree(BAD, line)
        if id(node) in self._active:
            self._report(line, "", "refers to itself by an alias: write the value out")
            return Tree(BAD, line)
        self._active.add(id(node))
        try:
            if isinstance(node, ScalarNode):
                return Tree(self._scalar(node, line), line, node.value)
            if isinstance(node, SequenceNode):
                return Tree([self.convert(item) for item in node.value], line)
            return self._mapping(node, line)
        finally:
            self._active.discard(id(node))

    def _scalar(self, node: ScalarNode, line: int) -> Any:
        if node.tag not in _SCALARS:
            return node.value
        try:
            return SafeConstructor().construct_object(node)
        except (ValueError, KeyError, OverflowError) as error:
            self._report(line, "", f"Cannot read {node.value!r}: {error}; put it in quotes")
            return BAD

    def _mapping(self, node: MappingNode, line: int) -> Tree:
        merged: dict[str, Tree] = {}
        own: dict[str, Tree] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            at = key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                # Earlier maps win among those that are merged, own keys win over all.
                for source in value_node.value if isinstance(value_node, SequenceNode) else [value_node]:
                    tree = self.convert(source)
                    if isinstance(tree.value, dict):
                        merged = tree.value | merged
                        lines = (tree.key_lines or {}) | lines
                    elif tree.value is not BAD:
                        self._report(at, "<<", f"expected a mapping to merge, got {tree.shown()}")
            elif not isinstance(key_node, ScalarNode) or key_node.tag in _SCALARS or id(key_node) in self._tagged:
                shown = self.convert(key_node).shown() if id(key_node) not in self._tagged else "a tag"
                self._report(at, "", f"expected a text as key, got {shown}; write it in quotes")
            elif key_node.value in own:
                self._report(at, key_node.value, f"is given twice: first on line {lines[key_node.value]}")
            else:
                own[key_node.value] = self.convert(value_node)
                lines[key_node.value] = at
        return Tree(merged | own, line, key_lines=lines)
