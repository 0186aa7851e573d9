"""Which engine is used: sockets first (Docker's, then Podman's), then commands, unless something says otherwise."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pytest_sandbox.errors import EngineError, EngineTimeout, EngineUnavailable, InvalidArgument, near_miss

if TYPE_CHECKING:
    from pytest_sandbox.engines.base import Engine

__all__ = ["detect_engine"]

Kind = Literal["docker", "podman"]
Transport = Literal["socket", "command line"]

DETECT_TIMEOUT: Final = 10.0
"""Seconds that each way of reaching an engine is given."""


@dataclass(frozen=True)
class _Way:
    """One way to reach an engine.

    Attributes:
        label: as shown when it fails.
        transport: which of the two implementations.
        connect: makes the engine.
        kind: what must answer; None for whatever does.
    """

    label: str
    transport: Transport
    connect: Callable[[], Engine]
    kind: Kind | None = None


def detect_engine(
    runtime: str | None = None,
    *,
    host: str | None = None,
    transport: Transport | None = None,
    environ: Mapping[str, str] | None = None,
    timeout: float = DETECT_TIMEOUT,
) -> Engine:
    """Return the first engine that answers.

    Args:
        runtime: "docker", "podman", the name of another command on PATH, or the path of a command; None takes CONTAINER_RUNTIME,
            and without that whatever answers first.
        host: an engine's address (``unix://``, ``tcp://``, ``ssh://``), which then is the only one; None takes DOCKER_HOST.
        transport: "socket" or "command line" to allow only that.
        environ: the environment in which all this is looked up; None is this process's.
        timeout: seconds for each way that is tried.

    Raises:
        EngineUnavailable: when none answers: with the reason for each way that was tried.
    """
    environ = os.environ if environ is None else environ
    source = None
    if runtime is None and environ.get("CONTAINER_RUNTIME"):
        runtime, source = environ["CONTAINER_RUNTIME"], "CONTAINER_RUNTIME"
    tried: list[tuple[str, str]] = []
    for way in _ways(runtime, host, environ, timeout):
        if transport is not None and way.transport != transport:
            continue
        try:
            engine = way.connect()
        except EngineTimeout as error:
            tried.append((way.label, f"no answer within {error.seconds:g} s"))
        except EngineError as error:
            tried.append((way.label, error.detail))
        except InvalidArgument as error:
            tried.append((way.label, str(error)))
        else:
            if way.kind is None or engine.name == way.kind:
                return engine
            engine.close()
            tried.append((way.label, f"{engine.name} answers there, {way.kind} is wanted"))
    raise EngineUnavailable(tried, source)


def _ways(runtime: str | None, host: str | None, environ: Mapping[str, str], timeout: float) -> Iterator[_Way]:
    if runtime is not None and "/" in runtime:
        yield _command(runtime, host, environ, timeout)
        return
    if runtime not in (None, "docker", "podman"):
        yield _command(str(runtime), host, environ, timeout)
        return
    kind: Kind | None = "docker" if runtime == "docker" else "podman" if runtime == "podman" else None
    address, origin = (host, "host") if host is not None else (environ.get("DOCKER_HOST"), "DOCKER_HOST")
    if address:
        # It names one engine: another one that happens to run would be a surprise.
        yield _socket(address, f"{origin} {address}", environ, timeout, kind)
        yield _command("docker" if kind is None else kind, address, environ, timeout)
        return
    if kind != "podman":
        yield from (_socket(url, url, environ, timeout, kind) for url in _docker_sockets(environ))
    if kind != "docker":
        yield from (_socket(url, url, environ, timeout, kind) for url in _podman_sockets(environ))
    if kind != "podman":
        yield _command("docker", None, environ, timeout)
    if kind != "docker":
        yield _command("podman", None, environ, timeout)


def _docker_sockets(environ: Mapping[str, str]) -> list[str]:
    home = environ.get("HOME") or str(Path.home())
    paths = [_context_address(environ), "unix:///var/run/docker.sock", f"unix://{_runtime_folder(environ)}/docker.sock"]
    paths += [f"unix://{home}/.docker/run/docker.sock", f"unix://{home}/.docker/desktop/docker.sock"]
    return _worth_trying(paths)


def _podman_sockets(environ: Mapping[str, str]) -> list[str]:
    paths = [
        environ.get("CONTAINER_HOST", ""),
        f"unix://{_runtime_folder(environ)}/podman/podman.sock",
        "unix:///run/podman/podman.sock",
    ]
    return _worth_trying(paths)


def _worth_trying(urls: list[str]) -> list[str]:
    """Return the addresses without repetition; of several sockets those that are there, or the first to say so."""
    wanted = [url for url in dict.fromkeys(urls) if url]
    present = [url for url in wanted if not url.startswith("unix://") or os.path.exists(url.removeprefix("unix://"))]
    return present or [url for url in wanted if url in ("unix:///var/run/docker.sock", "unix:///run/podman/podman.sock")]


def _runtime_folder(environ: Mapping[str, str]) -> str:
    return environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid() if hasattr(os, 'getuid') else 0}"


def _context_address(environ: Mapping[str, str]) -> str:
    """Return the address of the Docker context in use, "" for the default one."""
    import hashlib
    import json

    from pytest_sandbox.engines.clientconfig import config_folder

    folder = config_folder(environ)
    try:
        name = environ.get("DOCKER_CONTEXT") or json.loads((folder / "config.json").read_bytes()).get("currentContext") or "default"
        if name == "default":
            return ""
        number = hashlib.sha256(name.encode()).hexdigest()
        settings = json.loads((folder / "contexts" / "meta" / number / "meta.json").read_bytes())
        return str(settings["Endpoints"]["docker"]["Host"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def _socket(url: str, label: str, environ: Mapping[str, str], timeout: float, kind: Kind | None) -> _Way:
    def connect() -> Engine:
        if not url.startswith(("unix://", "tcp://", "http://", "ssh://")):
            raise InvalidArgument("engine address", url, "unix:///path, tcp://host:port or ssh://[user@]host")
        if url.startswith("unix://") and not os.path.exists(url.removeprefix("unix://")):
            raise EngineError(label, "reach it", "there is no such socket")
        if url.startswith("tcp://") and environ.get("DOCKER_TLS_VERIFY"):
            raise EngineError(
                label, "reach it", "over TLS the end of a container's standard input cannot be told; the docker command can"
            )
        try:
            from pytest_sandbox.engines.sdk import SdkEngine
        except ImportError as error:
            words = f"the Docker SDK cannot be imported ({error}); install it with 'pip install \"pytest-sandbox[docker]\"'"
            raise EngineError(label, "reach it", words) from error
        return SdkEngine(url.replace("http://", "tcp://", 1), environ=environ, timeout=timeout)

    return _Way(f"socket {label}", "socket", connect, kind)


def _command(command: str, host: str | None, environ: Mapping[str, str], timeout: float) -> _Way:
    def connect() -> Engine:
        program = shutil.which(command, path=environ.get("PATH", os.defpath))
        if program is None:
            known = "" if command in ("docker", "podman") else near_miss(command, ("docker", "podman"))
            where = "is not an executable file" if "/" in command else f"is not on PATH{known}"
            raise EngineError(command, "reach it", f'"{command}" {where}')
        from pytest_sandbox.engines.cli import CliEngine

        return CliEngine(os.path.abspath(program), environ=environ, url=host, timeout=timeout)

    kind: Kind | None = "docker" if command == "docker" else "podman" if command == "podman" else None
    # A "docker" that is Podman in disguise serves as well, unless Docker itself was asked for by its socket, too.
    return _Way(f"command {command}", "command line", connect, None if kind == "docker" else kind)
