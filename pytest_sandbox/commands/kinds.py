"""The kinds of command executors: which class an entry's `kind` stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_sandbox.errors import InvalidArgument

if TYPE_CHECKING:
    from pytest_sandbox.commands.base import CommandExecutor
    from pytest_sandbox.commands.whitelist import Whitelist
    from pytest_sandbox.entries.registry import LoadedEntry

__all__ = ["make_executor"]


def make_executor(loaded: LoadedEntry, *, whitelist: Whitelist | None = None, container: Any = None) -> CommandExecutor:
    """Return an executor of the kind that an entry names.

    Raises:
        InvalidArgument: when a container is given for an entry that is not `exec.docker` (the caller's fault).
    """
    # The kinds are loaded on use: the engines' libraries are heavy.
    from pytest_sandbox.entries.model import DockerEntry

    if isinstance(loaded.entry, DockerEntry):
        from pytest_sandbox.commands.docker import DockerExecutor

        return DockerExecutor(loaded, whitelist=whitelist, container=container)
    if container is not None:
        raise InvalidArgument("container", container, f'none: entry "{loaded.id}" is of kind exec.native')
    from pytest_sandbox.commands.native import NativeExecutor

    return NativeExecutor(loaded, whitelist=whitelist)
