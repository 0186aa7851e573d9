"""`exec.docker`: each command in a container of its own, or in one that is running already."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pytest_sandbox.commands.base import CommandExecutor
from pytest_sandbox.commands.calls import Prepared
from pytest_sandbox.commands.container_spec import container_spec, container_work_dir, is_inside
from pytest_sandbox.commands.docker_process import ContainerProcess
from pytest_sandbox.commands.engines import engine_for
from pytest_sandbox.commands.process import Process
from pytest_sandbox.commands.running import RunningContainer, RunningProcess
from pytest_sandbox.commands.volumes import find_link
from pytest_sandbox.commands.whitelist import Whitelist
from pytest_sandbox.engines.apiconfig import normal_architecture
from pytest_sandbox.engines.base import Created, Engine, ImageInfo, PullProgress
from pytest_sandbox.engines.progress import PullLine
from pytest_sandbox.engines.spec import ContainerSpec
from pytest_sandbox.entries.model import DockerEntry
from pytest_sandbox.entries.mounts import parse_volume
from pytest_sandbox.entries.rules import CONTAINER_FIELDS
from pytest_sandbox.errors import EngineError, EngineRefused, ImageNotFound, InvalidArgument, WorkDirNotAllowed
from pytest_sandbox.processes import watchdog

if TYPE_CHECKING:
    from pytest_sandbox.entries.registry import LoadedEntry

__all__ = ["DockerExecutor"]

_REMOVERS: Final = 8
"""How many containers are removed at the same time when an executor is closed."""


class DockerExecutor(CommandExecutor):
    """Run commands in containers as an entry of kind `exec.docker` allows.

    Args:
        loaded: the entry.
        whitelist: what it allows, or None for everything.
        container: a running container to use instead of fresh ones: an id or a name, or an object of the Docker SDK or of
            testcontainers.
        on_pull: called with the progress when an image has to be pulled; None shows it on standard error.
        engine: the engine to use; None is the one at the entry's host, else the one that is found.

    Raises:
        EngineUnavailable: when no engine answers.
        InvalidArgument: when the container is none (the caller's fault).
    """

    kind: ClassVar[str] = "exec.docker"

    def __init__(
        self,
        loaded: LoadedEntry,
        *,
        whitelist: Whitelist | None = None,
        container: Any = None,
        on_pull: Callable[[PullProgress], None] | None = None,
        engine: Engine | None = None,
    ) -> None:
        super().__init__(loaded, whitelist=whitelist)
        entry = loaded.entry
        assert isinstance(entry, DockerEntry)
        self._docker = entry
        described = sorted(loaded.given.intersection(CONTAINER_FIELDS) - {"image"})
        if container is not None and described:
            expected = f'none for entry "{self.id}", which describes a container of its own ({", ".join(described)})'
            raise InvalidArgument("container", container, expected)
        self._on_pull = on_pull
        self._given_container = entry.container if container is None else container
        self._running: RunningContainer | None = None
        self._image_lock = threading.Lock()
        self._image: str | None = None
        self._containers: dict[str, Created] = {}
        self._engine_lock = threading.Lock()
        self._engine_found = engine

    @property
    def engine(self) -> Engine:
        """The engine, looked for on first use."""
        with self._engine_lock:
            if self._engine_found is None:
                self._engine_found = engine_for(self._docker.host)
            return self._engine_found

    def _create(self, call: Prepared) -> Process:
        work_dir = container_work_dir(self._docker, self.id, call, self.whitelist)
        if self._given_container is not None:
            home = self._running_container()
            home.check(call.command)
            return RunningProcess(call, home, work_dir=work_dir, whitelist=self.whitelist)

        def create() -> Created:
            spec = container_spec(
                self._docker,
                self.id,
                call,
                image=self._image_id(),
                work_dir=work_dir,
                base_dir=self.loaded.folder,
            )
            self._check_links(call, spec)
            container = self.engine.create(spec)
            self._containers[container.id] = container
            return container

        return ContainerProcess(call, self._docker, self.id, engine=self.engine, create=create, done=self._done)

    def _check_links(self, call: Prepared, spec: ContainerSpec) -> None:
        """Refuse a call's folder that a symbolic link in a volume may lead out of the folder that binds it."""
        base = self._docker.default_work_dir
        if self.whitelist is None or base is None or call.work_dir is None or spec.work_dir is None:
            return
        if self.engine.is_local:
            link = find_link(spec.work_dir, spec.mounts)
            where = None if link is None else f"{link[0]} -> {link[1]} (a symbolic link in a volume)"
        else:
            # Nobody here can look into a writable folder of another machine.
            writable = [mount.target for mount in spec.mounts if not mount.read_only and is_inside(spec.work_dir, mount.target)]
            where = f"volume {writable[0]}, which can be written to and is on another machine" if writable else None
        if where is not None:
            raise WorkDirNotAllowed(call.command, self.id, self.whitelist.commands, str(call.work_dir), where, base)

    def _running_container(self) -> RunningContainer:
        if self._running is None:
            self._running = RunningContainer(self.engine, self._given_container, self._docker, self.id)
        return self._running

    @property
    def circumstances(self) -> frozenset[str]:
        """What the promises of this executor may depend on, see `promises`."""
        entry = self._docker
        if self._given_container is not None:  # its settings are its owner's
            return super().circumstances
        volumes = [parse_volume(volume) for volume in entry.volumes]
        tmp = entry.tmpfs.get("/tmp", "").split(",")
        found = {
            "own container": True,
            "no network": entry.network_mode == "none",
            "memory": entry.memory_limit > 0,
            "no capabilities": "ALL" in {name.upper() for name in entry.cap_drop} and not entry.cap_add,
            "no new privileges": entry.no_new_privileges,
            "user": (entry.user or "root").partition(":")[0] not in ("root", "0"),
            "read-only root": entry.read_only_rootfs,
            "noexec tmp": "noexec" in tmp and "nosuid" in tmp and any(option.startswith("size=") for option in tmp),
            "processes": entry.pids_limit > 0,
            "cpu": entry.cpu_quota > 0,
            "read-only volumes": bool(volumes) and all(volume.read_only for volume in volumes),
        }
        return super().circumstances | {name for name, holds in found.items() if holds}

    # -- images -----------------------------------------------------------------------------------------------

    def _image_id(self) -> str:
        """Return the id of the entry's image, pulled as the entry says; asked for once."""
        with self._image_lock:
            if self._image is None:
                self._image = self._find_image()
            return self._image

    def _find_image(self) -> str:
        name, platform = self._docker.image or "", self._docker.platform
        if self._docker.pull != "always":
            try:
                found = self.engine.inspect_image(name)
                if self._fits(found):
                    return found.id
            except ImageNotFound:
                if self._docker.pull == "never":
                    raise
        if self._docker.pull != "never":
            found = self.engine.pull(name, platform=platform, on_progress=self._on_pull or PullLine(name))
            if self._fits(found):
                return found.id
        # Podman, for one, would run it all the same.
        detail = f"it is for {found.architecture}, and the entry asks for platform {platform}; name another image or platform"
        raise EngineRefused(self.engine.name, f'use image "{name}"', detail)

    def _fits(self, image: ImageInfo) -> bool:
        """Return whether an image is for the platform that the entry asks for."""
        parts = (self._docker.platform or "").split("/")
        return len(parts) < 2 or normal_architecture(parts[1]) == image.architecture

    # -- the end of containers ----------------------------------------------------------------------------------

    def _done(self, container: Created) -> None:
        """Remove a container whose program has ended, if the entry says so."""
        if self._docker.auto_remove:
            self._remove(container)

    def _remove(self, container: Created) -> None:
        self.engine.remove(container.id)
        self._containers.pop(container.id, None)

    def _close_processes(self, processes: list[Process]) -> None:
        with ThreadPoolExecutor(_REMOVERS, thread_name_prefix="pytest-sandbox-close") as pool:
            list(pool.map(lambda process: process.close(force=True), processes))

    def forget_after_fork(self) -> None:
        """Leave, in a forked child, containers to the parent."""
        super().forget_after_fork()
        self._image_lock, self._engine_lock = threading.Lock(), threading.Lock()
        self._containers = {}

    def _shut_down(self) -> None:
        left = list(self._containers.values())
        if self._docker.keep:
            for container in left:
                watchdog.unwatch_container(self.engine.remover, container.name)
            return
        errors: list[EngineError] = []

        def remove(container: Created) -> None:
            try:
                self._remove(container)
            except EngineError as error:
                errors.append(error)

        if left:
            with ThreadPoolExecutor(_REMOVERS, thread_name_prefix="pytest-sandbox-remove") as pool:
                list(pool.map(remove, left))
        if errors:
            raise errors[0]
