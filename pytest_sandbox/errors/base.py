"""The base of every exception, and what any part of the package may raise."""

from __future__ import annotations

from pytest_sandbox.errors.wording import short_repr


class SandboxError(Exception):
    """Base of every exception raised by pytest-sandbox."""


class InvalidArgument(SandboxError, ValueError):
    """An argument makes no sense. The caller's fault.

    Attributes:
        argument: the name of the argument.
        value: what was given.
        expected: what would have been accepted.
    """

    def __init__(self, argument: str, value: object, expected: str) -> None:
        self.argument = argument
        self.value = value
        self.expected = expected
        super().__init__(f"Cannot use {argument}={short_repr(value)}: expected {expected}")


class InvalidPlugin(SandboxError, ValueError):
    """A plugin registers something that makes no sense. The fault of the plugin's author.

    Attributes:
        plugin: which plugin, as a person would look for it.
        reason: what is wrong, with the offending value.
        fix: what to do next.
        what: "executors" or "guarantees".
    """

    def __init__(self, plugin: str, reason: str, fix: str, what: str = "executors") -> None:
        self.plugin = plugin
        self.reason = reason
        self.fix = fix
        self.what = what
        super().__init__(f"Cannot register {what} of {plugin}: {reason}; {fix}")
