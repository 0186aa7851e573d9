"""Test runs that are killed at random moments leave no container, 15 seconds later.

By default ten of them, five on each engine; `tox -e kills` makes it a hundred on each. A failure prints the seed, and with
PYTEST_SANDBOX_KILLS_SEED the same moments come again.
"""

from __future__ import annotations

import dataclasses
import os
import random
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_sandbox.engines.base import Engine
from pytest_sandbox.engines.layers import ImageRecipe
from pytest_sandbox.engines.owner import OWNER_LABEL
from tests.real_engines import COMBINATIONS, TEST_LABEL, engine_named

EACH = int(os.environ.get("PYTEST_SANDBOX_KILLS", "5"))
AT_ONCE = 5
GONE_AFTER = 15.0  # seconds

CONFTEST = '''
import dataclasses, os, signal, threading
from pytest_sandbox.engines import cli, detect, image, layers, sdk

MOMENT, COUNT, DELAY = os.environ["KILL_PLAN"].split()
MARK, LOG, KIND, TRANSPORT = (os.environ[name] for name in ("KILL_MARK", "KILL_LOG", "KILL_KIND", "KILL_TRANSPORT"))
lock = threading.Lock()
counts = {}

def comes(moment):
    """Note a moment, and die at the one that was chosen, or a little later."""
    with lock, open(LOG, "a") as file:
        file.write(f"{moment}\\n")
        counts[moment] = counts.get(moment, 0) + 1
        chosen = moment == MOMENT and counts[moment] == int(COUNT)
    if chosen:
        threading.Timer(float(DELAY), os.kill, (os.getpid(), signal.SIGKILL)).start()

def watched(engine):
    class Watched(engine):
        def create(self, spec, **more):
            comes("create")
            created = super().create(dataclasses.replace(spec, labels={**spec.labels, "pytest-sandbox.test": MARK}), **more)
            comes("created")
            return created

        def open(self, *arguments, **more):
            comes("open")
            return super().open(*arguments, **more)

        def remove(self, *arguments, **more):
            comes("remove")
            return super().remove(*arguments, **more)

        def load(self, *arguments, **more):
            comes("load")
            return super().load(*arguments, **more)
    return Watched

sdk.SdkEngine, cli.CliEngine = watched(sdk.SdkEngine), watched(cli.CliEngine)
detect_engine = detect.detect_engine
detect.detect_engine = lambda runtime=None, *, host=None, transport=None: detect_engine(KIND, transport=TRANSPORT)

if MOMENT == "load":
    # An image of its own, so that there is something to build.
    ensure_image, archive = image.ensure_image, layers.ImageRecipe.archive
    image.ensure_image = lambda engine, files: ensure_image(engine, {**files, "/mark": layers.ImageFile(os.urandom(8), 0o444)})
    layers.ImageRecipe.archive = lambda self, tag, labels: archive(self, tag, {**labels, "pytest-sandbox.test": MARK})
'''
TESTS = """
import pytest

@pytest.mark.parametrize("number", range(200))
def test_it(executor, docker_executor, number):
    assert executor.execute("return 1+1", timeout=20).value == 2
    process = docker_executor.exec("sleep 60")
    process.start()
    if number % 2:
        process.close(force=True)
"""
ENTRIES = "- {name: box, kind: exec.docker, image: IMAGE, cap_drop: [ALL]}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """When one test run dies: `delay` seconds after a moment has come so often, or after its start."""

    engine: str
    moment: str
    count: int
    delay: float
    workers: int

    @classmethod
    def draw(cls, chance: random.Random, kind: str, moment: str) -> Plan:
        engine = chance.choice([name for name, (each, _) in COMBINATIONS.items() if each == kind])
        if moment == "start":
            workers = chance.choice((0, 0, 2))
            return cls(engine, moment, 1, chance.uniform(0.2, 4 + workers), workers)
        longest = {"load": 0.5, "created": 0.02}.get(moment, 0.2)
        return cls(engine, moment, 1 if moment == "load" else chance.randint(1, 7), chance.uniform(0, longest), 0)


def make_plans(chance: random.Random) -> list[Plan]:
    """Make the plans for both engines, with every moment as often as any other."""
    plans = []
    for kind in ("docker", "podman"):
        moments = ["start", "load", "create", "created", "open", "remove"]
        chance.shuffle(moments)
        plans += [Plan.draw(chance, kind, moments[number % len(moments)]) for number in range(EACH)]
    chance.shuffle(plans)
    return plans


@pytest.fixture
def project(tmp_path: Path, busybox_recipe: ImageRecipe) -> Iterator[tuple[Path, str]]:
    """A folder with tests, and the mark that all which they make bears; afterwards nothing bears it."""
    mark = secrets.token_hex(8)
    engines = [engine_named("docker-sdk"), engine_named("podman-sdk")]
    tag = f"localhost/pytest-sandbox-test/killed:{mark}"
    for engine in engines:
        engine.load(busybox_recipe.archive(tag, {TEST_LABEL: mark}))
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "entries.yaml").write_text(ENTRIES.replace("IMAGE", tag))
    (tmp_path / "pytest.ini").write_text("[pytest]\nsandbox_entries = entries.yaml\nsandbox_executor = container\n")
    yield tmp_path, mark
    for engine in engines:
        for state in engine.find(f"{TEST_LABEL}={mark}"):
            engine.remove(state.id)
        for image in engine.list_images(f"{TEST_LABEL}={mark}"):
            engine.remove_image(image.tags[0] if image.tags else image.id)


def run_and_kill(plan: Plan, number: int, folder: Path, mark: str) -> tuple[int, int]:
    """Run the tests until they die as planned; return the process id, and the exit code."""
    kind, transport = COMBINATIONS[plan.engine]
    environment = {
        **os.environ,
        "KILL_PLAN": f"{plan.moment} {plan.count} {plan.delay}",
        "KILL_MARK": mark,
        "KILL_LOG": str(folder / f"{number}.log"),
        "KILL_KIND": kind,
        "KILL_TRANSPORT": transport,
    }
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS", "EXECUTOR_TYPE", "CONTAINER_RUNTIME"):
        environment.pop(name, None)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-x",
        "-q",
        f"-n{plan.workers}",
        "-c",
        str(folder / "pytest.ini"),
    ]
    with (folder / f"{number}.out").open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        killer = threading.Timer(plan.delay if plan.moment == "start" else 90, process.kill)
        killer.start()
        code = process.wait()
        killer.cancel()
    return process.pid, code


def left_after(engines: list[Engine], mark: str, deadline: float) -> list[tuple[str, str, str]]:
    """Wait until nothing bears the mark, or the time is up; return name, status and owner of what is left."""
    while True:
        left = [
            (state.name, state.status, state.labels.get(OWNER_LABEL, "").split(":")[2])
            for engine in engines
            for state in engine.find(f"{TEST_LABEL}={mark}")
        ]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


@pytest.mark.timeout(60 + 24 * EACH)
def test_test_runs_that_are_killed_at_random_moments_leave_no_container(project: tuple[Path, str]) -> None:
    folder, mark = project
    seed = os.environ.get("PYTEST_SANDBOX_KILLS_SEED") or secrets.token_hex(4)
    print(f"PYTEST_SANDBOX_KILLS_SEED={shlex.quote(seed)}")
    plans = make_plans(random.Random(seed))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = list(pool.map(lambda item: run_and_kill(item[1], item[0], folder, mark), enumerate(plans)))
    deadline = time.monotonic() + GONE_AFTER
    for number, (plan, (pid, code)) in enumerate(zip(plans, ends, strict=True)):
        moments = (folder / f"{number}.log").read_text().split() if (folder / f"{number}.log").exists() else []
        print(f"{number}: process {pid}, {plan}: exit code {code}, after {len(moments)} moments, at last {moments[-3:]}")
        assert code == -signal.SIGKILL, (folder / f"{number}.out").read_text()[-3000:]
        assert plan.moment == "start" or moments.count(plan.moment) >= plan.count
    engines = [engine_named("docker-sdk"), engine_named("podman-sdk")]
    assert left_after(engines, mark, deadline) == []
    created = sum(path.read_text().split().count("created") for path in folder.glob("*.log"))
    assert created >= len(plans), "few containers were made, and their absence proves little"
