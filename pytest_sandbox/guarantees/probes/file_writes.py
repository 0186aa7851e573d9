"""Attacks on `filesystem-write`: canaries that everybody may change, by each API and each detour."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pytest_sandbox.guarantees.attacks import attack, everywhere
from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.probe import BOTH, CodeProbe, Probe, Runtime
from pytest_sandbox.guarantees.scenes import change
from pytest_sandbox.guarantees.stage import SceneMaker

__all__ = ["PROBES"]


def _written(path: Path) -> str:
    try:
        text = path.read_text()
    except OSError:
        return f"our file {path} is gone"
    return "" if text == "untouched" else f"our file {path} now says {text[:40]!r}"


def _made(path: Path) -> str:
    return f"there is a new {path}" if path.exists() or path.is_symlink() else ""


def _mode(path: Path) -> str:
    mode = path.stat().st_mode & 0o777
    return "" if mode == 0o666 else f"our file {path} has the mode {mode:o} now"


def _time(path: Path) -> str:
    return f"our file {path} claims to be from 1970 now" if path.stat().st_mtime < 1000 else ""


def _links(path: Path) -> str:
    return f"our file {path} has another name now" if path.stat().st_nlink > 1 else ""


_FILE: Final = change(Canaries.file, _written)
_NEW: Final = change(lambda canaries: canaries.open_folder / canaries.fresh("new"), _made)


def _write(
    name: str, title: str, code: str, scene: SceneMaker = _FILE, *, runtimes: tuple[Runtime, ...] = BOTH, mechanism: str = ""
) -> CodeProbe:
    return attack(
        f"filesystem-write.{name}", title, code, scene, runtimes=runtimes, vantages=everywhere(runtimes), mechanism=mechanism
    )


PROBES: tuple[Probe, ...] = (
    _write("overwrite", "overwrite a file of the host", "(await need('fs')).writeFileSync(P.path, 'touched');"),
    _write("append", "append to a file of the host", "await (await need('fs')).promises.appendFile(P.path, 'touched');"),
    _write("truncate", "truncate a file of the host", "(await need('fs')).truncateSync(P.path, 0);"),
    _write("remove", "remove a file of the host", "(await need('fs')).unlinkSync(P.path);"),
    _write("rename", "rename a file of the host", "(await need('fs')).renameSync(P.path, `${P.path}-moved`);"),
    _write("create", "make a file on the host", "(await need('fs')).writeFileSync(P.path, 'new');", _NEW),
    _write("folder", "make a folder on the host", "(await need('fs')).mkdirSync(P.path);", _NEW),
    _write("symlink", "make a symbolic link on the host", "(await need('fs')).symlinkSync('/', P.path);", _NEW),
    _write(
        "hard-link",
        "give a file of the host a second name",
        "(await need('fs')).linkSync(P.path, `${P.path}-twin`);",
        change(Canaries.file, _links),
    ),
    _write(
        "mode",
        "change the mode of a file of the host",
        "(await need('fs')).chmodSync(P.path, 0o644);",
        change(Canaries.file, _mode),
    ),
    _write(
        "times",
        "change the times of a file of the host",
        "(await need('fs')).utimesSync(P.path, 1, 1);",
        change(Canaries.file, _time),
    ),
    _write(
        "stream",
        "write to a file of the host as a stream",
        """
        const stream = (await need("fs")).createWriteStream(P.path);
        await new Promise((resolve, reject) => { stream.on("error", reject); stream.end("touched", resolve); });
        """,
    ),
    _write(
        "proc-root",
        "write to a file of the host through /proc/…/root",
        "(await need('fs')).writeFileSync(`/proc/self/root${P.path}`, 'touched');",
    ),
    _write(
        "report",
        "have the runtime write its report to the host",
        """
        const { report } = needProcess();
        report.directory = P.folder;
        report.writeReport(P.path.slice(P.folder.length + 1));
        """,
        _NEW,
        runtimes=("node",),
    ),
    _write(
        "heap-snapshot",
        "have the runtime write its heap to the host",
        "(await need('v8')).writeHeapSnapshot(P.path);",
        _NEW,
        runtimes=("node",),
    ),
    _write(
        "sqlite",
        "make a database on the host",
        "const { DatabaseSync } = await need('sqlite'); const base = new DatabaseSync(P.path); base.exec('create table a (b)'); base.close();",
        _NEW,
    ),
    _write(
        "internal-binding",
        "make a folder on the host by the runtime's own binding, past its modules",
        "needProcess().binding('fs').mkdir(P.path, 0o777, false);",
        _NEW,
        runtimes=("node",),
    ),
    _write(
        "deno-write",
        "make a file on the host by Deno.writeTextFile",
        "await needDeno().writeTextFile(P.path, 'new');",
        _NEW,
        runtimes=("deno",),
    ),
    _write(
        "deno-remove",
        "remove a file of the host by Deno.remove",
        "await needDeno().remove(P.path);",
        runtimes=("deno",),
        mechanism="remove",
    ),
)
