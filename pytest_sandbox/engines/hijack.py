"""Connections to an engine's API that stop being HTTP: attaching to a container's streams.

The SDK offers this, too, but hands out the connection without the bytes that arrived together with the answer (they stay in a
buffer of `http.client`), and over ssh an object that cannot be polled. So: a connection of our own, a peek at the answer, and from
then on a plain socket. There is none over TLS: Python cannot close only one direction of it, so a container would never read the
end of its standard input; the command line serves such addresses.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pytest_sandbox.processes.spawn import end_group, spawn

__all__ = ["Endpoint", "HijackRefused", "hijack"]

_HEAD_LIMIT: Final = 64 * 1024


class HijackRefused(Exception):
    """The engine answered with an error.

    Attributes:
        status: the HTTP status.
        message: the engine's words.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(f"{status}: {message}")


@dataclass(frozen=True)
class Endpoint:
    """Where an engine's API is.

    Attributes:
        url: ``unix:///path``, ``tcp://host:port``, or ``ssh://[user@]host[:port]``.
        environment: for the ssh client; None is this process's.
    """

    url: str
    environment: Mapping[str, str] | None = None

    @property
    def ssh_argv(self) -> tuple[str, ...]:
        """Return the ssh client's program and arguments up to and including the host."""
        parts = urlsplit(self.url)
        program = shutil.which("ssh", path=(self.environment or os.environ).get("PATH")) or "/usr/bin/ssh"
        user = ("-l", parts.username) if parts.username else ()
        port = ("-p", str(parts.port)) if parts.port else ()
        return (program, "-T", "-o", "BatchMode=yes", *user, *port, "--", parts.hostname or "")

    def dial(self, timeout: float) -> socket.socket:
        """Return a new connection: always a real socket, always in blocking mode with that timeout in seconds.

        Raises:
            OSError: when nobody answers.
        """
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(timeout)
            try:
                connection.connect(parts.path)
            except OSError:
                connection.close()
                raise
            return connection
        if parts.scheme == "ssh":
            return self._dial_ssh(timeout)
        connection = socket.create_connection((parts.hostname or "localhost", parts.port or 2375), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _dial_ssh(self, timeout: float) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(timeout)
        with theirs:
            process = spawn(
                (*self.ssh_argv, "docker", "system", "dial-stdio"),
                env=dict(self.environment or os.environ),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
            )

        def reap() -> None:
            process.wait()
            end_group(process)

        threading.Thread(target=reap, name="pytest-sandbox-ssh", daemon=True).start()
        return ours


def hijack(endpoint: Endpoint, path: str, body: object = None, *, timeout: float) -> socket.socket:
    """Post to an engine's API and return the connection, which is the stream from then on.

    Args:
        endpoint: where the engine is.
        path: with the API version and the query.
        body: sent as JSON, or None.
        timeout: seconds until the engine must have answered.

    Raises:
        HijackRefused: when the engine answers with an error.
        OSError: when the connection cannot be made or breaks; `TimeoutError` at the deadline.
    """
    deadline = time.monotonic() + timeout
    connection = endpoint.dial(timeout)
    try:
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        connection.sendall(head.encode() + content)
        answer = _take_head(connection, deadline)
        status = int(answer.split(None, 2)[1])
        if status not in (101, 200):
            raise HijackRefused(status, _take_message(connection, answer, deadline))
    except (ValueError, IndexError) as error:
        connection.close()
        raise OSError(f"expected an HTTP answer: {error}") from error
    except BaseException:
        connection.close()
        raise
    connection.settimeout(None)
    return connection


def _take_head(connection: socket.socket, deadline: float) -> bytes:
    """Read up to and including the blank line, and not one byte more: what follows belongs to the stream."""
    taken = b""
    while True:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        seen = connection.recv(4096, socket.MSG_PEEK)
        if not seen:
            raise ConnectionError("the engine closed the connection before it answered")
        end = (taken + seen).find(b"\r\n\r\n")
        size = len(seen) if end < 0 else end + 4 - len(taken)
        taken += connection.recv(size)
        if end >= 0:
            return taken
        if len(taken) > _HEAD_LIMIT:
            raise ValueError(f"a head of more than {_HEAD_LIMIT} bytes")


def _take_message(connection: socket.socket, head: bytes, deadline: float) -> str:
    """Return the engine's words from the body of an error, whatever way its length is given."""
    body = b""
    with contextlib.suppress(OSError):
        while len(body) < _HEAD_LIMIT and not body.rstrip().endswith((b"}", b"\r\n0")):
            connection.settimeout(max(0.001, min(2.0, deadline - time.monotonic())))
            data = connection.recv(4096)
            if not data:
                break
            body += data
    begin, end = body.find(b"{"), body.rfind(b"}")
    if 0 <= begin < end:
        with contextlib.suppress(ValueError):
            return str(json.loads(body[begin : end + 1])["message"])
    return body.decode("utf-8", "replace").strip() or head.split(b"\r\n", 1)[0].decode("ascii", "replace")
