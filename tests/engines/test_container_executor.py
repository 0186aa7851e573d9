"""The container executor on real engines: what is inside, what is not, what survives, and what remains."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from pytest_sandbox import ExecutorBroken, ExecutorClosed, ExecutorUnavailable, InvalidArgument, Limits, UnsupportedLimit
from pytest_sandbox.engines.base import Engine
from pytest_sandbox.engines.owner import OWNER_LABEL
from pytest_sandbox.errors import ContainerGone
from pytest_sandbox.processes.tree import is_stopped
from pytest_sandbox.snippets.container import ContainerExecutor
from pytest_sandbox.snippets.container_settings import ignored_settings
from tests.real_engines import ACROSS, COMBINATIONS

MIB = 1024 * 1024
Make = Callable[..., ContainerExecutor]


@pytest.fixture(scope="module")
def shared(engine_name: str, engine: Engine) -> Iterator[ContainerExecutor]:
    """An executor that most tests of one engine share."""
    kind, transport = COMBINATIONS[engine_name]
    with ContainerExecutor(engine=kind, transport=transport) as executor:
        yield executor


@pytest.fixture
def make(engine_name: str, engine: Engine) -> Iterator[Make]:
    """Makes executors of the test's own."""
    kind, transport = COMBINATIONS[engine_name]
    made: list[ContainerExecutor] = []

    def make(**options: Any) -> ContainerExecutor:
        made.append(ContainerExecutor(engine=kind, transport=transport, **{"spares": 0, **options}))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


def test_a_snippet_has_all_of_node_and_speaks_with_tools(shared: ContainerExecutor) -> None:
    code = """
        console.log('log'); process.stdout.write('out\\n'); process.stderr.write('err\\n');
        const os = await import('node:os');
        return [await codemode.add(1, 2), typeof require, typeof process, typeof os.hostname(), process.getuid(), process.cwd()];
    """
    result = shared.execute(code, {"add": lambda a, b: a + b})
    assert result.check().value == [3, "function", "object", "string", 1000, "/tmp"]
    assert sorted((entry.level, entry.text) for entry in result.logs) == [("error", "err"), ("log", "log"), ("log", "out")]


def test_the_executor_says_what_runs(shared: ContainerExecutor, engine_name: str) -> None:
    kind, transport = COMBINATIONS[engine_name]
    text = shared.info.describe()
    assert f"{kind} " in text
    assert f"over {transport}" in text
    assert (shared.info.fresh, shared.info.max_runners, shared.info.loosened) == ("container", 1, ())


@ACROSS
def test_the_settings_hold_inside(shared: ContainerExecutor) -> None:
    code = """
        const fs = require('fs'), attempt = (action) => { try { return ['done', action()] } catch (e) { return ['refused', e.code] } };
        const status = fs.readFileSync('/proc/self/status', 'utf8');
        fs.writeFileSync('/tmp/program', '#!/usr/bin/node\\n', { mode: 0o755 });
        return {
          tmp: attempt(() => fs.readFileSync('/tmp/program', 'utf8').length),
          exec: require('child_process').spawnSync('/tmp/program').error?.code ?? 'ran',
          root: attempt(() => fs.writeFileSync('/file', 'x')),
          etc: attempt(() => fs.writeFileSync('/etc/passwd', 'x')),
          shm: attempt(() => fs.writeFileSync('/dev/shm/file', 'x')),
          caps: /CapBnd:\\s*(\\w+)/.exec(status)[1],
          privs: /NoNewPrivs:\\s*(\\d)/.exec(status)[1],
          interfaces: Object.keys(require('os').networkInterfaces()),
          variables: Object.keys(process.env).sort(),
          full: attempt(() => { for (let i = 0; i < 70; i++) fs.appendFileSync('/tmp/big', Buffer.alloc(1 << 20)) }),
        };
    """
    value = shared.execute(code).check().value
    assert value["tmp"][0] == "done"
    assert value["exec"] == "EACCES"
    assert [value[name][0] for name in ("root", "etc", "shm", "full")] == ["refused"] * 4
    assert value["full"] == ["refused", "ENOSPC"]
    assert int(value["caps"], 16) == 0
    assert value["privs"] == "1"
    assert set(value["interfaces"]) <= {"lo"}
    assert "PATH" in value["variables"]
    assert not {"HOME_CANARY", "HTTP_PROXY", "http_proxy"} & set(value["variables"])


