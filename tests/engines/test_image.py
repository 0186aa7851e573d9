"""Our own image: from scratch, addressed by its content, built once, and with nothing in it that helps an attacker."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import platform
import shutil
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_sandbox.engines import image as image_module
from pytest_sandbox.engines.base import Engine, ImageInfo
from pytest_sandbox.engines.elf import NotElf, libraries, read_program
from pytest_sandbox.engines.image import IMAGE_LABEL, NODE_IN_IMAGE, ensure_image, find_node
from pytest_sandbox.engines.layers import ImageFile, ImageRecipe
from pytest_sandbox.errors import EngineError, EngineRefused, NodeImageImpossible
from tests.real_engines import ACROSS, busybox_program, engine_named

from .conftest import TOKEN, Containers

RUNNER = b"console.log('runner', process.argv.slice(2).join());\n"
# A file of our own in every image of these tests: no other test run builds, uses or removes the same one.
FILES = {"/app/runner.mjs": ImageFile(RUNNER, 0o444), "/app/token": ImageFile(TOKEN.encode(), 0o444)}


@pytest.fixture(scope="module")
def node() -> Path:
    try:
        return find_node(platform.machine())
    except NotElf as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def image(engine: Engine, node: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageInfo]:
    built = ensure_image(engine, FILES, node=node, cache=tmp_path_factory.mktemp("cache"))
    yield built
    engine.remove_image(built.tags[0])


@pytest.fixture
def run_node(engine: Engine, image: ImageInfo) -> Iterator[Callable[..., str]]:
    """Run a program in our image with the strict settings, and return what it prints."""
    containers = Containers(engine, image.id)

    def run(*arguments: str, **settings: Any) -> str:
        created = containers.create(
            command=(NODE_IN_IMAGE, *arguments),
            **{"user": "node", "read_only": True, "cap_drop": ("ALL",), "no_new_privileges": True, "network": "none", **settings},
        )
        streams = engine.open(created.id)
        out, err = streams.collect(timeout=30)
        streams.close()
        state = engine.wait(created.id, timeout=10)
        assert state.exit_code == 0, err.decode()
        return out.decode()

    yield run
    for created in containers.made:
        engine.remove(created.id)


def test_node_runs_in_it_as_the_unprivileged_user(run_node: Callable[..., str]) -> None:
    script = "console.log(process.version, process.getuid(), process.getgid(), require('os').userInfo().username, process.cwd())"
    version, *rest = run_node("-e", script).split()
    assert version.startswith("v")
    assert rest == ["1000", "1000", "node", "/tmp"]


@ACROSS
def test_the_callers_files_are_in_it_and_cannot_be_written(run_node: Callable[..., str]) -> None:
    assert run_node("/app/runner.mjs", "one", "two") == "runner one,two\n"


@ACROSS
def test_nobody_inside_can_read_the_node_binary(run_node: Callable[..., str]) -> None:
    script = (
        "const read = (path) => { try { return String(fs.readFileSync(path).length > 0) } catch (error) { return error.code } };"
        "const mode = (path) => (fs.statSync(path).mode & 0o777).toString(8);"
        "for (const path of ['/usr/bin/node', '/app/runner.mjs', '/etc/passwd']) console.log(path, mode(path), read(path))"
    )
    # The other two are the control.
    assert run_node("-e", script) == "/usr/bin/node 111 EACCES\n/app/runner.mjs 444 true\n/etc/passwd 444 true\n"


@ACROSS
def test_tmp_is_writable_for_everybody_and_the_rest_is_not(run_node: Callable[..., str]) -> None:
    tmpfs = {"/tmp": "rw,noexec,nosuid,size=64m"}
    script = (
        "fs.writeFileSync('/tmp/x', 'x'); console.log('tmp');"
        "for (const place of ['/x', '/app/x', '/usr/bin/x', '/home/node/x'])"
        " try { fs.writeFileSync(place, 'x'); console.log(place) } catch (error) { console.log(error.code) }"
    )
    assert run_node("-e", script, tmpfs=tmpfs).split() == ["tmp", "EROFS", "EROFS", "EROFS", "EROFS"]


@ACROSS
def test_there_is_nothing_else_in_it(run_node: Callable[..., str], node: Path) -> None:
    script = (
        "const walk = (at) => fs.readdirSync(at, {withFileTypes: true}).flatMap((entry) => entry.isDirectory() ?"
        " walk(at + entry.name + '/') : [at + entry.name]);"
        "console.log(JSON.stringify(['app', 'bin', 'sbin', 'etc', 'home', 'lib', 'lib64', 'opt', 'root', 'usr', 'var']"
        ".filter((name) => fs.existsSync('/' + name)).flatMap((name) => walk('/' + name + '/'))))"
    )
    found = set(json.loads(run_node("-e", script)))
    program = read_program(node)
    libs = {path.rpartition("/")[2] for path in found if ".so" in path}
    assert libs == {*libraries(program), Path(program.loader or "").name}
    made_by_the_engine = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab"}
    others = {path for path in found if ".so" not in path} - made_by_the_engine
    assert others == {"/usr/bin/node", "/etc/passwd", "/etc/group", "/app/runner.mjs", "/app/token"}


def test_it_is_labelled_with_its_content_and_made_for_this_machine(image: ImageInfo) -> None:
    assert len(image.labels[IMAGE_LABEL]) == 64
    assert image.tags[0].endswith(image.labels[IMAGE_LABEL][:16])
    assert image.architecture == platform.machine()


class Counting:
    """An engine that counts how often an image was loaded."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.loads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def load(self, archive: Path | Iterable[bytes], *, timeout: float | None = None) -> None:
        self.loads += 1
        self._engine.load(archive, timeout=timeout)


