"""What an engine says about itself through its command-line client."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from pytest_sandbox.engines.apiconfig import normal_architecture
from pytest_sandbox.engines.base import EngineInfo, Stats
from pytest_sandbox.engines.commandline import Client
from pytest_sandbox.engines.quirks import is_local
from pytest_sandbox.errors import EngineError, EngineGone

__all__ = ["ask_info", "ask_name", "docker_address", "parse_stats"]

_UNITS: Final = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def _json(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def ask_name(client: Client, timeout: float) -> Literal["docker", "podman"]:
    """Return what answers behind a client: a client that only tells its own version is no engine.

    Raises:
        EngineError: when no engine answers.
    """
    action = "reach it"
    finished = client.run(["version", "--format", "json"], timeout=timeout, action=action)
    facts = _json(finished.stdout)
    if isinstance(facts.get("Server"), dict) and "APIVersion" not in facts.get("Client", {}):
        return "docker"
    if "APIVersion" in facts.get("Client", {}):
        # Podman has no daemon that could be down; that its storage works is shown by a list of containers.
        client.ask(["ps", "--quiet", "--last=1"], timeout=timeout, action=action)
        return "podman"
    if finished.code == 0 and not facts:
        raise EngineError(client.label, action, f"{client.program} does not tell its version in JSON: it is no container engine")
    error = client.failure(finished, action)
    raise EngineGone(client.label, action, f"the client works, but no engine answers: {error.detail}")


def ask_info(client: Client, name: Literal["docker", "podman"], timeout: float) -> EngineInfo:
    """Return the facts of an engine."""
    finished = client.ask(["info", "--format", "{{json .}}"], timeout=timeout, action="ask for its facts")
    facts = _json(finished.stdout)
    endpoint = " ".join((client.program, *client.reach))
    if name == "podman":
        host: Mapping[str, Any] = facts.get("host") or {}
        runtime = host.get("ociRuntime") or {}
        words = str(runtime.get("version") or "").split("\n")[0].split()
        return EngineInfo(
            name="podman",
            version=str((facts.get("version") or {}).get("Version") or "unknown"),
            api_version="",
            transport="command line",
            endpoint=endpoint,
            rootless=bool((host.get("security") or {}).get("rootless")),
            cgroup_version=str(host.get("cgroupVersion") or "").removeprefix("v"),
            runtime=" ".join([str(runtime.get("name") or "an unnamed runtime"), *words[-1:]]),
            architecture=normal_architecture(str(host.get("arch") or "")),
            is_local=not host.get("serviceIsRemote"),
        )
    version = _json(client.ask(["version", "--format", "json"], timeout=timeout, action="ask for its version").stdout)
    server: Mapping[str, Any] = version.get("Server") or {}
    runtime_name = str(facts.get("DefaultRuntime") or "an unnamed runtime")
    versions = [str(part.get("Version")) for part in server.get("Components") or () if part.get("Name") == runtime_name]
    return EngineInfo(
        name="docker",
        version=str(facts.get("ServerVersion") or "unknown"),
        api_version=str(server.get("ApiVersion") or server.get("APIVersion") or ""),
        transport="command line",
        endpoint=endpoint,
        rootless=any("rootless" in str(option) for option in facts.get("SecurityOptions") or ()),
        cgroup_version=str(facts.get("CgroupVersion") or ""),
        runtime=" ".join([runtime_name, *versions]),
        architecture=normal_architecture(str(facts.get("Architecture") or "")),
        is_local=is_local(docker_address(client)),
    )


def docker_address(client: Client) -> str:
    """Return the address that a Docker client uses, "" where it cannot be told."""
    if client.reach:
        return client.reach[-1]
    if client.environment.get("DOCKER_HOST"):
        return client.environment["DOCKER_HOST"]
    finished = client.run(
        ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], timeout=10.0, action="ask for its context"
    )
    return finished.stdout.decode("utf-8", "replace").strip() if finished.code == 0 else ""


def parse_stats(line: bytes) -> Stats:
    """Return the usage from a line of ``stats --no-stream --format json``: rounded, and without what the client does not tell."""
    try:
        found = json.loads(line)
    except ValueError:
        return Stats()
    row: Mapping[str, Any] = found[0] if isinstance(found, list) and found else found if isinstance(found, dict) else {}
    words = str(row.get("MemUsage") or row.get("mem_usage") or "").split("/")[0].strip()
    size = re.fullmatch(r"([0-9.]+)\s*([A-Za-z]+)", words)
    pids = str(row.get("PIDs") or row.get("pids") or "")
    return Stats(
        memory=round(float(size[1]) * _UNITS.get(size[2].upper(), 1)) if size else None,
        pids=int(pids) if pids.isdigit() else None,
    )
