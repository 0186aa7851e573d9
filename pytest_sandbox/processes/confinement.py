"""What is inside a jail, and how bubblewrap and prlimit are told."""

from __future__ import annotations

import functools
import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final, Literal

__all__ = ["Confinement"]

_MIB: Final = 1 << 20
_DEVICES: Final = ("null", "urandom")
_MORE_DEVICES: Final = ("zero", "full", "random")  # for commands: engines do without, and each takes its time to mount


@dataclass(frozen=True, kw_only=True)
class Confinement:
    """What is inside a jail. Paths are absolute, and the same inside as outside.

    Attributes:
        read_only: files and folders that can be read. A symbolic link is followed outside, and a plain file or folder inside.
        writable: files and folders of the host that can be written.
        symlinks: symbolic links to make, with their targets.
        tmpfs: empty private folders in memory, with their sizes in bytes.
        copies: files to make in a folder of `tmpfs`, writable inside, with their content.
        network: "none" is a network namespace with an unreachable loopback device; "host" is the host's network.
        proc: whether /proc is there, with the processes of the jail only.
        forks: whether more processes can be made.
        sockets: whether sockets can be made.
        processes: how many processes and threads there can be at the same time; None is no limit.
        open_files: how many descriptors each process can have; None is no limit.
        file_size: bytes of the largest file that can be written; None is no limit.
        cpu_time: seconds of CPU time for each process; None is no limit. Rounded up to whole seconds.
        work_dir: the working folder.
        owner: where the test run is root: the user and group id to run as, such as those of a folder to write; None is an id of its
            own, whose files belong to nobody afterwards.
    """

    read_only: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    symlinks: Mapping[str, str] = field(default_factory=dict)
    tmpfs: Mapping[str, int] = field(default_factory=lambda: {"/tmp": 16 * _MIB})
    copies: Mapping[str, bytes] = field(default_factory=dict)
    network: Literal["none", "host"] = "none"
    proc: bool = True
    forks: bool = False
    sockets: bool = False
    processes: int | None = None
    open_files: int | None = 1024
    file_size: int | None = 64 * _MIB
    cpu_time: float | None = None
    work_dir: str = "/"
    owner: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.owner is not None and 0 in self.owner:
            raise ValueError(
                f"cannot run as user and group {self.owner}: root would keep its files and escape limits; take other ids"
            )

    def mounts(self, tool_files: Sequence[str]) -> Iterator[str]:
        """Return bubblewrap's options that make the files.

        Args:
            tool_files: what has to be readable besides.
        """
        binds = dict.fromkeys((*tool_files, *self.read_only), "--ro-bind") | dict.fromkeys(self.writable, "--bind")
        binds = {path: how for path, how in binds.items() if not _comes_with(path, how, binds, self.symlinks)}
        for path, size in sorted(self.tmpfs.items()):
            yield from _folders([path], [])
            yield from ("--perms", "1777", "--size", str(size), "--tmpfs", path)
        yield from _folders([*binds, *self.symlinks, "/dev/null"], [*binds, *self.symlinks])
        for path in sorted(binds):
            yield from (binds[path], os.path.realpath(path), path)
        for path, target in self.symlinks.items():
            yield from ("--symlink", target, path)
        for name in (*_DEVICES, *(_MORE_DEVICES if self.forks else ())):
            yield from ("--dev-bind", f"/dev/{name}", f"/dev/{name}")
        if self.proc:
            yield from ("--proc", "/proc")
        yield from ("--remount-ro", "/")

    def limits(self, *, counts_processes: bool) -> Iterator[str]:
        """Return the arguments of prlimit.

        Args:
            counts_processes: whether the limit `processes` binds for the jail alone, and can be set.
        """
        import resource  # which Windows does not have

        # Not 0, which is for files only: with 1, the kernel does not feed the host's crash handler either, which runs as root.
        yield "--core=1:1"
        for name, kind, value in (
            ("nofile", resource.RLIMIT_NOFILE, self.open_files),
            ("nproc", resource.RLIMIT_NPROC, self.processes if counts_processes else None),
            ("fsize", resource.RLIMIT_FSIZE, self.file_size),
        ):
            if value is not None:
                _, most = resource.getrlimit(kind)  # which cannot be raised inside
                value = value if most == resource.RLIM_INFINITY else min(value, most)
                yield f"--{name}={value}:{value}"
        if self.cpu_time is not None:
            seconds = math.ceil(self.cpu_time)
            yield f"--cpu={seconds}:{seconds + 1}"  # SIGXCPU first: it tells more than SIGKILL

    def closed_to_strangers(self) -> str | None:
        """Return a readable file or folder that only its owner or group can read, or None.

        Raises:
            OSError: when one does not exist.
        """
        for top in self.read_only:
            for path in _all_in(top):
                mode = os.stat(path).st_mode
                if not mode & stat.S_IROTH or (stat.S_ISDIR(mode) and not mode & stat.S_IXOTH):
                    return path
        return None


@functools.cache
def _above(path: str) -> tuple[str, ...]:
    """Return the folders that a path is in, the nearest first, without the root folder."""
    return tuple(map(str, PurePosixPath(path).parents))[:-1]


def _comes_with(path: str, how: str, binds: Mapping[str, str], symlinks: Mapping[str, str]) -> bool:
    """Whether a path is there, in the same way, because the nearest folder above it that is mounted is."""
    folders = (*_above(path), "/")
    nearest = next((binds[folder] for folder in folders if folder in binds and folder != path), None)
    return nearest == how or any(folder in symlinks for folder in folders)


def _folders(paths: Sequence[str], mounted: Sequence[str]) -> Iterator[str]:
    """Make the folders that paths are in, but for those that are in something mounted.

    bubblewrap makes missing ones, too, but lets nobody enter them except its own user.
    """
    there = set(mounted)
    for folder in sorted({folder for path in paths for folder in _above(path)}):
        if folder not in there and there.isdisjoint((*_above(folder), "/")):
            yield from ("--dir", folder)


def _all_in(top: str) -> Iterator[str]:
    yield top
    for folder, folders, files in os.walk(top):
        yield from (os.path.join(folder, name) for name in (*folders, *files))
