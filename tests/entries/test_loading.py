from __future__ import annotations

import pickle
from pathlib import Path
from textwrap import dedent

import pytest

from pytest_sandbox.entries import DockerEntry, EntryRegistry, Mount, NativeEntry, load_entries
from pytest_sandbox.errors import EntriesInvalid, InvalidArgument, UnknownEntry


def write(folder: Path, text: str, name: str = "entries.yaml") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dedent(text), encoding="utf-8")
    return file


def problems(path: Path) -> list[tuple[int | None, str, str]]:
    with pytest.raises(EntriesInvalid) as caught:
        load_entries(path)
    return [(problem.line, problem.field, problem.message) for problem in caught.value.problems]


def native(text: str) -> str:
    lines = dedent(text).strip().splitlines()
    return "- name: shell\n  kind: exec.native\n" + "".join(f"  {line}\n" for line in lines)


def docker(text: str) -> str:
    lines = dedent(text).strip().splitlines()
    return "- name: box\n  kind: exec.docker\n  image: busybox\n" + "".join(f"  {line}\n" for line in lines)


def test_a_plain_list_gives_ids_without_a_namespace(tmp_path: Path) -> None:
    registry = load_entries(write(tmp_path, "- {name: shell, kind: exec.native}\n"))
    assert registry.ids() == ("shell",)
    assert isinstance(registry.entry("shell").entry, NativeEntry)


def test_a_document_gives_ids_with_its_namespace(tmp_path: Path) -> None:
    text = """
        version: "1.0"
        namespace: app
        meta: {owner: us}
        entries:
          - {name: shell, kind: exec.native}
          - {name: box, kind: exec.docker, image: busybox}
    """
    registry = load_entries(write(tmp_path, text))
    assert registry.ids() == ("app:shell", "app:box")
    assert "app:shell" in registry
    assert "shell" not in registry
    assert len(registry) == 2
    assert [loaded.line for loaded in registry] == [6, 7]


@pytest.mark.parametrize("version", ["1.0", "'1.0'", "2", "v1"])
def test_a_version_may_be_a_number_or_a_text(tmp_path: Path, version: str) -> None:
    assert load_entries(write(tmp_path, f"version: {version}\nentries: []\n")).ids() == ()


def test_folders_are_read_with_their_subfolders_but_not_what_is_hidden_or_a_test(tmp_path: Path) -> None:
    write(tmp_path, "- {name: b, kind: exec.native}\n", "b.yaml")
    write(tmp_path, "- {name: a, kind: exec.native}\n", "a.yml")
    write(tmp_path, "- {name: c, kind: exec.native}\n", "deep/er/c.yaml")
    write(tmp_path, "not: entries\n", ".hidden/x.yaml")
    write(tmp_path, "not: entries\n", "test_x.sandbox.yaml")
    write(tmp_path, "not entries\n", "notes.txt")
    assert load_entries(tmp_path).ids() == ("a", "b", "c")


def test_several_paths_are_one_registry(tmp_path: Path) -> None:
    one = write(tmp_path, "- {name: a, kind: exec.native}\n", "one.yaml")
    two = write(tmp_path, "namespace: x\nentries: [{name: a, kind: exec.native}]\n", "two.yaml")
    assert load_entries(one, str(two)).ids() == ("a", "x:a")


def test_entries_of_other_systems_are_passed_over_whatever_they_hold(tmp_path: Path) -> None:
    text = """
        - {name: gateway, kind: http.service, addr: ":8080", nonsense: true}
        - {kind: process.lua}
        - {name: shell, kind: exec.native}
    """
    assert load_entries(write(tmp_path, text)).ids() == ("shell",)


def test_meta_is_allowed_and_kept(tmp_path: Path) -> None:
    registry = load_entries(write(tmp_path, native("meta: {comment: anything, tags: [1, {a: b}]}")))
    assert registry.entry("shell").entry.meta == {"comment": "anything", "tags": [1, {"a": "b"}]}


