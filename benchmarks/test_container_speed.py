"""How fast the executor container is, against `run --rm` of the same image with the same settings, in the same run."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pytest_sandbox import ExecutorUnavailable
from pytest_sandbox.engines.quirks import with_podman_ulimits
from pytest_sandbox.snippets.container import ContainerExecutor

from .conftest import Meter

FLAGS = [
    *("--network=none", "--read-only", "--cap-drop=ALL", "--user=node", "--security-opt=no-new-privileges", "--ipc=none"),
    *("--tmpfs=/tmp:rw,noexec,nosuid,size=64m", "--pids-limit=64", "--memory=256m", "--memory-swap=256m", "--cpus=1.0"),
    *("--ulimit=core=0:0", "--ulimit=nofile=1024:1024", "--log-driver=none", "--pull=never"),
]
# On the machine of the design: 160 ms for one `docker run --rm`.
RUN = 160.0
ENGINES = ["docker", "podman"]


def medians_of_runs(command: list[str], rounds: int) -> float:
    durations = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        durations.append(time.perf_counter() - started)
    return statistics.median(durations) * 1000


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    kind = str(request.param)
    if shutil.which(kind) is None:
        pytest.skip(f"{kind} is not installed")
    return kind


@pytest.fixture
def make(engine: str) -> Iterator[Any]:
    made: list[ContainerExecutor] = []

    def make(**options: Any) -> ContainerExecutor:
        try:
            made.append(ContainerExecutor(engine=engine, **options))
        except ExecutorUnavailable as error:
            pytest.skip(str(error))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


@pytest.fixture
def plain_run(engine: str, make: Any) -> list[str]:
    """The command that runs Node once in our image, with our settings, as anybody would."""
    executor = make(spares=0)
    image = executor._spec.image
    executor.close()
    # As we have to, where a machine's hard limits are below what Podman asks for.
    limits = with_podman_ulimits(executor._spec).ulimits if engine == "podman" else ()
    more = [f"--ulimit={limit.name}={limit.soft}:{limit.hard}" for limit in limits if limit.name not in ("core", "nofile")]
    return [engine, "run", "--rm", *FLAGS, *more, image, "/usr/bin/node", "-e", "0"]


def test_a_fresh_container_that_is_ready(engine: str, make: Any, plain_run: list[str], meter: Meter) -> None:
    executor = make()
    durations = []
    baselines = []
    for _ in range(20):
        # In turn: what else the machine does hits both alike. Meanwhile a spare gets ready.
        baselines.append(medians_of_runs(plain_run, 1))
        time.sleep(0.3)
        started = time.perf_counter()
        executor.execute("return 1+1").check()
        durations.append((time.perf_counter() - started) * 1000)
    paced, baseline = statistics.median(durations), statistics.median(baselines)
    meter.note(f"container, {engine}: fresh, paced, p50 (aim 1/40)", paced, "ms", baseline=baseline, aim=1 / 40)
    meter.note(f"container, {engine}: the same (aim 3 ms)", paced, "ms", aim=3.0)


def test_fresh_containers_one_after_the_other(engine: str, make: Any, plain_run: list[str], meter: Meter) -> None:
    count = 15
    for spares in (0, 2):
        executor = make(spares=spares)
        executor.execute("return 1").check()
        started = time.perf_counter()
        for _ in range(count):
            executor.execute("return 1+1").check()
        ours = (time.perf_counter() - started) / count * 1000
        executor.close()
        started = time.perf_counter()
        with ThreadPoolExecutor(spares + 1) as pool:
            list(pool.map(lambda _: subprocess.run(plain_run, check=True, capture_output=True), range(count)))
        theirs = (time.perf_counter() - started) / count * 1000
        name = f"container, {engine}: fresh, sustained, {spares + 1} at a time"
        meter.note(name, ours, "ms", baseline=theirs, aim=1.0)


def test_a_fresh_process(engine: str, make: Any, plain_run: list[str], meter: Meter) -> None:
    executor = make(fresh="process")
    baseline = medians_of_runs(plain_run, 7)
    ours = meter.seconds(lambda: executor.execute("return 1+1").check(), rounds=50) * 1000
    meter.note(f"container, {engine}: fresh process, back to back, p50", ours, "ms", baseline=baseline, aim=25 / RUN)


def test_the_first_result(engine: str, make: Any, plain_run: list[str], meter: Meter) -> None:
    durations, baselines = [], []
    for _ in range(7):
        baselines.append(medians_of_runs(plain_run, 1))
        started = time.perf_counter()
        executor = make()
        executor.execute("return 1+1").check()
        durations.append((time.perf_counter() - started) * 1000)
        executor.close()
    ours, baseline = statistics.median(durations), statistics.median(baselines)
    meter.note(f"container, {engine}: first result", ours, "ms", baseline=baseline, aim=450 / RUN)


def test_an_idle_container(engine: str, make: Any, meter: Meter) -> None:
    executor = make(spares=1)
    executor.execute("return 1+1").check()
    while not executor._pool._idle:  # it is started in the background
        time.sleep(0.01)
    (spare,) = executor._pool._idle
    spare.wait_until_ready()
    time.sleep(0.5)
    stats = executor._engine.stats(spare._link._container)
    meter.note(f"container, {engine}: an idle pooled container", stats.memory / 1e6, "MB", aim=60.0)
