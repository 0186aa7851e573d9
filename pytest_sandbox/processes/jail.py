"""The jail: the operating system's confinement around a runner or a native command, by bubblewrap.

What is inside sees namespaces of its own (users, processes, network, IPC, host name, cgroups, mounts), only the files that it was
given, no environment but the given one, and has no capability and no way to one. A system call filter and resource limits come on
top. Where the test run is root, the process inside runs under a user id of its own that has nothing on the host; elsewhere it runs
in a user namespace, as this user.

`jail_probe.find_jail` says whether a jail can be entered; this module builds and starts what is inside.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import resource
import signal
import stat
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from subprocess import PIPE, Popen
from typing import Final, Literal

from pytest_sandbox.processes.host_ids import HostId, claim
from pytest_sandbox.processes.seccomp import filter_program
from pytest_sandbox.processes.spawn import spawn_soon
from pytest_sandbox.processes.tree import children

__all__ = ["Confined", "Confinement", "Jail", "exit_code"]

_MIB: Final = 1 << 20
_NAMELESS: Final = "65534"  # "nobody", who the user is inside a user namespace
_DEVICES: Final = ("null", "urandom")
_MORE_DEVICES: Final = ("zero", "full", "random")  # for commands: engines do without, and each takes its time to mount
_NAMESPACES: Final = ("--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox")
_BARE: Final = ("--die-with-parent", "--cap-drop", "ALL")
_TO_CHANGE_USER: Final = ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP")


@dataclass(frozen=True, kw_only=True)
class Confinement:
    """What is inside a jail. Paths are absolute, and the same inside as outside.

    Attributes:
        read_only: files and folders that can be read. A symbolic link is followed outside, and a plain file or folder inside.
        writable: files and folders of the host that can be written.
        symlinks: symbolic links to make, with their targets.
        tmpfs: empty private folders in memory, with their sizes in bytes.
        copies: files to copy from the host into a folder of `tmpfs`, writable inside: their place there, and their source.
        network: "none" is a network namespace with an unreachable loopback device; "host" is the host's network.
        proc: whether /proc is there, with the processes of the jail only.
        forks: whether more processes can be made. Without, the program is the only process of its pid namespace, the first one.
        sockets: whether sockets can be made.
        processes: how many processes and threads there can be at the same time; None is no limit.
        open_files: how many descriptors each process can have; None is no limit.
        file_size: bytes of the largest file that can be written; None is no limit.
        cpu_time: seconds of CPU time for each process; None is no limit. Rounded up to whole seconds.
        work_dir: the working folder.
    """

    read_only: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    symlinks: Mapping[str, str] = field(default_factory=dict)
    tmpfs: Mapping[str, int] = field(default_factory=lambda: {"/tmp": 16 * _MIB})
    copies: Mapping[str, str] = field(default_factory=dict)
    network: Literal["none", "host"] = "none"
    proc: bool = True
    forks: bool = False
    sockets: bool = False
    processes: int | None = None
    open_files: int | None = 1024
    file_size: int | None = 64 * _MIB
    cpu_time: float | None = None
    work_dir: str = "/"


@dataclass(frozen=True, kw_only=True)
class Jail:
    """A way into a jail on this machine; made by `find_jail`, which has tried it.

    Attributes:
        program: the path of bwrap.
        version: its version.
        tools: the paths of prlimit and, where `own_ids`, of setpriv.
        tool_files: the tools and what they load.
        own_ids: whether every jail has a user id of its own on the host; else a user namespace keeps this user's powers out.
        locks_namespaces: whether bwrap can forbid user namespaces inside (0.8 or newer); the system call filter does so anyway.
        has_proc: whether /proc can be had inside.
        counts_processes: whether `Confinement.processes` binds for each jail alone.
    """

    program: str
    version: str = ""
    tools: tuple[str, ...]
    tool_files: tuple[str, ...]
    own_ids: bool
    locks_namespaces: bool = True
    has_proc: bool = True
    counts_processes: bool = True

    def __str__(self) -> str:
        name = f"bubblewrap {self.version}" if self.version else "bubblewrap"
        return f"{name}, {'own user id' if self.own_ids else 'user namespace'}, system call filter"

    def unreadable(self, inside: Confinement) -> str | None:
        """Return a file or folder that could not be read inside, because its permissions keep strangers out, or None.

        Raises:
            OSError: when one does not exist.
        """
        if self.own_ids:
            for top in inside.read_only:
                for path in _all_in(top):
                    mode = os.stat(path).st_mode
                    if not mode & stat.S_IROTH or (stat.S_ISDIR(mode) and not mode & stat.S_IXOTH):
                        return path
        return None

    def confine(self, command: Sequence[str], env: Mapping[str, str], inside: Confinement) -> Confined:
        """Prepare a command to be started in a jail of its own.

        Args:
            command: program (an absolute path that is inside) and arguments.
            env: its whole environment, but for ``PWD``, which bubblewrap adds.
            inside: what it sees and may use.

        Raises:
            OSError: when no user id is free, or a file to copy cannot be read (the machine's fault).
        """
        host_id = claim() if self.own_ids else None
        try:
            return Confined(self, command, env, inside, host_id)
        except BaseException:
            if host_id is not None:
                host_id.release()
            raise


class Confined:
    """A command in a jail: start it once, and release it when it has ended.

    Attributes:
        user_id: the user id on the host; None is that of this process.
    """

    def __init__(
        self, jail: Jail, command: Sequence[str], env: Mapping[str, str], inside: Confinement, host_id: HostId | None
    ) -> None:
        self._host_id = host_id
        self._forks = inside.forks
        self.user_id = host_id.number if host_id is not None else None
        self._descriptors: list[int] = []
        self._process: Future[Popen[bytes]] | None = None
        try:
            program = filter_program(platform.machine(), forks=inside.forks, sockets=inside.sockets)
            options = [*_options(jail, inside, env), "--seccomp", str(self._pass(program))]
            for place, source in inside.copies.items():
                descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
                self._descriptors.append(descriptor)
                options += ["--perms", "0666", "--file", str(descriptor), place]
            # The options go through a descriptor, so that no other user can read the environment from our arguments.
            arguments = self._pass(b"".join(os.fsencode(option) + b"\0" for option in options))
        except BaseException:
            self._close_descriptors()
            raise
        limits = [jail.tools[0], *_limits(jail, inside), "--"]
        if host_id is not None:
            limits += [jail.tools[1], *_change_user(host_id.number), "--"]
        self._command = [jail.program, "--args", str(arguments), "--", *limits, *command]

    def _pass(self, content: bytes) -> int:
        """Return a descriptor to read the content from; no pipe, which could be too small for it."""
        descriptor = os.memfd_create("jail", os.MFD_CLOEXEC)
        self._descriptors.append(descriptor)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def _close_descriptors(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def start(self, *, stdin: int = PIPE, stdout: int = PIPE, stderr: int = PIPE) -> Future[Popen[bytes]]:
        """Start it, as `spawn_soon` does; the process is bubblewrap, which ends as the command does, see `exit_code`.

        Killing its process group ends everything inside: the first process of the pid namespace is in that group. `kill` is better,
        for then bubblewrap reaps that process.
        """
        # No environment for bubblewrap itself: it may be root, and must not obey LD_PRELOAD.
        self._process = spawn_soon(
            self._command, env={}, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=tuple(self._descriptors)
        )
        self._process.add_done_callback(lambda _: self._close_descriptors())
        return self._process

    def kill(self) -> bool:
        """Kill everything inside, upon which bubblewrap ends by itself; return False when nothing is inside (yet, or any more)."""
        pid = self._first_pid()
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # the first process of a pid namespace takes all others with it
        return True

    def program_pid(self) -> int | None:
        """Return the process id, on the host, of the command itself; None when it has ended, or has not begun."""
        pid = self._first_pid()
        # With forks, bubblewrap's reaper of zombies is the first process inside.
        return next(iter(children(pid)), None) if pid is not None and self._forks else pid

    def _first_pid(self) -> int | None:
        process = self._process
        if process is None or not process.done() or process.cancelled() or process.exception() is not None:
            return None
        return next(iter(children(process.result().pid)), None)

    def release(self) -> None:
        """Let go of the user id, once the process has ended; safe to call twice."""
        self._close_descriptors()
        if self._host_id is not None:
            self._host_id.release()


def exit_code(code: int) -> int:
    """Return the return code of the command from bubblewrap's: negative for a signal, as in `subprocess`.

    bubblewrap tells the signal N as 128+N, as shells do, so an exit code of a command above 128 looks the same.
    """
    return 128 - code if 128 < code <= 128 + 64 else code


def _options(jail: Jail, inside: Confinement, env: Mapping[str, str]) -> Iterator[str]:
    yield from (*_NAMESPACES, *_BARE)
    if jail.own_ids:
        yield from _TO_CHANGE_USER
    else:
        yield from ("--unshare-user", "--uid", _NAMELESS, "--gid", _NAMELESS)
        if jail.locks_namespaces:
            yield "--disable-userns"
    if inside.network == "none":
        yield "--unshare-net"
    if not inside.forks:
        yield "--as-pid-1"
    for name, value in env.items():
        yield from ("--setenv", name, value)
    yield from _mounts(jail, inside)
    yield from ("--chdir", inside.work_dir)


def _mounts(jail: Jail, inside: Confinement) -> Iterator[str]:
    binds = dict.fromkeys((*jail.tool_files, *inside.read_only), "--ro-bind") | dict.fromkeys(inside.writable, "--bind")
    binds = {path: how for path, how in binds.items() if not _comes_with(path, how, binds, inside.symlinks)}
    for path, size in sorted(inside.tmpfs.items()):
        yield from _folders([path], [])
        yield from ("--perms", "1777", "--size", str(size), "--tmpfs", path)
    yield from _folders([*binds, *inside.symlinks, "/dev/null"], [*binds, *inside.symlinks])
    for path in sorted(binds):
        yield from (binds[path], os.path.realpath(path), path)
    for path, target in inside.symlinks.items():
        yield from ("--symlink", target, path)
    for name in (*_DEVICES, *(_MORE_DEVICES if inside.forks else ())):
        yield from ("--dev-bind", f"/dev/{name}", f"/dev/{name}")
    if inside.proc:
        yield from ("--proc", "/proc")
    yield from ("--remount-ro", "/")


def _comes_with(path: str, how: str, binds: Mapping[str, str], symlinks: Mapping[str, str]) -> bool:
    """Whether a path is there, in the same way, because a folder above it is."""
    return any(binds.get(str(folder)) == how or str(folder) in symlinks for folder in PurePosixPath(path).parents)


def _folders(paths: Sequence[str], mounted: Sequence[str]) -> Iterator[str]:
    """Make the folders that paths are in, but for those that are in something mounted.

    bubblewrap makes missing ones, too, but lets nobody enter them except its own user.
    """
    for folder in sorted({str(folder) for path in paths for folder in PurePosixPath(path).parents} - {"/"}):
        if folder not in mounted and not any(str(above) in mounted for above in PurePosixPath(folder).parents):
            yield from ("--dir", folder)


def _all_in(top: str) -> Iterator[str]:
    yield top
    for folder, folders, files in os.walk(top):
        yield from (os.path.join(folder, name) for name in (*folders, *files))


def _limits(jail: Jail, inside: Confinement) -> Iterator[str]:
    """Return the arguments of prlimit."""
    processes = inside.processes if jail.counts_processes else None  # else it would count what the user runs elsewhere
    yield "--core=0:0"
    for name, kind, value in (
        ("nofile", resource.RLIMIT_NOFILE, inside.open_files),
        ("nproc", resource.RLIMIT_NPROC, processes),
        ("fsize", resource.RLIMIT_FSIZE, inside.file_size),
    ):
        if value is not None:
            _, most = resource.getrlimit(kind)  # which cannot be raised inside
            value = value if most == resource.RLIM_INFINITY else min(value, most)
            yield f"--{name}={value}:{value}"
    if inside.cpu_time is not None:
        seconds = math.ceil(inside.cpu_time)
        yield f"--cpu={seconds}:{seconds + 1}"  # SIGXCPU first: it tells more than SIGKILL


def _change_user(number: int) -> tuple[str, ...]:
    """Return the arguments of setpriv."""
    # The death signal is lost with a change of user.
    return (
        f"--reuid={number}",
        f"--regid={number}",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--no-new-privs",
        "--pdeathsig=KILL",
    )
