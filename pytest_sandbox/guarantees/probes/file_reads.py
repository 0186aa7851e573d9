"""Attacks on `filesystem-read`: canaries that everybody may read, by each API and each detour."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pytest_sandbox.guarantees.attacks import attack, everywhere
from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.probe import BOTH, CodeProbe, Probe, Runtime
from pytest_sandbox.guarantees.scenes import leak
from pytest_sandbox.guarantees.stage import Attempt, Scene, SceneMaker

__all__ = ["PROBES"]


def _params(canaries: Canaries) -> dict[str, Any]:
    return {"path": str(canaries.secret_file), "folder": str(canaries.folder), "victim": canaries.victim}


_SECRET: Final = leak(_params, "file_secret")


def _read(
    name: str, title: str, code: str, scene: SceneMaker = _SECRET, *, runtimes: tuple[Runtime, ...] = BOTH, mechanism: str = ""
) -> CodeProbe:
    return attack(
        f"filesystem-read.{name}", title, code, scene, runtimes=runtimes, vantages=everywhere(runtimes), mechanism=mechanism
    )


def _listed() -> SceneMaker:
    """A file with a name that nobody can guess: the attack got through when it tells the name."""

    @contextmanager
    def make(canaries: Canaries) -> Iterator[Scene]:
        path = canaries.file()

        def look(attempt: Attempt) -> tuple[bool, str]:
            found = path.name in repr((attempt.value, attempt.error))
            return found, f"the name of our file {path.name} {'came' if found else 'did not come'} back"

        yield Scene({"folder": str(path.parent)}, look)

    return make


def _size() -> SceneMaker:
    """A file with a size that nobody can guess."""

    @contextmanager
    def make(canaries: Canaries) -> Iterator[Scene]:
        path = canaries.file()
        size = secrets.randbelow(90_000) + 10_000
        path.write_bytes(b"x" * size)

        def look(attempt: Attempt) -> tuple[bool, str]:
            found = attempt.at == "returned" and attempt.value == size
            return found, f"the size of our file, {size}, {'came' if found else 'did not come'} back"

        yield Scene({"path": str(path)}, look)

    return make


def _module() -> SceneMaker:
    """A module with a secret in it."""

    @contextmanager
    def make(canaries: Canaries) -> Iterator[Scene]:
        path = canaries.folder / f"{canaries.fresh('module')}.mjs"
        path.write_text(f'export default "{canaries.file_secret}";\n')
        path.chmod(0o644)
        json_path = path.with_suffix(".json")
        json_path.write_text(f'"{canaries.file_secret}"')
        json_path.chmod(0o644)

        def look(attempt: Attempt) -> tuple[bool, str]:
            found = canaries.file_secret in repr((attempt.value, attempt.error))
            return found, f"the secret in our module {'came' if found else 'did not come'} back"

        yield Scene({"path": str(path), "json": str(json_path)}, look)

    return make


PROBES: tuple[Probe, ...] = (
    _read("read-sync", "read a file of the host", "return (await need('fs')).readFileSync(P.path, 'utf8');"),
    _read(
        "read-promise", "read a file of the host by promises", "return await (await need('fs')).promises.readFile(P.path, 'utf8');"
    ),
    _read(
        "read-stream",
        "read a file of the host as a stream",
        """
        const fs = await need("fs");
        let text = "";
        for await (const piece of fs.createReadStream(P.path, "utf8")) text += piece;
        return text;
        """,
    ),
    _read(
        "descriptor",
        "open a file of the host, and read from its descriptor",
        """
        const fs = await need("fs");
        const descriptor = fs.openSync(P.path, "r");
        const bytes = new Uint8Array(200);
        return String.fromCharCode(...bytes.subarray(0, fs.readSync(descriptor, bytes)));
        """,
    ),
    _read("list", "list a folder of the host", "return (await need('fs')).readdirSync(P.folder);", _listed()),
    _read("stat", "ask for the size of a file of the host", "return (await need('fs')).statSync(P.path).size;", _size()),
    _read(
        "symlink",
        "read a file of the host through a symbolic link in /tmp",
        """
        const fs = await need("fs");
        const link = `/tmp/link-${Date.now()}-${Math.random()}`;
        fs.symlinkSync(P.path, link);
        try { return fs.readFileSync(link, "utf8"); } finally { fs.unlinkSync(link); }
        """,
    ),
    _read(
        "proc-root",
        "read a file of the host through /proc/…/root of every process",
        """
        const fs = await need("fs");
        let last;
        for (const pid of ["self", "1", String(P.victim), ...fs.readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name)).slice(0, 50)]) {
          try { return fs.readFileSync(`/proc/${pid}/root${P.path}`, "utf8"); } catch (error) { last = error; }
        }
        throw last;
        """,
    ),
    _read(
        "climb",
        "read a file of the host by climbing out of the working folder",
        "return (await need('fs')).readFileSync(`${'../'.repeat(40)}${P.path.slice(1)}`, 'utf8');",
    ),
    _read("import-module", "import a module of the host", "return (await import(`file://${P.path}`)).default;", _module()),
    _read(
        "create-require",
        "require a JSON file of the host by a require of its own making",
        "return (await need('module')).createRequire(P.json)(P.json);",
        _module(),
        mechanism="require",
    ),
    _read("require", "require a JSON file of the host", "return theRequire()(P.json);", _module()),
    _read("fetch", "fetch a file of the host", "return await (await fetch(`file://${P.path}`)).text();", runtimes=("deno",)),
    _read(
        "internal-binding",
        "read a file of the host by the runtime's own binding, past its modules",
        """
        const binding = needProcess().binding("fs");
        const descriptor = binding.open(P.path, 0, 0o666);
        const bytes = Buffer.alloc(200);
        return bytes.toString("utf8", 0, binding.read(descriptor, bytes, 0, 200, -1));
        """,
        runtimes=("node",),
    ),
    _read(
        "worker",
        "read a file of the host in a worker",
        """
        const { Worker } = await need("worker_threads");
        const worker = new Worker(`require("node:worker_threads").parentPort.postMessage(require("node:fs").readFileSync(${JSON.stringify(P.path)}, "utf8"))`, { eval: true });
        return await new Promise((resolve, reject) => { worker.on("message", resolve); worker.on("error", reject); });
        """,
        runtimes=("node",),
    ),
    _read(
        "blob",
        "open a file of the host as a blob",
        "return await (await (await need('fs')).openAsBlob(P.path)).text();",
        runtimes=("node",),
    ),
    _read(
        "copy",
        "copy a file of the host to /tmp, and read the copy",
        """
        const fs = await need("fs");
        const copy = `/tmp/copy-${Date.now()}-${Math.random()}`;
        fs.copyFileSync(P.path, copy);
        try { return fs.readFileSync(copy, "utf8"); } finally { fs.unlinkSync(copy); }
        """,
    ),
    _read(
        "sqlite",
        "attach a file of the host as a database, which tells of it by its error",
        """
        const { DatabaseSync } = await need("sqlite");
        try {
          new DatabaseSync(P.path).exec("select * from sqlite_master");
        } catch (error) {
          // Only who can read it knows that it is none.
          if (/not a database/.test(error.message)) return (await need("fs")).statSync(P.path).size;
          throw error;
        }
        """,
        _size(),
    ),
    _read(
        "deno-read",
        "read a file of the host by Deno.readTextFile",
        "return await needDeno().readTextFile(P.path);",
        runtimes=("deno",),
    ),
    _read(
        "deno-open",
        "open a file of the host by Deno.open",
        """
        const file = await needDeno().open(P.path);
        const bytes = new Uint8Array(200);
        return String.fromCharCode(...bytes.subarray(0, await file.read(bytes)));
        """,
        runtimes=("deno",),
        mechanism="descriptor",
    ),
    _read(
        "deno-list",
        "list a folder of the host by Deno.readDir",
        "const names = []; for await (const entry of needDeno().readDir(P.folder)) names.push(entry.name); return names;",
        _listed(),
        runtimes=("deno",),
        mechanism="list",
    ),
)
