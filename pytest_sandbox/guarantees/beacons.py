"""Listeners on addresses of this machine that tell who knocks."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from typing import Final, Literal

__all__ = ["Beacon", "Keeper", "Transport"]

Transport = Literal["tcp", "udp", "unix", "abstract"]

_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


class Beacon:
    """A listener that writes down who knocks.

    Attributes:
        transport: what it listens on.
        host: its address; empty for sockets that have a path.
        port: its port, or 0.
        path: the path or abstract name of a unix socket.
    """

    def __init__(self, transport: Transport, host: str, path: str) -> None:
        self.transport = transport
        self.host = host
        self.path = path
        self.knocks: list[str] = []
        family = socket.AF_UNIX if transport in ("unix", "abstract") else socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
        self.port = 0
        try:
            if family == socket.AF_UNIX:
                self.socket.bind(f"\0{path}" if transport == "abstract" else path)
                if transport == "unix":
                    os.chmod(path, 0o666)  # whoever sees it may knock
            else:
                self.socket.bind((host, 0))
                self.port = int(self.socket.getsockname()[1])
            if transport != "udp":
                self.socket.listen(16)
            self.socket.setblocking(False)
        except OSError:
            self.socket.close()
            raise

    @property
    def params(self) -> dict[str, object]:
        """What an attack has to know to find it."""
        return {"host": self.host, "port": self.port, "path": self.path}

    @property
    def where(self) -> str:
        """Its address in words."""
        name = f"\\0{self.path}" if self.transport == "abstract" else self.path
        return f"{self.transport} {f'{self.host} port {self.port}' if self.port else name}"

    def greet(self) -> None:
        """Take in whoever has knocked."""
        with contextlib.suppress(BlockingIOError, OSError):
            while True:
                if self.transport == "udp":
                    data, _ = self.socket.recvfrom(2048)
                    self.knocks.append(f"a datagram of {len(data)} bytes")
                    continue
                visitor, _ = self.socket.accept()
                self.knocks.append("a connection")
                with visitor, contextlib.suppress(OSError):
                    visitor.settimeout(0.2)
                    said = visitor.recv(2048)
                    self.knocks[-1] = f"a connection that sent {said[:40]!r}"
                    visitor.sendall(_ANSWER)

    def look(self) -> tuple[bool, str]:
        """Return whether somebody has knocked, and what was seen."""
        self.greet()
        if self.knocks:
            return True, f"our listener on {self.where} got {self.knocks[0]}"
        return False, f"nobody knocked on our listener on {self.where}"

    def close(self) -> None:
        """Stop listening."""
        self.socket.close()
        if self.transport == "unix":
            with contextlib.suppress(OSError):
                os.unlink(self.path)


class Keeper:
    """Answers at beacons in a thread of its own, as long as they are open."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._wake, self._bell = socket.socketpair()
        self._wake.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="pytest-sandbox-beacons", daemon=True)
        self._thread.start()

    def mind(self, beacon: Beacon) -> None:
        """Answer at a beacon."""
        self._selector.register(beacon.socket, selectors.EVENT_READ, beacon)
        self._ring()

    def forget(self, beacon: Beacon) -> None:
        """Close a beacon."""
        with self._lock:
            self._selector.unregister(beacon.socket)
            beacon.close()
        self._ring()

    def look(self, beacon: Beacon) -> tuple[bool, str]:
        """Return what a beacon has seen, what is still in its queue included."""
        with self._lock:
            return beacon.look()

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._ring()
        self._thread.join(5)
        self._selector.close()
        self._wake.close()
        self._bell.close()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):
            self._bell.send(b"!")

    def _serve(self) -> None:
        while not self._closed:
            for key, _ in self._selector.select():
                if key.data is None:
                    with contextlib.suppress(OSError):
                        self._wake.recv(4096)
                    continue
                with self._lock, contextlib.suppress(OSError):
                    key.data.greet()
