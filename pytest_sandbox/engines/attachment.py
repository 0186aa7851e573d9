"""The streams of a container or of a process in it, as descriptors for poll and selectors, whatever the transport."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from pytest_sandbox.engines.frames import FrameDecoder, FrameError, StreamName
from pytest_sandbox.errors import EngineError, EngineTimeout
from pytest_sandbox.processes.spawn import end_group

__all__ = ["Attachment", "ExecAttachment", "PipeAttachment", "SocketAttachment"]

_CHUNK: Final = 256 * 1024


class Attachment(ABC):
    """Standard input, output and error of something in a container; no method but `collect` ever blocks.

    Attributes:
        engine: which engine it belongs to, for messages.
    """

    engine: str

    @property
    @abstractmethod
    def read_descriptors(self) -> tuple[int, ...]:
        """Descriptors to poll for input; those at their end are gone from it. Empty: everything has been read."""

    @property
    @abstractmethod
    def write_descriptor(self) -> int | None:
        """The descriptor to poll for output; None when standard input is not open."""

    @abstractmethod
    def read(self, descriptor: int) -> list[tuple[StreamName, bytes]]:
        """Return what has arrived at one of `read_descriptors`; empty when nothing has, or at the end.

        Raises:
            EngineError: when the engine sent nonsense or the connection broke (the engine's fault).
        """

    @abstractmethod
    def write(self, data: bytes | memoryview) -> int:
        """Write to standard input; return how many bytes were taken, 0 when none can be now.

        Raises:
            BrokenPipeError: when nobody reads any more, or standard input is closed.
        """

    @abstractmethod
    def end_input(self) -> None:
        """Close standard input: the other side reads the end of file."""

    @abstractmethod
    def hang_up(self) -> None:
        """Let both streams come to their end for whoever reads them; from any thread, as nothing is closed under a reader's hands.

        An engine or its client can be stuck, and would hold the streams open for longer than what it runs.
        """

    @abstractmethod
    def close(self) -> None:
        """Drop the connection; safe to call twice. What runs at the other end is not stopped."""

    def collect(
        self, stdin: bytes = b"", *, timeout: float, limit: int = 16 * 1024 * 1024, until: bytes | None = None
    ) -> tuple[bytes, bytes]:
        """Write all of ``stdin`` and close it, and read both streams to their end.

        Args:
            stdin: what the other side reads.
            timeout: seconds for all of it.
            limit: bytes of each stream that are kept; the rest is read and dropped.
            until: stop as soon as standard output contains this; standard input then stays open.

        Raises:
            EngineTimeout: when the streams are still open after that time.
        """
        deadline = time.monotonic() + timeout
        streams: dict[StreamName, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        left = memoryview(stdin)
        if not left and until is None:
            self.end_input()
        while self.read_descriptors and not (until is not None and until in streams["stdout"]):
            with selectors.DefaultSelector() as selector:
                for descriptor in self.read_descriptors:
                    selector.register(descriptor, selectors.EVENT_READ)
                target = self.write_descriptor
                if left and target is not None:
                    if target in self.read_descriptors:
                        selector.modify(target, selectors.EVENT_READ | selectors.EVENT_WRITE)
                    else:
                        selector.register(target, selectors.EVENT_WRITE)
                ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise EngineTimeout(self.engine, "collect the output of a container", timeout, "its streams are still open")
            for key, events in ready:
                if events & selectors.EVENT_WRITE and left:
                    try:
                        left = left[self.write(left) :]
                    except BrokenPipeError:
                        left = left[:0]
                    if not left and until is None:
                        self.end_input()
                if events & selectors.EVENT_READ:
                    for name, data in self.read(key.fd):
                        kept = streams[name]
                        kept += data[: max(0, limit - len(kept))]
        return bytes(streams["stdout"]), bytes(streams["stderr"])


class SocketAttachment(Attachment):
    """Both directions in one connection to the engine, its output in frames."""

    def __init__(self, connection: socket.socket, *, stdin: bool, engine: str) -> None:
        self._socket: socket.socket | None = connection
        self._decoder = FrameDecoder()
        self._stdin = stdin
        self.engine = engine
        self._at_end = False
        connection.setblocking(False)

    @property
    def read_descriptors(self) -> tuple[int, ...]:
        return () if self._socket is None or self._at_end else (self._socket.fileno(),)

    @property
    def write_descriptor(self) -> int | None:
        return self._socket.fileno() if self._socket is not None and self._stdin else None

    def read(self, descriptor: int) -> list[tuple[StreamName, bytes]]:
        if self._socket is None or self._at_end:
            return []
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return []
        except OSError as error:
            self._at_end = True
            raise EngineError(self.engine, "read the streams of a container", f"the connection broke: {error}") from error
        if not data:
            self._at_end = True
            return []
        try:
            return list(self._decoder.feed(data))
        except FrameError as error:
            self._at_end = True
            raise EngineError(self.engine, "read the streams of a container", str(error)) from error

    def write(self, data: bytes | memoryview) -> int:
        if self._socket is None or not self._stdin:
            raise BrokenPipeError("standard input of the container is closed")
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except ConnectionError as error:
            raise BrokenPipeError(str(error)) from error

    def end_input(self) -> None:
        if self._socket is not None and self._stdin:
            self._stdin = False
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def hang_up(self) -> None:
        connection = self._socket
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


class PipeAttachment(Attachment):
    """The pipes of an engine's command-line client. Killing the client leaves what it is attached to running."""

    def __init__(self, process: subprocess.Popen[bytes], *, engine: str) -> None:
        self.process = process
        self.engine = engine
        assert process.stdout is not None and process.stderr is not None
        self._open: dict[int, StreamName] = {process.stdout.fileno(): "stdout", process.stderr.fileno(): "stderr"}
        self._input = process.stdin.fileno() if process.stdin is not None else None
        for descriptor in (*self._open, *([self._input] if self._input is not None else [])):
            os.set_blocking(descriptor, False)

    @property
    def read_descriptors(self) -> tuple[int, ...]:
        return tuple(self._open)

    @property
    def write_descriptor(self) -> int | None:
        return self._input

    def read(self, descriptor: int) -> list[tuple[StreamName, bytes]]:
        name = self._open.get(descriptor)
        if name is None:
            return []
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return []
        except OSError as error:
            del self._open[descriptor]
            raise EngineError(self.engine, "read the streams of a container", f"the pipe broke: {error}") from error
        if not data:
            del self._open[descriptor]
            return []
        return [(name, data)]

    def write(self, data: bytes | memoryview) -> int:
        if self._input is None:
            raise BrokenPipeError("standard input of the container is closed")
        try:
            return os.write(self._input, data)
        except BlockingIOError:
            return 0

    def end_input(self) -> None:
        if self._input is not None and self.process.stdin is not None:
            self._input = None
            self.process.stdin.close()

    def hang_up(self) -> None:
        # The pipes end with those who hold them: the client and all that it started.
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        self._open.clear()
        self._input = None
        end_group(self.process)


class ExecAttachment:
    """A further process in a container: its streams, and its exit code once it has ended.

    Attributes:
        streams: what it reads and prints.
    """

    def __init__(self, streams: Attachment, exit_code: Callable[[float], int]) -> None:
        self.streams = streams
        self._exit_code = exit_code

    def exit_code(self, *, timeout: float) -> int:
        """Wait for the process to end and return its exit code.

        Args:
            timeout: seconds to wait.

        Raises:
            EngineTimeout: when it still runs then.
        """
        return self._exit_code(timeout)

    def close(self) -> None:
        """Drop the connection. The process is not stopped: end it from inside, or with its container."""
        self.streams.close()
