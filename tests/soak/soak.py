"""The soak: everything at once on all executors that work here, for as long as one likes, with invariants checked all along.

    python tests/soak/soak.py --seconds 600 --seed 1 --report report.md

It runs in rounds. In a round, threads do random things (`operations.py`) on all executors at the same time, and now and then close one
and make a new one under the feet of the others. At the end of a round, all executors are closed, and then nothing of ours may be left:
no process, no container, no temporary folder, no user id of a jail, no descriptor, no thread; and the memory of this process must not
have grown since the warm-up.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import os
import platform
import random
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import operations  # type: ignore[import-not-found]  # beside this file, which is run as a script
import psutil

from pytest_sandbox import ExecutorClosed, Limits, NativeEntry, SnippetExecutor, create_executor, detect_executors
from pytest_sandbox.engines.base import Engine
from pytest_sandbox.engines.detect import detect_engine
from pytest_sandbox.engines.owner import OWNER_LABEL
from pytest_sandbox.entries.registry import EntryRegistry
from pytest_sandbox.errors import EngineUnavailable

MB = 1_000_000
MOST_GROWTH = 20 * MB
ROUND = 12.0
"""Seconds of work in a round."""
SETTLED = 15.0
"""Seconds that what was closed may take to be gone."""
LIMITS = Limits(memory=128 * 2**20, output=20_000, tool_calls=200, timeout=operations.LONG)


@dataclass
class Round:
    """What was measured when a round was over and everything was closed."""

    seconds: float
    operations: int
    memory: int
    descriptors: int
    threads: int


class Slot:
    """One executor that is used by several threads, and replaced at any time."""

    def __init__(self, name: str, options: dict[str, Any], threads: int) -> None:
        self.name = "-".join([name, *(str(value) for value in options.values() if isinstance(value, str))])
        self.threads = threads
        self._make: Callable[[], SnippetExecutor] = lambda: create_executor(name, limits=LIMITS, **options)
        self._lock = threading.Lock()
        self.executor: SnippetExecutor | None = None
        self.described = ""

    def open(self) -> SnippetExecutor:
        with self._lock:
            if self.executor is None:
                self.executor = self._make()
                self.described = self.executor.info.describe()
            return self.executor

    def close(self) -> float:
        """Close it, and return how long that took."""
        with self._lock:
            executor, self.executor = self.executor, None
        started = time.monotonic()
        if executor is not None:
            executor.close()
        return time.monotonic() - started


class Soak:
    """One soak.

    Args:
        seconds: how long.
        seed: of all random numbers.
    """

    def __init__(self, seconds: float, seed: int) -> None:
        self.seconds = seconds
        self.seed = seed
        self.failures: list[str] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.rounds: list[Round] = []
        self.slowest_close = 0.0
        self._me = psutil.Process()
        self._engine = self._find_engine()
        names = [row.name for row in detect_executors() if row.available]
        self.slots = [Slot(name, {}, 1 if name == "container" else 2) for name in names]
        if "deno" in names:
            self.slots.append(Slot("deno", {"jail": "off"}, 1))
        if "container" in names:
            self.slots.append(Slot("container", {"fresh": "process"}, 1))

    @staticmethod
    def _find_engine() -> Engine | None:
        try:
            return detect_engine()
        except EngineUnavailable:
            return None

    # -- a round --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run rounds until the time is up."""
        started = time.monotonic()
        while not self.rounds or time.monotonic() - started < self.seconds:
            number = len(self.rounds)
            before = sum(self.counts.values())
            self._work(number, min(ROUND, max(2.0, self.seconds / 5)))
            self._check(number)
            self.rounds.append(
                Round(
                    time.monotonic() - started,
                    sum(self.counts.values()) - before,
                    self._memory(),
                    self._me.num_fds(),
                    threading.active_count(),
                )
            )
            self._check_flat()
            print(f"round {number}: {self.rounds[-1]}", flush=True)

    def _work(self, number: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        over = threading.Event()
        threads = []
        for index, slot in enumerate(self.slots):
            for thread in range(slot.threads):
                dice = random.Random(f"{self.seed} {number} {index} {thread}")
                threads.append(threading.Thread(target=self._use, args=(slot, dice, end, over)))
        threads.append(threading.Thread(target=self._command, args=(random.Random(f"{self.seed} {number} commands"), end)))
        threads.append(threading.Thread(target=self._replace, args=(random.Random(f"{self.seed} {number} closes"), end)))
        for each in threads:
            each.start()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
        over.set()  # tools that hang by now are let go, as are those that will
        for each in threads:
            each.join(3 * operations.LONG)
            if each.is_alive():
                self.failures.append(f"round {number}: a thread hangs")
        for slot in self.slots:
            self.slowest_close = max(self.slowest_close, slot.close())

    def _use(self, slot: Slot, dice: random.Random, end: float, over: threading.Event) -> None:
        works, weights = zip(*operations.SNIPPETS, strict=True)
        while time.monotonic() < end:
            (work,) = dice.choices(works, weights)
            try:
                work(slot.open(), dice, over)
                self.counts[slot.name, work.__name__] += 1
            except ExecutorClosed:
                self.counts[slot.name, "closed meanwhile"] += 1
            except Exception as error:
                if isinstance(error.__cause__ or error.__context__, ExecutorClosed):
                    self.counts[slot.name, "closed meanwhile"] += 1
                    continue
                self.failures.append(f"{slot.name} {work.__name__}: {type(error).__name__}: {error}"[:2000])

    def _command(self, dice: random.Random, end: float) -> None:
        with EntryRegistry.of(NativeEntry(name="shell")).get("shell") as executor:
            while time.monotonic() < end:
                try:
                    self.counts["exec.native", operations.command(executor, dice)] += 1
                except Exception as error:
                    self.failures.append(f"exec.native: {type(error).__name__}: {error}"[:2000])
                time.sleep(0.05)

    def _replace(self, dice: random.Random, end: float) -> None:
        while time.monotonic() < end:
            time.sleep(0.5 + dice.random() * 3)
            slot = dice.choice(self.slots)
            self.slowest_close = max(self.slowest_close, slot.close())
            self.counts[slot.name, "close"] += 1

    # -- invariants -----------------------------------------------------------------------------------------------

    def _check(self, number: int) -> None:
        """Check that nothing of ours is left."""
        deadline = time.monotonic() + SETTLED
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(0.05)
        if left:
            self.failures.append(f"round {number}: left are {', '.join(left)}")

    def _left(self) -> list[str]:
        left = []
        for process in self._me.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "watchdog_script" not in str(process.cmdline()):
                    left.append(f"process {process.pid} {process.name()}")
        left += [f"folder {path.name}" for path in Path(tempfile.gettempdir()).iterdir() if "sandbox" in path.name]
        left += [f"user id {name}" for name in self._claims()]
        if self._engine is not None:
            mine = str(os.getpid())
            found = self._engine.find(OWNER_LABEL)
            left += [f"container {state.name}" for state in found if state.labels[OWNER_LABEL].split(":")[2] == mine]
        left += [f"thread {thread.name}" for thread in threading.enumerate() if thread.name in ("pytest-sandbox-loop",)]
        return left

    @staticmethod
    def _claims() -> list[str]:
        """Return the user ids of jails that this process still holds."""
        mine = set()
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                mine.add(os.readlink(f"/proc/self/fd/{name}"))
        with open("/proc/net/unix", encoding="ascii", errors="replace") as file:
            lines = [line.split() for line in file if "@pytest-sandbox-uid-" in line]
        return [line[-1] for line in lines if f"socket:[{line[6]}]" in mine]

    def _memory(self) -> int:
        gc.collect()
        # What the C library keeps for later is no leak, and grows with the number of threads that there have been.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        return int(self._me.memory_info().rss)

    @property
    def warm(self) -> list[Round]:
        """The rounds after the warm-up, which is a third of them, and three at least where there are so many."""
        first = min(max(3, len(self.rounds) // 3), len(self.rounds) - 1)
        return self.rounds[first:]

    @property
    def growth(self) -> int:
        """Bytes by which this process has grown since the warm-up: the middle of the last rounds, against the first one."""
        return int(statistics.median(each.memory for each in self.warm[-3:])) - self.warm[0].memory

    def _check_flat(self) -> None:
        if len(self.warm) < 2:
            return
        # Connections to an engine come and go with the garbage: the least of the last rounds counts.
        first, last = max(each.descriptors for each in self.warm[:3]), min(each.descriptors for each in self.warm[-3:])
        if last > first + 2:
            self.failures.append(f"descriptors have grown from {first} to {last}")
        first, last = max(each.threads for each in self.warm[:3]), min(each.threads for each in self.warm[-3:])
        if last > first + 2:
            self.failures.append(f"threads have grown from {first} to {last}")
        if self.growth > MOST_GROWTH:
            self.failures.append(f"memory has grown by {self.growth / MB:.1f} MB")

    # -- the report -------------------------------------------------------------------------------------------------

    def report(self) -> str:
        """Return the report, in Markdown."""
        kinds = sorted({kind for _, kind in self.counts})
        names = sorted({name for name, _ in self.counts})
        seconds = self.rounds[-1].seconds
        warm = self.warm
        lines = [
            f"{sum(self.counts.values())} operations in {seconds:.0f} s, {len(self.rounds)} rounds, seed {self.seed}: "
            + ("**every invariant held**." if not self.failures else f"**{len(self.failures)} failures**."),
            "",
            f"Machine: {platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores, "
            f"{psutil.virtual_memory().total / 2**30:.1f} GiB; Python {platform.python_version()}.",
            "",
            *(f"* `{slot.name}`: {_without_paths(slot.described)}" for slot in self.slots),
            "",
            "| Invariant | Found |",
            "|---|---|",
            f"| memory of the test run grows by less than {MOST_GROWTH // MB} MB after the warm-up | {self.growth / MB:+.1f} MB "
            f"(from {warm[0].memory / MB:.1f} MB) |",
            f"| descriptors do not grow | {self._range('descriptors')} |",
            f"| threads do not grow | {self._range('threads')} |",
            f"| no process, container, folder or user id is left, after each round | {self._word('left are')} |",
            f"| every result is right | {self._word(': Wrong')} |",
            f"| `close()` takes less than 2 s | at most {self.slowest_close:.2f} s |",
            "",
            "| Operation | " + " | ".join(f"`{name}`" for name in names) + " |",
            "|---|" + "---|" * len(names),
            *(f"| {kind} | " + " | ".join(str(self.counts[name, kind] or "") for name in names) + " |" for kind in kinds),
            "",
        ]
        if self.failures:
            lines += ["Failures:", "", *(f"* {failure}" for failure in self.failures[:50]), ""]
        return "\n".join(lines)

    def _range(self, what: str) -> str:
        values = [getattr(each, what) for each in self.rounds]
        return f"{', '.join(map(str, values[:3]))} in the first rounds, {', '.join(map(str, values[-3:]))} in the last"

    def _word(self, part: str) -> str:
        found = sum(part in failure for failure in self.failures)
        return f"{found} times not" if found else "held"


def _without_paths(text: str) -> str:
    return " ".join(word for word in text.replace("(/", "( /").split(" ") if not word.startswith("/") and word != "(").replace(
        " ,", ","
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Run everything at once on all executors, and check that nothing wedges or leaks.")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default: 600)")
    parser.add_argument("--seed", type=int, default=None, help="of the random numbers (default: another one each time)")
    parser.add_argument("--report", type=Path, default=None, help="file to write the report to, in Markdown")
    arguments = parser.parse_args()
    seed = secrets.randbelow(10**9) if arguments.seed is None else arguments.seed
    print(f"soak: {arguments.seconds:g} s with --seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        tempfile.tempdir = folder
        soak = Soak(arguments.seconds, seed)
        soak.run()
    report = soak.report()
    print(report)
    if arguments.report is not None:
        arguments.report.write_text(report)
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
