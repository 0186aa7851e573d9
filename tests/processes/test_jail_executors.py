"""The executors whose runner is a process of this machine run it in the jail, say so, and lose nothing by it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import pytest_sandbox
from pytest_sandbox import Limits, create_executor
from pytest_sandbox.errors import ExecutorBroken, ExecutorUnavailable, InvalidArgument, UnsupportedLimit
from pytest_sandbox.processes import jail as jail_module
from pytest_sandbox.processes.host_ids import mapped_ids
from pytest_sandbox.processes.jail import Jail
from pytest_sandbox.processes.jail_probe import NoJail
from pytest_sandbox.processes.tree import children, descendants
from pytest_sandbox.processes.watchdog import start_ticks
from pytest_sandbox.snippets import local_executor

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/ns"), reason="the jail is for Linux")

NAMES = ("isolated-vm", "vm2", "deno")
ROOT = Path(pytest_sandbox.__file__).parents[1]


_OTHERS: set[int] = set()
"""The programs of executors that tests share, which live as long as this process."""


@pytest.fixture
def make(jail: Jail) -> Iterator[Any]:
    """Create executors, which are closed in the end."""
    _OTHERS.clear()
    _OTHERS.update(runners())
    with ExitStack() as stack:

        def create(name: str, **options: Any) -> Any:
            try:
                return stack.enter_context(create_executor(name, **options))
            except ExecutorUnavailable as error:
                if "jail" in str(error):
                    raise
                pytest.skip(str(error))

        yield create


def runners() -> dict[int, int]:
    """Return the programs in jails below this process, each with its gate, without those that other tests have started."""
    gates = [pid for pid in children(os.getpid()) if name_of(pid) == "bwrap"]
    programs = {(children(first) or [first])[0]: gate for gate in gates for first in children(gate)}
    return {program: gate for program, gate in programs.items() if program not in _OTHERS}


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def cpu_of(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("name", NAMES)
def test_the_runner_is_in_a_jail_as_the_host_sees_it(make: Any, jail: Jail, name: str) -> None:
    executor = make(name, jail="required")
    assert executor.info.jail == str(jail) and executor.info.loosened == ()
    seen: dict[str, Any] = {}

    def look() -> None:
        pid = max(runners(), key=cpu_of)
        seen["status"] = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        seen["same"] = {
            kind: os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")
            for kind in ("mnt", "pid", "net", "ipc", "uts", "user")
        }
        seen["environment"] = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        seen["files"] = os.listdir(f"/proc/{pid}/root")
        seen["below"] = descendants(pid)
        seen["descriptors"] = {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)}
        seen["limits"] = Path(f"/proc/{pid}/limits").read_text()

    spin = "let s = 0; for (let i = 0; i < 2e8; i++) s += i;"
    assert executor.execute(spin + "await codemode.look(); return 1", {"look": look}).check().value == 1
    status = seen["status"]
    user = int(status["Uid"].split()[0])
    assert user in mapped_ids() if jail.own_ids else user == os.getuid()
    assert (status["Seccomp"], status["NoNewPrivs"], status["CapEff"], status["CapBnd"]) == ("2", "1", "0" * 16, "0" * 16)
    assert seen["same"] == {**dict.fromkeys(("mnt", "pid", "net", "ipc", "uts"), False), "user": jail.own_ids}
    names = {entry.partition(b"=")[0] for entry in seen["environment"]} - {b""}
    assert names <= {b"TZ", b"PWD", b"DENO_DIR", b"DENO_DISABLE_NODE_SHIM", b"DENO_NO_UPDATE_CHECK", b"NO_COLOR"}
    assert {"etc", "tmp"} <= set(seen["files"]) and not {"var", "sys", "home", "opt", "run", "boot"} & set(seen["files"]) - {
        ROOT.parts[1],
        Path(sys.prefix).parts[1],
        Path(executor.info.path).parts[1],
    }
    assert ("proc" in seen["files"]) == (name != "isolated-vm")
    assert seen["below"] == []
    assert all(link.startswith("pipe:") for link in seen["descriptors"])
    assert "Max core file size        1 " in seen["limits"]


@pytest.mark.parametrize("name", NAMES)
def test_no_jail_is_loud(make: Any, name: str) -> None:
    executor = make(name, jail="off")
    assert (executor.info.jail, executor.info.loosened) == ("off", ("jail off",))
    assert "jail off" in executor.info.describe() and "loosened: jail off" in executor.info.describe()
    before = set(runners())
    assert executor.execute("return 1 + 1").check().value == 2
    assert set(runners()) <= before


@pytest.fixture
def no_jail(monkeypatch: pytest.MonkeyPatch) -> NoJail:
    from concurrent.futures import Future

    found: Future[Any] = Future()
    found.set_result(NoJail("there is no bwrap on PATH", "install it"))
    monkeypatch.setattr(local_executor, "find_jail_soon", lambda: found)
    return found.result()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", NAMES)
def test_a_required_jail_that_is_missing_is_an_error_that_says_what_to_do(make: Any, no_jail: NoJail, name: str) -> None:
    with pytest.raises(ExecutorUnavailable) as caught:
        make(name, jail="required")
    assert str(caught.value) == (
        f'Cannot use executor "{name}": its jail is required, and there is none: there is no bwrap on PATH; install it'
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_jail_that_is_missing_is_told_and_the_executor_works(make: Any, no_jail: NoJail, name: str) -> None:
    executor = make(name)
    assert executor.info.jail == "none (there is no bwrap on PATH)" and executor.info.loosened == ()
    assert executor.execute("return 1 + 1").check().value == 2
    with pytest.raises(UnsupportedLimit, match=r"only a jail can count, and it is none \(there is no bwrap on PATH\)"):
        make(name, limits=Limits(processes=500))


def test_only_three_words_say_what_to_do_about_the_jail(make: Any) -> None:
    with pytest.raises(InvalidArgument, match="""Cannot use jail=True: expected "auto", "required" or "off\""""):
        make("isolated-vm", jail=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_threads_can_be_limited(make: Any, jail: Jail, name: str) -> None:
    if not jail.counts_processes:
        pytest.skip("this kernel counts the processes of the whole user")
    with pytest.raises(UnsupportedLimit, match=r"Cannot enforce limit processes=3 .* its runner alone may need \d+ threads"):
        make(name, limits=Limits(processes=3))
    least = 24 + (os.cpu_count() or 1)
    executor = make(name, limits=Limits(processes=least))
    limits = []

    def look() -> None:
        limits.append(Path(f"/proc/{max(runners(), key=cpu_of)}/limits").read_text())

    spin = "let s = 0; for (let i = 0; i < 2e8; i++) s += i;"
    assert executor.execute(spin + "await codemode.look(); return 1", {"look": look}).check().value == 1
    assert [line.split()[2:4] for line in limits[0].splitlines() if line.startswith("Max processes")] == [[str(least)] * 2]


@pytest.mark.parametrize("name", NAMES)
def test_the_runner_is_measured_and_not_its_gate(make: Any, name: str) -> None:
    keep = "const keep = [1, 2, 3].map(() => new Uint8Array(24 << 20).fill(1));"
    result = make(name).execute(f"{keep} let s = 0; for (let i = 0; i < 2e8; i++) s += i; return keep.length")
    assert result.check().value == 3
    assert result.usage.memory is not None and result.usage.memory > 72 << 20
    assert result.usage.cpu is not None and result.usage.cpu > 0.03


@pytest.mark.parametrize("name", NAMES)
def test_a_runner_that_is_killed_is_explained_and_replaced(make: Any, name: str) -> None:
    executor = make(name)

    def kill() -> None:
        os.kill(max(runners(), key=cpu_of), 9)

    spin = "let s = 0; for (let i = 0; i < 2e8; i++) s += i;"
    result = executor.execute(spin + "await codemode.kill(); for (;;);", {"kill": kill}, timeout=20)
    assert result.error is not None and result.error.kind == "crash"
    assert "by signal SIGKILL" in result.error.message
    assert executor.execute("return 1 + 1").check().value == 2


@pytest.mark.parametrize("name", NAMES)
def test_nothing_remains_of_an_executor_that_is_closed(make: Any, name: str) -> None:
    executor = make(name)
    seen: set[tuple[int, int]] = set()

    def look() -> None:
        seen.update((pid, start_ticks(pid)) for pair in runners().items() for pid in pair)

    executor.execute("await codemode.look(); for (;;);", {"look": look}, timeout=0.3)
    executor.execute("return codemode.look()", {"look": look}).check()
    assert len(seen) >= 4 and any(ticks > 0 and start_ticks(pid) == ticks for pid, ticks in seen)
    executor.close()
    deadline = time.monotonic() + 5
    while left := [pid for pid, ticks in seen if ticks > 0 and start_ticks(pid) == ticks]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)  # Deno's runners are reaped in another thread


