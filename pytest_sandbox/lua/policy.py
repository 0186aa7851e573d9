"""What a script may do with entries: decided by a function, or by rules that allow, in YAML or as data.

Two actions are asked about: ``exec.get`` with the id of an entry, and ``exec.run`` with a command. What nothing allows is denied.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pytest_sandbox.errors import InvalidArgument, PolicyInvalid, near_miss

__all__ = ["ACTIONS", "Decide", "Policy", "Rule", "as_decision", "load_policy"]

ACTIONS: Final = ("exec.get", "exec.run")

Decide = Callable[[str, str], bool]
"""Gets action and resource; only True allows."""

_RULE_FIELDS: Final = ("actions", "resources")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule that allows.

    Attributes:
        actions: of `ACTIONS`.
        resources: ids or commands; ``*`` stands for any characters, everything else for itself.
    """

    actions: tuple[str, ...]
    resources: tuple[str, ...]


class Policy:
    """Rules that allow; callable as a policy.

    Args:
        *rules: an action is allowed if one of them names it and matches the resource.
    """

    def __init__(self, *rules: Rule) -> None:
        self.rules = rules
        self._patterns = {
            action: [_pattern(resource) for rule in rules if action in rule.actions for resource in rule.resources]
            for action in ACTIONS
        }

    def __call__(self, action: str, resource: str) -> bool:
        """Return whether an action on a resource is allowed."""
        return any(pattern.fullmatch(resource) for pattern in self._patterns.get(action, ()))

    def __repr__(self) -> str:
        return f"<Policy of {len(self.rules)} rules>"


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """Read a policy file: YAML with a list ``allow`` of rules, each with ``actions`` and ``resources``.

    Raises:
        PolicyInvalid: with every problem of the file (the fault of whoever wrote it).
    """
    import yaml

    name = os.fspath(path)
    try:
        data = yaml.safe_load(Path(path).read_bytes())
    except OSError as error:
        raise PolicyInvalid(name, [f"cannot be read: {error.strerror}; expected a file with rules"]) from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise PolicyInvalid(name, [f"is not YAML: {' '.join(str(error).split())}"]) from error
    return _read(data, name)


def as_decision(policy: object) -> Decide | None:
    """Return a policy as a function; None allows what the entries allow.

    Args:
        policy: a function of action and resource, a path of a policy file, or the content of one.

    Raises:
        PolicyInvalid: when the file, or the content, has errors (the caller's fault).
        InvalidArgument: when it is something else (the caller's fault).
    """
    if policy is None or callable(policy):
        return policy
    if isinstance(policy, str | os.PathLike):
        return load_policy(policy)
    if isinstance(policy, Mapping):
        return _read(policy, "policy")
    raise InvalidArgument("policy", policy, "a function of action and resource, the path of a policy file, or its content")


def _pattern(resource: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, resource.split("*"))), re.DOTALL)


def _read(data: Any, name: str) -> Policy:
    problems: list[str] = []
    rules: list[Rule] = []
    if not isinstance(data, Mapping) or "allow" not in data:
        raise PolicyInvalid(name, [f"expected a mapping with a list allow, got {_shown(data)}"])
    for field in data:
        if field != "allow":
            problems.append(f"unknown field {_shown(field)}{near_miss(str(field), ['allow'])}: the only field is allow")
    allow = data["allow"]
    if not isinstance(allow, list):
        problems.append(f"allow: expected a list of rules, got {_shown(allow)}")
        allow = []
    for index, item in enumerate(allow):
        rule = _rule(item, f"allow[{index}]", problems)
        if rule is not None:
            rules.append(rule)
    if problems:
        raise PolicyInvalid(name, problems)
    return Policy(*rules)


def _rule(item: Any, where: str, problems: list[str]) -> Rule | None:
    if not isinstance(item, Mapping):
        problems.append(f"{where}: expected a rule with actions and resources, got {_shown(item)}")
        return None
    for field in item:
        if field not in _RULE_FIELDS:
            known = f"known fields are {', '.join(_RULE_FIELDS)}"
            problems.append(f"{where}: unknown field {_shown(field)}{near_miss(str(field), _RULE_FIELDS)}: {known}")
    actions = _texts(item, "actions", where, problems)
    for action in actions:
        if action not in ACTIONS:
            known = f"known actions are {', '.join(ACTIONS)}"
            problems.append(f"{where}.actions: unknown action {_shown(action)}{near_miss(action, ACTIONS)}: {known}")
    return Rule(actions, _texts(item, "resources", where, problems))


def _texts(item: Mapping[Any, Any], field: str, where: str, problems: list[str]) -> tuple[str, ...]:
    value = item.get(field)
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed or not all(isinstance(text, str) and text for text in listed):
        got = "nothing" if field not in item else _shown(value)
        problems.append(f"{where}.{field}: expected a text or a list of texts, got {got}")
        return ()
    return tuple(listed)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
