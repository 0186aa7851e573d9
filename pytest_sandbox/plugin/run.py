"""What one test run knows about executors."""

from __future__ import annotations

import contextlib
import dataclasses
from functools import cached_property
from typing import Any

import pytest

from pytest_sandbox.errors import InvalidArgument, SandboxError
from pytest_sandbox.limits import UNSET, Limits
from pytest_sandbox.names import EXECUTOR_TYPE
from pytest_sandbox.plugin.distributed import RemoteProver, is_controller, is_worker, prover_for_worker
from pytest_sandbox.plugin.markers import ExecutorMark, read_marks
from pytest_sandbox.plugin.options import Settings
from pytest_sandbox.plugin.pool import ExecutorPool
from pytest_sandbox.plugin.provers import LocalProver, Prover
from pytest_sandbox.plugin.requests import Request, parse_request
from pytest_sandbox.plugin.selection import Selection
from pytest_sandbox.plugin.state import SETTINGS
from pytest_sandbox.registry import Registry

__all__ = ["SandboxRun"]


class SandboxRun:
    """What one test run knows; making it starts and searches nothing.

    Attributes:
        settings: what the user asked for.
        registry: all executors, those of this run's conftest files and plugins included.
        prover: finds out which of them work.
        pool: the executors that tests share.
        needed: whether a collected test needs an executor.
        fatal: why no test can have an executor; set only where the run cannot be ended at once.
        line_done: whether the line that names the executors has been printed, or left out on purpose.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.settings: Settings = config.stash[SETTINGS]
        self.registry = Registry(config.pluginmanager.list_name_plugin)
        self.pool = ExecutorPool(self.registry.create)
        # The executors of a controller's tests are those of its workers: it keeps none open.
        adopt = None if is_controller(config) else self.pool.adopt
        self.prover: Prover = LocalProver(self.registry, self.options_for, adopt)
        self._is_worker = is_worker(config)
        if self._is_worker:
            self.prover = prover_for_worker(config, self.prover)
        self.needed = False
        self.fatal: str | None = None
        self.line_done = False
        # What was proved is open, even if no test comes to use it.
        config.add_cleanup(self.pool.close)

    @cached_property
    def request(self) -> Request:
        """What was asked for, with its names not yet looked up.

        Raises:
            pytest.UsageError: when that makes no sense.
        """
        return parse_request(*self.settings.executor)

    @cached_property
    def selection(self) -> Selection:
        """What is selected, with its names looked up.

        Raises:
            pytest.UsageError: when that makes no sense.
            UnknownExecutor: when a name is not registered.
            InvalidPlugin: when a plugin's registrations make no sense.
        """
        for name in self.request.names:
            self.registry.find(name, self.request.source)
        self.registry.check()
        return Selection(self.request, self.registry, self.prover, self.settings.require, self.settings.require_source)

    def check_early(self) -> None:
        """Refuse options that make no sense before anything is collected.

        ``EXECUTOR_TYPE`` is left alone: other programs may use a variable of that name, and perhaps no test needs us.

        Raises:
            pytest.UsageError: naming the option and the value.
        """
        try:
            for name in self.settings.require:
                self.registry.find(name, self.settings.require_source)
            if self.settings.executor[1] != EXECUTOR_TYPE:
                for name in self.request.names:
                    self.registry.find(name, self.request.source)
        except SandboxError as error:
            raise pytest.UsageError(str(error)) from error

    def prove_forced(self) -> None:
        """Prove the executors that were asked for by name, before it is known whether a test needs them.

        Raises:
            pytest.UsageError: when one of them does not work.
        """
        try:
            selection = self.selection
        except (SandboxError, pytest.UsageError):
            return  # see check_early: told when a test needs an executor
        try:
            selection.prove_forced()
        except SandboxError as error:
            raise pytest.UsageError(str(error)) from error

    def cannot_end(self, message: str) -> bool:
        """Whether this process cannot end the run: a worker's tests fail instead, and the controller sets the exit code."""
        if not self._is_worker:
            return False
        self.fatal = message
        if isinstance(self.prover, RemoteProver):
            with contextlib.suppress(SandboxError):  # the tests fail, whether or not the controller learns of it
                self.prover.report_fatal(message)
        return True

    def options_for(self, name: str) -> dict[str, Any]:
        """Return the options with which this run creates an executor, before those of markers."""
        if name == "container" and self.settings.image is not None:
            return {"image": self.settings.image, "pull": self.settings.pull}
        if self.settings.node_modules is None:
            return {}
        try:
            known = {option.name for option in dataclasses.fields(self.registry.load(name).options_class)}
        except SandboxError:
            return {}  # told by whoever creates it
        return {"node_modules": str(self.settings.node_modules)} if "node_modules" in known else {}

    def marks(self, item: pytest.Item) -> ExecutorMark:
        """Return what the markers of a test say.

        Raises:
            SandboxError: when they make no sense.
        """
        return read_marks(item, self.registry)

    def shared(self, name: str, mark: ExecutorMark) -> Any:
        """Return the shared executor for a test."""
        return self.pool.get(name, mark.limits, {**self.options_for(name), **mark.options})

    def timeout(self, mark: ExecutorMark) -> Any:
        """Return the timeout of a test in seconds: that of its marker, else that of the options, else unset."""
        if mark.limits.timeout is not UNSET or self.settings.timeout is None:
            return mark.limits.timeout
        return self.settings.timeout

    def limits(self, limits: Limits | None, mark: ExecutorMark) -> Limits:
        """Return limits for an executor of a test's own: those given, else those of marker and options.

        Raises:
            InvalidArgument: when they are no limits (the caller's fault).
        """
        if limits is not None and not isinstance(limits, Limits):
            raise InvalidArgument("limits", limits, "a Limits object, or None")
        return (limits or Limits()).over(mark.limits).over(Limits(timeout=self.timeout(mark)))
