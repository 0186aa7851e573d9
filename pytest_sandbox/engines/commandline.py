"""Running an engine's command-line client, and reading what it says when it fails."""

from __future__ import annotations

import contextlib
import selectors
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pytest_sandbox.engines.attachment import PipeAttachment
from pytest_sandbox.errors import ContainerGone, EngineError, EngineGone, EngineRefused, EngineTimeout, ImageNotFound
from pytest_sandbox.processes.spawn import end_group, spawn

__all__ = ["Client", "Finished"]

_NO_CONTAINER: Final = ("no such container", "no such object", "no container with name or id")
_NO_IMAGE: Final = ("no such image", "image not known", "unable to find image", "failed to find image")
_NO_ENGINE: Final = (
    "cannot connect to the docker daemon",
    "cannot connect to podman",
    "error during connect",
    "is the docker daemon running",
    "unable to connect to podman",
    "failed to connect to the docker api",
    "connection reset",
)

_NOT_REACHED: Final = ("cannot connect to the docker daemon", "failed to connect to the docker api")


@dataclass(frozen=True)
class Finished:
    """What a client printed, and how it ended."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def words(self) -> str:
        """Return what the client said about a failure, without its decoration."""
        lines = [line.strip() for line in self.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        text = "; ".join(line for line in lines if not line.startswith("See '")) or f"exit code {self.code}"
        for prefix in ("Error response from daemon: ", "Error: ", "docker: "):
            text = text.removeprefix(prefix)
        return text


@dataclass
class Client:
    """One program, how it reaches its engine, and its environment.

    Attributes:
        program: an absolute path.
        reach: arguments before the command, such as ``--host URL``.
        environment: the client's whole environment.
        label: how the engine is called in messages.
        folder: its working folder; "/" is used where that has vanished.
    """

    program: str
    reach: tuple[str, ...]
    environment: Mapping[str, str]
    label: str = field(default="")
    folder: Path = Path("/")

    def popen(
        self, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None, stdin: int = subprocess.PIPE
    ) -> subprocess.Popen[bytes]:
        """Start the client.

        Raises:
            EngineError: when it cannot be started (the machine's fault).
        """
        try:
            folder = self.folder if self.folder.is_dir() else "/"
            return spawn((self.program, *self.reach, *arguments), env=environment or self.environment, stdin=stdin, cwd=folder)
        except OSError as error:
            raise EngineError(self.label, f"start {self.program}", error.strerror or str(error)) from error

    def run(
        self,
        arguments: Sequence[str],
        *,
        timeout: float,
        action: str,
        environment: Mapping[str, str] | None = None,
        stdin: Iterable[bytes] | Path | None = None,
    ) -> Finished:
        """Run the client to its end.

        Raises:
            EngineTimeout: when it has not ended after ``timeout`` seconds; it is killed.
        """
        with contextlib.ExitStack() as stack:
            source = subprocess.DEVNULL
            if isinstance(stdin, Path):
                source = stack.enter_context(stdin.open("rb")).fileno()
            elif stdin is not None:
                source = subprocess.PIPE
            process = self.popen(arguments, environment=environment, stdin=source)
            stack.callback(end_group, process)
            feeder = None if stdin is None or isinstance(stdin, Path) else _Feeder(process, stdin)
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                raise EngineTimeout(self.label, action, timeout, f"{self.program} {arguments[0]} did not end") from None
        if feeder is not None:
            feeder.finish()
        return Finished(process.returncode, stdout, stderr)

    def ask(
        self,
        arguments: Sequence[str],
        *,
        timeout: float,
        action: str,
        container: str = "",
        image: str = "",
        environment: Mapping[str, str] | None = None,
        stdin: Iterable[bytes] | Path | None = None,
    ) -> Finished:
        """Do the same as `run`, and raise what a failure means."""
        finished = self.run(arguments, timeout=timeout, action=action, environment=environment, stdin=stdin)
        if finished.code:
            raise self.failure(finished, action, container=container, image=image)
        return finished

    def follow(self, arguments: Sequence[str], hear: Callable[[str], None], *, silence: float, action: str) -> int:
        """Run the client, and tell each line that it prints at once.

        Args:
            arguments: its arguments.
            hear: called with each line, of both streams.
            silence: seconds between two pieces of output, at most.
            action: what is done, for errors.

        Returns:
            Its exit code.

        Raises:
            EngineTimeout: when nothing was heard for so long; it is killed.
        """
        streams = PipeAttachment(self.popen(arguments), engine=self.label)
        streams.end_input()
        rest = dict.fromkeys(streams.read_descriptors, b"")
        try:
            while streams.read_descriptors:
                with selectors.DefaultSelector() as selector:
                    for descriptor in streams.read_descriptors:
                        selector.register(descriptor, selectors.EVENT_READ)
                    ready = selector.select(silence)
                if not ready:
                    raise EngineTimeout(self.label, action, silence, "nothing was heard for so long")
                for key, _ in ready:
                    for _, data in streams.read(key.fd):
                        *lines, rest[key.fd] = (rest[key.fd] + data).replace(b"\r", b"\n").split(b"\n")
                        for line in lines:
                            if line.strip():
                                hear(line.decode("utf-8", "replace"))
            return streams.process.wait(silence)
        finally:
            streams.close()

    def failure(self, finished: Finished, action: str, *, container: str = "", image: str = "") -> EngineError:
        """Return the error that a client's failure means."""
        words = finished.words
        text = words.lower()
        if any(sign in text for sign in _NO_ENGINE):
            return EngineGone(self.label, action, words, was_asked=not any(sign in text for sign in _NOT_REACHED))
        if container and any(sign in text for sign in _NO_CONTAINER):
            return ContainerGone(self.label, action, container)
        if image and any(sign in text for sign in _NO_IMAGE):
            return ImageNotFound(self.label, image)
        return EngineRefused(self.label, action, words, finished.code)


class _Feeder:
    """Write pieces to a client's standard input, in a thread of its own: the client may print meanwhile."""

    def __init__(self, process: subprocess.Popen[bytes], pieces: Iterable[bytes]) -> None:
        assert process.stdin is not None
        self._pipe, process.stdin = process.stdin, None
        self._pieces = pieces
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="pytest-sandbox-feeder", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        try:
            with self._pipe as pipe:
                for piece in self._pieces:
                    left = memoryview(piece)
                    while left:
                        left = left[pipe.write(left) :]
        except BrokenPipeError:
            pass  # the client ended first, and its own words say why
        except BaseException as error:
            self._error = error

    def finish(self) -> None:
        """Wait for the thread, and raise what went wrong in it."""
        self._thread.join()
        if self._error is not None:
            raise self._error
