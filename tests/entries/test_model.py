"""The defaults of both reference tables, sizes, the JSON Schema, and what is loose."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_sandbox.entries import Confine, DockerEntry, EntryRegistry, NativeEntry, load_entries
from pytest_sandbox.entries.loose import dangers, loose_settings, tighten
from pytest_sandbox.entries.mounts import parse_volume
from pytest_sandbox.entries.schema import schema_text
from pytest_sandbox.entries.sizes import parse_size
from pytest_sandbox.errors import EntriesInvalid

PUBLISHED = Path(load_entries.__code__.co_filename).with_name("schema.json")


def test_the_defaults_are_those_of_the_reference() -> None:
    assert msgspec.to_builtins(NativeEntry(name="x")) == {
        "kind": "exec.native",
        "name": "x",
        "meta": {},
        "default_work_dir": None,
        "default_env": {},
        "command_whitelist": None,
        "env_allow": [],
        "output_limit": 10_000_000,
        "grace_period": 1.0,
        "confine": None,
    } | {"env_allow": ()}
    assert msgspec.to_builtins(DockerEntry(name="x", image="y")) == {
        "kind": "exec.docker",
        "name": "x",
        "meta": {},
        "image": "y",
        "container": None,
        "host": None,
        "default_work_dir": None,
        "default_env": {},
        "command_whitelist": None,
        "env_allow": (),
        "output_limit": 10_000_000,
        "grace_period": 1.0,
        "network_mode": "bridge",
        "volumes": (),
        "user": None,
        "memory_limit": 0,
        "cpu_quota": 0,
        "auto_remove": False,
        "read_only_rootfs": False,
        "no_new_privileges": False,
        "cap_drop": (),
        "cap_add": (),
        "pids_limit": 0,
        "tmpfs": {},
        "runtime": None,
        "platform": None,
        "pull": "missing",
        "keep": False,
    }


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("512b", 512),
        ("1k", 1024),
        ("512m", 512 << 20),
        ("512M", 512 << 20),
        ("512mb", 512 << 20),
        ("512MiB", 512 << 20),
        ("1.5g", 3 << 29),
        ("2 t", 2 << 40),
        ("m", None),
        ("-1m", None),
        ("1e3", None),
        ("1mm", None),
        ("1m ", None),
        ("1m\n", None),
        ("٣m", None),
        ("", None),
        ("9" * 30, None),
    ],
)
def test_sizes_are_read_as_engines_read_them(text: str, size: int | None) -> None:
    assert parse_size(text) == size


def test_a_size_may_be_written_as_text_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("- {name: a, kind: exec.docker, image: x, memory_limit: 512m, output_limit: 1 KiB}\n")
    entry = load_entries(file).entry("a").entry
    assert isinstance(entry, DockerEntry)
    assert (entry.memory_limit, entry.output_limit) == (536870912, 1024)


def test_the_published_schema_is_the_one_that_the_types_give() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(), "run: pytest-sandbox entries schema > " + str(PUBLISHED)


def schema_accepts(document: Any) -> bool:
    return not list(jsonschema.Draft202012Validator(json.loads(schema_text())).iter_errors(document))


FINE = """
version: "1.0"
namespace: app
entries:
  - name: gateway
    kind: http.service
    whatever: 1
  - name: shell
    kind: exec.native
    default_work_dir: /app
    default_env: {PATH: /usr/bin, LANG: en_US.UTF-8}
    command_whitelist: [git status, npm run build]
    confine: {network: none, read_only: [/usr], memory: 1g, strict: true}
  - name: sandbox
    kind: exec.docker
    image: python:3.11-slim
    default_work_dir: /workspace
    network_mode: none
    memory_limit: 536870912
    cpu_quota: 50000
    auto_remove: true
    read_only_rootfs: true
    no_new_privileges: true
    cap_drop: [ALL]
    tmpfs: {/tmp: "rw,noexec,nosuid,size=64m"}
    volumes: ["/app/data:/workspace/data:ro", {source: "/a:b", target: /c, read_only: true}]
  - {name: running, kind: exec.docker, container: abc, command_whitelist: [id]}
