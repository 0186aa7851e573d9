"""An unhardened runner in the jail: why an escape from vm2 or V8 is not an escape from us.

Every test runs the same code outside first, where it succeeds.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox.processes.host_ids import mapped_ids
from pytest_sandbox.processes.jail import Jail
from pytest_sandbox.processes.spawn import end_group, spawn

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/ns"), reason="the jail is for Linux")

CANARY = "canary 6b1f0c"
WHOLE = {"forks": True, "sockets": True}
"""What a command gets: only the namespaces hold here, not the filter that runners have besides."""


class Listener:
    """A socket of ours that counts who knocks."""

    def __init__(self, family: int, address: Any) -> None:
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.bind(address)
        self.socket.listen()
        self.address = self.socket.getsockname()
        self.knocks = 0
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.knocks += 1
            connection.sendall(CANARY.encode())
            connection.close()

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()


CONNECT = """
  const text = await new Promise((resolve, reject) => {
    const socket = net.connect(%s, () => {});
    socket.on("data", (data) => resolve(String(data)));
    socket.on("error", reject);
  });
  return text;
"""


def js(value: str) -> str:
    """Return a JavaScript literal."""
    import json

    return json.dumps(value)


# -- files ------------------------------------------------------------------------------------------------------


def test_a_planted_file_of_the_host_cannot_be_read(node: Any, open_folder: Path) -> None:
    secret = open_folder / "secret"
    secret.write_text(CANARY)
    secret.chmod(0o644)
    code = f"return fs.readFileSync({js(str(secret))}, 'utf8')"
    assert node.outside(code).value == CANARY
    assert node.inside(code, **WHOLE).value == {"refused": "ENOENT"}
    assert node.inside(code, read_only=(str(secret),)).value == CANARY


def test_nothing_of_the_host_is_there_but_the_runtime(node: Any) -> None:
    code = "return fs.readdirSync('/')"
    assert {"etc", "proc", "usr"} < set(node.outside(code).value)
    top = {Path(file).parts[1] for file in (*node.files, *node.jail.tool_files)}
    assert set(node.inside(code).value) == top | {"dev", "proc", "tmp"}
    code = "return ['/root', '/home', '/var', '/etc/passwd', '/sys', '/boot', '/run'].filter((path) => fs.existsSync(path))"
    assert "/var" in node.outside(code).value
    assert node.inside(code, **WHOLE).value == [path for path in ("/root", "/home") if path[1:] in top]


def test_the_runtime_cannot_be_changed(node: Any) -> None:
    for path in (*node.files, "/", "/usr", "/dev", "/etc"):
        code = f"const path = {js(path)}; if (fs.statSync(path).isDirectory()) fs.writeFileSync(path + '/x', ''); else fs.openSync(path, 'r+');"
        assert node.inside(code, **WHOLE).value["refused"] in ("EROFS", "EACCES", "ETXTBSY"), path


def test_no_file_is_left_behind_on_the_host(node: Any, open_folder: Path) -> None:
    open_folder.chmod(0o777)
    name = f"left-behind-{os.getpid()}"
    folders = [str(open_folder), "/tmp", "/var/tmp", "/dev/shm", "/dev", "/run", "/", "/proc", str(Path(node.command[0]).parent)]
    code = f"""
      const done = [];
      for (const folder of {folders}) {{ try {{ fs.writeFileSync(folder + "/{name}", "x"); done.push(folder); }} catch {{}} }}
      return done;
    """
    written = node.outside(code).value
    assert str(open_folder) in written and "/tmp" in written
    for folder in written:
        Path(folder, name).unlink()
    # Where the runtime itself is below /tmp, so is its place in the private one.
    inside = node.inside(code, **WHOLE).value
    assert inside[0] == "/tmp" and all(folder.startswith("/tmp") for folder in inside)
    assert [folder for folder in folders if Path(folder, name).exists()] == []


def test_the_private_tmp_is_small_and_gone_with_the_jail(node: Any) -> None:
    code = """
      const file = fs.openSync("/tmp/big", "w"), block = Buffer.alloc(1 << 20);
      let size = 0;
      try { for (; size < 200; size++) fs.writeSync(file, block); } catch (error) { return [size, error.code]; }
      fs.unlinkSync("/tmp/big");
      return [size, "no end"];
    """
    assert node.outside(code).value == [200, "no end"]
    assert node.inside(code, tmpfs={"/tmp": 8 << 20}).value == [8, "ENOSPC"]
    assert "big" not in node.inside("return fs.readdirSync('/tmp')").value


def test_a_file_cannot_grow_beyond_its_limit(node: Any) -> None:
    code = """
      process.on("SIGXFSZ", () => {});
      const file = fs.openSync("/tmp/long", "w"), block = Buffer.alloc(1 << 20);
      let size = 0;
      try { for (; size < 20; size++) fs.writeSync(file, block); } catch (error) { return [size, error.code]; }
      return [size, "no end"];
    """
    tmp = {"/tmp": 64 << 20}
    assert node.inside(code, tmpfs=tmp, file_size=None).value == [20, "no end"]
    assert node.inside(code, tmpfs=tmp, file_size=4 << 20).value == [4, "EFBIG"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can read it outside")
def test_a_file_that_only_root_can_read_cannot_be_read_even_where_it_is_mounted(node: Any) -> None:
    code = "return fs.readFileSync('/etc/shadow', 'utf8').length > 0"
    assert node.outside(code).value is True
    assert node.inside(code, **WHOLE).value == {"refused": "ENOENT"}
    assert node.inside(code, read_only=("/etc/shadow",), **WHOLE).value == {"refused": "EACCES"}


# -- processes ---------------------------------------------------------------------------------------------------


def test_no_process_of_the_host_can_be_seen_or_signalled(node: Any) -> None:
    process = spawn(["/bin/sleep", "600"], env={})
    code = f"""
      const seen = fs.readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name));
      const lines = seen.map((pid) => {{ try {{ return fs.readFileSync(`/proc/${{pid}}/cmdline`, "utf8"); }} catch {{ return ""; }} }});
      let signal = "sent";
      try {{ process.kill({process.pid}, 0); }} catch (error) {{ signal = error.code; }}
      return [lines.some((line) => line.startsWith("/bin/sleep")), seen.length, process.pid, signal];
    """
    try:
        found, count, _, signal = node.outside(code).value
        assert (found, signal) == (True, "sent") and count > 2
        first = 2 if node.jail.own_ids else 1  # after bubblewrap's reaper
        assert node.inside(code).value == [False, first, first, "ESRCH"]
        found, count, _, signal = node.inside(code, **WHOLE).value
        assert (found, count, signal) == (False, 2, "ESRCH")
    finally:
        end_group(process)


SPAWN = """
  const results = {};
  const children = [];
  for (let i = 0; i < 60; i++) {
    await new Promise((resolve) => {
      const note = (what) => { results[what] = (results[what] ?? 0) + 1; resolve(); };
      let child;
      try { child = childProcess.spawn("/bin/cat", { stdio: ["pipe", "ignore", "ignore"] }); }
      catch (error) { note(error.code); return; }
      child.on("spawn", () => { children.push(child); note("spawned"); });
      child.on("error", (error) => note(error.code));
    });
  }
  for (const child of children) child.kill("SIGKILL");
  return results;
