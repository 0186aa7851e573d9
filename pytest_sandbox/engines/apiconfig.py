"""A container's description in the words of the Docker API, which Podman speaks, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pytest_sandbox.engines.base import ContainerState, ImageInfo
from pytest_sandbox.engines.spec import ContainerSpec

__all__ = ["CPU_PERIOD", "container_config", "normal_architecture", "parse_container", "parse_image", "parse_listed", "plain_id"]

CPU_PERIOD: Final = 100_000
_ARCHITECTURES: Final = {"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "arm": "armv7l"}
_ENDED: Final = ("exited", "stopped", "dead", "removing")


def normal_architecture(name: str) -> str:
    """Return an architecture by the name that the kernel gives it."""
    return _ARCHITECTURES.get(name, name)


def plain_id(value: str) -> str:
    """Return an id without its "sha256:"."""
    return value.removeprefix("sha256:")


def container_config(spec: ContainerSpec, labels: Mapping[str, str], engine: str) -> dict[str, Any]:
    """Return the body of a request to create a container; ``labels`` are added to the specification's."""
    # Podman makes a list joined with commas of a mount before it looks at it.
    as_binds = [mount for mount in spec.mounts if engine == "podman" and "," in mount.source + mount.target]
    host: dict[str, Any] = {
        "NetworkMode": spec.network,
        "ReadonlyRootfs": spec.read_only,
        "CapDrop": list(spec.cap_drop),
        "CapAdd": list(spec.cap_add),
        "SecurityOpt": [*(["no-new-privileges"] if spec.no_new_privileges else []), *spec.security],
        "Tmpfs": dict(spec.tmpfs),
        "Mounts": [
            {"Type": mount.kind, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}
            for mount in spec.mounts
            if mount not in as_binds
        ],
        "Binds": [f"{mount.source}:{mount.target}:{'ro' if mount.read_only else 'rw'}" for mount in as_binds],
        "Ulimits": [{"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard} for limit in spec.ulimits],
        "Init": spec.init,
        "AutoRemove": False,
    }
    if not spec.log:
        host["LogConfig"] = {"Type": "none", "Config": {}}
    optional = {
        "Memory": spec.memory,
        "MemorySwap": spec.memory_swap,
        "NanoCpus": None if spec.cpus is None else round(spec.cpus * 1e9),
        "CpuQuota": spec.cpu_quota,
        "CpuPeriod": None if spec.cpu_quota is None else CPU_PERIOD,
        "PidsLimit": spec.pids_limit,
        "IpcMode": spec.ipc,
        "ShmSize": spec.shm_size,
        "Runtime": spec.runtime,
    }
    host.update({name: value for name, value in optional.items() if value is not None})
    config: dict[str, Any] = {
        "Image": spec.image,
        "Cmd": list(spec.command),
        # Always NAME=value: Podman takes the value of a bare NAME from the environment of its service.
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "Labels": {**spec.labels, **labels},
        "AttachStdin": spec.stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": spec.stdin,
        "StdinOnce": spec.stdin,
        "Tty": False,
        # Podman's forced removal asks politely first, for 10 s unless told otherwise.
        "StopTimeout": 0,
        "HostConfig": host,
    }
    if spec.entrypoint is not None:
        config["Entrypoint"] = list(spec.entrypoint) or [""]
    if not spec.healthcheck:
        config["Healthcheck"] = {"Test": ["NONE"]}
    for name, value in (("User", spec.user), ("WorkingDir", spec.work_dir), ("Hostname", spec.hostname)):
        if value is not None:
            config[name] = value
    return config


def parse_container(data: Mapping[str, Any]) -> ContainerState:
    """Return the state told by an inspection, from the API or from a command line."""
    state = data.get("State") or {}
    config = data.get("Config") or {}
    status = str(state.get("Status") or "").lower()
    return ContainerState(
        id=str(data.get("Id") or ""),
        name=str(data.get("Name") or "").lstrip("/"),
        image=plain_id(str(data.get("Image") or "")),
        status={"configured": "created", "initialized": "created", "stopped": "exited"}.get(status, status),
        exit_code=int(state.get("ExitCode") or 0) if status in _ENDED else None,
        oom_killed=bool(state.get("OOMKilled")),
        pid=int(state.get("Pid") or 0),
        error=str(state.get("Error") or ""),
        labels=dict(config.get("Labels") or {}),
        env=tuple(config.get("Env") or ()),
    )


def parse_listed(data: Mapping[str, Any]) -> ContainerState:
    """Return what a list tells about a container, from an API or from Podman's command line."""
    return parse_container(
        {
            "Id": data["Id"],
            "Name": data["Names"][0],
            "Image": data.get("ImageID"),
            "State": {"Status": data.get("State")},
            "Config": {"Labels": data.get("Labels")},
        }
    )


def parse_image(data: Mapping[str, Any]) -> ImageInfo:
    """Return the facts told by an inspection of an image."""
    config = data.get("Config") or {}
    return ImageInfo(
        id=plain_id(str(data.get("Id") or "")),
        tags=tuple(data.get("RepoTags") or ()),
        labels=dict(config.get("Labels") or data.get("Labels") or {}),
        architecture=normal_architecture(str(data.get("Architecture") or "")),
        size=int(data.get("Size") or 0),
        env=tuple(config.get("Env") or ()),
        user=str(config.get("User") or ""),
    )
