"""A test that leaves something of ours behind fails in teardown, and no other test does."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from pytest_sandbox.plugin import sentinel

TESTS = """
import functools
import threading
import unittest

import pytest

from pytest_sandbox import NativeEntry, create_executor
from pytest_sandbox.entries.registry import EntryRegistry

SLEEP = "/bin/sleep 60"

def make():
    executor = create_executor("isolated-vm")
    assert executor.execute("return 1+1").value == 2
    return executor

def native():
    return EntryRegistry.of(NativeEntry(name="shell")).get("shell")


# -- these leave something -----------------------------------------------------------------------------------

def test_leaves_an_executor_that_it_has_dropped():
    make()

def test_leaves_an_executor_in_a_cycle():
    cycle = [make()]
    cycle.append(cycle)

def test_leaves_an_executor_that_it_made_in_a_thread():
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()

def test_leaves_an_executor_and_fails():
    executor = make()
    assert executor is None

def test_leaves_a_command():
    executor = native()
    executor.exec(SLEEP).start()

def test_leaves_a_descriptor(request):
    request.node.process = native().exec(SLEEP)  # with the folder that it will run in

@pytest.fixture
def careless():
    return make()

def test_leaves_the_executor_of_its_fixture(careless):
    assert careless.execute("return 1").ok

@pytest.fixture(scope="module")
def careless_module():
    yield make()

class TestCase(unittest.TestCase):
    def test_leaves_an_executor_in_itself(self):
        self.executor = make()


# -- these do not ---------------------------------------------------------------------------------------------

def test_clean_with_statement():
    with make() as executor:
        executor.execute("for (;;) {}", timeout=0.2)

def test_clean_with_fixtures(executor, executor_factory, native_executor):
    executor.execute("return 1")
    executor_factory().execute("return 1")
    native_executor.exec(SLEEP).start()

def test_clean_with_commands():
    executor = native()
    assert executor.run("/bin/echo hello").ok
    process = executor.exec("/bin/true")
    process.start()  # which ends by itself

@pytest.fixture(scope="module")
def wide():
    with make() as executor:
        yield executor

def test_clean_with_a_fixture_of_wider_scope(wide):
    assert wide.execute("return 1").ok

@pytest.fixture(scope="session")
def workshop():
    made = {}
    def get(name):
        if name not in made:
            made[name] = make()
        return made[name]
    yield get
    for executor in made.values():
        executor.close()

def test_clean_although_it_is_the_first_to_want_it(workshop):
    assert workshop("a").execute("return 1").ok

@functools.cache
def cached():
    return make()

def test_clean_with_a_cache_of_the_module():
    assert cached().execute("return 1").ok

class TestOfClass:
    @classmethod
    def teardown_class(cls):
        cls.executor.close()

    def test_clean_with_an_attribute_of_the_class(self):
        type(self).executor = make()

    def test_clean_with_the_same_attribute(self):
        assert self.executor.execute("return 1").ok

@pytest.fixture(scope="session")
def server():
    wanted, ready, made = threading.Event(), threading.Event(), []
    def serve():
        wanted.wait()
        executor = make()
        made.append(executor)
        ready.set()
    thread = threading.Thread(target=serve)
    thread.start()
    def ask():
        wanted.set()
        ready.wait()
        return made.pop()  # nobody but the test has it now, and yet it was not the test who made it
    yield ask
    thread.join()

def test_clean_with_what_an_older_thread_has_made(server, request):
    executor = server()
    request.addfinalizer(executor.close)

def test_module_leaves_the_executor_of_its_fixture(careless_module):
    assert careless_module.execute("return 1").ok

def test_clean_after_all(executor):
    assert executor.execute("return 1").ok
