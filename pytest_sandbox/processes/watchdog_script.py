"""The watchdog's own program: run as a file by `watchdog.py`, with ``python -I -S``; never imported by the package.

It reads lines from its standard input (a socket whose other end the test run holds) and, at the end of file, kills the process
groups and removes the containers and folders that are still registered. It needs the standard library only and loads little of
it, so that it starts fast, stays small, and does not depend on a virtual environment that may be deleted meanwhile.

    +g PGID TICKS                  a group and the start of its leader in clock ticks, -1 if unknown
    -g PGID
    +c NAME ADDRESS ARGV ENVIRON   a container; each field is ":" and hexadecimal, lists are joined with commas
    -c NAME ADDRESS ARGV ENVIRON
    +d PATH                        a folder, written like the fields of a container
    -d PATH
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

ALL_IN = 8.0  # seconds for everything after the end of file
YOUNG = 30.0  # seconds: a container registered less than this ago may still be in creation when the engine does not know it
FIRST_RETRY = 0.3  # seconds; each further pause is twice as long
LINGER = 2.0  # seconds in which a removed folder may come back: a runner that was just started boots before it notices our end

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2)

Remover = tuple[str, tuple[str, ...], tuple[str, ...]]  # address, argv, environment as "NAME=value"


def read_ticks(pid: int) -> int | None:
    """Return the start of a process in clock ticks, or None when it does not exist."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return int(file.read(4096).rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def kill_group(pgid: int, ticks: int) -> None:
    """Kill a group unless its number belongs to somebody else by now.

    The kernel does not give a number away while a group bears it. So: a leader that started at another time means that our group
    has ended; no leader at all means that ours is gone and that whoever is left in the group is ours.
    """
    now = read_ticks(pgid)
    if pgid <= 1 or (now is not None and now != ticks):
        return
    with contextlib.suppress(OSError):
        os.killpg(pgid, signal.SIGKILL)


def listen(source: int) -> tuple[dict[int, int], dict[str, float], dict[str, None]]:
    """Return what is registered when the test run is gone: groups with ticks, container lines with their time, folders."""
    groups: dict[int, int] = {}
    containers: dict[str, float] = {}
    folders: dict[str, None] = {}
    rest = b""
    while True:
        try:
            data = os.read(source, 65536)
        except OSError:
            data = b""
        if not data:
            return groups, containers, folders
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            action, _, body = line.decode("ascii", "replace").partition(" ")
            try:
                if action == "+g":
                    pgid, ticks = body.split()
                    groups[int(pgid)] = int(ticks)
                elif action == "-g":
                    groups.pop(int(body), None)
                elif action == "+c":
                    containers[body] = time.monotonic()
                elif action == "-c":
                    containers.pop(body, None)
                elif action == "+d":
                    folders[body] = None
                elif action == "-d":
                    folders.pop(body, None)
            except ValueError:
                continue  # a line that cannot be read must not keep the others from being minded


def parse_container(body: str) -> tuple[str, Remover]:
    """Return a container's name and how to reach its engine."""
    fields = [
        tuple(bytes.fromhex(value).decode("utf-8", "surrogateescape") for value in field[1:].split(",") if value)
        for field in body.split(" ")
    ]
    (name,), address, argv, environment = fields
    return name, (address[0] if address else "", argv, environment)


def ask_for_removal(names: list[str], address: str, deadline: float) -> dict[str, int]:
    """Ask an engine's API to remove containers, all at once; return the status of each answer, 0 where nobody answered."""
    import socket

    asked: dict[str, socket.socket] = {}
    for name in names:
        connection: socket.socket | None = None
        try:
            if address.startswith("unix://"):
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                connection.settimeout(max(0.05, deadline - time.monotonic()))
                connection.connect(address[len("unix://") :])
            else:
                host, _, port = address[len("tcp://") :].rpartition(":")
                connection = socket.create_connection((host.strip("[]"), int(port)), max(0.05, deadline - time.monotonic()))
            request = f"DELETE /containers/{name}?force=1&v=1 HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            asked[name] = connection
        except (OSError, ValueError):
            if connection is not None:
                connection.close()
    answers = dict.fromkeys(names, 0)
    for name, connection in asked.items():
        head = b""
        try:
            while b"\r\n" not in head:
                connection.settimeout(max(0.05, deadline - time.monotonic()))
                data = connection.recv(4096)
                if not data:
                    break
                head += data
            answers[name] = int(head.split(None, 2)[1])
        except (OSError, ValueError, IndexError):
            answers[name] = 0
        connection.close()
    return answers