def test_every_problem_of_every_file_is_reported_at_once_with_file_line_and_field(tmp_path: Path) -> None:
    one = write(
        tmp_path,
        """\
        version: "1.0"
        namespace: app
        entries:
          - name: shell
            kind: exec.native
            default_work_dri: /app
            default_env:
              PATH: /bin
              PORT: 8080
            command_whitelist:
              - git status
              - 7
              - "echo 'unbalanced"
          - name: box
            kind: exec.docker
            volumes:
              - /a:/b
              - nonsense
              - /a:/c:rx
            memory_limit: -1
            network_mode: brigde
            cpu_quota: many
          - name: shell
            kind: exec.native
          - name: other
            kind: exec.nativ
        """,
        "one.yaml",
    )
    two = write(tmp_path, "- {name: x, kind: exec.native, confine: {network: lan, memory: lots}}\n", "two.yaml")
    with pytest.raises(EntriesInvalid) as caught:
        load_entries(one, two)
    found = {(Path(p.file).name, p.line, p.entry, p.field) for p in caught.value.problems}
    assert found == {
        ("one.yaml", 6, "shell", "default_work_dri"),
        ("one.yaml", 9, "shell", "default_env.PORT"),
        ("one.yaml", 12, "shell", "command_whitelist[1]"),
        ("one.yaml", 13, "shell", "command_whitelist[2]"),
        ("one.yaml", 14, "box", "image"),
        ("one.yaml", 18, "box", "volumes[1]"),
        ("one.yaml", 19, "box", "volumes[2]"),
        ("one.yaml", 20, "box", "memory_limit"),
        ("one.yaml", 21, "box", "network_mode"),
        ("one.yaml", 22, "box", "cpu_quota"),
        ("one.yaml", 23, "shell", "name"),
        ("one.yaml", 26, "other", "kind"),
        ("two.yaml", 1, "x", "confine.network"),
        ("two.yaml", 1, "x", "confine.memory"),
    }
    text = str(caught.value)
    assert "Cannot load entries: 14 problems found" in text
    assert f'{one}:6: entry "shell", default_work_dri: unknown field (did you mean "default_work_dir"?)' in text
    assert f'{one}:9: entry "shell", default_env.PORT: expected a text without NUL; write numbers and yes/no in quotes, ' in text
    assert "got 8080 (YAML reads it as a number)" in text
    assert 'expected "none", "bridge" or "host", got "brigde" (did you mean "bridge"?)' in text
    assert f'duplicate id "app:shell": first defined at {one}:4; rename one of them' in text
    assert 'unknown kind "exec.nativ" (did you mean "exec.native"?): expected exec.native or exec.docker' in text
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems


def test_a_whitelist_line_that_can_never_run_is_a_problem(tmp_path: Path) -> None:
    text = """
        command_whitelist:
          - "echo 'x"
          - "  "
          - ""
          - ok
    """
    found = {line: (field, message) for line, field, message in problems(write(tmp_path, native(text)))}
    assert found[4][0] == "command_whitelist[0]"
    assert "a quote is opened and never closed" in found[4][1]
    assert found[5][0] == "command_whitelist[1]"
    assert "it is empty" in found[5][1]
    assert found[6] == ("command_whitelist[2]", 'expected a text that is not empty, got ""')
    assert len(found) == 3


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("name: ''", "name", "expected a name without blanks and colons"),
        ("default_env: [a]", "default_env", "expected a mapping of variable names to texts, got a list"),
        ("default_env: {'A=B': x}", "default_env.A=B", "expected a variable name"),
        ("default_env: {A: yes}", "default_env.A", "got yes (YAML reads it as true or false)"),
        ("default_env: {A: }", "default_env.A", "got nothing"),
        ("default_env: {A: 12:30}", "default_env.A", "got 12:30 (YAML reads it as a number)"),
        ("command_whitelist: git status", "command_whitelist", 'expected a list of commands, got "git status"'),
        ("env_allow: [PATH]", "env_allow[0]", "never PATH or LD_*"),
        ("env_allow: [A, LD_PRELOAD]", "env_allow[1]", "never PATH or LD_*"),
        ("output_limit: 1.5", "output_limit", 'or a size such as "512m", got 1.5'),
        ("output_limit: 5 parsecs", "output_limit", 'got "5 parsecs"'),
        ("grace_period: 0", "grace_period", "expected a number of seconds greater than 0"),
        ("grace_period: .inf", "grace_period", "expected a number of seconds greater than 0"),
        ("grace_period: .nan", "grace_period", "expected a number of seconds greater than 0"),
        ("confine: tight", "confine", 'expected a mapping, got "tight"'),
        ("confine: {netwrok: none}", "confine.netwrok", 'unknown field (did you mean "network"?)'),
        ("image: busybox", "image", "unknown field"),
        ("default_work_dir: 7", "default_work_dir", "expected a path"),
    ],
)
def test_a_wrong_field_of_a_native_entry_is_named(tmp_path: Path, text: str, field: str, message: str) -> None:
    body = native(text) if not text.startswith("name") else f"- {{{text}, kind: exec.native}}"
    ((_, found, got),) = problems(write(tmp_path, body))
    assert found == field
    assert message in got


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("host: localhost:2375", "host", 'expected a URL such as "unix:///run/docker.sock"'),
        ("network_mode: mynet", "network_mode", 'expected "none", "bridge" or "host", got "mynet"'),
        ("network_mode: null", "network_mode", "got nothing"),
        ("default_work_dir: workspace", "default_work_dir", "expected an absolute path inside the container"),
        ("volumes: ['/a:/b:ro:z']", "volumes[0]", 'expected "host:container"'),
        ("volumes: ['/a:/b:x']", "volumes[0]", 'expected the mode "ro" or "rw", got "x"'),
        ("volumes: ['data:/b']", "volumes[0]", "named volumes are not supported"),
        ("volumes: ['/a:b']", "volumes[0]", "expected an absolute path inside the container"),
        ("volumes: ['/a:/']", "volumes[0]", 'expected a folder below "/"'),
        ("volumes: ['/a:/x', '/b:/x/']", "volumes[1]", "mounts on /x again: volumes[0] does so already"),
        ("volumes: [{source: /a}]", "volumes[0].target", "is missing"),
        ("volumes: [{source: /a, target: /b, readonly: true}]", "volumes[0].readonly", 'did you mean "read_only"?'),
        ("volumes: [[/a, /b]]", "volumes[0]", "got a list"),
        ("memory_limit: -5", "memory_limit", "got -5"),
        ("memory_limit: 1k", "memory_limit", "at least 6m"),
        ("memory_limit: true", "memory_limit", "got true"),
        ("cpu_quota: 999", "cpu_quota", "at least 1000"),
        ("cpu_quota: 0.5", "cpu_quota", "expected a whole number"),
        ("pids_limit: -1", "pids_limit", "expected a whole number that is at least 0"),
        ("auto_remove: 'yes'", "auto_remove", 'expected true or false, got "yes"'),
        ("read_only_rootfs: 1", "read_only_rootfs", "expected true or false, got 1"),
        ("no_new_privileges: on it", "no_new_privileges", "expected true or false"),
        ("cap_drop: ALL", "cap_drop", 'got "ALL"'),
        ("cap_add: ['NET RAW']", "cap_add[0]", "expected a capability"),
        ("tmpfs: [/tmp]", "tmpfs", "expected a mapping of container paths to mount options"),
        ("tmpfs: {tmp: rw}", "tmpfs.tmp", "expected an absolute path inside the container"),
        ("volumes: ['/a:/tmp']\ntmpfs: {/tmp: rw}", "tmpfs./tmp", "volumes[0] does so already"),
        ("pull: sometimes", "pull", 'expected "missing", "always" or "never"'),
        ("keep: true\nauto_remove: true", "keep", "contradicts auto_remove"),
        ("container: abc", "image", "describes a container to be made"),
        ("confine: {}", "confine", "unknown field"),
    ],
)
def test_a_wrong_field_of_a_docker_entry_is_named(tmp_path: Path, text: str, field: str, message: str) -> None:
    ((_, found, got),) = problems(write(tmp_path, docker(text)))
    assert found == field
    assert message in got


def test_an_entry_for_a_running_container_excludes_every_field_that_describes_one(tmp_path: Path) -> None:
    text = """
        - name: box
          kind: exec.docker
          container: abc
          memory_limit: 0
          volumes: []
          user: nobody
          host: unix:///x
    """
    assert [(line, field) for line, field, _ in problems(write(tmp_path, text))] == [(5, "memory_limit"), (6, "volumes")]
    fine = "- {name: box, kind: exec.docker, container: abc, user: nobody, default_work_dir: /, command_whitelist: [id]}\n"
    assert load_entries(write(tmp_path, fine)).ids() == ("box",)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "is empty"),
        ("# nothing\n", None, "is empty"),
        ("just text\n", 1, "expected a list of entries, or a mapping with entries"),
        ("entries: {a: b}\n", 1, "expected a list of entries, got a mapping"),
        ("namespace: app\n", 1, "is missing: expected a list of entries"),
        ("entries: []\nnamespcae: app\n", 2, 'unknown field (did you mean "namespace"?)'),
        ("entries: []\nnamespace: a:b\n", 2, "expected a name without blanks and colons"),
        ("- just text\n", 1, "expected an entry, a mapping with name and kind"),
        ("- {name: x}\n", 1, 'expected a kind such as "exec.native"'),
        ("- {name: x, kind: 7}\n", 1, "got 7"),
        ("- {kind: exec.native}\n", 1, "is missing: expected a name without blanks and colons"),
        ("- {name: x, kind: exec.native\n", 2, "is not YAML"),
        ("- [\x00]\n", None, "is not YAML"),
        ("a: b\n---\nc: d\n", 2, "is not YAML"),
        ("- {name: x, kind: exec.native, name: y}\n", 1, "is given twice: first on line 1"),
        ("- {name: x, kind: exec.native, 7: y}\n", 1, "expected a text as key, got 7"),
        ("- {name: x, kind: exec.native, [a]: y}\n", 1, "expected a text as key, got a list"),
    ],
)
def test_a_file_that_holds_no_entries_is_named(tmp_path: Path, text: str, line: int | None, message: str) -> None:
    found = problems(write(tmp_path, text))
    assert len(found) == 1
    assert found[0][0] == line
    assert message in found[0][2]


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!custom", "!!str", "!", "!!binary"])
def test_a_yaml_tag_is_a_problem_and_never_a_call(tmp_path: Path, tag: str) -> None:
    canary = tmp_path / "canary"
    value = f"['touch {canary}']" if "python" in tag else "eA=="
    ((line, _, message),) = problems(write(tmp_path, native(f"default_work_dir: {tag} {value}")))
    assert line == 3
    assert "YAML tag" in message
    assert not canary.exists()