"""


def errors(result: pytest.RunResult) -> set[str]:
    return set(re.findall(r"^ERROR \S*::(\w+)", result.stdout.str(), re.MULTILINE))


BLAMED = set(re.findall(r"def (test_(?!module)\w*leaves\w+)", TESTS))
LAST = "test_clean_after_all"


@pytest.mark.parametrize("workers", [0, 2])
def test_only_who_leaves_something_is_blamed(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.delenv("CI", raising=False)  # where it is set, the summary at the end tells everything again
    pytester.makepyfile(TESTS)
    # Of one file in one worker: a fixture of module scope ends with the last test there.
    result = pytester.runpytest_subprocess("-rE", "--executor=isolated-vm", f"-n{workers}", "--dist=loadfile")
    assert errors(result) == BLAMED | {LAST}
    # Nothing that leaves something fails otherwise, but for the one that does so on purpose.
    result.assert_outcomes(passed=len(re.findall(r"def test_", TESTS)) - 1, failed=1, errors=len(BLAMED) + 1)
    told = result.stdout.str()
    line = 1 + TESTS[: TESTS.index('create_executor("isolated-vm")\n')].count("\n") - 1
    made = rf'executor "isolated-vm", made at \S+\.py:{line}'
    assert len(re.findall(rf"^  {made}, was not closed; left is: process \d+ \(\w+\)$", told, re.MULTILINE)) == 7
    assert re.search(
        r'^  command "/bin/sleep 60" of executor "shell", made at .*, was not closed; left is: process \d+', told, re.M
    )
    assert re.search(
        r'^  command "/bin/sleep 60" of executor "shell", made at .*, was not closed; left is: descriptor \d+', told, re.M
    )
    assert 'fixture "careless_module" (scope module) has left something behind' in told
    assert "with statement" in told


def test_what_was_left_is_ended(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import psutil
        from pytest_sandbox import create_executor

        kept = []

        def test_leaves(request):
            request.node.executor = executor = create_executor("isolated-vm")
            executor.execute("return 1").check()
            kept.extend(process for process in psutil.Process().children(recursive=True) if "watchdog" not in str(process.cmdline()))

        def test_later():
            gone, alive = psutil.wait_procs(kept, timeout=10)
            assert kept and not alive
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=2, errors=1)


@pytest.mark.parametrize("source", ["flag", "environment", "ini"])
def test_off_is_loud(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    pytester.makepyfile(
        """
        from pytest_sandbox import NativeEntry
        from pytest_sandbox.entries.registry import EntryRegistry

        def test_leaves_a_descriptor(request):
            request.node.process = EntryRegistry.of(NativeEntry(name="shell")).get("shell").exec("/bin/sleep 60")
        """
    )
    assert errors(pytester.runpytest_subprocess("-rE")) == {"test_leaves_a_descriptor"}, "otherwise it is on"
    told = {"flag": "--sandbox-leaks", "environment": "PYTEST_SANDBOX_LEAKS", "ini": "ini value sandbox_leaks"}[source]
    arguments = ["-q"]
    if source == "flag":
        arguments += ["--sandbox-leaks=off"]
    elif source == "environment":
        monkeypatch.setenv("PYTEST_SANDBOX_LEAKS", "off")
    else:
        pytester.makeini("[pytest]\nsandbox_leaks = off")
    result = pytester.runpytest_subprocess(*arguments)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"sandbox: the leak sentinel is off ({told}): tests may leave * behind unseen"])


def test_another_word_than_off_is_refused(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--sandbox-leaks=no")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: Cannot use --sandbox-leaks='no': expected fail or off"])


def test_a_failing_teardown_hides_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from pytest_sandbox import NativeEntry
        from pytest_sandbox.entries.registry import EntryRegistry

        @pytest.fixture
        def wrong():
            yield
            raise ValueError("something else")

        def test_x(request, wrong):
            request.node.process = EntryRegistry.of(NativeEntry(name="shell")).get("shell").exec("/bin/sleep 60")
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ValueError: something else", "*- sandbox leaks -*", "Sandbox leak: this test has left *"])


def test_it_costs_next_to_nothing_where_nothing_of_ours_is_used(request: pytest.FixtureRequest) -> None:
    class Module:
        scope = "module"
        config = request.config

    def drive(hook: Any, *arguments: Any) -> None:
        steps = hook(*arguments)
        next(steps)
        with pytest.raises(StopIteration):
            steps.send(None)

    def cost(rounds: int) -> float:
        started = time.thread_time()  # of this thread: the machine is busy with other tests
        for _ in range(rounds):
            drive(sentinel.pytest_runtest_setup, request.node)
            for _ in range(5):
                drive(sentinel.pytest_fixture_setup, None, Module)
            drive(sentinel.pytest_runtest_teardown, request.node)
        return (time.thread_time() - started) / rounds

    before = request.node.stash[sentinel._START]
    assert min(cost(200) for _ in range(3)) < 0.001
    request.node.stash[sentinel._START] = before
