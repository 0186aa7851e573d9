"""pytest-xdist: the controller finds out which executors work, the workers ask it.

Executors that were asked for by name are proved before the workers start, so that the run can be ended at once. All
else is found out when the first worker has collected a test that needs it, once for all workers: each worker gets a
channel of its own, inside ``workerinput``, on which it asks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from pytest_sandbox.errors import SandboxError
from pytest_sandbox.plugin.state import run_of
from pytest_sandbox.proofs import PROOF_DEADLINE, PULL_DEADLINE, Availability

if TYPE_CHECKING:
    import pytest

    from pytest_sandbox.plugin.provers import Prover
    from pytest_sandbox.plugin.run import SandboxRun

__all__ = ["RemoteProver", "WorkerNode", "attend_to", "is_controller", "is_worker", "prover_for_worker"]

_CHANNEL: Final = "sandbox_channel"


class _Channel(Protocol):
    """What is used of an execnet channel."""

    def send(self, item: object) -> None: ...
    def receive(self, timeout: float | None = None) -> Any: ...
    def setcallback(self, callback: Callable[[Any], None]) -> None: ...


class _Gateway(Protocol):
    def newchannel(self) -> _Channel: ...


class WorkerNode(Protocol):
    """What is used of xdist's controller of one worker."""

    config: pytest.Config
    gateway: _Gateway
    workerinput: dict[str, Any]


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def is_controller(config: pytest.Config) -> bool:
    """Whether this process hands tests out to workers."""
    return config.pluginmanager.hasplugin("dsession")


def attend_to(node: WorkerNode) -> None:
    """Give a worker that is about to start a channel, and answer what it asks there."""
    channel = node.gateway.newchannel()
    node.workerinput[_CHANNEL] = channel

    def answer(message: str) -> None:
        try:
            reply: object = _answer(run_of(node.config), json.loads(message))
        except Exception as error:  # the worker waits: it must be told
            reply = {"error": f"{type(error).__name__}: {error}"}
        with contextlib.suppress(OSError):  # the worker has gone
            channel.send(json.dumps(reply))

    # The thread that delivers a worker's messages must not be kept waiting.
    channel.setcallback(lambda message: threading.Thread(target=answer, args=(message,), daemon=True).start())


def _answer(run: SandboxRun, question: Mapping[str, Any]) -> list[dict[str, Any]]:
    run.needed = True
    if question["ask"] == "fatal":
        run.fatal = question["message"]
        return []
    if question["ask"] == "best":
        rows = run.prover.find_best()
    else:
        known = {spec.name for spec in run.registry.specs()}
        rows = list(run.prover.prove([name for name in question["names"] if name in known]).values())
    return [{key: getattr(row, key) for key in _FIELDS} for row in rows]


def prover_for_worker(config: pytest.Config, local: Prover) -> Prover:
    """Return what asks the controller, if that attends to us."""
    channel = getattr(config, "workerinput", {}).get(_CHANNEL)
    return local if channel is None else RemoteProver(channel, local)


_FIELDS: Final = tuple(field.name for field in dataclasses.fields(Availability) if field.name != "info")


class RemoteProver:
    """Ask the controller which executors work."""

    def __init__(self, channel: _Channel, local: Prover) -> None:
        self.rows: dict[str, Availability] = {}
        self._channel = channel
        self._local = local
        self._best: list[Availability] | None = None

    def prove(self, names: Iterable[str]) -> Mapping[str, Availability]:
        """See `Prover`."""
        names = list(names)
        unknown = [name for name in names if name not in self.rows]
        if unknown:
            self._ask("names", names=unknown)
            # Registered by a conftest that only workers load: not known to the controller.
            self.rows.update(self._local.prove([name for name in unknown if name not in self.rows]))
        return {name: self.rows[name] for name in names}

    def find_best(self) -> list[Availability]:
        """See `Prover`."""
        if self._best is None:
            self._best = self._ask("best")
        return self._best

    def report_fatal(self, message: str) -> None:
        """Tell the controller why this run cannot have executors."""
        self._ask("fatal", message=message)

    def _ask(self, what: str, **details: Any) -> list[Availability]:
        try:
            self._channel.send(json.dumps({"ask": what, **details}))
            # Every executor may use up its deadline, one after the other.
            answer = json.loads(self._channel.receive(timeout=PULL_DEADLINE + 10 * PROOF_DEADLINE))
        except (OSError, EOFError) as error:  # execnet's own timeout is an OSError
            raise SandboxError(f"Cannot learn from the controller which executors work: {type(error).__name__}: {error}") from error
        if isinstance(answer, dict):
            raise SandboxError(f"Cannot learn from the controller which executors work: there, {answer['error']}")
        rows = [Availability(**row) for row in answer]
        self.rows.update({row.name: row for row in rows})
        return rows