def test_aliases_and_merge_keys_work(tmp_path: Path) -> None:
    text = """
        - &base
          name: one
          kind: exec.docker
          image: busybox
          cap_drop: &none [ALL]
        - <<: *base
          name: two
          image: other
        - {name: three, kind: exec.docker, image: x, cap_drop: *none}
    """
    registry = load_entries(write(tmp_path, text))
    two = registry.entry("two").entry
    assert isinstance(two, DockerEntry)
    assert (two.image, two.cap_drop) == ("other", ("ALL",))
    assert registry.entry("three").entry.cap_drop == ("ALL",)  # type: ignore[union-attr]


def test_what_refers_to_itself_is_a_problem_and_no_endless_loop(tmp_path: Path) -> None:
    ((_, _, message),) = problems(write(tmp_path, native("meta: &m {again: *m}")))
    assert "refers to itself" in message


def test_a_billion_laughs_are_a_problem_and_no_full_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    text = "- name: x\n  kind: exec.native\n  meta:\n" + "".join(f"    {line}\n" for line in lines)
    ((_, _, message),) = problems(write(tmp_path, text))
    assert "more than 100000 values" in message


def test_deep_nesting_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    ((_, _, message),) = problems(write(tmp_path, native("meta: " + "[" * 5000 + "]" * 5000)))
    assert "nested too deeply" in message


def test_missing_files_empty_folders_and_wrong_encodings_are_problems(tmp_path: Path) -> None:
    assert "No such file or directory" in problems(tmp_path / "none.yaml")[0][2]
    (tmp_path / "empty").mkdir()
    assert "holds no file named *.yaml" in problems(tmp_path / "empty")[0][2]
    (tmp_path / "latin.yaml").write_bytes(b"- name: \xe4\n")
    assert "is not UTF-8 text: byte 8 is wrong" in problems(tmp_path / "latin.yaml")[0][2]


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbf- {name: a, kind: exec.native}\n")
    assert load_entries(file).ids() == ("a",)


def test_no_path_is_an_argument_error() -> None:
    with pytest.raises(InvalidArgument, match="at least one file or folder"):
        load_entries()


def test_an_unknown_id_names_the_closest_and_all_loaded_ones(tmp_path: Path) -> None:
    registry = load_entries(write(tmp_path, "namespace: app\nentries: [{name: shell, kind: exec.native}]\n"))
    with pytest.raises(
        UnknownEntry, match=r'Unknown entry "app:shel" \(did you mean "app:shell"\?\): loaded entries are app:shell'
    ):
        registry.get("app:shel")
    with pytest.raises(UnknownEntry):
        registry.get(None)  # type: ignore[arg-type]


def test_a_container_for_a_native_entry_is_an_argument_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"is of kind exec\.native"):
        load_entries(write(tmp_path, native(""))).get("shell", container="abc")


def test_entries_made_in_python_are_checked_like_those_of_a_file() -> None:
    registry = EntryRegistry.of(
        NativeEntry(name="a", command_whitelist=("true",)),
        DockerEntry(name="b", image="x", volumes=(Mount(source="/a:b", target="/c"),), memory_limit=1 << 30),
        namespace="py",
    )
    assert registry.ids() == ("py:a", "py:b")
    assert registry.entry("py:b").given == {"name", "image", "volumes", "memory_limit"}
    with pytest.raises(EntriesInvalid) as caught:
        EntryRegistry.of(
            DockerEntry(name="a", memory_limit=-1, network_mode="lan"),  # type: ignore[arg-type]
            NativeEntry(name="b", default_env={"A": 7}),  # type: ignore[dict-item]
            NativeEntry(name="b"),
        )
    assert {problem.field for problem in caught.value.problems} == {
        "image",
        "memory_limit",
        "network_mode",
        "default_env.A",
        "name",
    }