"""


def test_the_schema_and_the_loader_accept_the_examples_of_the_reference(tmp_path: Path) -> None:
    assert schema_accepts(yaml.safe_load(FINE))
    assert schema_accepts(yaml.safe_load(FINE)["entries"])
    file = tmp_path / "fine.yaml"
    file.write_text(FINE)
    assert load_entries(file).ids() == ("app:shell", "app:sandbox", "app:running")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "x", "kind": "exec.nativ"},
        {"name": "x", "kind": "exec.native", "imag": "y"},
        {"kind": "exec.native"},
        {"name": "x", "kind": "exec.docker"},
        {"name": "x", "kind": "exec.docker", "image": "y", "container": "z"},
        {"name": "x", "kind": "exec.docker", "container": "z", "memory_limit": 0},
        {"name": "x", "kind": "exec.docker", "image": "y", "memory_limit": -1},
        {"name": "x", "kind": "exec.docker", "image": "y", "memory_limit": "lots"},
        {"name": "x", "kind": "exec.docker", "image": "y", "network_mode": "lan"},
        {"name": "x", "kind": "exec.docker", "image": "y", "volumes": ["/a:/b:z"]},
        {"name": "x", "kind": "exec.native", "env_allow": ["PATH"]},
        {"name": "x", "kind": "exec.native", "env_allow": ["LD_LIBRARY_PATH"]},
        {"name": "x", "kind": "exec.native", "default_env": {"A": 1}},
        {"name": "x:y", "kind": "exec.native"},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(wrong: dict[str, Any], tmp_path: Path) -> None:
    assert not schema_accepts([wrong])
    file = tmp_path / "wrong.json.yaml"
    file.write_text(json.dumps([wrong]))
    with pytest.raises(EntriesInvalid):
        load_entries(file)


@given(st.text(max_size=40))
def test_a_volume_is_a_mount_or_a_named_error(text: str) -> None:
    parts = text.split(":")
    if len(parts) in (2, 3) and parts[0] and parts[1] and parts[2:] in ([], ["ro"], ["rw"]):
        mount = parse_volume(text)
        assert [mount.source, mount.target, mount.read_only] == [parts[0], parts[1], parts[2:] == ["ro"]]
    else:
        with pytest.raises(ValueError, match="expected"):
            parse_volume(text)


def only(entry: NativeEntry | DockerEntry) -> Any:
    registry = EntryRegistry.of(entry)
    return registry.entry(entry.name)


def test_each_loose_setting_of_a_bare_docker_entry_is_named() -> None:
    found = {setting.field for setting in loose_settings(only(DockerEntry(name="x", image="y")))}
    assert found == {
        "command_whitelist",
        "network_mode",
        "memory_limit",
        "cpu_quota",
        "pids_limit",
        "read_only_rootfs",
        "no_new_privileges",
        "cap_drop",
        "user",
        "auto_remove",
    }


def test_a_tight_entry_has_no_loose_setting() -> None:
    entry = DockerEntry(
        name="x",
        image="y",
        command_whitelist=("id",),
        network_mode="none",
        memory_limit=1 << 28,
        cpu_quota=100_000,
        pids_limit=64,
        read_only_rootfs=True,
        no_new_privileges=True,
        cap_drop=("all",),
        user="65534:65534",
        auto_remove=True,
    )
    assert loose_settings(only(entry)) == []


def test_each_loose_setting_of_a_bare_native_entry_is_named() -> None:
    assert {setting.field for setting in loose_settings(only(NativeEntry(name="x")))} == {"command_whitelist", "confine"}


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"network_mode": "host"}, "network_mode: `host` shares the host's network"),
        ({"cap_add": ("SYS_ADMIN", "NET_RAW")}, "cap_add: adds SYS_ADMIN, NET_RAW"),
        ({"volumes": ("/var/run/docker.sock:/x",)}, "volumes: mounts the engine socket /var/run/docker.sock"),
        ({"volumes": ("/run/podman/podman.sock:/x:ro",)}, "volumes: mounts the engine socket /run/podman/podman.sock"),
        ({"volumes": ("/:/host",)}, "volumes: mounts the whole filesystem of the host"),
        ({"volumes": ("//:/host:ro",)}, "volumes: mounts the whole filesystem of the host"),
        ({"volumes": ("/var/../:/host",)}, "volumes: mounts the whole filesystem of the host"),
        ({"volumes": ("/run:/host",)}, "volumes: mounts /run of the host"),
    ],
)
def test_what_hands_out_the_host_is_named(change: dict[str, Any], phrase: str) -> None:
    (found,) = dangers(only(DockerEntry(name="x", image="y", **change)))
    assert found.startswith(phrase)


def test_tightening_changes_only_what_is_not_given() -> None:
    tight = tighten(only(DockerEntry(name="x", image="y", network_mode="host", memory_limit=1 << 30)))
    assert isinstance(tight.entry, DockerEntry)
    assert tight.entry.network_mode == "host"
    assert tight.entry.memory_limit == 1 << 30
    assert tight.entry.read_only_rootfs
    assert tight.entry.no_new_privileges
    assert tight.entry.cap_drop == ("ALL",)
    assert tight.entry.user == "65534:65534"
    assert tight.entry.pids_limit == 64
    assert tight.entry.tmpfs == {"/tmp": "rw,noexec,nosuid,size=64m"}


def test_a_field_that_is_given_with_its_default_is_not_tightened(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("- {name: a, kind: exec.docker, image: x, network_mode: bridge, pids_limit: 0}\n")
    entry = tighten(load_entries(file).entry("a")).entry
    assert isinstance(entry, DockerEntry)
    assert (entry.network_mode, entry.pids_limit, entry.memory_limit) == ("bridge", 0, 256 << 20)


# -- the page ----------------------------------------------------------------------------------------------------------


def documented(section: str) -> dict[str, str]:
    """Return the defaults that a section of docs/entries.md gives, by field."""
    text = (Path(__file__).parents[2] / "docs/entries.md").read_text(encoding="utf-8").partition(f"\n## {section}\n")[2]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", re.split(r"^## ", text, flags=re.MULTILINE)[0], re.MULTILINE)
    return {name: default.strip("` ") for name, default in rows}


@pytest.mark.parametrize(("section", "model"), [("exec.native", NativeEntry), ("exec.docker", DockerEntry), ("confine", Confine)])
def test_the_page_lists_every_field_with_its_default(section: str, model: type[Any]) -> None:
    common = documented("Fields of both kinds") if model is not Confine else {}
    told = common | documented(section)
    fields = {field.name: field for field in msgspec.structs.fields(model)}
    assert set(told) == set(fields) | ({"kind"} if common else set())
    for name, field in fields.items():
        default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        if default is msgspec.NODEFAULT:
            assert told[name] == "required"
        elif default is not None:
            shown = {(): "[]", True: "true", False: "false"}.get(default) if not isinstance(default, dict) else "{}"
            # 0 == False: numbers show as they are.
            assert told[name] == (shown if isinstance(default, bool | tuple | dict) else str(default)), name