def test_what_deno_stores_is_in_memory_and_gone_with_the_runner(make: Any) -> None:
    executor = make("deno")
    seen: list[str] = []

    def look() -> None:
        pid = max(runners(), key=cpu_of)
        seen.extend(line for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines() if " /deno " in line)
        seen.append(" ".join(os.listdir(f"/proc/{pid}/root/deno")))

    spin = "let s = 0; for (let i = 0; i < 2e8; i++) s += i;"
    assert executor.execute(spin + "await codemode.look(); return 1", {"look": look}).check().value == 1
    assert "- tmpfs tmpfs rw,size=32768k" in seen[0] and "v8_code_cache" in seen[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="elsewhere, the runner is the same user")
def test_an_installation_that_strangers_cannot_read_is_named(make: Any, tmp_path: Path) -> None:
    executor = make("isolated-vm")
    modules = tmp_path / "node_modules"
    source = ROOT / "pytest_sandbox" / "_vendor" / "node_modules"
    for package in ("isolated-vm", "node-gyp-build"):
        shutil.copytree(source / package, modules / package)
    assert make("isolated-vm", jail="required", node_modules=str(modules)).execute("return 1 + 1").check().value == 2
    secret = modules / "isolated-vm" / "package.json"
    secret.chmod(0o600)
    with pytest.raises(ExecutorUnavailable) as caught:
        make("isolated-vm", jail="required", node_modules=str(modules))
    assert caught.value.reason.endswith(f"inside, nobody could read {secret}") and f"chmod -R o+rX {secret}" in caught.value.fix
    assert executor.info.jail != "none"


