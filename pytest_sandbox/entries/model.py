"""What an entry may say: one type for each kind, from which validation, defaults and the JSON Schema follow.

A field's `Meta` holds its constraints, the description that editors show, and, in ``extra``, the words in which an error tells what
was expected. Defaults are the reference's, its 0 for "unlimited" included; a field that the reference does not know is marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

__all__ = [
    "DEFAULT_GRACE_PERIOD",
    "DEFAULT_OUTPUT_LIMIT",
    "KINDS",
    "Confine",
    "DockerEntry",
    "Entry",
    "EntryProblem",
    "Mount",
    "NativeEntry",
]

DEFAULT_OUTPUT_LIMIT: Final = 10_000_000
"""Bytes of one output stream that are kept in memory."""
DEFAULT_GRACE_PERIOD: Final = 1.0
"""Seconds between SIGTERM and SIGKILL when a process is closed."""

_SIZE_WORDS: Final = 'a whole number of bytes that is at least 0, such as 536870912, or a size such as "512m"'

Text = Annotated[str, Meta(min_length=1, extra={"expected": "a text that is not empty"})]
# The schema also takes texts such as "512m" for what is marked as a size; the loader turns them into bytes.
Size = Annotated[int, Meta(ge=0, extra={"expected": _SIZE_WORDS, "size": True}, extra_json_schema={"x-size": True})]
Count = Annotated[int, Meta(ge=0, extra={"expected": "a whole number that is at least 0"})]
Seconds = Annotated[float, Meta(gt=0, le=86_400, extra={"expected": "a number of seconds greater than 0, at most 86400"})]
Flag = Annotated[bool, Meta(extra={"expected": "true or false"})]
EnvName = Annotated[str, Meta(pattern=r"^[^=\x00]+$", extra={"expected": "a variable name: not empty, without = and NUL"})]
# PATH and LD_* decide what the name of a program means: no call sets them where there is a whitelist.
AllowedName = Annotated[
    str,
    Meta(
        pattern=r"^(?!PATH(?![\s\S]))(?!LD_)[^=\x00]+$",
        extra={"expected": "a variable name; never PATH or LD_*, which decide which program runs: use default_env for them"},
    ),
]
EnvValue = Annotated[str, Meta(pattern=r"^[^\x00]*$", extra={"expected": "a text without NUL; write numbers and yes/no in quotes"})]
Capability = Annotated[
    str, Meta(pattern=r"^[A-Za-z][A-Za-z_0-9]*(?![\s\S])", extra={"expected": 'a capability such as "NET_RAW", or "ALL"'})
]
HostPath = Annotated[
    str, Meta(min_length=1, pattern=r"^[^\x00]+$", extra={"expected": "a path; a relative one starts at the entries file"})
]
ContainerPath = Annotated[
    str, Meta(pattern=r"^/[^\x00]*$", extra={"expected": 'an absolute path inside the container, such as "/workspace"'})
]


class Mount(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One folder or file of the host inside a container, in mapping form (paths may hold colons)."""

    source: Annotated[HostPath, Meta(description="Folder or file on the engine's machine.")]
    target: Annotated[ContainerPath, Meta(description="Where it appears inside the container.")]
    read_only: Annotated[Flag, Meta(description="Whether the container may not write to it.")] = False


Volume = Annotated[str, Meta(extra_json_schema={"pattern": r"^[^:]+:[^:]+(:(ro|rw))?$"})]


