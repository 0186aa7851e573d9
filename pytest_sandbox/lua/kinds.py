"""Which error object a script gets for an exception of ours."""

from __future__ import annotations

from pytest_sandbox import errors

__all__ = ["Refused", "explain"]


class Refused(Exception):
    """A call of a script is refused; it gets the error object and goes on."""

    def __init__(self, kind: str, message: str, *, retryable: bool = False) -> None:
        self.kind = kind
        self.message = message
        self.retryable = retryable
        super().__init__(message)


# The first class that fits counts, so that subclasses come before their bases.
_KINDS: tuple[tuple[type[Exception], str, bool], ...] = (
    (errors.CommandNotAllowed, "PERMISSION_DENIED", False),
    (errors.UnknownEntry, "NOT_FOUND", False),
    (errors.ImageNotFound, "NOT_FOUND", False),
    (errors.ContainerGone, "NOT_FOUND", False),
    (errors.EngineTimeout, "TIMEOUT", True),
    (errors.EngineGone, "UNAVAILABLE", True),
    (errors.EngineUnavailable, "UNAVAILABLE", True),
    (errors.ExecutorUnavailable, "UNAVAILABLE", False),
    (errors.InvalidCommand, "INVALID", False),
    (errors.InvalidArgument, "INVALID", False),
    (errors.ProcessStateError, "INVALID", False),
    (errors.CommandExecutorClosed, "INVALID", False),
)


def explain(error: Exception) -> Refused:
    """Return an exception of the package as a refusal."""
    if isinstance(error, Refused):
        return error
    for kind, name, retryable in _KINDS:
        if isinstance(error, kind):
            return Refused(name, str(error), retryable=retryable)
    return Refused("INTERNAL", str(error))