def test_it_is_built_once_and_found_again(engine: Engine, image: ImageInfo, node: Path, tmp_path: Path) -> None:
    counting: Any = Counting(engine)
    begin = time.monotonic()
    assert ensure_image(counting, FILES, node=node, cache=tmp_path).id == image.id
    assert ensure_image(counting, dict(reversed(FILES.items())), node=node, cache=tmp_path).id == image.id
    assert counting.loads == 0
    assert time.monotonic() - begin < 5


@ACROSS
def test_another_content_or_mode_gives_another_image(engine: Engine, image: ImageInfo, node: Path, tmp_path: Path) -> None:
    # Two of them are built; of the others, what decides is compared.
    built = ensure_image(engine, {**FILES, "/app/runner.mjs": ImageFile(RUNNER, 0o555)}, node=node, cache=tmp_path)
    engine.remove_image(built.tags[0])
    assert built.id != image.id
    changes: list[dict[str, ImageFile]] = [
        {},
        {"/app/runner.mjs": ImageFile(RUNNER + b"//", 0o444)},
        {"/app/runner.mjs": ImageFile(RUNNER, 0o555)},
        {"/app/runner.mjs": ImageFile(RUNNER, 0o444, 1000)},
        {"/app/more": ImageFile(b"", 0o444)},
    ]
    digests = {ImageRecipe(files={**FILES, **change}, architecture="x86_64").content_digest() for change in changes}
    assert len(digests) == len(changes)


@ACROSS
def test_a_cache_that_cannot_be_written_costs_time_only(engine: Engine, image: ImageInfo, node: Path) -> None:
    assert ensure_image(engine, FILES, node=node, cache=Path("/proc/no-such-folder")).id == image.id


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = {"/file": ImageFile(path, 0o444)}
    path.write_bytes(b"one")
    first = image_module._known_digests(tmp_path / "cache", contents)
    assert image_module._known_digests(tmp_path / "cache", contents) == first
    path.write_bytes(b"two")
    assert image_module._known_digests(tmp_path / "cache", contents) != first


def build_in_a_process(engine_name: str, cache: str, token: str, results: Any) -> None:
    engine: Any = Counting(engine_named(engine_name))
    files = {**FILES, "/app/parallel": ImageFile(token.encode(), 0o444)}
    built = ensure_image(engine, files, cache=Path(cache))
    results.put((built.id, built.tags[0], engine.loads))


