"""How far a pull is, and why one failed: the same from every engine's words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from pytest_sandbox.engines.base import ImageInfo, PullProgress
from pytest_sandbox.errors import PullFailed

__all__ = ["PullTracker", "failure_reason", "pull_again", "split_reference"]

_REASONS: Final = (
    ("rate limited", ("toomanyrequests", "rate limit", "too many requests", "429")),
    ("disk full", ("no space left",)),
    ("interrupted", ("unexpected eof", ": eof", "connection reset by peer", "broken pipe", "short read", "stream error")),
    (
        "no route",
        (
            "no such host",
            "dial tcp",
            "network is unreachable",
            "no route to host",
            "connection refused",
            "i/o timeout",
            "client.timeout",
            "tls handshake",
            "lookup ",
            "proxyconnect",
            "pinging container registry",
        ),
    ),
    ("denied", ("unauthorized", "authentication required", "access denied", "denied:", "requested access", "forbidden")),
    (
        "not found",
        ("manifest unknown", "not found", "no such image", "name unknown", "repository does not exist", "no matching manifest"),
    ),
)
_DONE: Final = ("pull complete", "already exists", "download complete")


_PAUSES: Final = (0.5, 2.0)
"""Seconds before a pull that was interrupted is tried again; what an engine tries again by itself comes on top."""


def pull_again(pull: Callable[[], ImageInfo]) -> ImageInfo:
    """Pull, again and again if need be, where it was interrupted; any other failure would only come again."""
    for pause in _PAUSES:
        try:
            return pull()
        except PullFailed as error:
            if error.reason != "interrupted":
                raise
            time.sleep(pause)
    return pull()


def failure_reason(words: str) -> str:
    """Return why a pull failed, from what the engine said: one of the reasons of `PullFailed`."""
    text = words.lower()
    if "pull access denied" in text and "repository does not exist" in text:
        return "not found"  # a registry does not tell the two apart; a misspelt name is by far the likelier
    for reason, signs in _REASONS:
        if any(sign in text for sign in signs):
            return reason
    return "refused"


def split_reference(image: str) -> tuple[str, str]:
    """Return repository and tag (or digest) of a reference; the tag is "latest" where there is none."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, colon, tag = image.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (image, "latest")


class PullTracker:
    """Add up the messages of one pull."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int, bool]] = {}

    def take(self, message: Mapping[str, Any]) -> PullProgress:
        """Take one message of the API's stream into account."""
        text = str(message.get("status") or "").strip()
        layer = message.get("id")
        detail = message.get("progressDetail") or {}
        is_layer = bool(layer) and not text.lower().startswith("pulling from")
        if is_layer:
            done, size, complete = self._layers.get(str(layer), (0, 0, False))
            if text.lower() == "downloading":
                done, size = int(detail.get("current") or done), int(detail.get("total") or size)
            if text.lower().startswith(_DONE):
                done, complete = size, complete or not text.lower().startswith("download")
            self._layers[str(layer)] = (done, size, complete)
        return self._progress(f"{layer}: {text}" if is_layer else text)

    def take_line(self, line: str) -> PullProgress:
        """Take one line of a command-line client into account: without sizes, it counts layers."""
        head, _, text = line.strip().partition(": ")
        if text and " " not in head:
            return self.take({"id": head, "status": text})
        if line.startswith("Copying blob "):  # Podman
            words = line.split()
            return self.take({"id": words[2].rstrip(":"), "status": "Pull complete" if "done" in words else "Waiting"})
        if line.startswith(("Copying config ", "Writing manifest ")):  # what comes after the last layer
            return self.finish(line.strip())
        return self._progress(line.strip())

    def finish(self, text: str) -> PullProgress:
        """Return the last step: everything is there, whatever the engine has said about single layers."""
        self._layers = {layer: (size, size, True) for layer, (_, size, _) in self._layers.items()}
        return self._progress(text)

    def _progress(self, text: str) -> PullProgress:
        layers = self._layers.values()
        return PullProgress(
            sum(complete for _, _, complete in layers),
            len(layers),
            sum(done for done, _, _ in layers),
            sum(size for _, size, _ in layers),
            text,
        )