"""


@pytest.fixture(scope="module")
def cat() -> tuple[str, ...]:
    from pytest_sandbox.processes.libraries import runtime_files

    return runtime_files("/bin/cat")


def test_a_fork_bomb_ends_at_the_limit(node: Any, jail: Jail, cat: tuple[str, ...]) -> None:
    if not jail.counts_processes:
        pytest.skip("this kernel counts the processes of the whole user")
    assert node.outside(SPAWN).value == {"spawned": 60}
    assert node.inside(SPAWN, read_only=cat, processes=200, **WHOLE).value == {"spawned": 60}
    results = node.inside(SPAWN, read_only=cat, processes=40, **WHOLE).value
    assert set(results) == {"spawned", "EAGAIN"} and 10 < results["spawned"] < 40


def test_two_jails_do_not_count_each_others_processes(node: Any, jail: Jail, cat: tuple[str, ...]) -> None:
    if not jail.counts_processes:
        pytest.skip("this kernel counts the processes of the whole user")
    crowd = node.start(
        SPAWN.replace("return results", "told(results); await new Promise(() => setInterval(() => {}, 1e6))").replace(
            'for (const child of children) child.kill("SIGKILL");', ""
        ),
        read_only=cat,
        processes=100,
        **WHOLE,
    )
    process = crowd.start().result()
    try:
        assert process.stdout is not None
        assert [process.stdout.readline(), process.stdout.readline()] == [b"trying\n", b'{"spawned":60}\n']
        assert node.inside(SPAWN, read_only=cat, processes=100, **WHOLE).value == {"spawned": 60}
    finally:
        end_group(process, kill_inside=crowd.kill)
        crowd.release()


def test_a_runner_cannot_make_any_process(node: Any, cat: tuple[str, ...]) -> None:
    assert node.inside(SPAWN, read_only=cat, forks=True).value == {"spawned": 60}
    assert node.inside(SPAWN, read_only=cat).value == {"EPERM": 60}
    code = "const { Worker } = require('worker_threads'); return new Promise((resolve) => new Worker('require(\"worker_threads\").parentPort.postMessage(7)', { eval: true }).on('message', resolve))"
    assert node.inside(code).value == 7, "threads are needed"


# -- network -----------------------------------------------------------------------------------------------------


@pytest.fixture
def loopback() -> Iterator[Listener]:
    with closing(Listener(socket.AF_INET, ("127.0.0.1", 0))) as listener:
        yield listener


def test_a_listener_on_loopback_cannot_be_reached(node: Any, loopback: Listener) -> None:
    code = CONNECT % f"{{ host: '127.0.0.1', port: {loopback.address[1]} }}"
    assert node.outside(code).value == CANARY
    assert node.inside(code, network="host", **WHOLE).value == CANARY
    assert loopback.knocks == 2
    assert node.inside(code, **WHOLE).value == {"refused": "ECONNREFUSED"}
    assert node.inside(code, network="host").value == {"refused": "EPERM"}, "a runner has no sockets at all"
    assert loopback.knocks == 2


def test_no_network_device_is_there_but_loopback(node: Any) -> None:
    code = "return fs.readFileSync('/proc/self/net/dev', 'utf8').match(/^ *[a-z0-9]+(?=:)/gm).map((name) => name.trim())"
    assert set(node.outside(code).value) >= set(os.listdir("/sys/class/net")) - {"bonding_masters"}
    assert node.inside(code, **WHOLE).value == ["lo"]


def test_a_unix_socket_of_the_host_cannot_be_reached(node: Any, open_folder: Path) -> None:
    path = str(open_folder / "socket")
    with closing(Listener(socket.AF_UNIX, path)) as listener:
        os.chmod(path, 0o777)
        code = CONNECT % js(path)
        assert node.outside(code).value == CANARY
        assert node.inside(code, writable=(path,), **WHOLE).value == CANARY
        assert listener.knocks == 2
        assert node.inside(code, **WHOLE).value == {"refused": "ENOENT"}
        assert node.inside(code, writable=(path,)).value == {"refused": "EPERM"}
        assert listener.knocks == 2


def test_an_abstract_unix_socket_of_the_host_cannot_be_reached(node: Any) -> None:
    with closing(Listener(socket.AF_UNIX, f"\0jail-test-{os.getpid()}")) as listener:
        code = CONNECT % f"'\\0jail-test-{os.getpid()}'"
        assert node.outside(code).value == CANARY
        assert node.inside(code, network="host", **WHOLE).value == CANARY
        assert listener.knocks == 2
        assert node.inside(code, **WHOLE).value == {"refused": "ECONNREFUSED"}
        assert listener.knocks == 2


# -- privileges ---------------------------------------------------------------------------------------------------

STATUS = r"""
  const status = fs.readFileSync("/proc/self/status", "utf8");
  return Object.fromEntries([...status.matchAll(/^(Cap\w+|NoNewPrivs|Seccomp|Uid|Groups):[ \t]*(.*)$/gm)].map(([, name, value]) => [name, value.trim()]));
