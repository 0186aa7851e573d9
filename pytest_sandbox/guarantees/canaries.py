"""What an audit plants on the host: secrets that nobody else knows, files, a process, and beacons.

Nothing real is ever a target: files are made in a folder of their own, listeners are on addresses of this machine only.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, Self

from pytest_sandbox.guarantees.beacons import Beacon, Keeper, Transport
from pytest_sandbox.processes.spawn import end_group, spawn

__all__ = ["Canaries"]

PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "http_proxy", "https_proxy", "all_proxy", "ftp_proxy")
_BRIDGE_REGEXP: Final = re.compile(r"(docker|podman|cni|br-|virbr|lxc)")


class Canaries:
    """Everything that is planted for one audit; a context manager.

    Attributes:
        folder: a folder of the host that everybody may read.
        secret_file: a file in it with `file_secret`.
        open_folder: a folder that everybody may write to, with a file in it that everybody may change.
        env_name: a variable of this process, with `env_secret`.
        victim: the id of a process of the host, with `args_secret` among its arguments.
    """

    def __init__(self) -> None:
        token = secrets.token_hex(6)
        self.token = token
        self.file_secret = f"canary-file-{secrets.token_hex(10)}"
        self.env_secret = f"canary-env-{secrets.token_hex(10)}"
        self.proxy_secret = f"canary-proxy-{secrets.token_hex(10)}"
        self.engine_secret = f"canary-engine-{secrets.token_hex(10)}"
        self.args_secret = f"canary-args-{secrets.token_hex(10)}"
        self.victim_secret = f"canary-victim-{secrets.token_hex(10)}"
        self.env_name = f"PYTEST_SANDBOX_CANARY_{token.upper()}"
        self.victim = 0
        self._count = 0
        self._stack = contextlib.ExitStack()
        self._keeper: Keeper | None = None

    def __enter__(self) -> Self:
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="pytest-sandbox-audit-"))
            self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.folder.chmod(0o755)
            self.secret_file = self.folder / "secret.txt"
            self.secret_file.write_text(self.file_secret + "\n")
            self.secret_file.chmod(0o644)
            self.open_folder = self.folder / "open"
            self.open_folder.mkdir()
            self.open_folder.chmod(0o777)
            self._keeper = Keeper()
            self._stack.callback(self._keeper.close)
            self._start_victim()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def _start_victim(self) -> None:
        # Its argument is seen by everybody who sees the process, its variable by its user.
        command = [sys.executable or "/proc/self/exe", "-I", "-S", "-c", "import sys; sys.stdin.read()", self.args_secret]
        process = spawn(command, env={"CANARY": self.victim_secret}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.victim = process.pid
        self._stack.callback(end_group, process)

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """Have the secrets in this process's variables and in the settings of Docker's client while executors are in use."""
        values = {self.env_name: self.env_secret}
        is_remote = re.match(r"(tcp|https?|ssh):", os.environ.get("DOCKER_HOST", "")) is not None
        for name in () if is_remote else PROXIES:
            if name not in os.environ:  # a real one is needed, perhaps
                values[name] = f"http://{self.proxy_secret}.invalid:9"
        if values.keys() & PROXIES and not os.environ.keys() & {"NO_PROXY", "no_proxy"}:
            # Without these, clients would go to our proxies for what they are to find on this machine.
            values["NO_PROXY"] = values["no_proxy"] = "localhost,127.0.0.1,::1"
        if "DOCKER_CONFIG" not in os.environ:
            values["DOCKER_CONFIG"] = str(self._docker_config())
        os.environ.update(values)
        try:
            yield
        finally:
            for name, value in values.items():
                if os.environ.get(name) == value:
                    del os.environ[name]

    def _docker_config(self) -> Path:
        """Return a folder like that of the user's client, with proxies of ours."""
        import json

        own = Path.home() / ".docker"
        folder = self.folder / "docker"
        folder.mkdir(mode=0o700, exist_ok=True)
        for entry in own.iterdir() if own.is_dir() else ():
            if entry.name != "config.json" and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
        try:
            settings = json.loads((own / "config.json").read_text())
        except (OSError, ValueError):
            settings = {}
        proxy = f"http://{self.engine_secret}.invalid:9"
        settings["proxies"] = {"default": {"httpProxy": proxy, "httpsProxy": proxy, "noProxy": "localhost"}}
        (folder / "config.json").write_text(json.dumps(settings))
        return folder

    @property
    def env_secrets(self) -> tuple[str, ...]:
        """What must not be found in anybody's environment."""
        return (self.env_secret, self.proxy_secret, self.engine_secret)

    def fresh(self, kind: str) -> str:
        """Return a name that was never used before."""
        self._count += 1
        return f"{kind}-{self.token}-{self._count}"

    def file(self) -> Path:
        """Return a new file that everybody may change."""
        path = self.open_folder / self.fresh("file")
        path.write_text("untouched")
        path.chmod(0o666)
        return path

    @contextlib.contextmanager
    def beacon(self, transport: Transport = "tcp", host: str = "127.0.0.1") -> Iterator[Beacon]:
        """Listen for one attack.

        Raises:
            OSError: when this machine has no such address.
        """
        assert self._keeper is not None
        beacon = Beacon(transport, "" if transport in ("unix", "abstract") else host, self._socket_path(transport))
        self._keeper.mind(beacon)
        try:
            yield beacon
        finally:
            self._keeper.forget(beacon)

    def look(self, beacon: Beacon) -> tuple[bool, str]:
        """Return whether somebody has knocked at a beacon, and what was seen."""
        assert self._keeper is not None
        return self._keeper.look(beacon)

    def _socket_path(self, transport: Transport) -> str:
        name = self.fresh("socket")
        return str(self.open_folder / name) if transport == "unix" else name if transport == "abstract" else ""

    @staticmethod
    def addresses(kind: Literal["host", "bridge"]) -> list[str]:
        """Return this machine's own addresses: those of its bridges to containers, or all others but the loopback's."""
        import psutil

        found = []
        for name, addresses in psutil.net_if_addrs().items():
            is_bridge = _BRIDGE_REGEXP.match(name) is not None
            for address in addresses:
                is_loopback = address.address.startswith("127.")
                if address.family == socket.AF_INET and not is_loopback and is_bridge == (kind == "bridge"):
                    found.append(address.address)
        return found
