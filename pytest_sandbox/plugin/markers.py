"""The marker ``executor``: which executors a test is for, and the limits and options it wants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from pytest_sandbox.errors import ExecutorUnavailable, InvalidArgument, InvalidPlugin, near_miss
from pytest_sandbox.limits import Limits, check_seconds

if TYPE_CHECKING:
    import pytest

    from pytest_sandbox.registry import Registry

__all__ = ["ExecutorMark", "read_marks"]

_LIMITS: Final = tuple(limit.name for limit in fields(Limits))


@dataclass(frozen=True)
class ExecutorMark:
    """What all ``executor`` markers of a test say together; the closest one wins.

    Attributes:
        names: the executors that the test is for, or None for any.
        limits: the limits that are set.
        tool_timeout: seconds that one tool call may take, or None for no limit.
        options: options for creating the executor.
    """

    names: tuple[str, ...] | None = None
    limits: Limits = field(default_factory=Limits)
    tool_timeout: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def allows(self, name: str) -> bool:
        """Whether the test is for this executor."""
        return self.names is None or name in self.names


def read_marks(node: pytest.Item, registry: Registry) -> ExecutorMark:
    """Read the ``executor`` markers of a test.

    Raises:
        UnknownExecutor: when a name is not registered.
        InvalidArgument: when a keyword is unknown, a value makes no sense, or a marker is empty.
    """
    source = f"the executor marker of {node.nodeid}"
    try:
        return _merge(node.iter_markers("executor"), registry, source)
    except InvalidArgument as error:
        raise InvalidArgument(error.argument, error.value, f"{error.expected}, in {source}") from error


def _merge(marks: Iterable[pytest.Mark], registry: Registry, source: str) -> ExecutorMark:
    """Merge markers, the closest of which comes first: names intersect, of limits and options the closest one wins."""
    names: tuple[str, ...] | None = None
    limits: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for mark in marks:
        if not mark.args and not mark.kwargs:
            raise InvalidArgument("executor", "()", "names of executors, limits or options")
        for name in mark.args:
            if not isinstance(name, str):
                raise InvalidArgument("executor", name, "names of executors, each a string")
            registry.find(name, source)
        if mark.args:
            names = mark.args if names is None else tuple(name for name in names if name in mark.args)
        given = {name: value for name, value in mark.kwargs.items() if name not in _LIMITS}
        limits = {name: value for name, value in mark.kwargs.items() if name in _LIMITS} | limits
        options = given | options
    tool_timeout = check_seconds("tool_timeout", options.pop("tool_timeout", None))
    _check_options(options, names, registry)
    return ExecutorMark(names, Limits(**limits), tool_timeout, options)


def _check_options(options: Mapping[str, Any], names: tuple[str, ...] | None, registry: Registry) -> None:
    """Refuse a keyword that none of the executors knows for which the test may run."""
    if not options:
        return
    known = {*_LIMITS, "tool_timeout"}
    for name in names or [spec.name for spec in registry.specs()]:
        try:
            known.update(option.name for option in fields(registry.load(name).options_class))
        except (ExecutorUnavailable, InvalidPlugin):
            continue  # told when that executor is used
    for option, value in options.items():
        if option not in known:
            raise InvalidArgument(option, value, f"one of the keywords {', '.join(sorted(known))}{near_miss(option, known)}")