@ACROSS
def test_nobody_inside_reaches_a_listener_of_the_host(shared: ContainerExecutor) -> None:
    knocked = []
    with socket.create_server(("0.0.0.0", 0)) as server:  # every address of this host is the point
        server.settimeout(0.2)
        port = server.getsockname()[1]
        stop = threading.Event()

        def listen() -> None:
            while not stop.is_set():
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue
                knocked.append(1)

        listener = threading.Thread(target=listen)
        listener.start()
        # The control: the listener is there, and a knock is noticed.
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        addresses = ["127.0.0.1", "172.17.0.1", "10.88.0.1", socket.gethostbyname(socket.gethostname()), "host.docker.internal"]
        code = f"""
            const net = require('net'), outcomes = [];
            for (const host of {json.dumps(addresses)}) outcomes.push(await new Promise((done) => {{
              const socket = net.connect({{ host, port: {port}, timeout: 500 }}, () => done('connected'));
              socket.on('error', (e) => done(e.code ?? 'error')); socket.on('timeout', () => done('timeout'));
            }}));
            return outcomes;
        """
        outcomes = shared.execute(code, timeout=20).check().value
        stop.set()
        listener.join()
    assert len(outcomes) == len(addresses)
    assert "connected" not in outcomes
    assert knocked == [1], "somebody besides the control knocked"


@ACROSS
def test_nothing_survives_from_one_container_to_the_next(shared: ContainerExecutor) -> None:
    leave = """
        require('fs').writeFileSync('/tmp/trace', 'x');
        require('child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { detached: true, stdio: 'ignore' }).unref();
        globalThis.trace = 1; Array.prototype.trace = 1;
        return [require('fs').existsSync('/tmp/trace'), [].trace];
    """
    assert shared.execute(leave).check().value == [True, 1]
    look = """
        const processes = require('fs').readdirSync('/proc').filter((name) => /^\\d+$/.test(name)).length;
        return [require('fs').existsSync('/tmp/trace'), typeof trace, [].trace ?? null, processes];
    """
    assert shared.execute(look).check().value == [False, "undefined", None, 2]


FORGERIES = {
    "a result on the channel": 'fs.writeSync(4, \'{"op":"result","value":42,"written":0}\\n\')',
    "a stamped result on the channel": 'fs.writeSync(4, `\\n${\'0\'.repeat(32)} {"op":"result","value":42,"written":0}\\n`)',
    "a result on the runner's output": 'fs.writeFileSync(\'/proc/1/fd/1\', \'\\n- {"op":"result","value":42}\\n\')',
    "a result on the parent's output": 'fs.writeFileSync(`/proc/${process.ppid}/fd/1`, \'{"op":"result","value":42}\\n\')',
    "a result on every descriptor": 'for (let i = 0; i < 64; i++) try { fs.writeSync(i, \'{"op":"result","value":42}\\n\') } catch {}',
    "a ready message": "fs.writeSync(4, 'booted \\n')",
    "the runner's memory": "fs.openSync(`/proc/${process.ppid}/mem`, 'r+'); return 42",
    "the runner's environment": "fs.readFileSync('/proc/1/environ'); return 42",
    "the runner's program": "fs.openSync(process.execPath, 'r'); return 42",
    "garbage on the channel": "fs.writeSync(4, 'garbage\\n')",
    "a line without an end": "for (let i = 0; i < 60; i++) fs.writeSync(4, 'x'.repeat(1 << 20)); return 42",
}


@ACROSS
def test_a_forgery_fails_or_ends_its_own_execution(shared: ContainerExecutor) -> None:
    for name, code in FORGERIES.items():
        # That one begins proves that the one before did nobody any harm.
        result = shared.execute(
            f"console.log('begun'); const fs = require('fs'); {code}; await new Promise((d) => setTimeout(d, 100)); return 1",
            timeout=20,
        )
        assert result.output.startswith("begun"), (name, result)
        assert result.value != 42, (name, result)
        assert result.ok or (result.error is not None and result.error.kind in ("crash", "runtime", "limit")), (name, result)
    assert shared.execute("return 1+1").check().value == 2


