"""The contract of a snippet executor: what every backend offers, whatever its wall is made of.

A backend subclasses `SnippetExecutor` and provides `_run` (one execution, blocking), `_shut_down`, and `info`.
Everything that must not differ between backends lives here: the checking of arguments, asynchronous use, closing.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pytest_sandbox.closing import Closable
from pytest_sandbox.errors import ExecutorClosed, InvalidArgument, UnsupportedLimit, near_miss
from pytest_sandbox.limits import DEFAULT_LIMITS, UNSET, Limits, Unset, check_seconds
from pytest_sandbox.observing import Ended, tell
from pytest_sandbox.processes.makers import Maker
from pytest_sandbox.promises import promised
from pytest_sandbox.result import ExecuteResult, SnippetError
from pytest_sandbox.snippets.threads import LoopOwner, running_loop
from pytest_sandbox.snippets.tools import ToolBox, run_in_thread

if TYPE_CHECKING:
    from pytest_sandbox.snippets.link import StartingProcess

__all__ = ["ExecutorInfo", "ExecutorOptions", "Language", "Request", "SnippetExecutor"]

Language = Literal["js", "ts"]


@dataclass(frozen=True, kw_only=True)
class ExecutorOptions:
    """Options that every snippet executor takes; each backend extends them.

    Attributes:
        max_runners: how many executions may run at the same time; None is the executor's default.
    """

    max_runners: int | None = None

    def __post_init__(self) -> None:
        value = self.max_runners
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise InvalidArgument("max_runners", value, "a whole number of runners, at least 1")


@dataclass(frozen=True, kw_only=True)
class ExecutorInfo:
    """What really runs: shown in the header and in every report.

    Attributes:
        name: the executor's name.
        runtime: the program that runs the snippets, with its version, such as "node 24.19.0".
        path: where that program was found.
        backend: what makes the wall, with its version, such as "isolated-vm 7.0.1".
        fresh: what is new for each execution: "realm", "process" or "container".
        max_runners: how many executions may run at the same time (1 is "serialized").
        jail: the confinement around the runner, or "none".
        loosened: settings that are looser than the default, each as one phrase.
    """

    name: str
    runtime: str
    path: str
    backend: str
    fresh: Literal["realm", "process", "container"]
    max_runners: int
    jail: str = "none"
    loosened: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return one line: backend, runtime, freshness, jail, and whatever is looser than the default."""
        program = f"{self.runtime} ({self.path})"
        parts = [
            program if self.backend == self.runtime else f"{self.backend}, {program}",
            f"fresh {self.fresh}",
            f"jail {self.jail}",
        ]
        parts += [f"loosened: {phrase}" for phrase in self.loosened]
        return ", ".join(dict.fromkeys(parts))


@dataclass(frozen=True, kw_only=True)
class Request:
    """One checked execution.

    Attributes:
        source: the snippet.
        language: "js" or "ts".
        tools: the host callables that it may reach.
        limits: all limits, none unset.
        tool_timeout: seconds that one tool call may take, or None.
    """

    source: str
    language: Language
    tools: ToolBox
    limits: Limits
    tool_timeout: float | None


