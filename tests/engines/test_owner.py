"""Nothing is left behind: the watchdog removes the containers of a test run that was killed, and the sweep those of dead owners."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pytest_sandbox
from pytest_sandbox.engines import owner
from pytest_sandbox.engines.base import Engine
from pytest_sandbox.engines.owner import OWNER_LABEL, is_dead, new_name, owner_label, sweep
from pytest_sandbox.engines.spec import ContainerSpec
from pytest_sandbox.processes.watchdog import start_ticks
from tests.real_engines import COMBINATIONS, TEST_LABEL

from .conftest import TOKEN, Containers

ROOT = Path(pytest_sandbox.__file__).parents[1]

PRELUDE = """
import os, sys, time
from pytest_sandbox.engines.detect import detect_engine
from pytest_sandbox.engines.spec import ContainerSpec
kind, transport, image, label, value = sys.argv[1:]
engine = detect_engine(kind, transport=transport)
def create(*command, **settings):
    return engine.create(ContainerSpec(image=image, command=command or ("/bin/sleep", "600"), labels={label: value}, **settings))
def say(word):
    print(word, flush=True)
"""


@pytest.fixture
def victim(engine_name: str, engine: Engine, busybox: str) -> Iterator[Callable[[str, str], subprocess.Popen[str]]]:
    """Start a Python process that makes containers with a label."""
    processes: list[subprocess.Popen[str]] = []

    def start(body: str, value: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(body), *COMBINATIONS[engine_name], busybox, TEST_LABEL, value],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, "the process died before it spoke: see its traceback above"
    return line


def test_containers_in_every_state_are_gone_after_sigkill(
    victim: Callable[[str, str], subprocess.Popen[str]], engine: Engine, gone_within: Callable[[float, str], bool]
) -> None:
    value = new_name()
    process = victim(
        """
        from pytest_sandbox.processes import watchdog
        # As if we died before the engine has heard of it: the others go all the same.
        watchdog.watch_container(engine.remover, "pytest-sandbox-never-created")
        created = create()
        running = create()
        engine.start(running.id)
        deaf = create("/bin/sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1; done", stdin=True)
        streams = engine.open(deaf.id)
        ended = create("/bin/true")
        engine.start(ended.id)
        engine.wait(ended.id, timeout=20)
        while not engine.inspect(deaf.id).is_running:
            time.sleep(0.05)
        say("ready")
        time.sleep(600)
        """,
        value,
    )
    heard(process)
    assert len(engine.find(f"{TEST_LABEL}={value}")) == 4, "they must be there before, or their absence proves nothing"
    process.kill()
    assert gone_within(15, f"{TEST_LABEL}={value}")


def test_without_the_watchdog_they_would_have_stayed(
    victim: Callable[[str, str], subprocess.Popen[str]],
    engine: Engine,
    gone_within: Callable[[float, str], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = new_name()
    process = victim(
        """
        from pytest_sandbox.engines import owner
        from pytest_sandbox.processes import watchdog
        owner._here = lambda: ("a boot", "1")
        created = create()
        watchdog.unwatch_container(engine.remover, created.name)
        say(created.name)
        say(watchdog.watchdog_pid())
        time.sleep(600)
        """,
        value,
    )
    name, number = heard(process), int(heard(process))
    process.kill()
    process.wait()
    deadline = time.monotonic() + 15
    while start_ticks(number) >= 0:
        assert time.monotonic() < deadline, "the watchdog has nothing left to do, and goes"
        time.sleep(0.01)
    assert engine.find(f"{TEST_LABEL}={value}")
    # Its owner is of a machine of its own, or else the start of any other test would have swept it.
    assert name not in sweep(engine)
    monkeypatch.setattr(owner, "_here", lambda: ("a boot", "1"))
    assert name in sweep(engine), "its owner is dead, so the next start sweeps it"
    assert gone_within(1, f"{TEST_LABEL}={value}")


def test_a_sweep_spares_the_living_other_machines_and_other_namespaces(
    engine: Engine, busybox: str, containers: Containers
) -> None:
    boot, namespace, pid, ticks = owner_label().split(":")
    spared = {
        "living": f"{boot}:{namespace}:{pid}:{ticks}",
        "another machine, or before its last start": f"{'0' * 36}:{namespace}:{pid}:1",
        "another namespace": f"{boot}:1:{pid}:1",
        "of another kind": "somebody",
        "no number": f"{boot}:{namespace}:x:y",
    }
    swept = {"a number used again": f"{boot}:{namespace}:{pid}:{int(ticks) - 1}", "dead": f"{boot}:{namespace}:{2**22 + 1}:1"}
    assert {name: is_dead(label) for name, label in {**spared, **swept}.items()} == {
        **dict.fromkeys(spared, False),
        **dict.fromkeys(swept, True),
    }


def test_every_container_names_its_owner(engine: Engine, containers: Containers) -> None:
    state = engine.inspect(containers.create("true").id)
    boot, namespace, pid, ticks = state.labels[OWNER_LABEL].split(":")
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert int(namespace) == os.stat("/proc/self/ns/pid").st_ino
    assert (int(pid), int(ticks)) == (os.getpid(), start_ticks(os.getpid()))
    assert not is_dead(state.labels[OWNER_LABEL])
    assert state.name not in sweep(engine)
    assert engine.inspect(state.id).id == state.id


def test_the_label_cannot_be_replaced_by_the_specification(engine: Engine, busybox: str) -> None:
    created = engine.create(ContainerSpec(image=busybox, labels={OWNER_LABEL: "nobody", TEST_LABEL: TOKEN}))
    try:
        assert engine.inspect(created.id).labels[OWNER_LABEL] == owner_label()
    finally:
        engine.remove(created.id)
