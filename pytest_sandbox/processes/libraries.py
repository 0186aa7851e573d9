"""Which files a program of this machine needs to start: its loader and its shared libraries, where the loader finds them."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from concurrent.futures import Future
from typing import Final

from pytest_sandbox.processes.spawn import end_group, spawn_soon

__all__ = ["runtime_files"]

_LOADER_CACHE: Final = "/etc/ld.so.cache"
_TIMEOUT: Final = 20.0
_PT_DYNAMIC: Final = 2
_PT_INTERP: Final = 3
_SHORT: Final = 4096
# "libm.so.6 => /lib/libm.so.6 (0x7f…)" or "/lib64/ld-linux-x86-64.so.2 (0x7f…)"; "linux-vdso.so.1 (0x7f…)" is no file.
_FOUND_REGEXP: Final = re.compile(r"^\s+(?:\S+ => )?(/.+) \(0x[0-9a-f]+\)$", re.MULTILINE)

_known: dict[tuple[str, int], tuple[str, ...]] = {}
"""What was found, by path and time of change."""


def runtime_files(*programs: str) -> tuple[str, ...]:
    """Return the programs and all that they load at their start, as absolute paths without duplicates.

    Args:
        programs: paths of executables, or of libraries and add-ons that are loaded later.

    Raises:
        OSError: when a program cannot be read, is not an ELF file, or lacks a library (the machine's fault).
    """
    keys = [(program, os.stat(program).st_mtime_ns) for program in programs]
    starting = {key: _list(key[0]) for key in keys if key not in _known}  # all of them run at the same time
    for key, listing in starting.items():
        _known[key] = (key[0], *(_libraries(key[0], *listing) if listing else ()))
    cache = [_LOADER_CACHE] if os.path.exists(_LOADER_CACHE) else []  # without it, a loader looks in its default folders only
    return tuple(dict.fromkeys(file for files in (*(_known[key] for key in keys), cache) for file in files))


def _list(path: str) -> tuple[str, Future[subprocess.Popen[bytes]]] | None:
    """Begin to let the loader list what it would load; None for what is statically linked."""
    segments = _segments(path)
    if _PT_DYNAMIC not in segments:
        return None
    # A library or add-on names no loader: that of its program, and of this one, will do.
    loader = segments.get(_PT_INTERP) or _segments("/proc/self/exe").get(_PT_INTERP)
    if loader is None:
        raise OSError(f"{path} names no loader, and this Python is statically linked")
    return loader, spawn_soon([loader, "--list", path], env={}, stdin=subprocess.DEVNULL)


def _libraries(path: str, loader: str, starting: Future[subprocess.Popen[bytes]]) -> tuple[str, ...]:
    process = starting.result(_TIMEOUT)
    try:
        output, errors = (data.decode("utf-8", "replace") for data in process.communicate(timeout=_TIMEOUT))
    except subprocess.TimeoutExpired:
        raise OSError(f"{loader} did not list the libraries of {path} within {_TIMEOUT:g} s") from None
    finally:
        code = end_group(process)
    if "statically linked" in output + errors:
        return ()
    if code != 0 or "=> not found" in output:
        raise OSError(f"{path} cannot be loaded: {(errors or output).strip()[-300:]}")
    return loader, *_FOUND_REGEXP.findall(output)


def _segments(path: str) -> dict[int, str]:
    """Return the types of an ELF file's segments, each with what it says if it is short: for PT_INTERP, the loader.

    Raises:
        OSError: when it is not an ELF file for a 64 bit little-endian machine.
    """
    with open(path, "rb") as file:
        # Offsets as in the ELF-64 object file format: e_phoff, e_phentsize and e_phnum, then p_type, p_offset and p_filesz.
        header = file.read(64)
        if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01":
            raise OSError(f"{path} is not an ELF file of a 64 bit machine (it begins with {header[:8]!r})")
        (table,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        file.seek(table)
        entries = file.read(size * count)
        segments = {}
        for at in range(0, len(entries), size):
            kind, offset, length = struct.unpack_from("<I4xQ16xQ", entries, at)
            file.seek(offset)
            segments[kind] = os.fsdecode(file.read(length).rstrip(b"\0")) if length < _SHORT else ""
        return segments