def test_a_jail_that_cannot_be_prepared_now_is_the_machines_fault(make: Any, jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    if not jail.own_ids:
        pytest.skip("only root lends user ids")
    executor = make("deno")

    def refuse() -> Any:
        raise OSError("500 user ids were tried, and all are taken")

    monkeypatch.setattr(jail_module, "claim", refuse)
    with pytest.raises(ExecutorBroken, match="its jail cannot be prepared: 500 user ids were tried"):
        for _ in range(5):
            executor.execute("return 1")
    monkeypatch.undo()
    assert executor.execute("return 1 + 1").check().value == 2


@pytest.mark.skipif(os.geteuid() != 0 or bool(os.environ.get("JAIL_TESTS_INSIDE")), reason="for root, once")
@pytest.mark.timeout(400)
def test_all_of_this_holds_for_an_ordinary_user_too(ordinary_user: list[str], jail: Jail) -> None:
    files = [str(path) for path in sorted(Path(__file__).parent.glob("test_jail*.py"))]
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={ROOT}"]
    after = ordinary_user.index("-i") + 1
    environment = ["PYTEST_SANDBOX_JAIL_MUST_WORK=1", "JAIL_TESTS_INSIDE=1"]
    done = subprocess.run(
        [*ordinary_user[:after], *environment, *ordinary_user[after:], "-m", "pytest", *options, *files],
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