"""
NOTHING = "0" * 16


@pytest.mark.parametrize("options", [{}, WHOLE], ids=["runner", "command"])
def test_there_is_no_capability_and_no_way_to_one(node: Any, options: dict[str, bool]) -> None:
    assert node.outside(STATUS).value["CapBnd"] != NOTHING
    inside = node.inside(STATUS, **options).value
    assert {name: value for name, value in inside.items() if name.startswith("Cap")} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), NOTHING
    )
    assert (inside["NoNewPrivs"], inside["Seccomp"]) == ("1", "2")
    if node.jail.own_ids:
        assert inside["Groups"] == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can plant a setuid program")
def test_a_setuid_program_gives_nothing(node: Any, open_folder: Path) -> None:
    import shutil

    from pytest_sandbox.processes.libraries import runtime_files

    program = open_folder / "id"
    shutil.copy("/usr/bin/id", program)
    program.chmod(0o4755)
    command = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(program), "-u"]
    if subprocess.run(command, capture_output=True, check=True).stdout != b"0\n":
        pytest.skip("here a setuid program gives nothing outside either")
    code = f"return Number(childProcess.execFileSync({js(str(program))}, ['-u']))"
    user = node.inside(code, read_only=runtime_files(str(program)), **WHOLE).value
    assert user in mapped_ids()


def test_the_user_is_a_stranger_to_the_host_and_to_other_jails(node: Any, jail: Jail) -> None:
    users = []
    both = [node.start("await new Promise(() => setInterval(() => {}, 1e6))") for _ in range(2)]
    processes = [confined.start().result() for confined in both]
    try:
        for confined, process in zip(both, processes, strict=True):
            assert process.stdout is not None and process.stdout.readline() == b"trying\n"
            status = Path(f"/proc/{confined.program_pid()}/status").read_text()
            users.append(
                {int(user) for line in status.splitlines() if line.startswith(("Uid:", "Gid:")) for user in line.split()[1:]}
            )
            assert confined.user_id is None or users[-1] == {confined.user_id}
    finally:
        for confined, process in zip(both, processes, strict=True):
            end_group(process, kill_inside=confined.kill)
            confined.release()
    if jail.own_ids:
        assert users[0] != users[1] and all(len(each) == 1 and each < set(mapped_ids()) for each in users)
    else:
        assert users == [{os.getuid(), os.getgid()}] * 2


def test_a_command_has_a_user_who_is_nobody_inside_a_namespace(node: Any, jail: Jail) -> None:
    user = node.inside("return process.getuid()").value
    assert user in mapped_ids() if jail.own_ids else user == 65534


# -- what is inherited ----------------------------------------------------------------------------------------------


def test_no_environment_is_inherited(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAIL_CANARY", CANARY)
    monkeypatch.setenv("LD_DEBUG", "help")  # would show on stderr if any of our programs got it
    assert node.inside("return process.env").value == {"PWD": "/"}
    told = node.inside("return process.env", {"A": "1", "B": "ä=\n"})
    assert told.value == {"A": "1", "B": "ä=\n", "PWD": "/"}
    assert told.errors == ""


def test_variables_of_the_loader_reach_the_command_and_none_of_the_tools_before_it(node: Any) -> None:
    # With this variable set, the loader lists the libraries of a program instead of running it, so the first program to see it tells.
    told = node.inside("return 1", {"LD_TRACE_LOADED_OBJECTS": "1", "LD_BIND_NOW": "1"})
    assert told.code == 0 and "libstdc++" in "".join(told.lines) and "trying" not in told.lines


def test_no_descriptor_is_inherited(python: Any, open_folder: Path) -> None:
    code = """