@ACROSS
def test_workers_that_want_it_at_once_build_it_once(engine: Engine, engine_name: str, node: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    token = os.urandom(8).hex()
    workers = [context.Process(target=build_in_a_process, args=(engine_name, str(tmp_path), token, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    answers = [results.get(timeout=90) for _ in workers]
    for worker in workers:
        worker.join(20)
    engine.remove_image(answers[0][1])
    assert len({answer[0] for answer in answers}) == 1
    assert sum(answer[2] for answer in answers) == 1


def test_no_node_at_hand_is_an_error_that_says_what_to_do(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_module, "_node_candidates", lambda environ: iter(()))
    with pytest.raises(NodeImageImpossible, match=r"neither the package nor PATH.*pytest-sandbox\[node\].*--sandbox-image"):
        ensure_image(engine, FILES, cache=tmp_path)


def test_a_node_for_another_architecture_is_not_taken(engine: Engine, node: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "node"
    with node.open("rb") as file:
        head = bytearray(file.read(4096))
    struct.pack_into("<H", head, 18, 0xB7 if platform.machine() == "x86_64" else 0x3E)
    foreign.write_bytes(bytes(head))
    other = "aarch64" if platform.machine() == "x86_64" else "x86_64"
    with pytest.raises(NodeImageImpossible, match=f"made for {other}") as caught:
        ensure_image(engine, FILES, node=foreign, cache=tmp_path)
    assert caught.value.architecture == platform.machine()


def test_a_damaged_node_is_not_taken(engine: Engine, node: Path, tmp_path: Path) -> None:
    with node.open("rb") as file:
        (tmp_path / "node").write_bytes(file.read(80))
    with pytest.raises(NodeImageImpossible, match="its head is damaged"):
        ensure_image(engine, FILES, node=tmp_path / "node", cache=tmp_path)


def test_a_script_that_is_called_node_is_not_taken(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "node").write_text("#!/bin/sh\nexec bun\n" + "#" * 100)
    with pytest.raises(NodeImageImpossible, match="is not a Linux program"):
        ensure_image(engine, FILES, node=tmp_path / "node", cache=tmp_path)


def test_bun_on_the_path_is_not_taken_for_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    shutil.copy("/bin/true", tmp_path / "bun")
    (tmp_path / "node").symlink_to("bun")
    with pytest.raises(NotElf, match="is Bun, not Node"):
        find_node(platform.machine(), {"PATH": str(tmp_path)})
    with pytest.raises(NotElf, match="neither the package nor PATH has a node"):
        find_node(platform.machine(), {"PATH": str(tmp_path / "nothing")})


@ACROSS
def test_a_file_that_vanishes_while_it_is_built_is_an_error(engine: Engine, node: Path, tmp_path: Path) -> None:
    files = {**FILES, "/app/gone": ImageFile(tmp_path / "gone", 0o444)}
    with pytest.raises(EngineError, match="a file of it cannot be read.*gone"):
        ensure_image(engine, files, node=node, cache=tmp_path)


@ACROSS
def test_an_engine_that_cannot_keep_it_is_an_error_with_its_words(engine: Engine, node: Path, tmp_path: Path) -> None:
    class Full(Counting):
        def load(self, archive: Path | Iterable[bytes], *, timeout: float | None = None) -> None:
            # What an engine says when its disk is full, after it has read a part of the archive.
            next(iter(archive))  # type: ignore[arg-type]
            raise EngineRefused("docker over socket", "load an image", "write /layer.tar: no space left on device")

    full: Any = Full(engine)
    files = {**FILES, "/app/full": ImageFile(b"", 0o444)}
    with pytest.raises(EngineError, match="no space left on device"):
        ensure_image(full, files, node=node, cache=tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux programs")
def test_the_libraries_of_a_program_are_those_that_its_process_maps() -> None:
    program = read_program(Path(sys.executable).resolve())
    listed = {path.resolve() for path in libraries(program).values()}
    lines = Path("/proc/self/maps").read_text().splitlines()
    mapped = {Path(line.split(None, 5)[5]).resolve() for line in lines if len(line.split(None, 5)) == 6 and ".so" in line}
    assert program.architecture == platform.machine()
    assert listed and listed <= mapped


def test_a_program_without_a_loader_needs_no_library() -> None:
    program = read_program(busybox_program())
    assert program.loader is None
    assert libraries(program) == {}
