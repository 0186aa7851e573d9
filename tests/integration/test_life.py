"""However a test run ends, and in the middle of whatever: nothing of ours is left ten seconds later (containers: fifteen)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pytest_sandbox import detect_executors
from pytest_sandbox.engines.base import Engine
from pytest_sandbox.engines.detect import detect_engine
from pytest_sandbox.engines.owner import OWNER_LABEL
from pytest_sandbox.errors import EngineUnavailable

PATIENCE = 60.0
"""Seconds for an inner run to come to the point where it is to die."""
GONE = 10.0
CONTAINERS_GONE = 15.0

PRELUDE = """
import asyncio, json, os, sys, tempfile, threading, time
import pytest
from pytest_sandbox import Limits, NativeEntry, create_executor
from pytest_sandbox.entries.registry import EntryRegistry

NAMES = json.loads(os.environ["NAMES"])
READY = os.environ["READY"]
said = threading.Lock()

def say(what):
    with said, open(READY, "a") as file:
        file.write(what + "\\n")

def make(name):
    # The second deno is without a jail: its folder is on disk.
    options = {"jail": "off"} if name == "deno-bare" else {}
    return create_executor(name.removesuffix("-bare"), limits=Limits(timeout=None), **options)

def everywhere(do):
    def work(name):
        try:
            do(name)
        except Exception as error:
            say(f"FAILED {name} {error!r}".replace(" ", "_"))
            raise
    # Daemon threads: a test that is interrupted leaves them, as any library might.
    threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in NAMES]
    for thread in threads:
        thread.start()
    return threads

def hold(name, code, tools=None):
    executor = make(name)
    executor.execute(code, {"ready": lambda: say(name), **(tools or {})})

def command():
    process = EntryRegistry.of(NativeEntry(name="shell")).get("shell").exec("/bin/sleep 1000")
    process.start()
    say("command")
    return process

def wait():
    while not os.path.exists(READY + ".go"):
        time.sleep(0.05)
"""

BUSY = "await codemode.ready(); for (;;) {}"
# For all but one: that many busy loops would leave the machine no time for anything else.
IDLE = "await codemode.ready(); await new Promise(() => {})"
PHASES = {
    "collection": f"""
kept = [command()]
everywhere(lambda name: hold(name, {IDLE!r}))
wait()
""",
    "execution": f"""
def test_x():
    kept = command()
    everywhere(lambda name: hold(name, {IDLE!r}))
    hold(NAMES[0], {BUSY!r})
""",
    "tool": """
def test_x():
    kept = command()
    code = "codemode.ready(); await codemode.hang()"
    everywhere(lambda name: hold(name, code, {"hang": wait}))
    hold(NAMES[0], code, {"hang": wait})
""",
    "async": f"""
def test_x():
    kept = command()
    async def main():
        executors = [make(name) for name in NAMES]
        await asyncio.gather(*(
            executor.aexecute({IDLE!r}, {{"ready": lambda name=name: say(name)}}) for name, executor in zip(NAMES, executors)
        ))
    asyncio.run(main())
""",
    "close": """
def test_x():
    kept = command()
    def work(name):
        executor = make(name)
        executor.execute("return 1")
        close = executor._pool.close
        def slowly():
            say(name)
            wait()
        executor._pool.close = slowly
        executor.close()
    threads = everywhere(work)
    work(NAMES[0])
""",
    "start": """
def test_x():
    kept = [command()]
    for name in NAMES:
        kept.append(make(name))
        say(name)
    wait()
""",
}


@pytest.fixture(scope="session")
def names() -> list[str]:
    """The executors that work here."""
    found = [row.name for row in detect_executors() if row.available]
    return found + (["deno-bare"] if "deno" in found else [])


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine | None]:
    """What runs the containers of executor container, if anything."""
    try:
        found = detect_engine()
    except EngineUnavailable:
        yield None
        return
    yield found
    found.close()


class Run:
    """A test run, in a session of its own, as a terminal would start it."""

    def __init__(self, folder: Path, body: str, names: list[str], *arguments: str) -> None:
        self._ready = folder / "ready"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        (folder / "test_inner.py").write_text(PRELUDE + body)
        environment = {**os.environ, "NAMES": json.dumps(names), "READY": str(self._ready), "TMPDIR": str(self.temporary)}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:hypothesispytest",
            "-p",
            "no:timeout",
            *arguments,
        ]
        self._output = (folder / "output").open("w+")
        self.process = subprocess.Popen(
            [*command, "test_inner.py"],
            cwd=folder,
            env=environment,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.seen: dict[int, psutil.Process] = {}

    def output(self) -> str:
        self._output.seek(0)
        return self._output.read()

    def said(self) -> list[str]:
        return self._ready.read_text().split() if self._ready.exists() else []

    def go(self) -> None:
        """Let it go on."""
        self._ready.with_suffix(".go").touch()

    def wait_for(self, expected: set[str]) -> None:
        """Wait until the run has said all of this."""
        deadline = time.monotonic() + PATIENCE
        while not expected <= set(self.said()):
            assert time.monotonic() < deadline, f"only {self.said()} of {expected} are ready\n{self.output()}"
            assert self.process.poll() is None, self.output()
            time.sleep(0.02)

    def look(self) -> None:
        """Note all processes of the run, however they hang together."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            self.seen[process.pid] = process

    def survivors(self) -> list[str]:
        alive = []
        for process in self.seen.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(f"{process.pid} {process.name()} {process.cmdline()[:3]}")
        return alive

    def containers(self, engine: Engine | None) -> list[str]:
        owners = {str(pid) for pid in (self.process.pid, *self.seen)}
        found = engine.find(OWNER_LABEL) if engine is not None else []
        return [state.name for state in found if state.labels[OWNER_LABEL].split(":")[2] in owners]

    def folders(self) -> list[str]:
        return [path.name for path in self.temporary.iterdir() if "sandbox" in path.name]

    def check_gone(self, engine: Engine | None) -> None:
        """Check that nothing is left."""
        died = time.monotonic()
        while self.survivors() and time.monotonic() < died + GONE:
            time.sleep(0.05)
        assert self.survivors() == []
        while self.folders() and time.monotonic() < died + GONE:
            time.sleep(0.05)
        assert self.folders() == []
        while self.containers(engine) and time.monotonic() < died + CONTAINERS_GONE:
            time.sleep(0.1)
        assert self.containers(engine) == []

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for process in self.seen.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._output.close()


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path, names: list[str]) -> Iterator[Start]:
    runs: list[Run] = []

    def start(body: str, *arguments: str) -> Run:
        folder = tmp_path / str(len(runs))
        folder.mkdir()
        runs.append(Run(folder, body, names, *arguments))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


