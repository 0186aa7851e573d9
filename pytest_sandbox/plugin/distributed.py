"""pytest-xdist: the controller finds out which executors work, the workers ask it.

Executors that were asked for by name are proved before the workers start, so that the run can be ended at once. All
else is found out when the first worker has collected a test that needs it, once for all workers: each worker gets a
channel of its own, inside ``workerinput``, on which it asks.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from pytest_sandbox.plugin.state import run_of
from pytest_sandbox.proofs import PROOF_DEADLINE, Availability

if TYPE_CHECKING:
    import pytest

    from pytest_sandbox.plugin.provers import Prover

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
        question = json.loads(message)
        run = run_of(node.config)
        run.needed = True
        if question["ask"] == "fatal":
            run.fatal = question["message"]
            return
        if question["ask"] == "best":
            rows = run.prover.find_best()
        else:
            known = {spec.name for spec in run.registry.specs()}
            rows = list(run.prover.prove([name for name in question["names"] if name in known]).values())
        plain = [{key: getattr(row, key) for key in _FIELDS} for row in rows]
        channel.send(json.dumps(plain))

    # The thread that delivers a worker's messages must not be kept waiting.
    channel.setcallback(lambda message: threading.Thread(target=answer, args=(message,), daemon=True).start())


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
        self._channel.send(json.dumps({"ask": "fatal", "message": message}))

    def _ask(self, what: str, **details: Any) -> list[Availability]:
        self._channel.send(json.dumps({"ask": what, **details}))
        # Every executor may use up its deadline, one after the other.
        answer = json.loads(self._channel.receive(timeout=10 * PROOF_DEADLINE))
        rows = [Availability(**row) for row in answer]
        self.rows.update({row.name: row for row in rows})
        return rows