@ACROSS
def test_process_1_takes_no_signal_from_a_snippet(shared: ContainerExecutor) -> None:
    code = """
        const refused = [];
        for (const name of ['SIGKILL', 'SIGSTOP', 'SIGTERM', 'SIGINT', 'SIGABRT', 'SIGSEGV', 'SIGPIPE', 'SIGUSR1']) {
          console.log(name);
          for (const pid of [1, process.ppid]) try { process.kill(pid, name) } catch (e) { refused.push(e.code) }
          await new Promise((d) => setTimeout(d, 20));
        }
        const inspector = await new Promise(
          (d) => require('net').connect(9229, '127.0.0.1', () => d('open')).on('error', (e) => d(e.code)));
        return [refused.filter((code) => code !== 'EPERM'), inspector];
    """
    assert shared.execute(code, timeout=20).check().value == [[], "ECONNREFUSED"]
    # The control: the same signals end a process that does not keep them off.
    assert shared.execute("process.kill(process.pid, 'SIGTERM'); await new Promise(() => {})").error.kind == "crash"  # type: ignore[union-attr]


@ACROSS
def test_deaths_are_told_apart(shared: ContainerExecutor) -> None:
    errors = {
        name: shared.execute(code, timeout=20).error
        for name, code in {
            "exit": "process.exit(0)",
            "abort": "process.abort()",
            "kill": "process.kill(process.pid, 'SIGKILL'); await new Promise(() => {})",
            "heap": "const a = []; for (;;) a.push(new Array(1e5).fill(1.5))",
            "buffers": "const a = []; for (;;) a.push(Buffer.alloc(1 << 24, 1))",
        }.items()
    }
    kinds = {name: error.kind if error is not None else None for name, error in errors.items()}
    assert kinds == {"exit": "crash", "abort": "crash", "kill": "crash", "heap": "memory", "buffers": "memory"}, errors
    assert shared.execute("for (;;) {}", timeout=0.5).error.kind == "timeout"  # type: ignore[union-attr]  # it must fail
    assert shared.execute("return 1+1").check().value == 2


@ACROSS
def test_a_fork_bomb_ends_with_its_container(shared: ContainerExecutor) -> None:
    code = """
        console.log('begun');
        const spawn = () => { try { const c = require('child_process').spawn(process.execPath, ['-e', 'setInterval(()=>{},99)'], { stdio: 'ignore' });
          c.on('error', () => {}) } catch {} };
        for (let i = 0; i < 200; i++) spawn();
        await new Promise(() => {});
    """
    result = shared.execute(code, timeout=1.5)
    assert result.output.startswith("begun")
    assert result.error is not None
    assert result.error.kind in ("timeout", "memory", "crash")
    assert shared.execute("return 1+1").check().value == 2


@ACROSS
def test_hardened_is_the_realm_of_the_other_executors(make: Make) -> None:
    executor = make(hardened=True)
    code = "return [typeof require, typeof process, typeof fetch, typeof WebAssembly, Object.isFrozen(globalThis), new URL('http://a/b').pathname]"
    assert executor.execute(code).check().value == ["undefined", "undefined", "undefined", "undefined", True, "/b"]
    assert executor.execute("return eval('1')").error is not None


@ACROSS
def test_a_fresh_process_ends_everything_of_the_last(make: Make) -> None:
    executor = make(fresh="process")
    assert "the state of one execution can reach the next" in " ".join(executor.info.loosened)
    leave = """
        require('fs').writeFileSync('/tmp/trace', 'x'); globalThis.trace = 1;
        require('child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { detached: true, stdio: 'ignore' }).unref();
        return typeof trace;
    """
    assert executor.execute(leave).check().value == "number"
    look = """
        const processes = require('fs').readdirSync('/proc').filter((name) => /^\\d+$/.test(name)).length;
        return [typeof trace, processes];
    """
    # Only process 1 and the child of this execution are there: the zombie of the last one has retired its container.
    assert executor.execute(look).check().value == ["undefined", 2]


