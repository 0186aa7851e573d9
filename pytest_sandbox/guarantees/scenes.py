"""Scenes for probes: what an attack goes for, and who looks afterwards."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from pytest_sandbox.guarantees.beacons import Transport
from pytest_sandbox.guarantees.canaries import Canaries
from pytest_sandbox.guarantees.stage import Attempt, CannotTell, NotApplicable, Scene, SceneMaker

__all__ = ["change", "got", "knock", "leak", "needs_root", "product", "told"]

# There is nothing to read it with, or nothing to read; or the runtime's own permissions, of Deno or of Node, stand before it.
_OUT_OF_REACH_REGEXP: Final = re.compile(
    r"no way to|ENOENT|NotFound|No such file|NotCapable: Requires read access|Access to this API has been restricted"
)


def knock(transport: Transport = "tcp", at: Literal["loopback", "loopback6", "host", "bridge"] = "loopback") -> SceneMaker:
    """A listener of ours: the attack got through when somebody knocks, whatever it says itself."""

    @contextmanager
    def make(canaries: Canaries) -> Iterator[Scene]:
        host = {"loopback": "127.0.0.1", "loopback6": "::1"}.get(at) or next(iter(canaries.addresses(at)), None)  # type: ignore[arg-type]
        if host is None:
            raise NotApplicable(f"this machine has no {at} address")
        with canaries.beacon(transport, host) as beacon:
            yield Scene(beacon.params, lambda _attempt: canaries.look(beacon))

    return make


def leak(params: Callable[[Canaries], dict[str, Any]], *wanted: str) -> SceneMaker:
    """Secrets of ours: the attack got through when one of them is in anything that came back.

    Args:
        params: what the attack is told.
        *wanted: the attributes of `Canaries` that hold the secrets.
    """

    @contextmanager
    def make(canaries: Canaries) -> Iterator[Scene]:
        hidden = {name: str(getattr(canaries, name)) for name in wanted}

        def look(attempt: Attempt) -> tuple[bool, str]:
            # Only what this attack says: others in the same run may have had more luck. Unless it never told.
            text = repr((attempt.value, attempt.error)) if attempt.at else attempt.ran.everything
            found = [name for name, secret in hidden.items() if secret in text]
            if found:
                return True, f"the secret {found[0].replace('_', ' ')} came back"
            return False, f"none of the planted secrets ({', '.join(name.replace('_', ' ') for name in hidden)}) came back"

        yield Scene(params(canaries), look)

    return make


def change(prepare: Callable[[Canaries], Path], changed: Callable[[Path], str]) -> SceneMaker:
    """A file or folder of ours: the attack got through when it is not what it was.

    Args:
        prepare: makes it, and returns its path.
        changed: looks at it, and returns what is different in words, or nothing.
    """

    @contextmanager
    def make(canaries: Canaries) -> Iterator[Scene]:
        path = prepare(canaries)

        def look(_attempt: Attempt) -> tuple[bool, str]:
            found = changed(path)
            return bool(found), found or f"{path} is on the host as it was"

        yield Scene({"path": str(path), "folder": str(path.parent)}, look)

    return make


def product() -> SceneMaker:
    """Two numbers: the attack got through when it returns what generated code has multiplied."""

    @contextmanager
    def make(_canaries: Canaries) -> Iterator[Scene]:
        a, b = (secrets.randbelow(30_000) + 10_000 for _ in range(2))  # their product fits into 32 bits

        def look(attempt: Attempt) -> tuple[bool, str]:
            if attempt.at == "returned" and attempt.value == a * b:
                return True, f"code made from text multiplied {a} by {b}: {a * b}"
            return False, f"no code made from text gave {a} * {b}"

        yield Scene({"a": a, "b": b, "text": f"return {a} * {b}", "expression": f"{a} * {b}"}, look)

    return make


def got(what: str) -> SceneMaker:
    """The attack got through when it returns ``{got: …}`` with the token that it was given, for lack of anything to see outside.

    Args:
        what: what it would have got, for the report.
    """

    @contextmanager
    def make(_canaries: Canaries) -> Iterator[Scene]:
        token = secrets.token_hex(6)

        def look(attempt: Attempt) -> tuple[bool, str]:
            value = attempt.value
            if attempt.at == "returned" and isinstance(value, dict) and value.get("token") == token and value.get("got"):
                return True, f"{what}: {str(value['got'])[:200]}"
            return False, f"not seen: {what}"

        yield Scene({"token": token}, look)

    return make


def told(what: str, is_breach: Callable[[Any], str]) -> SceneMaker:
    """What code inside reads about itself: the host decides what that means.

    Args:
        what: what it reads, for the report.
        is_breach: returns what is more than it should be in words, or nothing.
    """

    @contextmanager
    def make(_canaries: Canaries) -> Iterator[Scene]:
        def look(attempt: Attempt) -> tuple[bool, str]:
            if attempt.at == "threw":
                # Where it is out of reach, others look from the host. Whatever else was in the way may hide what was looked for.
                words = f"{what} cannot be read inside ({attempt.words})"
                raise NotApplicable(words) if _OUT_OF_REACH_REGEXP.search(attempt.error) else CannotTell(words)
            found = is_breach(attempt.value)
            return bool(found), f"{what}: {found or attempt.value}"

        yield Scene({}, look)

    return make


def needs_root(scene: SceneMaker) -> SceneMaker:
    """A scene for attacks of which only root can show, in the control, that they are able to succeed."""

    @contextmanager
    def make(canaries: Canaries) -> Iterator[Scene]:
        if os.geteuid() != 0:
            raise NotApplicable("the control would need root to succeed")
        with scene(canaries) as made:
            yield made

    return make
