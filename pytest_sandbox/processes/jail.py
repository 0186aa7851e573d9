"""The jail: the operating system's confinement around a runner or a native command, by bubblewrap.

What is inside sees namespaces of its own (users, processes, network, IPC, host name, cgroups, mounts), only the files that it was
given, no environment but the given one, and has no capability and no way to one. A system call filter and resource limits come on
top. Where the test run is root, the process inside runs under a user id of its own that has nothing on the host; elsewhere it runs
in a user namespace, as this user.

`jail_probe.find_jail` says whether a jail can be entered; this module builds and starts what is inside.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from subprocess import PIPE, Popen
from typing import Final

from pytest_sandbox.processes import makers
from pytest_sandbox.processes.confinement import Confinement
from pytest_sandbox.processes.host_ids import HostId, claim
from pytest_sandbox.processes.libraries import runtime_files
from pytest_sandbox.processes.seccomp import filter_program
from pytest_sandbox.processes.spawn import spawn_soon
from pytest_sandbox.processes.tree import children

__all__ = ["Confined", "Jail", "exit_code"]

_NAMELESS: Final = "65534"  # "nobody", who the user is inside a user namespace
_NAMESPACES: Final = ("--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox")
_BARE: Final = ("--die-with-parent", "--cap-drop", "ALL")
_TO_CHANGE_USER: Final = ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP")
_CHANGE_USER: Final = ("--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")

# Something has to wait for processes whose parents have ended. As root that is bubblewrap, whose death takes all others with it (it
# could not send a death signal to another user: it gives all capabilities up). Elsewhere bubblewrap would be the same user as what
# is inside, who could take it over through /proc/1/mem, and with it escape the limits: there it is a shell that has them, too.
_SHELL: Final = "/bin/sh"
_REAPER: Final = 'exec 3>&2 2>/dev/null; (exec "$@" 2>&3 3>&-); exit $?'  # without the shell's own words about signals

# What lets a variable choose code or data of a program at its start. The tools that set limits and change the user must not see
# them, so that they are set afterwards; the list is that of glibc for programs with more rights than their caller, and musl's.
_CHANGES_PROGRAMS_REGEXP: Final = re.compile(
    r"(LD_.*|GCONV_PATH|GETCONF_DIR|GLIBC_TUNABLES|HOSTALIASES|LOCALDOMAIN|LOCPATH|MALLOC_.*|MUSL_LOCPATH|NIS_PATH|NLSPATH"
    r"|RESOLV_HOST_CONF|RES_OPTIONS|TZDIR)\Z"
)


@dataclass(frozen=True, kw_only=True)
class Jail:
    """A way into a jail on this machine; made by `find_jail`, which has tried it.

    Attributes:
        program: the path of bwrap.
        version: its version.
        tools: the paths of prlimit and, where `own_ids`, of setpriv.
        tool_files: the tools and what they load.
        env_program: the path of env.
        own_ids: whether every jail has a user id of its own on the host; else a user namespace keeps this user's powers out.
        locks_namespaces: whether bwrap can forbid user namespaces inside (0.8 or newer); the system call filter does so anyway.
        has_proc: whether /proc can be had inside.
        counts_processes: whether `Confinement.processes` binds for each jail alone.
    """

    program: str
    version: str = ""
    tools: tuple[str, ...]
    tool_files: tuple[str, ...]
    env_program: str = "/usr/bin/env"
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
        return inside.closed_to_strangers() if self.own_ids else None

    def confine(self, command: Sequence[str], env: Mapping[str, str], inside: Confinement) -> Confined:
        """Prepare a command to be started in a jail of its own.

        Args:
            command: program (an absolute path that is inside) and arguments.
            env: its whole environment, but for ``PWD``, which bubblewrap adds. Variables of the loader show in the arguments of a
                process for a moment; others do not.
            inside: what it sees and may use.

        Raises:
            OSError: when no user id or no descriptor is free (the machine's fault).
            ValueError: when the program's path has a "=" and the environment a variable of the loader, which env cannot tell apart.
        """
        host_id = claim() if self.own_ids and inside.owner is None else None
        if host_id is not None and (maker := makers.current()) is not None:
            maker.add_descriptor(host_id.descriptor)
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
        self._is_first = not jail.own_ids and not inside.forks
        user, group = inside.owner or ((host_id.number, host_id.number) if host_id is not None else (None, None))
        self.user_id = user if jail.own_ids else None
        self._descriptors: list[int] = []
        self._process: Future[Popen[bytes]] | None = None
        late = {name: value for name, value in env.items() if _CHANGES_PROGRAMS_REGEXP.match(name)}
        if late:
            if "=" in command[0]:
                raise ValueError(f"cannot set {', '.join(late)} for {command[0]}: its path has an equals sign; move the program")
            inside = replace(inside, read_only=(*inside.read_only, *runtime_files(jail.env_program)))
        if inside.forks and not jail.own_ids:
            inside = replace(inside, read_only=(*inside.read_only, *runtime_files(_SHELL)))
        early = {name: value for name, value in env.items() if name not in late}
        try:
            program = filter_program(platform.machine(), forks=inside.forks, sockets=inside.sockets)
            options = [*_options(jail, inside, early), "--seccomp", str(self._pass(program))]
            for place, content in inside.copies.items():
                options += ["--perms", "0666", "--file", str(self._pass(content)), place]
            # The options go through a descriptor, so that no other user can read the environment from our arguments.
            arguments = self._pass(b"".join(os.fsencode(option) + b"\0" for option in options))
        except BaseException:
            self._close_descriptors()
            raise
        wrappers = [jail.tools[0], *inside.limits(counts_processes=jail.counts_processes), "--"]
        if jail.own_ids:
            wrappers += [jail.tools[1], f"--reuid={user}", f"--regid={group}", *_CHANGE_USER, "--"]
        elif inside.forks:
            wrappers += [_SHELL, "-c", _REAPER, _SHELL]
        if late:
            wrappers += [jail.env_program, *(f"{name}={value}" for name, value in late.items())]
        self._command = [jail.program, "--args", str(arguments), "--", *wrappers, *command]

    def _pass(self, content: bytes) -> int:
        """Return a descriptor to read the content from; no pipe, which could be too small for it."""
        descriptor = os.memfd_create("jail", os.MFD_CLOEXEC)
        self._descriptors.append(descriptor)
        if (maker := makers.current()) is not None:
            maker.add_descriptor(descriptor)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def _close_descriptors(self) -> None:
        # From two threads, perhaps: that of the start, and that of an end that follows at once.
        with contextlib.suppress(IndexError):
            while True:
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
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self._process.result().pid, signal.SIGCONT)  # or else a bubblewrap that was stopped would reap nobody
        return True

    def program_pid(self) -> int | None:
        """Return the process id, on the host, of the command itself; None when it has ended, or has not begun."""
        pid = self._first_pid()
        return pid if pid is None or self._is_first else next(iter(children(pid)), None)

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
    if not jail.own_ids:
        yield "--as-pid-1"
    for name, value in env.items():
        yield from ("--setenv", name, value)
    yield from inside.mounts(jail.tool_files)
    yield from ("--chdir", inside.work_dir)
