"""The executor ``container``: a fresh container, or a fresh process in one, for every execution."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal

from pytest_sandbox.engines.spec import ContainerSpec, Mount, Ulimit
from pytest_sandbox.errors import (
    EngineError,
    EngineUnavailable,
    ExecutorBroken,
    ExecutorUnavailable,
    InvalidArgument,
    UnsupportedLimit,
)
from pytest_sandbox.limits import DEFAULT_LIMITS, MIB
from pytest_sandbox.snippets import protocol
from pytest_sandbox.snippets.base import ExecutorInfo, ExecutorOptions
from pytest_sandbox.snippets.channel import Runner
from pytest_sandbox.snippets.container_link import Removals, StartingContainer
from pytest_sandbox.snippets.container_settings import TMP_OPTIONS, ignored_settings
from pytest_sandbox.snippets.runner_executor import ENVIRONMENT, RUNNERS, RunnerExecutor
from pytest_sandbox.snippets.runtimes import VENDOR
from pytest_sandbox.snippets.threads import start_thread

__all__ = ["ContainerExecutor", "ContainerOptions"]

_HOME: Final = "/opt/pytest-sandbox"
_RUNNER_FILES: Final = (
    "channel.mjs",
    "container.mjs",
    "container_child.mjs",
    "container_parent.mjs",
    "container_settings.mjs",
    "execution.mjs",
    "node_host.mjs",
    "prepare.mjs",
    "realm.mjs",
    "realm/basics.js",
    "realm/console.js",
    "realm/errors.js",
    "realm/execution.js",
    "realm/hardening.js",
    "realm/values.js",
    "vm_realm.mjs",
)
_VENDOR_FILES: Final = ("polyfills/*.js", "amaro.mjs", "amaro.wasm", "node_modules/acorn/dist/acorn.mjs")
_TMP_SIZE: Final = 64 * MIB
_LEAST_PROCESSES: Final = 16  # measured: 9 until the runner is ready, up to 14 once a snippet uses files; with less it hangs
_PARENT_MEMORY: Final = 48 * MIB  # what process 1 needs of the container's memory; measured: 25 to 40 MiB
_CLOSE_TIMEOUT: Final = 1.8  # seconds


@dataclass(frozen=True, kw_only=True)
class ContainerOptions(ExecutorOptions):
    """Options of executor container; memory, time and the number of processes are limits.

    Attributes:
        max_runners: how many executions may run at the same time; None is 1.
        fresh: what is new for each execution: a "container", or a "process" in one container (not with a foreign image).
        hardened: whether the realm is hardened as on the other executors; otherwise snippets have all of Node.
        cpus: how many CPUs' worth of time a container gets; None is no limit.
        spares: how many started containers are kept ready.
        image: an image with Node 22.14 or newer and a user "node"; None is our own, built here.
        pull: whether that image may be pulled when it is not present.
        engine: "docker", "podman", or the path of a command; None takes CONTAINER_RUNTIME, or what answers first.
        transport: "socket" or "command line", to allow only that; None tries sockets first.
        host: an engine's address (unix, tcp or ssh); None takes DOCKER_HOST.
        runtime: the OCI runtime, such as "runsc" for gVisor; None is the engine's default.
    """

    fresh: Literal["container", "process"] = "container"
    hardened: bool = False
    cpus: float | None = 1.0
    spares: int = 2
    image: str | None = None
    pull: bool = False
    engine: str | None = None
    transport: Literal["socket", "command line"] | None = None
    host: str | None = None
    runtime: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fresh not in ("container", "process"):
            raise InvalidArgument("fresh", self.fresh, '"container" or "process"')
        if self.transport not in (None, "socket", "command line"):
            raise InvalidArgument("transport", self.transport, '"socket", "command line", or None for either')
        for name in ("hardened", "pull"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidArgument(name, getattr(self, name), "True or False")
        is_number = isinstance(self.cpus, int | float) and not isinstance(self.cpus, bool) and math.isfinite(self.cpus)
        if self.cpus is not None and (not is_number or self.cpus < 0.01):
            raise InvalidArgument("cpus", self.cpus, "a number of CPUs, at least 0.01, or None for no limit")
        if isinstance(self.spares, bool) or not isinstance(self.spares, int) or not 0 <= self.spares <= 16:
            raise InvalidArgument("spares", self.spares, "a whole number from 0 to 16")
        if self.image is not None and self.fresh == "process":
            raise InvalidArgument(
                "fresh", self.fresh, '"container", for an image that is not ours: its Node can be read and traced inside'
            )
        if self.pull and self.image is None:
            raise InvalidArgument("pull", self.pull, "False without image=: our own image is built here")


class ContainerExecutor(RunnerExecutor):
    """Run snippets in containers without network, privileges, or a writable root: the container is the wall."""

    name = "container"
    least_memory = 48 * MIB  # process 1 shares it
    options_class: ClassVar[type[ExecutorOptions]] = ContainerOptions
    default_limits = replace(DEFAULT_LIMITS, processes=64)
    unsupported_limits: ClassVar[dict[str, str]] = {}
    options: ContainerOptions

    @classmethod
    def import_late(cls) -> None:
        """See `SnippetExecutor`: what reaches engines, and the SDK if there is one."""
        from pytest_sandbox.engines import cli, clientconfig, detect, image, layers, owner  # noqa: F401 - loads them

        with contextlib.suppress(ImportError):
            from pytest_sandbox.engines import sdk  # noqa: F401 - likewise

    def _set_up(self) -> None:
        from pytest_sandbox.engines.detect import detect_engine

        processes = self.limits.processes
        if isinstance(processes, int) and processes < _LEAST_PROCESSES:
            reason = f"the runner alone needs more, for its threads count, too; set at least {_LEAST_PROCESSES}"
            raise UnsupportedLimit(self.name, "processes", processes, reason)
        self.reuses_runners = self.options.fresh == "process"
        self.spares = self.options.spares
        try:
            self._engine = detect_engine(self.options.engine, host=self.options.host, transport=self.options.transport)
            image = self._image()
            self._spec = self._make_spec(image)
        except EngineUnavailable as error:
            tried = "; ".join(f"{way}: {reason}" for way, reason in error.tried) or "there is nothing to try"
            fix = "start Docker or Podman, name an engine with CONTAINER_RUNTIME or DOCKER_HOST, or choose another executor"
            raise ExecutorUnavailable(self.name, f"no container engine answers: {tried}", fix, error.source) from error
        except EngineError as error:
            raise ExecutorUnavailable(
                self.name, str(error), "mend what the engine says, or name another image with image= or --sandbox-image"
            ) from error
        self._removals = Removals(self._engine)
        self._warnings: tuple[str, ...] = ()
        start_thread(self._sweep)

    def _sweep(self) -> None:
        from pytest_sandbox.engines.owner import sweep

        try:
            sweep(self._engine)
        except EngineError:
            return  # the next start tries again

    def _image(self) -> str:
        from pytest_sandbox.engines.image import ensure_image
        from pytest_sandbox.engines.layers import ImageFile
        from pytest_sandbox.errors import ImageNotFound

        if self.options.image is None:
            files = {f"{_HOME}/snippets/runners/{name}": ImageFile(RUNNERS / name, 0o444) for name in _RUNNER_FILES}
            for pattern in _VENDOR_FILES:
                for path in VENDOR.glob(pattern):
                    files[f"{_HOME}/_vendor/{path.relative_to(VENDOR).as_posix()}"] = ImageFile(path, 0o444)
            return ensure_image(self._engine, files).id
        if not self._engine.is_local:
            reason = f"image {self.options.image} needs our runner, which cannot be mounted on an engine elsewhere"
            raise ExecutorUnavailable(self.name, reason, "leave image= unset, or use an engine of this machine")
        try:
            return self._engine.inspect_image(self.options.image).id
        except ImageNotFound as error:
            if not self.options.pull:
                fix = (
                    f"pull it with '{self._engine.name} pull {self.options.image}', or allow that with pull=True or --sandbox-pull"
                )
                raise ExecutorUnavailable(self.name, f"the engine has no image {self.options.image}", fix) from error
            from pytest_sandbox.engines.progress import PullLine

            return self._engine.pull(self.options.image, on_progress=PullLine(self.options.image)).id

    def _make_spec(self, image: str) -> ContainerSpec:
        from pytest_sandbox.engines.image import NODE_IN_IMAGE

        is_ours = self.options.image is None
        memory = self.limits.memory
        mode = "hardened" if self.options.hardened else "open"
        use = "once" if self.options.fresh == "container" else "again"
        flags = ("--disable-sigusr1", "--max-old-space-size=64", "--v8-pool-size=1")
        folders = () if is_ours else (RUNNERS, VENDOR)
        targets = (f"{_HOME}/snippets/runners", f"{_HOME}/_vendor")
        return ContainerSpec(
            image=image,
            entrypoint=(NODE_IN_IMAGE if is_ours else "node",),
            command=(*flags, f"{_HOME}/snippets/runners/container.mjs", mode, str(self._child_heap()), use),
            env={**ENVIRONMENT, "UV_THREADPOOL_SIZE": "2"},
            user="node",
            work_dir="/tmp",
            network="none",
            read_only=True,
            cap_drop=("ALL",),
            no_new_privileges=True,
            tmpfs={"/tmp": f"{','.join(TMP_OPTIONS)},size={_TMP_SIZE // MIB}m"},
            mounts=tuple(Mount(source=str(source), target=target) for source, target in zip(folders, targets, strict=False)),
            memory=memory if isinstance(memory, int) else None,
            memory_swap=memory if isinstance(memory, int) else None,
            cpus=None if self.options.cpus is None else float(self.options.cpus),
            pids_limit=self.limits.processes if isinstance(self.limits.processes, int) else None,
            ulimits=(Ulimit(name="core", soft=0, hard=0), Ulimit(name="nofile", soft=1024, hard=1024)),
            ipc="none",
            stdin=True,
            runtime=self.options.runtime,
        )

    def _child_heap(self) -> int:
        """Megabytes of heap for a snippet: it is to fill its heap before the kernel fills the container."""
        return max(16, self.heap_megabytes - _PARENT_MEMORY // MIB)

    def _start(self) -> Runner:
        starting = StartingContainer(self._engine, self._spec, self._removals, self._note_warnings, self._hint())
        return Runner(self.name, starting, on_ready=self._check_settings)

    def _hint(self) -> str:
        """Return, for errors of the engine, what it was asked for that is not the default."""
        given = [f"{name}={value!r}" for name in ("cpus", "runtime") if (value := getattr(self.options, name)) not in (None, 1.0)]
        limits = ((name, getattr(self.limits, name)) for name in ("memory", "processes"))
        given += [f"limit {name}={value}" for name, value in limits if value != getattr(self.default_limits, name)]
        hint = f" (asked for with {', '.join(given)})" if given else ""
        if self.options.image is not None:
            hint += f' (image {self.options.image}; it needs Node 22.14 or newer as "node", and a user "node")'
        return hint

    def _note_warnings(self, warnings: tuple[str, ...]) -> None:
        self._warnings = warnings

    def _check_settings(self, ready: protocol.Ready) -> None:
        is_ours = self.options.image is None
        ignored = ignored_settings(ready.settings or {}, self._spec, tmp_size=_TMP_SIZE, is_our_image=is_ours)
        if ignored:
            said = f" (the engine said: {'; '.join(self._warnings)})" if self._warnings else ""
            raise ExecutorBroken(self.name, f"the engine did not apply what was asked for: {'; '.join(ignored)}{said}")

    def _shut_down(self) -> None:
        super()._shut_down()
        self._removals.wait(_CLOSE_TIMEOUT)
        self._engine.close()

    @property
    def circumstances(self) -> frozenset[str]:
        """What the promises of this executor may depend on, see `promises`."""
        more = {"hardened": self.options.hardened, "fresh": self.options.fresh == "container"}
        more["processes"] = isinstance(self.limits.processes, int)
        return super().circumstances | {name for name, holds in more.items() if holds}

    @property
    def max_runners(self) -> int:
        """How many executions may run at the same time."""
        return self.options.max_runners or 1

    @property
    def info(self) -> ExecutorInfo:
        """What really runs."""
        loosened = []
        default = self.default_limits
        for field in ("memory", "processes"):
            value, usual = getattr(self.limits, field), getattr(default, field)
            if value is None or value > usual:
                loosened.append(f"{field} {'unlimited' if value is None else value} (default {usual})")
        if self.options.image is not None:
            loosened.append(f"image {self.options.image}: its Node can be read and traced inside (default: our own)")
        if self.options.cpus is None or self.options.cpus > 1.0:
            loosened.append(f"cpus {'unlimited' if self.options.cpus is None else f'{self.options.cpus:g}'} (default 1)")
        if self.options.fresh == "process":
            loosened.append("fresh process: the state of one execution can reach the next")
        return ExecutorInfo(
            name=self.name,
            runtime=f"node in image {self.options.image or 'of our own'}",
            path=self._spec.image[:19],
            backend=self._engine.info.describe(),
            fresh=self.options.fresh,
            max_runners=self.max_runners,
            jail="the container",
            loosened=tuple(loosened),
        )
