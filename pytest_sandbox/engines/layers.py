"""Image archives (the format of ``docker save``) made from files here, streamed: nothing is written to a disk."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["ImageFile", "ImageRecipe"]

_CHUNK: Final = 4 * 1024 * 1024
_RECIPE_VERSION: Final = "1"
_API_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}


@dataclass(frozen=True)
class ImageFile:
    """One file or folder of an image.

    Attributes:
        content: the bytes, the file that has them, or None for a folder.
        mode: permission bits.
        uid: its owner; the group has the same number.
    """

    content: bytes | Path | None
    mode: int
    uid: int = 0

    def digest(self, known: Mapping[str, str]) -> str:
        """Return the SHA-256 of the content; ``known`` has those of files that were read before, by path."""
        if self.content is None:
            return "folder"
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).hexdigest()
        path = str(self.content)
        if path in known:
            return known[path]
        with self.content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class ImageRecipe:
    """An image of one layer.

    Attributes:
        files: absolute path in the image to what is there; folders on the way are made (0755, root).
        architecture: as the kernel names it.
        config: further settings of the image in the API's words: "Env", "User", "WorkingDir", "Cmd".
        digests: known SHA-256 of files, by path on this machine.
    """

    files: Mapping[str, ImageFile]
    architecture: str
    config: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    def content_digest(self) -> str:
        """Return a SHA-256 of everything that makes the image: the same files give the same digest on every machine."""
        facts = [[path, file.mode, file.uid, file.digest(self.digests)] for path, file in sorted(self.files.items())]
        text = json.dumps([_RECIPE_VERSION, self.architecture, self.config, facts], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def archive(self, tag: str, labels: Mapping[str, str]) -> Iterator[bytes]:
        """Yield the archive piece by piece.

        Args:
            tag: a full reference for the image.
            labels: put into its settings.

        Raises:
            OSError: when a file cannot be read, or changes its size meanwhile.
        """
        members = self._members()
        size = sum(512 + -(-info.size // 512) * 512 for info, _ in members) + 1024
        layer = tarfile.TarInfo("layer.tar")
        layer.size = size
        yield layer.tobuf(tarfile.USTAR_FORMAT)
        digest = hashlib.sha256()
        for piece in _layer(members):
            digest.update(piece)
            yield piece
        settings = {
            "architecture": _API_ARCHITECTURES.get(self.architecture, self.architecture),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {**self.config, "Labels": dict(labels)},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest.hexdigest()}"]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "pytest-sandbox"}],
        }
        config = json.dumps(settings, sort_keys=True).encode()
        name = f"{hashlib.sha256(config).hexdigest()}.json"
        manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
        tail = io.BytesIO()
        with tarfile.open(fileobj=tail, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for path, data in ((name, config), ("manifest.json", manifest)):
                info = tarfile.TarInfo(path)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        yield tail.getvalue()

    def _members(self) -> list[tuple[tarfile.TarInfo, bytes | Path | None]]:
        everything = dict(self.files)
        for path in self.files:
            for parent in Path(path).parents:
                if str(parent) != "/":
                    everything.setdefault(str(parent), ImageFile(None, 0o755))
        members = []
        for path, file in sorted(everything.items()):
            info = tarfile.TarInfo(path.lstrip("/"))
            info.mode, info.uid, info.gid = file.mode, file.uid, file.uid
            if file.content is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(file.content) if isinstance(file.content, bytes) else file.content.stat().st_size
            members.append((info, file.content))
        return members


def _layer(members: list[tuple[tarfile.TarInfo, bytes | Path | None]]) -> Iterator[bytes]:
    for info, content in members:
        yield info.tobuf(tarfile.USTAR_FORMAT)
        if isinstance(content, bytes):
            if content:
                yield content
        elif content is not None:
            left = info.size
            with content.open("rb") as file:
                while left:
                    piece = file.read(min(_CHUNK, left))
                    if not piece:
                        raise OSError(f"expected {info.size} bytes in {content}, it became shorter while it was read")
                    left -= len(piece)
                    yield piece
        if info.size % 512:
            yield bytes(-info.size % 512)
    yield bytes(1024)