class SnippetExecutor(Closable):
    """Run untrusted JavaScript; a context manager, usable from several threads.

    Args:
        limits: limits for every execution; unset fields take this executor's defaults.
        **options: the fields of `options_class`.

    Raises:
        ExecutorUnavailable: when what it needs is not on this machine.
        UnsupportedLimit: when a limit was set that it cannot enforce (the caller's fault).
        InvalidArgument: when an option is unknown or makes no sense (the caller's fault).
    """

    name: ClassVar[str]
    options_class: ClassVar[type[ExecutorOptions]] = ExecutorOptions
    default_limits: ClassVar[Limits] = DEFAULT_LIMITS
    unsupported_limits: ClassVar[Mapping[str, str]] = {}
    """Fields of `Limits` that this executor cannot enforce, each with the reason."""
    control_runtime: ClassVar[Literal["node", "deno"]] = "node"
    """What runs the positive controls of its audits: the runtime whose APIs its snippets would have, if nothing was in the way."""

    def __init__(self, *, limits: Limits | None = None, **options: Any) -> None:
        self._closed = False
        self._maker = Maker(self, f'executor "{self.name}"')
        self._loops = LoopOwner()
        self.options = self._parse_options(options)
        explicit = (limits or Limits()).explicit()
        for field, reason in self.unsupported_limits.items():
            if explicit.get(field) is not None:
                raise UnsupportedLimit(self.name, field, explicit[field], reason)
        self.limits: Limits = (limits or Limits()).over(self.default_limits)

    @classmethod
    def _parse_options(cls, options: Mapping[str, Any]) -> Any:
        known = [field.name for field in dataclasses.fields(cls.options_class)]
        limits = [field.name for field in dataclasses.fields(Limits)]
        for name in options:
            if name in limits and name not in known:
                raise InvalidArgument(f"option {name}", options[name], f"it as a limit: limits=Limits({name}={options[name]!r})")
            if name not in known:
                raise InvalidArgument(
                    f"option {name}", options[name], f"one of {', '.join(known)}{near_miss(name, known)} for executor {cls.name}"
                )
        return cls.options_class(**options)

    @classmethod
    def import_late(cls) -> None:
        """Import what an executor needs and its module does not: called before one is created, in one thread at a time."""

    # -- what a backend provides ------------------------------------------------------------------------

    @property
    @abstractmethod
    def info(self) -> ExecutorInfo:
        """What really runs."""

    @property
    def guarantees(self) -> frozenset[str]:
        """The ids of the guarantees that this executor promises as it is set up: what `promises` has for it."""
        return promised(self.name, self.circumstances)

    @property
    def circumstances(self) -> frozenset[str]:
        """What the promises of this executor may depend on, see `promises`."""
        return frozenset(name for name in ("timeout", "memory", "output") if getattr(self.limits, name) is not None)

    def processes(self) -> tuple[int, ...]:
        """Return the processes, by their ids on this host, that run executions now; empty where that is not known.

        For audits, which look at them from outside.
        """
        return ()

    def start_bare(self, program: str) -> StartingProcess | None:
        """Start another program of the runtime in the place of a runner, confined like one; None where nothing is to be seen there.

        For audits: that is what a snippet meets which has escaped from its realm.

        Args:
            program: the path of a JavaScript program.
        """
        return None

    @abstractmethod
    def _run(self, request: Request) -> ExecuteResult:
        """Run one execution and block until it has ended."""

    @abstractmethod
    def _shut_down(self) -> None:
        """End all runners; called once."""

    # -- what users call ---------------------------------------------------------------------------------

    def execute(
        self,
        code: str,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        *,
        language: Language = "js",
        timeout: float | None | Unset = UNSET,
        tool_timeout: float | None = None,
    ) -> ExecuteResult:
        """Run a snippet and return what became of it; never raises for what the snippet does.

        Args:
            code: the body of an async function, or one function expression, declaration or arrow, which is called.
            tools: host callables, sync or async, that the snippet reaches as ``codemode.<name>(...)``.
            language: "js", or "ts" for TypeScript, whose types are stripped.
            timeout: seconds until the execution is killed; unset is the executor's limit, None is no limit.
            tool_timeout: seconds until one tool call fails inside the snippet; None is no limit.

        Raises:
            InvalidArgument: for arguments that make no sense (the caller's fault).
            ExecutorClosed: when the executor is closed (the caller's fault).
            ExecutorBroken: when a new runner cannot be started (the machine's fault).
        """
        with ToolBox(tools, owner=self, loops=self._loops) as box:
            return self._run_checked(self._request(code, box, language, timeout, tool_timeout))

    async def aexecute(
        self,
        code: str,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        *,
        language: Language = "js",
        timeout: float | None | Unset = UNSET,
        tool_timeout: float | None = None,
    ) -> ExecuteResult:
        """Do the same as `execute` without blocking the running asyncio loop, on which async tools run.

        Cancelling the call kills the snippet.

        Raises:
            AsyncioRequired: when no asyncio loop runs, for example under trio (the caller's fault).
        """
        box = ToolBox(tools, owner=self, loops=self._loops, loop=running_loop())
        request = self._request(code, box, language, timeout, tool_timeout)
        return await run_in_thread(lambda: self._run_checked(request), box)

    def close(self) -> None:
        """End all runners; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._shut_down()
            self._loops.close()
            self._maker.closed = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}{' closed' if self._closed else ''}>"

    def _run_checked(self, request: Request) -> ExecuteResult:
        error = _unfit(request)
        if error is not None:
            return ExecuteResult(ok=False, executor=self.name, duration=0.0, error=error)
        result = self._run(request)
        tell(lambda: Ended("snippet", self.name, request.source, result.usage))
        return result

    def _request(self, code: object, tools: ToolBox, language: object, timeout: object, tool_timeout: object) -> Request:
        if self._closed:
            raise ExecutorClosed(self.name)
        if not isinstance(code, str):
            raise InvalidArgument("code", code, "a string")
        if language not in get_args(Language):
            raise InvalidArgument("language", language, '"js" or "ts"')
        limits = self.limits
        if timeout is not UNSET:
            limits = Limits(timeout=check_seconds("timeout", timeout)).over(limits)
        return Request(
            source=code,
            language=language,  # type: ignore[arg-type]  # checked above
            tools=tools,
            limits=limits,
            tool_timeout=check_seconds("tool_timeout", tool_timeout),
        )


def _unfit(request: Request) -> SnippetError | None:
    """Say why a source is not even sent to a runner."""
    try:
        size = len(request.source.encode("utf-8"))
    except UnicodeEncodeError as error:
        return SnippetError("syntax", "SyntaxError", f"Cannot read the snippet: it has a lone surrogate at index {error.start}")
    most = request.limits.source
    if isinstance(most, int) and size > most:
        return SnippetError(
            "limit", "LimitExceeded", f"the snippet has {size} bytes, the limit source is {most} bytes", limit="source"
        )
    return None
