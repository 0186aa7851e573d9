"""Removing, on request, what we have put on an engine: images of ours, and containers whose owner is dead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pytest_sandbox.engines.image import IMAGE_LABEL, REPOSITORY
from pytest_sandbox.engines.owner import KEPT_LABEL, OWNER_LABEL, describe_owner, is_dead
from pytest_sandbox.errors import EngineError, EngineGone, EngineRefused

if TYPE_CHECKING:
    from pytest_sandbox.engines.base import ContainerState, Engine, ImageInfo

__all__ = ["Pruned", "prune"]

Outcome = Literal["removed", "kept", "failed"]
_IN_USE: Final = ("in use by", "being used by", "is using its", "dependent child images")


@dataclass(frozen=True)
class Pruned:
    """What became of one thing.

    Attributes:
        kind: "container" or "image".
        name: what the engine calls it.
        outcome: "removed" (or, in a rehearsal, what would be), "kept" on purpose, or "failed" to be removed.
        reason: why.
        size: bytes of an image; 0 for a container.
    """

    kind: Literal["container", "image"]
    name: str
    outcome: Outcome
    reason: str
    size: int = 0


def prune(engine: Engine, *, rehearse: bool = False) -> Iterator[Pruned]:
    """Remove the containers of dead owners, then our images that no container uses, and tell about each of ours.

    Args:
        engine: where.
        rehearse: remove nothing, and tell what would be.

    Raises:
        EngineGone: when the engine stops answering; what was told until then is done.
    """
    used = set()
    for state in engine.find(OWNER_LABEL):
        told = _container(engine, state, rehearse=rehearse)
        if told is None:
            continue
        if told.outcome != "removed":
            used.add(state.image)
        yield told
    for image in engine.list_images(IMAGE_LABEL):
        yield from _image(engine, image, in_use=image.id in used, rehearse=rehearse)


def _container(engine: Engine, state: ContainerState, *, rehearse: bool) -> Pruned | None:
    label = state.labels.get(OWNER_LABEL, "")
    owner = f"its owner is {describe_owner(label)}"
    if KEPT_LABEL in state.labels:
        return Pruned("container", state.name, "kept", "an entry with keep: true has asked for it")
    if not is_dead(label):
        return Pruned("container", state.name, "kept", owner)
    try:
        if not rehearse and not engine.remove(state.id):
            return None  # somebody else was faster
    except EngineGone:
        raise
    except EngineError as error:
        return Pruned("container", state.name, "failed", error.detail)
    return Pruned("container", state.name, "removed", owner)


def _image(engine: Engine, image: ImageInfo, *, in_use: bool, rehearse: bool) -> Iterator[Pruned]:
    # An image that is made from ours bears our label, too, but a name of somebody else's.
    foreign = [tag for tag in image.tags if not tag.startswith(f"{REPOSITORY}:") and "<none>" not in tag]
    ours = [tag for tag in image.tags if tag.startswith(f"{REPOSITORY}:")]
    name = next(iter(ours), image.id)
    if foreign:
        yield Pruned("image", name, "kept", f"somebody has named it {', '.join(foreign)}", image.size)
        return
    if in_use:
        yield Pruned("image", name, "kept", "a container that is kept uses it", image.size)
        return
    if rehearse:
        yield Pruned("image", name, "removed", "nothing of ours uses it", image.size)
        return
    for each in ours or [image.id]:
        try:
            if engine.remove_image(each):
                yield Pruned("image", each, "removed", "nothing uses it", image.size)
        except EngineRefused as error:
            # A container that is not ours, or an image that was made from it.
            outcome: Outcome = "kept" if any(sign in error.detail for sign in _IN_USE) else "failed"
            yield Pruned("image", each, outcome, error.detail, image.size)
