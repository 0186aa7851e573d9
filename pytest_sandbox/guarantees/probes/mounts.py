"""Attacks on `read-only-root`, `noexec-tmp` and `volumes-read-only`: what is mounted, read from inside and tried out."""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pytest_sandbox.guarantees.attacks import attack
from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.probe import CodeProbe, Probe
from pytest_sandbox.guarantees.scenes import change, got, needs_root, told
from pytest_sandbox.guarantees.stage import Attempt, NotApplicable, Scene, SceneMaker
from pytest_sandbox.guarantees.subjects import Vantage
from pytest_sandbox.limits import MIB

__all__ = ["PROBES", "VOLUME"]

_INSIDE: Final[tuple[Vantage, ...]] = ("snippet", "process", "command")


def _code(id: str, title: str, code: str, scene: SceneMaker) -> CodeProbe:
    return attack(id, title, code, scene, vantages=_INSIDE)


_MOUNTS: Final = """
const lines = (await need("fs")).readFileSync("/proc/self/mountinfo", "utf8").trim().split("\\n");
const found = {};
for (const line of lines) {
  const [before, after] = line.split(" - ");
  const [, , , , point, options] = before.split(" ");
  found[point] = { options: options.split(","), kind: after.split(" ")[0], more: after.split(" ")[2].split(",") };
}
return found;
"""


def _root_options(value: Any) -> str:
    root = value.get("/") if isinstance(value, dict) else None
    options = root.get("options", []) if isinstance(root, dict) else []
    return "" if "ro" in options else f"/ is mounted {','.join(options)}"


def _tmp_options(value: Any) -> str:
    mounts = value if isinstance(value, dict) else {}
    mount = mounts.get("/tmp") or mounts.get("/") or {}
    missing = [option for option in ("noexec", "nosuid") if option not in [*mount.get("options", []), *mount.get("more", [])]]
    return f"/tmp is not mounted {', '.join(missing)}" if missing else ""


def _tiny_program() -> bytes | None:
    """Return a program of a few bytes that exits with 42, for this machine's architecture; None for others."""
    code = {
        "x86_64": bytes.fromhex("bf2a000000b83c0000000f05"),  # mov edi, 42; mov eax, 60; syscall
        "aarch64": bytes.fromhex("400580d2a80b80d2010000d4"),  # mov x0, 42; mov x8, 93; svc 0
    }.get(os.uname().machine)
    if code is None:
        return None
    machine = {"x86_64": 62, "aarch64": 183}[os.uname().machine]
    base, start = 0x400000, 64 + 56
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = start + len(code)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + code


@contextmanager
def _program(_canaries: Canaries) -> Iterator[Scene]:
    program = _tiny_program()
    if program is None:
        raise NotApplicable(f"there is no tiny program for {os.uname().machine}")

    def look(attempt: Attempt) -> tuple[bool, str]:
        ran = attempt.at == "returned" and attempt.value == 42
        return ran, "a program that was written to /tmp was executed" if ran else "no program that was written to /tmp was executed"

    yield Scene({"bytes": list(program), "name": f"program-{secrets.token_hex(6)}"}, look)


_EXECUTE: Final = """
const fs = await need("fs");
const path = `/tmp/${P.name}`;
fs.writeFileSync(path, new Uint8Array(P.bytes));
fs.chmodSync(path, 0o755);
try {
  const done = (await need("child_process")).spawnSync(path);
  if (done.error) throw done.error;
  return done.status;
} finally { fs.unlinkSync(path); }
"""


def _filled() -> SceneMaker:
    wanted = 96 * MIB

    @contextmanager
    def make(_canaries: Canaries) -> Iterator[Scene]:
        def look(attempt: Attempt) -> tuple[bool, str]:
            size = attempt.value if attempt.at == "returned" and isinstance(attempt.value, int) else 0
            return size >= wanted, f"{size // MIB} MiB of {wanted // MIB} MiB could be written to /tmp"

        yield Scene({"size": wanted, "name": f"fill-{secrets.token_hex(6)}"}, look)

    return make


_FILL: Final = """
const fs = await need("fs");
const path = `/tmp/${P.name}`;
const piece = new Uint8Array(1 << 20).fill(7);
const file = fs.openSync(path, "w");
let size = 0;
try { while (size < P.size) size += fs.writeSync(file, piece); }
catch (error) { if (error.code !== "ENOSPC" && error.code !== "EFBIG") throw error; }
finally { fs.closeSync(file); fs.unlinkSync(path); }
return size;
"""

_WRITE_ROOT: Final = """
const fs = await need("fs");
const open = ["/", "/etc", "/usr", "/usr/bin", "/var", "/opt", "/home", "/root"].filter((folder) => {
  try { fs.accessSync(folder, fs.constants.W_OK); return true; } catch { return false; }
});
return open.length > 0 && { token: P.token, got: open.join() };
"""


# -- volumes -------------------------------------------------------------------------------------------------------------------------


def _untouched() -> SceneMaker:
    def changed(path: Path) -> str:
        text = path.read_text() if path.exists() else "gone"
        return "" if text == "untouched" else f"the file in the read-only volume now says {text[:40]!r}"

    return change(Canaries.file, changed)


VOLUME: Final = "/read-only-volume"
"""Where the folder of canaries is mounted in the containers that an audit makes for commands."""

_TRY_VOLUME: Final = f"""
const fs = await need("fs");
const paths = [P.path, P.path.replace(P.folder, "{VOLUME}")].filter((path) => fs.existsSync(path));
if (paths.length === 0) throw new Error("the volume is not there");
"""


def _try_volume(name: str, title: str, code: str) -> CodeProbe:
    return attack(f"volumes-read-only.{name}", title, _TRY_VOLUME + code, _untouched(), vantages=("command",))


PROBES: tuple[Probe, ...] = (
    _code("read-only-root.mounts", "have a root filesystem that can be written to", _MOUNTS, told("the options of /", _root_options)),
    _code("read-only-root.access", "have folders of the system that can be written to", _WRITE_ROOT, needs_root(got("folders that can be written to"))),
    _code("noexec-tmp.mounts", "have a /tmp from which programs run", _MOUNTS, told("the options of /tmp", _tmp_options)),
    _code("noexec-tmp.execute", "write a program to /tmp, and execute it", _EXECUTE, _program),
    _code("noexec-tmp.fill", "write more to /tmp than the memory is for", _FILL, _filled()),
    _try_volume("overwrite", "overwrite a file in a read-only volume", "fs.writeFileSync(paths.at(-1), 'touched');"),
    _try_volume("append", "append to a file in a read-only volume", "fs.appendFileSync(paths.at(-1), 'touched');"),
    _try_volume("remove", "remove a file in a read-only volume", "fs.unlinkSync(paths.at(-1));"),
    _try_volume("mode", "change the mode of a file in a read-only volume, and write to it", "fs.chmodSync(paths.at(-1), 0o777); fs.writeFileSync(paths.at(-1), 'touched');"),
)  # fmt: skip
