"""What a Linux program needs in order to run: read from its file, and asked from its own loader, which does not run it."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["NotElf", "Program", "libraries", "read_program"]

_MACHINES: Final = {0x3E: "x86_64", 0xB7: "aarch64", 0x28: "armv7l", 0x03: "i686", 0xF3: "riscv64", 0x15: "ppc64le", 0x16: "s390x"}
_PT_INTERP: Final = 3
_LISTED: Final = re.compile(r"\s*(?P<name>\S+)(?: => (?P<path>not found|\S+))?(?: \(0x[0-9a-f]+\))?\s*\Z")


class NotElf(ValueError):
    """A file is not a Linux program, or needs something that is not there."""


@dataclass(frozen=True)
class Program:
    """A Linux program.

    Attributes:
        path: the file.
        architecture: as the kernel names it: "x86_64", "aarch64" ...
        loader: the absolute path of its loader, or None when it is linked statically.
    """

    path: Path
    architecture: str
    loader: str | None


def read_program(path: Path) -> Program:
    """Return what the head of a program's file says.

    Raises:
        NotElf: when it is something else, such as a script.
        OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        try:
            return _read_head(path, file)
        except (struct.error, UnicodeDecodeError) as error:
            raise NotElf(f"{path} is a Linux program, but its head is damaged: {error}") from error


def _read_head(path: Path, file: BinaryIO) -> Program:
    head = file.read(64)
    if len(head) < 64 or head[:4] != b"\x7fELF" or head[4] not in (1, 2):
        raise NotElf(f"{path} is not a Linux program")
    order = "<" if head[5] == 1 else ">"
    (machine,) = struct.unpack_from(f"{order}H", head, 18)
    is_64 = head[4] == 2
    table, size, count = (
        (*struct.unpack_from(f"{order}Q", head, 32), *struct.unpack_from(f"{order}HH", head, 54))
        if is_64
        else (*struct.unpack_from(f"{order}I", head, 28), *struct.unpack_from(f"{order}HH", head, 42))
    )
    loader = None
    for index in range(count):
        file.seek(table + index * size)
        entry = file.read(size)
        (kind,) = struct.unpack_from(f"{order}I", entry, 0)
        if kind == _PT_INTERP:
            offset, length = (
                (struct.unpack_from(f"{order}Q", entry, 8)[0], struct.unpack_from(f"{order}Q", entry, 32)[0])
                if is_64
                else (struct.unpack_from(f"{order}I", entry, 4)[0], struct.unpack_from(f"{order}I", entry, 16)[0])
            )
            file.seek(offset)
            loader = file.read(length).rstrip(b"\0").decode()
    return Program(path, _MACHINES.get(machine, f"machine {machine}"), loader)


def libraries(program: Program) -> dict[str, Path]:
    """Return the libraries that a program of this machine's architecture links to: name to file, the loader left out.

    Raises:
        NotElf: when one is missing, or the loader cannot be asked.
    """
    if program.loader is None:
        return {}
    # glibc's and musl's loader both list what they would load when asked so; the program itself is not started.
    environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    try:
        finished = subprocess.run(
            [program.loader, "--list", str(program.path)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotElf(f"the loader {program.loader} of {program.path} cannot be asked for its libraries: {error}") from error
    if finished.returncode:
        raise NotElf(
            f"the loader {program.loader} cannot load {program.path}: {finished.stderr.strip() or finished.stdout.strip()}"
        )
    found: dict[str, Path] = {}
    for line in finished.stdout.splitlines():
        match = _LISTED.match(line)
        if match is None or match["path"] is None or match["name"] == program.loader:
            continue  # the kernel's own vdso, and the loader itself, have no arrow
        if match["path"] == "not found":
            raise NotElf(f"{program.path} needs the library {match['name']}, which is not on this machine")
        if Path(match["path"]).resolve() != Path(program.loader).resolve():
            found[match["name"]] = Path(match["path"])
    return found
