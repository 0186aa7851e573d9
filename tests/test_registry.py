from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pytest_sandbox import (
    Availability,
    ExecuteResult,
    ExecutorBroken,
    ExecutorInfo,
    ExecutorSpec,
    ExecutorUnavailable,
    InvalidArgument,
    Limits,
    UnknownExecutor,
    create_executor,
    detect_executors,
)
from pytest_sandbox.proofs import prove_all
from pytest_sandbox.registry import BUILTINS, Registry


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXECUTOR_TYPE", raising=False)


def hide_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Node and Deno impossible to find."""
    import pytest_sandbox.snippets.runtimes as runtimes

    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(runtimes, "_packaged", lambda package, inside: None)
    monkeypatch.setattr(runtimes, "_packaged_deno", lambda: None)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")


def test_the_order_is_that_of_the_reference() -> None:
    assert [(spec.name, spec.priority) for spec in BUILTINS] == [("isolated-vm", 0), ("deno", 1), ("container", 2), ("vm2", 3)]


def test_an_executor_is_created_by_name() -> None:
    with create_executor("deno", limits=Limits(timeout=5)) as executor:
        assert executor.name == "deno"
        assert executor.limits.timeout == 5
        assert executor.execute("return 1+1").value == 2


def test_without_a_name_the_best_one_is_taken() -> None:
    with create_executor(max_runners=1) as executor:
        assert executor.name == "isolated-vm"
        assert executor.info.max_runners == 1
        assert executor.execute("return 1+1").value == 2


def test_the_next_one_is_taken_where_the_best_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    import pytest_sandbox.snippets.runtimes as runtimes

    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(runtimes, "_packaged", lambda package, inside: None)
    with create_executor() as executor:
        assert executor.name == "deno"


def test_the_environment_variable_forces_an_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTOR_TYPE", "vm2")
    with create_executor() as executor:
        assert executor.name == "vm2"
    with create_executor("deno") as executor:
        assert executor.name == "deno", "an argument beats the environment"
    with create_executor("auto") as executor:
        assert executor.name == "isolated-vm"
    for value in ("", " ", "auto"):
        monkeypatch.setenv("EXECUTOR_TYPE", value)
        with create_executor() as executor:
            assert executor.name == "isolated-vm"


def test_an_unknown_name_is_told_with_its_source_and_a_near_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UnknownExecutor,
        match=r'Unknown executor "Isolated-VM" \(did you mean "isolated-vm"\?\): known executors are isolated-vm, deno',
    ):
        create_executor("Isolated-VM")
    monkeypatch.setenv("EXECUTOR_TYPE", "docker")
    with pytest.raises(UnknownExecutor, match=r'Unknown executor "docker" \(from EXECUTOR_TYPE\)') as caught:
        create_executor()
    assert caught.value.source == "EXECUTOR_TYPE"
    assert caught.value.known[:4] == ("isolated-vm", "deno", "container", "vm2")


@pytest.mark.parametrize("value", ["all", "available", "deno,vm2"])
def test_several_executors_are_refused_outside_of_pytest(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    with pytest.raises(InvalidArgument, match=f"Cannot use name='{value}': expected the name of one executor"):
        create_executor(value)
    monkeypatch.setenv("EXECUTOR_TYPE", value)
    with pytest.raises(InvalidArgument, match=f"Cannot use EXECUTOR_TYPE='{value}': expected the name of one executor"):
        create_executor()


@pytest.mark.parametrize("name", [5, b"deno", ["deno"]])
def test_a_name_that_is_no_text_is_refused(name: object) -> None:
    with pytest.raises(InvalidArgument, match="expected the name of an executor, or None"):
        create_executor(name)  # type: ignore[arg-type]


def test_limits_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="Cannot use limits=.*: expected a Limits object, or None"):
        create_executor("deno", limits={"timeout": 5})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [None, "auto", "deno", "isolated-vm", "vm2"])
def test_an_unknown_option_is_the_callers_fault_and_no_reason_to_take_another_executor(name: str | None) -> None:
    with pytest.raises(InvalidArgument, match="Cannot use option colour='red': expected one of max_runners"):
        create_executor(name, colour="red")


def test_a_forced_executor_that_does_not_work_says_what_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_runtimes(monkeypatch)
    with pytest.raises(ExecutorUnavailable, match='^Cannot use executor "deno": no deno on PATH') as caught:
        create_executor("deno").execute("return 1")
    assert caught.value.fix
    monkeypatch.setenv("EXECUTOR_TYPE", "vm2")
    with pytest.raises(ExecutorUnavailable, match=r'^Cannot use executor "vm2" \(forced by EXECUTOR_TYPE\): no node on PATH'):
        create_executor()


def test_where_nothing_works_every_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_runtimes(monkeypatch)
    with pytest.raises(ExecutorUnavailable) as caught:
        create_executor()
    assert caught.value.name == "auto"
    for name in ("isolated-vm: no node", "deno: no deno", "container: ", "vm2: no node"):
        assert name in caught.value.reason


def test_detection_lists_all_in_order_and_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = detect_executors()
    assert [row.name for row in rows][:4] == ["isolated-vm", "deno", "container", "vm2"]
    for row in rows:
        assert bool(row.detail) == row.available
        assert bool(row.reason) == bool(row.fix) == (not row.available)
    by_name = {row.name: row for row in rows}
    assert by_name["deno"].detail.startswith("deno 2.")

    hide_runtimes(monkeypatch)
    assert not any(row.available for row in Registry().detect())


def test_what_works_is_found_out_once_and_what_does_not_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import pytest_sandbox.snippets.runtimes as runtimes

    registry = Registry()
    created: list[str] = []
    plain = Registry.create

    def count(self: Registry, name: str, **options: object) -> object:
        created.append(name)
        return plain(self, name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Registry, "create", count)
    with monkeypatch.context() as patch:
        patch.setattr(runtimes, "_packaged_deno", lambda: None)
        patch.setenv("PATH", "/nowhere")
        first = {row.name: row.available for row in registry.detect()}
    assert first["isolated-vm"]
    assert not first["deno"]
    second = {row.name: row.available for row in registry.detect()}
    assert second["deno"], "it has been installed meanwhile"
    assert created.count("isolated-vm") == 1
    assert created.count("deno") == 2


@pytest.mark.parametrize("name", ["", "Deno", "a b", "a,b", "-a", "a-", "a--b", "auto", "all", "available", "x\n", "é", 5, None])
def test_a_spec_refuses_a_bad_name(name: object) -> None:
    with pytest.raises(InvalidArgument, match="Cannot use name="):
        ExecutorSpec(name, "package.module:Class")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "factory", ["", "package", "package.module.Class", "package:", ":Class", "a b:C", "a:b:C", ".a:C", "a.:C", None]
)
def test_a_spec_refuses_a_bad_factory(factory: object) -> None:
    with pytest.raises(InvalidArgument, match="Cannot use factory="):
        ExecutorSpec("name", factory)  # type: ignore[arg-type]


@pytest.mark.parametrize("priority", [1.5, "100", True, None])
def test_a_spec_refuses_a_bad_priority(priority: object) -> None:
    with pytest.raises(InvalidArgument, match="Cannot use priority="):
        ExecutorSpec("name", "m:C", priority)  # type: ignore[arg-type]


def test_a_spec_accepts_what_others_will_want() -> None:
    assert ExecutorSpec("quickjs-2.wasm_x", "acme_sandbox.executors.quick:QuickExecutor").priority == 100


def test_an_executor_that_hangs_is_given_up_and_closed_when_it_answers() -> None:
    go_on, closed = threading.Event(), threading.Event()

    class Hangs:
        name = "hangs"

        def execute(self, code: str, timeout: float) -> object:
            assert go_on.wait(60)
            raise RuntimeError("too late")

        def close(self) -> None:
            closed.set()

    proofs = prove_all({"hangs": Hangs}, keep=True, deadline=0.05)  # type: ignore[dict-item]
    row = proofs["hangs"].availability
    assert not row.available
    assert row.reason == "it did not run a trial snippet within 0.05 seconds"
    assert proofs["hangs"].executor is None
    go_on.set()
    assert closed.wait(60)


def test_one_that_hangs_does_not_keep_others_from_answering() -> None:
    go_on, closed = threading.Event(), threading.Event()

    def hang() -> object:
        assert go_on.wait(60)
        raise RuntimeError("too late")

    class Works:
        name = "works"
        info = ExecutorInfo(name="works", runtime="none 1", path="/none", backend="none", fresh="realm", max_runners=1)

        def execute(self, code: str, timeout: float) -> ExecuteResult:
            return ExecuteResult(True, "works", 0.0, value=2)

        def close(self) -> None:
            closed.set()

    proofs = prove_all({"hangs": hang, "works": Works}, deadline=1)  # type: ignore[dict-item]
    go_on.set()
    assert not proofs["hangs"].availability.available
    assert proofs["works"].availability == Availability("works", True, detail="none, none 1 (/none), fresh realm, jail none")
    assert closed.is_set()


def test_a_runner_that_does_not_start_is_told_on_one_line() -> None:
    stderr = "file:///runner.mjs:15\n\nError: Cannot find module 'vm2'\n    at require\n\nNode.js v24.19.0"

    def fail() -> object:
        raise ExecutorBroken("vm2", "it ended before it was ready (with exit code 1)", stderr)

    (proof,) = prove_all({"vm2": fail}).values()  # type: ignore[dict-item]
    assert proof.availability.reason == (
        'creating it raised ExecutorBroken: Cannot start a runner for executor "vm2": it ended before it was ready '
        "(with exit code 1), saying: Error: Cannot find module 'vm2'"
    )
    assert proof.availability.fix.startswith('run "pytest-sandbox run --executor vm2 -" to see the whole error')


def test_control_characters_of_a_reason_are_escaped() -> None:
    def fail() -> object:
        raise ExecutorUnavailable("x", "a\x1b[2Jb", "c\x07d")

    (proof,) = prove_all({"x": fail}).values()  # type: ignore[dict-item]
    assert proof.availability == Availability("x", False, r"a\x1b[2Jb", r"c\x07d")


def test_a_proof_that_is_not_kept_leaves_no_process(tmp_path: Path) -> None:
    import psutil

    before = {child.pid for child in psutil.Process().children(recursive=True)}
    Registry().detect()
    left = [
        child
        for child in psutil.Process().children(recursive=True)
        if child.pid not in before and child.status() != psutil.STATUS_ZOMBIE and "watchdog" not in " ".join(child.cmdline())
    ]
    assert left == []