def link(name):
    try: return os.readlink(f"/proc/self/fd/{name}")
    except OSError: return None  # the descriptor of listdir itself
told([found for found in map(link, sorted(os.listdir("/proc/self/fd"), key=int)) if found])
"""
    secret = open_folder / "open"
    with secret.open("w") as file:
        os.set_inheritable(file.fileno(), True)
        command = [*python.command, python.prelude(code)]
        outside = subprocess.run(command, capture_output=True, text=True, close_fds=False, check=True).stdout
        assert str(secret) in outside
        stdin, *others = python.inside(code).value
    assert stdin == "/dev/null"
    assert len(others) == 2 and all(link.startswith("pipe:") for link in others)


def test_the_first_process_inside_cannot_be_taken_over_to_escape_the_limits(python: Any) -> None:
    code = """
def limits(pid):
    return open(f"/proc/{pid}/limits").read()
try: os.close(os.open("/proc/1/mem", os.O_RDWR)); taken = True
except OSError as error: taken = False
told([taken, os.getpid(), limits(1) == limits("self")])
"""
    options = {"processes": 77, "file_size": 1 << 20, "cpu_time": 50, **WHOLE}
    taken, pid, same_limits = python.inside(code, **options).value
    assert pid == 2 and (same_limits or not taken)


def test_limits_are_set(node: Any) -> None:
    code = "return fs.readFileSync('/proc/self/limits', 'utf8')"
    text = node.inside(code, open_files=200, file_size=1 << 20, processes=99, cpu_time=6.5).value
    limits = {line[:26].strip(): line[26:].split()[:2] for line in text.splitlines()}
    assert limits["Max core file size"] == ["1", "1"], "nothing for the host's crash handler either"
    assert limits["Max open files"] == ["200", "200"]
    assert limits["Max file size"] == [str(1 << 20)] * 2
    assert limits["Max processes"] == ["99", "99"]
    assert limits["Max cpu time"] == ["7", "8"]
    assert limits["Max address space"] == ["unlimited", "unlimited"], "V8 reserves far more than it uses"


def test_cpu_time_is_limited(node: Any) -> None:
    told = node.inside("for (;;);", cpu_time=1, **WHOLE)
    assert (told.lines, told.code) == (["trying"], -24)  # SIGXCPU