class Confine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The jail around a native command."""

    network: Annotated[
        Literal["none", "host"],
        Meta(description="`none`: no network at all; `host`: the host's network.", extra={"expected": '"none" or "host"'}),
    ] = "none"
    read_only: Annotated[tuple[HostPath, ...], Meta(description="Host paths that the command may read.")] = ()
    writable: Annotated[tuple[HostPath, ...], Meta(description="Host paths that the command may read and write.")] = ()
    memory: Annotated[Size, Meta(description="Resident memory in bytes, or a size such as `512m`; 0 is unlimited.")] = 0
    processes: Annotated[Count, Meta(description="How many processes and threads may exist at once; 0 is unlimited.")] = 0
    cpu_time: Annotated[
        float,
        Meta(
            ge=0,
            description="Seconds of CPU time for each process; 0 is unlimited.",
            extra={"expected": "a number of seconds that is at least 0"},
        ),
    ] = 0.0
    strict: Annotated[Flag, Meta(description="Fail when this machine cannot confine.")] = False


class _Common(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields that both kinds share."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[^\s:\x00-\x1f]+(?![\s\S])",
            description="The entry's name; its id is `namespace:name`.",
            extra={"expected": "a name without blanks and colons"},
        ),
    ]
    meta: Annotated[
        dict[str, Any],
        Meta(description="Notes for people and other tools; not used here.", extra={"expected": "a mapping"}),
    ] = field(default_factory=dict)
    default_env: Annotated[
        dict[EnvName, EnvValue],
        Meta(
            description="Environment variables of every command, merged with those of the call (the call wins).",
            extra={"expected": "a mapping of variable names to texts"},
        ),
    ] = field(default_factory=dict)
    command_whitelist: Annotated[
        tuple[Text, ...] | None,
        Meta(
            description="If set, only these exact commands are allowed; an empty list allows nothing.",
            extra={"expected": "a list of commands"},
        ),
    ] = None
    env_allow: Annotated[
        tuple[AllowedName, ...],
        Meta(
            description="Variables that a call may set although there is a command_whitelist; never PATH or LD_*.",
            extra={"expected": "a list of variable names"},
        ),
    ] = ()
    output_limit: Annotated[
        Size, Meta(description="Bytes of each output stream that are kept in memory (10000000), or a size such as `10m`.")
    ] = DEFAULT_OUTPUT_LIMIT
    grace_period: Annotated[Seconds, Meta(description="Seconds between SIGTERM and SIGKILL when a process is closed.")] = (
        DEFAULT_GRACE_PERIOD
    )


class NativeEntry(_Common, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="exec.native"):
    """Commands that run directly on the host (`exec.native`)."""

    default_work_dir: Annotated[
        HostPath | None,
        Meta(description="Working directory of all commands; with a whitelist, calls may choose folders inside it only."),
    ] = None
    confine: Annotated[
        Confine | None, Meta(description="Put a jail around every command (Linux, bubblewrap).", extra={"expected": "a mapping"})
    ] = None


class DockerEntry(_Common, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="exec.docker"):
    """Commands that run in a container: a fresh one for each (`image`), or one that is running (`container`)."""

    image: Annotated[Text | None, Meta(description="Image to run; required unless `container` is given.")] = None
    container: Annotated[
        Text | None,
        Meta(description="Id or name of a running container to run commands in, instead of fresh ones from an image."),
    ] = None
    host: Annotated[
        Annotated[str, Meta(pattern=r"^(unix|tcp|ssh|http|https|npipe)://\S+(?![\s\S])")] | None,
        Meta(
            description="URL of the engine; by default the local socket.",
            extra={"expected": 'a URL such as "unix:///run/docker.sock", "tcp://host:2376" or "ssh://user@host"'},
        ),
    ] = None
    default_work_dir: Annotated[ContainerPath | None, Meta(description="Working directory inside the container.")] = None
    network_mode: Annotated[
        Literal["host", "bridge", "none"],
        Meta(description="Network: `none`, `bridge` or `host`.", extra={"expected": '"none", "bridge" or "host"'}),
    ] = "bridge"
    volumes: Annotated[
        tuple[Volume | Mount, ...],
        Meta(
            description="Mounts: `host:container[:ro]`, or a mapping of source, target and read_only.",
            extra={"expected": "a list of mounts"},
        ),
    ] = ()
    user: Annotated[Text | None, Meta(description="User inside the container: name or uid, with an optional `:group`.")] = None
    memory_limit: Annotated[Size, Meta(description="Memory in bytes, or a size such as `512m`; 0 is unlimited.")] = 0
    cpu_quota: Annotated[Count, Meta(description="CPU quota: 100000 is one CPU, 0 is unlimited.")] = 0
    auto_remove: Annotated[
        Flag, Meta(description="Remove the container at exit; otherwise it is kept until the executor is closed.")
    ] = False
    read_only_rootfs: Annotated[Flag, Meta(description="Make the root filesystem read-only.")] = False
    no_new_privileges: Annotated[Flag, Meta(description="Prevent privilege escalation (setuid programs).")] = False
    cap_drop: Annotated[tuple[Capability, ...], Meta(description="Linux capabilities to drop; `ALL` for all.")] = ()
    cap_add: Annotated[tuple[Capability, ...], Meta(description="Linux capabilities to add.")] = ()
    pids_limit: Annotated[Count, Meta(description="Most processes and threads at once; 0 is unlimited.")] = 0
    tmpfs: Annotated[
        dict[ContainerPath, str],
        Meta(
            description="Writable paths in memory, each with mount options, such as `rw,noexec,nosuid,size=64m`.",
            extra={"expected": "a mapping of container paths to mount options"},
        ),
    ] = field(default_factory=dict)
    runtime: Annotated[Text | None, Meta(description="Container runtime, such as `runsc` (gVisor).")] = None
    platform: Annotated[Text | None, Meta(description="Platform of the image, such as `linux/arm64`.")] = None
    pull: Annotated[
        Literal["missing", "always", "never"],
        Meta(
            description="When to pull the image: `missing` (if it is not there), `always` or `never`.",
            extra={"expected": '"missing", "always" or "never"'},
        ),
    ] = "missing"
    keep: Annotated[Flag, Meta(description="Leave containers behind even when the executor is closed; excludes auto_remove.")] = (
        False
    )


Entry = NativeEntry | DockerEntry

KINDS: Final[Mapping[str, type[NativeEntry] | type[DockerEntry]]] = {"exec.native": NativeEntry, "exec.docker": DockerEntry}


@dataclass(frozen=True, slots=True)
class EntryProblem:
    """One thing that is wrong in an entries file.

    Attributes:
        file: the path of the file.
        line: the line in it, from 1; None when the whole file is meant.
        field: the field, such as `volumes[1]` or `default_env.PATH`; empty when the entry or file is meant.
        message: what is wrong, what was expected, and what to do next.
        entry: the entry's name, as far as it is known.
    """

    file: str
    line: int | None
    field: str
    message: str
    entry: str = ""

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        what = ", ".join(part for part in (f'entry "{self.entry}"' if self.entry else "", self.field) if part)
        return f"{where}: {what}: {self.message}" if what else f"{where}: {self.message}"