def test_limits_and_options_reach_the_container_and_what_is_looser_is_told(make: Make) -> None:
    executor = make(limits=Limits(memory=300 * MIB, processes=40), cpus=1.5)
    executor.execute("return 1").check()  # the settings were read back from inside, or this would have been refused
    assert [phrase.split()[0] for phrase in executor.info.loosened] == ["memory", "cpus"]
    without = make(limits=Limits(memory=None, processes=None), cpus=None)
    without.execute("return 1").check()
    assert [phrase.split()[:2] for phrase in without.info.loosened] == [
        [name, "unlimited"] for name in ("memory", "processes", "cpus")
    ]


def test_a_setting_that_was_ignored_refuses_to_run(shared: ContainerExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the engine had given more than it was asked for: the container is compared with the request, not with hopes.
    started = shared._start()
    monkeypatch.setattr(shared, "_spec", replace(shared._spec, pids_limit=62))
    with pytest.raises(ExecutorBroken, match=r"did not apply what was asked for: pids-limit 62: the control group has 64"):
        started.wait_until_ready()


def test_each_setting_is_compared() -> None:
    from pytest_sandbox.engines.spec import ContainerSpec

    spec = ContainerSpec(image="x", memory=256 * MIB, memory_swap=256 * MIB, cpus=1.0, pids_limit=64)
    good: dict[str, Any] = {
        "uids": "1000\t1000\t1000\t1000",
        "capabilities": ["0000000000000000"] * 5,
        "no_new_privileges": "1",
        "root": ["ro", "relatime"],
        "tmp": {"kind": "tmpfs", "options": ["rw", "nosuid", "noexec", "size=65536k"]},
        "memory": str(256 * MIB),
        "swap": "0",
        "memory_and_swap": "",
        "swap_devices": 1,
        "pids": "64",
        "cpu": ["100000", "100000"],
        "interfaces": ["lo"],
        "process": 1,
        "readable_node": False,
    }

    def ignored(**changes: Any) -> str:
        return "; ".join(ignored_settings({**good, **changes}, spec, tmp_size=64 * MIB, is_our_image=True))

    assert ignored() == ""
    assert "user node" in ignored(uids="0 0 0 0")
    assert "cap-drop" in ignored(capabilities=["00000000a80425fb"] * 5)
    assert "no-new-privileges" in ignored(no_new_privileges="0")
    assert "read-only" in ignored(root=["rw"])
    assert "tmpfs" in ignored(tmp=None)
    assert "tmpfs" in ignored(tmp={"kind": "tmpfs", "options": ["rw", "nosuid", "size=65536k"]})
    assert "memory" in ignored(memory="max")
    assert "no swap" in ignored(swap="max")
    assert "pids-limit" in ignored(pids="max")
    assert "cpus" in ignored(cpu=["max", "100000"])
    assert "network" in ignored(interfaces=["lo", "eth0"])
    assert "process 1" in ignored(process=7)
    assert "unreadable Node" in ignored(readable_node=True)
    assert "cannot be read from inside" in "; ".join(ignored_settings({}, spec, tmp_size=64 * MIB, is_our_image=True))


SESSION = """
import sys, time
from pytest_sandbox.engines.detect import detect_engine
from pytest_sandbox.engines.owner import OWNER_LABEL, owner_label
from pytest_sandbox.snippets.container import ContainerExecutor
engine = detect_engine(sys.argv[1], transport=sys.argv[2])
def ours():
    return len(engine.find(f"{OWNER_LABEL}={owner_label()}"))
executor = ContainerExecutor(engine=sys.argv[1], transport=sys.argv[2])
executor.execute("return 1").check()
while len(executor._pool._idle) < 2:
    time.sleep(0.01)
begun = [runner for runner in executor._pool._idle]
for runner in begun:
    runner.wait_until_ready()
before = ours()
executor.close()
print(before, ours(), owner_label(), flush=True)
executor = ContainerExecutor(engine=sys.argv[1], transport=sys.argv[2])
executor.execute("return 1").check()
"""


def test_no_container_is_left_when_an_executor_is_closed_or_its_process_ends(engine_name: str, engine: Engine) -> None:
    # In a process of its own: here, shared executors start containers at any time.
    session = subprocess.run(
        [sys.executable, "-c", SESSION, *COMBINATIONS[engine_name]], capture_output=True, text=True, timeout=100
    )
    assert session.returncode == 0, session.stderr
    before, after, owner = session.stdout.split()
    assert int(before) >= 2, "the spares are there, or there is nothing to be removed"
    assert after == "0"
    deadline = time.monotonic() + 15
    while left := engine.find(f"{OWNER_LABEL}={owner}"):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.parametrize("engine_name", ["docker-cli", "podman-cli"], indirect=True, scope="session")
def test_a_client_that_is_stuck_holds_no_execution_of_a_closed_executor(make: Make, engine: Engine) -> None:
    executor = make()
    begun = threading.Event()
    with ThreadPoolExecutor(1) as other:
        code = "await codemode.begun(); await new Promise(() => {})"
        ending = other.submit(executor.execute, code, {"begun": begun.set}, timeout=None)
        assert begun.wait(60)
        (runner,) = executor._pool._lent
        link: Any = runner._link
        client = link._attachment.process
        client.send_signal(signal.SIGSTOP)
        try:
            while not is_stopped(client.pid):
                time.sleep(0.001)
            executor.close()
            assert isinstance(ending.exception(10), ExecutorClosed)
        finally:
            client.send_signal(signal.SIGCONT)
    with pytest.raises(ContainerGone):
        engine.inspect(link._container)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"fresh": "realm"}, 'fresh=.*"container" or "process"'),
        ({"cpus": 0}, "cpus=0: expected a number of CPUs"),
        ({"cpus": "1"}, "cpus='1'"),
        ({"spares": 99}, "spares=99"),
        ({"hardened": 1}, "hardened=1: expected True or False"),
        ({"image": "node", "fresh": "process"}, "an image that is not ours"),
        ({"pull": True}, "pull=True"),
        ({"transport": "pigeon"}, "transport='pigeon'"),
        ({"imag": "node"}, r"option imag=.*did you mean \"image\""),
        ({"limits": Limits(processes=8)}, "processes=8 .*set at least 16"),
        ({"limits": Limits(memory=1024)}, "memory=1024 .*at least 50331648 bytes"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises((InvalidArgument, ExecutorUnavailable, UnsupportedLimit), match=expected):
        ContainerExecutor(**options)


def test_an_unknown_image_is_named_with_what_to_do(make: Make) -> None:
    with pytest.raises(
        ExecutorUnavailable,
        match=r"no image localhost/nothing:1; pull it with '.* pull localhost/nothing:1', or allow that with pull=True",
    ):
        make(image="localhost/nothing:1")


@ACROSS
def test_an_image_without_node_is_refused_with_the_engines_words(make: Make, busybox: str) -> None:
    executor = make(image=busybox)
    with pytest.raises(ExecutorBroken, match=f'image {busybox}; it needs Node 22.14 or newer as "node"') as caught:
        executor.execute("return 1")
    assert "not found" in str(caught.value), "the engine's own words"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"runtime": "no-such-runtime"}, "no-such-runtime.*asked for with runtime='no-such-runtime'"),
        ({"cpus": 9999}, "CPUs.*asked for with cpus=9999"),
    ],
)
def test_an_option_that_the_engine_cannot_apply_is_named_with_the_engines_words(
    make: Make, engine: Engine, options: dict[str, Any], said: str
) -> None:
    if engine.name == "podman" and "cpus" in options:
        pytest.skip("Podman leaves more CPUs than there are to the kernel, which takes them")
    with pytest.raises(ExecutorBroken, match=f"(?s){said}"):
        make(**options).execute("return 1")


def test_no_engine_is_an_error_that_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExecutorUnavailable, match=r'Cannot use executor "container": .*nothing-here.*'):
        ContainerExecutor(host="unix:///nothing-here.sock")