DEATHS = [
    *((phase, signal.SIGINT) for phase in PHASES),
    *((phase, signal.SIGKILL) for phase in ("execution", "close", "start")),
    ("tool", signal.SIGTERM),
]


@pytest.mark.parametrize(("phase", "death"), DEATHS, ids=lambda value: value if isinstance(value, str) else value.name)
def test_nothing_outlives_a_run_that_is_ended_by_a_signal(
    start: Start, names: list[str], engine: Engine | None, phase: str, death: signal.Signals
) -> None:
    run = start(PHASES[phase], "-s")
    run.wait_for({*names, "command"})
    run.look()
    assert len(run.survivors()) > len(names), "there is nothing that could have survived"
    if "container" in names and phase != "start":
        assert run.containers(engine), "there is no container that could have survived"
    sent = time.monotonic()
    os.killpg(run.process.pid, death)  # as a terminal does: the foreground process group gets it
    code = run.process.wait(PATIENCE)
    assert time.monotonic() - sent < GONE, run.output()
    assert code == (pytest.ExitCode.INTERRUPTED if death == signal.SIGINT else -death), run.output()
    run.check_gone(engine)


def test_nothing_outlives_a_run_that_stops_at_the_first_failure(start: Start, names: list[str], engine: Engine | None) -> None:
    run = start(
        """
kept = [make(name) for name in NAMES]  # which the module never closes

def test_x(executor_factory):
    kept.append(command())
    hold(NAMES[0], "codemode.ready(); return 1")
    for executor in kept[:-1]:
        executor.execute("return 1").check()
    wait()
    assert False

def test_y():
    say("not to be said")
""",
        "-x",
    )
    run.wait_for({names[0], "command"})
    run.look()
    assert len(run.survivors()) > len(names)
    run.go()
    assert run.process.wait(PATIENCE) == pytest.ExitCode.TESTS_FAILED, run.output()
    assert "not" not in run.said()
    run.check_gone(engine)


def test_nothing_of_a_worker_outlives_it_while_the_run_goes_on(start: Start, names: list[str], engine: Engine | None) -> None:
    pytest.importorskip("xdist")
    run = start(
        f"""
def test_x():
    kept = command()
    everywhere(lambda name: hold(name, {IDLE!r}))
    wait()
    os._exit(3)

def test_y():
    say(f"other {{os.getpid()}}")
    os.rename(READY + ".go", READY + ".gone")
    wait()
""",
        "-n1",
    )
    run.wait_for({*names, "command"})
    run.look()
    (worker,) = psutil.Process(run.process.pid).children()
    below = {process.pid for process in worker.children(recursive=True)}
    assert len(below) > len(names)
    run.go()
    run.wait_for({"other"})  # said by the worker that takes its place
    assert run.process.poll() is None
    run.seen = {pid: process for pid, process in run.seen.items() if pid == worker.pid or pid in below}
    run.check_gone(engine)
    run.go()
    assert run.process.wait(PATIENCE) == pytest.ExitCode.TESTS_FAILED, run.output()
    assert "worker 'gw0' crashed" in run.output()


def test_workers_and_all_of_theirs_go_when_the_controller_is_killed(start: Start, names: list[str], engine: Engine | None) -> None:
    pytest.importorskip("xdist")
    hold = f"kept = command()\n    hold(NAMES[0], {IDLE!r})"
    run = start(f"def test_x():\n    {hold}\ndef test_y():\n    say('second')\n    {hold}\n", "-n2")
    run.wait_for({names[0], "command", "second"})
    deadline = time.monotonic() + PATIENCE
    while sorted(run.said()) != sorted([names[0], names[0], "command", "command", "second"]):
        assert time.monotonic() < deadline, run.said()
        time.sleep(0.02)
    run.look()
    run.process.kill()
    run.check_gone(engine)