def run_command(argv: tuple[str, ...], variables: tuple[str, ...], deadline: float) -> bool:
    """Run a program to its end, or kill it at the deadline; return whether it succeeded."""
    environment = dict(variable.split("=", 1) for variable in variables)
    actions = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    try:
        # The signals that we ignore must reach the engine's client: they may be the only way to end it.
        process = os.posix_spawn(argv[0], argv, environment, file_actions=actions, setsigdef=IGNORED, setsigmask=(), setpgroup=0)
    except (OSError, ValueError, NotImplementedError):
        return False
    while True:
        reaped, status = os.waitpid(process, os.WNOHANG)
        if reaped:
            return status == 0
        if time.monotonic() > deadline:
            kill_group(process, read_ticks(process) or -1)
            os.waitpid(process, 0)
            return False
        time.sleep(0.02)


def remove_containers(lines: dict[str, float], deadline: float) -> None:
    """Remove what is registered; ask again for a young one that the engine does not know: it may be in creation."""
    ended = time.monotonic()
    waiting: dict[Remover, dict[str, bool]] = {}
    for body, since in lines.items():
        try:
            name, remover = parse_container(body)
        except ValueError:
            continue
        waiting.setdefault(remover, {})[name] = ended - since < YOUNG
    pause = FIRST_RETRY
    while waiting:
        for (address, argv, variables), names in waiting.items():
            answers = ask_for_removal(list(names), address, deadline) if address else dict.fromkeys(names, 0)
            for name, status in answers.items():
                if status in (200, 204) or (status == 404 and not names[name]):
                    del names[name]
            unanswered = tuple(name for name, status in answers.items() if status == 0)
            # The exit code of "rm -f" is 0 for a container that does not exist, so a young one is asked for again.
            if unanswered and argv and run_command(argv + unanswered, variables, deadline):
                for name in unanswered:
                    if not names[name]:
                        del names[name]
        waiting = {remover: names for remover, names in waiting.items() if names}
        if not waiting or time.monotonic() + pause > deadline:
            return
        time.sleep(pause)
        pause *= 2


def remove_folders(lines: dict[str, None], deadline: float, linger: float = 0.0) -> None:
    """Remove folders; who has written there was killed, and may need a moment to be gone. Look so long for those that come back."""
    if not lines:
        return
    import shutil

    paths = []
    for body in lines:
        with contextlib.suppress(ValueError):
            paths.append(bytes.fromhex(body[1:]).decode("utf-8", "surrogateescape"))
    until = time.monotonic() + linger
    pause = FIRST_RETRY / 8
    while True:
        for path in paths:
            shutil.rmtree(path, ignore_errors=True)
        now = time.monotonic()
        if now + pause > deadline or (now >= until and not any(map(os.path.lexists, paths))):
            return
        time.sleep(pause)
        pause = min(pause * 2, FIRST_RETRY)


def main() -> None:
    """Listen until the test run is gone, then clean up."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    groups, containers, folders = listen(0)
    deadline = time.monotonic() + ALL_IN
    for pgid, ticks in groups.items():
        kill_group(pgid, ticks)
    remove_folders(folders, deadline - ALL_IN / 2)
    remove_containers(containers, deadline)
    remove_folders(folders, max(deadline, time.monotonic() + LINGER + FIRST_RETRY), LINGER)


if __name__ == "__main__":
    main()
    sys.exit(0)
