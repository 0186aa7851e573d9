"""Errors of container engines, their containers and images."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_sandbox.errors.base import SandboxError


class EngineError(SandboxError):
    """A container engine failed at something. The engine's or the machine's fault, unless a subclass says otherwise.

    Attributes:
        engine: which engine, such as "docker over socket".
        action: what was to be done.
        detail: what happened, in the engine's words where it had some.
    """

    def __init__(self, engine: str, action: str, detail: str) -> None:
        self.engine = engine
        self.action = action
        self.detail = detail
        super().__init__(f"Cannot {action} with {engine}: {detail}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.engine, self.action, self.detail))


class EngineUnavailable(EngineError):
    """No container engine answers. Nobody's fault: start or install one.

    Attributes:
        tried: each way that was tried, with the reason why it failed.
        source: where the choice of an engine came from, such as "CONTAINER_RUNTIME", or None.
    """

    def __init__(self, tried: Iterable[tuple[str, str]], source: str | None = None) -> None:
        self.tried = tuple(tried)
        self.source = source
        ways = "; ".join(f"{way}: {reason}" for way, reason in self.tried) or "nothing to try"
        origin = f" (chosen by {source})" if source else ""
        hint = "start Docker or Podman, or name another with CONTAINER_RUNTIME or DOCKER_HOST"
        super().__init__(f"a container engine{origin}", "run containers", f"none answers. {ways}. To go on, {hint}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.tried, self.source))


class EngineGone(EngineError):
    """The engine stopped answering in the middle of something: it was restarted, or has died. The machine's fault.

    Attributes:
        was_asked: whether it may have heard what was asked of it; False where it could not even be reached.
    """

    def __init__(self, engine: str, action: str, detail: str, *, was_asked: bool = True) -> None:
        self.was_asked = was_asked
        super().__init__(engine, action, detail)


class EngineTimeout(EngineError, TimeoutError):
    """An engine did not finish something in time.

    Attributes:
        seconds: how long it was given.
    """

    def __init__(self, engine: str, action: str, seconds: float, detail: str = "") -> None:
        self.seconds = seconds
        self.reason = detail
        text = f"not finished after {seconds:g} s" + (f": {detail}" if detail else "")
        super().__init__(engine, action, text)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.engine, self.action, self.seconds, self.reason))


class EngineRefused(EngineError):
    """The engine does not accept what it was asked for. The caller's fault, most often.

    Attributes:
        status: the HTTP status or the exit code that said so.
    """

    def __init__(self, engine: str, action: str, detail: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(engine, action, detail)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.engine, self.action, self.detail, self.status))


class ContainerGone(EngineError):
    """The engine no longer knows a container: somebody has removed it.

    Attributes:
        container: its name or id.
    """

    def __init__(self, engine: str, action: str, container: str) -> None:
        self.container = container
        super().__init__(engine, action, f'the engine has no container "{container}"')

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.engine, self.action, self.container))


class ImageNotFound(EngineError):
    """An image is not present, and nobody asked for it to be pulled. The caller's fault.

    Attributes:
        image: the image that was asked for.
    """

    def __init__(self, engine: str, image: str) -> None:
        self.image = image
        super().__init__(
            engine, f'use image "{image}"', "it is not present and nothing is pulled unasked; pull it first, or check its name"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.engine, self.image))


class PullFailed(EngineError):
    """An image could not be fetched from its registry.

    Attributes:
        image: the image that was asked for.
        reason: "not found", "denied", "rate limited", "no route", "disk full", "interrupted" or "refused".
        words: what the engine said.
    """

    def __init__(self, engine: str, image: str, reason: str, words: str) -> None:
        self.image = image
        self.reason = reason
        self.words = words
        advice = {
            "not found": "check the image's name and tag",
            "denied": "log in to the registry with the engine's own login command, or check the image's name",
            "rate limited": "log in to the registry, wait, or name a mirror",
            "no route": "check the network, the proxy settings of the engine, and the registry's name",
            "disk full": "free space where the engine keeps its images",
        }.get(reason, "try again")
        super().__init__(engine, f'pull image "{image}"', f"{reason}: {words}; {advice}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.engine, self.image, self.reason, self.words))


class NodeImageImpossible(EngineError):
    """Our own image cannot be built here, so an image must be named. Nobody's fault.

    Attributes:
        architecture: that of the engine.
    """

    def __init__(self, engine: str, architecture: str, reason: str) -> None:
        self.architecture = architecture
        self.reason = reason
        super().__init__(
            engine,
            f"build the image for {architecture}",
            f"{reason}; install one with 'pip install \"pytest-sandbox[node]\"', or name an image that has Node with image= or "
            "--sandbox-image",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.engine, self.architecture, self.reason))
