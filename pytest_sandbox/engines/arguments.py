"""A container's description in the words of the ``docker`` and ``podman`` commands."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from typing import Final, Literal

from pytest_sandbox.engines.apiconfig import CPU_PERIOD
from pytest_sandbox.engines.spec import PROXY_VARIABLES, ContainerSpec, Mount

__all__ = ["create_arguments", "split_environment"]

_CLIENTS_OWN: Final = re.compile(
    r"(PATH|HOME|USER|SHELL|TERM|LANG|TMPDIR|LC_.*|LD_.*|DYLD_.*|GO.*|DOCKER.*|BUILDKIT.*|MOBY_.*|CONTAINER.*|PODMAN.*|REGISTRY_.*|STORAGE_.*"
    r"|XDG_.*|SSH_.*|SSL_.*|DBUS_.*|NOTIFY_SOCKET|LISTEN_.*|OTEL_.*|NO_COLOR|CLICOLOR.*|_.*)\Z"
)
"""Variables that change what the client itself does: their values for a container must not be put into the client's environment."""


def split_environment(variables: Mapping[str, str], client: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the arguments that give a container its variables, and the environment that the client needs for them.

    Values are passed through the client's environment where they can be: its arguments are readable for every user of the machine.

    Args:
        variables: the container's variables.
        client: the client's own environment.
    """
    arguments: list[str] = []
    environment = dict(client)
    for name, value in variables.items():
        if _CLIENTS_OWN.match(name) or name in client or name in PROXY_VARIABLES:
            arguments += ["--env", f"{name}={value}"]
        else:
            arguments += ["--env", name]
            environment[name] = value
    return arguments, environment


def create_arguments(
    spec: ContainerSpec, name: str, labels: Mapping[str, str], client: Mapping[str, str], engine: Literal["docker", "podman"]
) -> tuple[list[str], dict[str, str]]:
    """Return the arguments after the program's name that create a container, and the environment for the client."""
    variables, environment = split_environment(spec.env, client)
    if engine == "podman":
        # No variable of ours, and none of the settings file's proxies, unless it was asked for.
        unset = [f"--unsetenv={proxy}" for proxy in PROXY_VARIABLES if proxy not in spec.env]
        for proxy in PROXY_VARIABLES:
            environment.pop(proxy, None)
        variables = ["--http-proxy=false", "--env-host=false", *unset, *variables]
    arguments = ["create", "--pull=never", f"--name={name}", "--stop-timeout=0", f"--network={spec.network}", *variables]
    arguments += [f"--label={key}={value}" for key, value in {**spec.labels, **labels}.items()]
    arguments += [f"--cap-drop={capability}" for capability in spec.cap_drop]
    arguments += [f"--cap-add={capability}" for capability in spec.cap_add]
    arguments += [f"--security-opt={option}" for option in spec.security]
    arguments += [f"--tmpfs={path}:{options}" if options else f"--tmpfs={path}" for path, options in spec.tmpfs.items()]
    arguments += [f"--mount={_mount(mount)}" for mount in spec.mounts]
    arguments += [f"--ulimit={limit.name}={limit.soft}:{limit.hard}" for limit in spec.ulimits]
    switches = {
        "--read-only": spec.read_only,
        "--security-opt=no-new-privileges": spec.no_new_privileges,
        "--init": spec.init,
        "--interactive": spec.stdin,
        "--log-driver=none": not spec.log,
        "--no-healthcheck": not spec.healthcheck,
    }
    arguments += [switch for switch, on in switches.items() if on]
    values = {
        "--user": spec.user,
        "--workdir": spec.work_dir,
        "--hostname": spec.hostname,
        "--memory": spec.memory,
        "--memory-swap": spec.memory_swap,
        "--cpus": spec.cpus,
        "--cpu-quota": spec.cpu_quota,
        "--cpu-period": None if spec.cpu_quota is None else CPU_PERIOD,
        "--pids-limit": spec.pids_limit,
        "--ipc": spec.ipc,
        "--shm-size": spec.shm_size,
        "--runtime": spec.runtime,
        "--platform": spec.platform,
    }
    arguments += [f"{option}={value}" for option, value in values.items() if value is not None]
    command = spec.command
    if spec.entrypoint is not None:
        # The option takes one word; what follows it goes before the command.
        arguments.append(f"--entrypoint={spec.entrypoint[0] if spec.entrypoint else ''}")
        command = (*spec.entrypoint[1:], *command)
    return [*arguments, "--", spec.image, *command], environment


def _mount(mount: Mount) -> str:
    fields = [f"type={mount.kind}", f"source={mount.source}", f"target={mount.target}"]
    if mount.read_only:
        fields.append("readonly")
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()
