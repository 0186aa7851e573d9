"""Tools: the host callables that a snippet reaches.

A sync tool runs in a daemon thread, an async one on an asyncio loop; neither can block the execution's own thread, which reads
from the runner and keeps the clock. A sync tool that never returns cannot be stopped: it is abandoned, counted and named.
"""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from pytest_sandbox.errors import InvalidArgument
from pytest_sandbox.snippets.threads import LoopOwner, start_thread

if TYPE_CHECKING:
    import asyncio

__all__ = ["REFUSED_NAMES", "ToolBox", "ToolOutcome", "abandoned_tools", "inside_tool_of", "run_in_thread"]

REFUSED_NAMES: Final = frozenset({"__proto__", "constructor", "then", "toJSON"})
"""Names that JavaScript itself asks objects for; ``codemode`` reads them as undefined."""

_T = TypeVar("_T")
_abandoned: dict[object, str] = {}
_abandoned_lock = threading.Lock()
_inside: contextvars.ContextVar[frozenset[int]] = contextvars.ContextVar("pytest_sandbox_inside_tool_of", default=frozenset())


def inside_tool_of(owner: object) -> bool:
    """Whether this code runs in a tool that an execution of this executor called."""
    return id(owner) in _inside.get()


def abandoned_tools() -> tuple[str, ...]:
    """Return the names of sync tools that still run although nobody waits for them any more."""
    with _abandoned_lock:
        return tuple(_abandoned.values())


class ToolOutcome:
    """How one tool call ended: a value, or the exception that it raised; and the answer that the runner gets."""

    __slots__ = ("call", "error", "frame", "value")

    def __init__(self, call: int, value: Any = None, error: BaseException | None = None) -> None:
        self.call = call
        self.value = value
        self.error = error
        self.frame = b""


class ToolBox:
    """The tools of one execution, and the mailbox in which their outcomes arrive; a context manager.

    Args:
        tools: name to callable.
        owner: the executor, so that a tool that executes on it again does not wait for its own caller's place.
        loops: where the private loop comes from.
        loop: the loop for async tools; None is the private one.

    Raises:
        InvalidArgument: when a tool is not callable or its name is refused (the caller's fault).
    """

    def __init__(
        self,
        tools: Mapping[str, Callable[..., Any]] | None,
        *,
        owner: object,
        loops: LoopOwner,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._tools = _check_tools(tools)
        self._async_names = {name for name, tool in self._tools.items() if _is_async(tool)}
        self._loops = loops
        self._loop = loop
        self._private_loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.copy_context()
        self._context.run(_inside.set, _inside.get() | {id(owner)})
        self._lock = threading.RLock()  # who is woken may take outcomes at once
        self._outcomes: deque[ToolOutcome] = deque()
        self._running: dict[int, str] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._wake: Callable[[], None] | None = None
        self._encode: Callable[[ToolOutcome, str], bytes] | None = None
        self.hung = 0
        self._closed = False
        self.cancelled = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tools, in the order given."""
        return tuple(self._tools)

    def attach(self, wake: Callable[[], None] | None, encode: Callable[[ToolOutcome, str], bytes] | None = None) -> None:
        """Set what to call, from any thread, when an outcome arrives or the execution is cancelled.

        Args:
            wake: the call; None for nothing.
            encode: makes the answer out of an outcome and the tool's name, in the thread of the tool.
        """
        with self._lock:
            self._wake = wake
            self._encode = encode

    def cancel(self) -> None:
        """Ask for the end of the execution."""
        self.cancelled = True
        self._notify()

    def start(self, call: int, name: str, args: list[Any]) -> None:
        """Start a tool, whose name is known; its outcome arrives in the mailbox."""
        tool = self._tools[name]
        with self._lock:
            self._running[call] = name
        context = self._context.copy()
        if name in self._async_names:
            self._start_async(call, context, lambda: tool(*args))
        else:
            try:
                start_thread(lambda: context.run(self._run_sync, call, context, tool, args))
            except RuntimeError as error:  # there are no threads left
                self._finish(ToolOutcome(call, error=error))

    def abandon(self, call: int) -> None:
        """Wait no longer for a call: cancel it where that is possible, else leave it to itself and remember its name."""
        with self._lock:
            name = self._running.pop(call, None)
            task = self._tasks.pop(call, None)
        if name is None:
            return
        if task is None:
            self.hung += 1
            with _abandoned_lock:
                _abandoned[(self, call)] = name
        else:
            with contextlib.suppress(RuntimeError):
                task.get_loop().call_soon_threadsafe(task.cancel)

    def take(self) -> list[ToolOutcome]:
        """Return the outcomes that have arrived since the last call."""
        with self._lock:
            arrived = list(self._outcomes)
            self._outcomes.clear()
        return arrived

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._closed = True
            pending = list(self._running)
        for call in pending:
            self.abandon(call)
        if pending and self._private_loop is not None:
            self._check_private_loop(self._private_loop)

    def _check_private_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        alive = threading.Event()
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(alive.set)
        if not alive.wait(0.2):
            self._loops.abandon(loop)

    def _run_sync(self, call: int, context: contextvars.Context, tool: Callable[..., Any], args: list[Any]) -> None:
        try:
            value = tool(*args)
        except BaseException as error:
            # Also SystemExit and pytest's own outcomes: in this thread they could end nothing.
            self._finish(ToolOutcome(call, error=error))
            return
        if inspect.isawaitable(value):
            self._start_async(call, context.copy(), lambda: value)
        else:
            self._finish(ToolOutcome(call, value))

    def _start_async(self, call: int, context: contextvars.Context, make: Callable[[], Any]) -> None:
        loop = self._loop
        if loop is None:
            loop = self._private_loop = self._loops.get()

        from asyncio import CancelledError

        async def run() -> None:
            try:
                value = await make()
            except BaseException as error:
                self._finish(ToolOutcome(call, error=error))
                # On a loop of ours, KeyboardInterrupt and SystemExit would end nothing but the loop.
                if isinstance(error, CancelledError) or (self._loop is not None and not isinstance(error, Exception)):
                    raise
            else:
                self._finish(ToolOutcome(call, value))

        def begin() -> None:
            task = loop.create_task(run(), context=context)
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            with self._lock:
                if call in self._running:
                    self._tasks[call] = task
                else:
                    task.cancel()

        try:
            loop.call_soon_threadsafe(begin)
        except RuntimeError as error:  # the loop was closed
            self._finish(ToolOutcome(call, error=error))

    def _finish(self, outcome: ToolOutcome) -> None:
        with self._lock:
            name, encode = self._running.get(outcome.call), self._encode
        if name is not None and encode is not None:
            outcome.frame = encode(outcome, name)
        with self._lock:
            expected = self._running.pop(outcome.call, None) is not None
            self._tasks.pop(outcome.call, None)
            if expected and not self._closed:
                self._outcomes.append(outcome)
        if expected:
            self._notify()
        else:
            with _abandoned_lock:
                if _abandoned.pop((self, outcome.call), None) is not None:
                    self.hung -= 1

    def _notify(self) -> None:
        with self._lock:
            if self._wake is not None:
                self._wake()


def _is_async(tool: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(tool) or inspect.iscoroutinefunction(getattr(tool, "__call__", None))  # noqa: B004


def _check_tools(tools: object) -> dict[str, Callable[..., Any]]:
    if tools is None:
        return {}
    if not isinstance(tools, Mapping):
        raise InvalidArgument("tools", tools, "a mapping of names to callables")
    for name, tool in tools.items():
        if not isinstance(name, str) or not name:
            raise InvalidArgument("tools", name, "names that are non-empty strings")
        if name in REFUSED_NAMES:
            expected = f"a name other than {', '.join(sorted(REFUSED_NAMES))}: JavaScript itself asks objects for these"
            raise InvalidArgument("tools", name, expected)
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            raise InvalidArgument("tools", name, "names without lone surrogates") from None
        if not callable(tool):
            raise InvalidArgument(f"tools[{name!r}]", tool, "a callable")
    return dict(tools)


async def run_in_thread(work: Callable[[], _T], box: ToolBox) -> _T:
    """Run blocking work in a daemon thread; on cancellation, cancel the box and wait for the work to end.

    Raises:
        asyncio.CancelledError: when the caller was cancelled, after the snippet is gone.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only with an error

    def run() -> None:
        result: _T | None = None
        error: BaseException | None = None
        try:
            with box:
                result = work()
        except BaseException as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop was closed while we ran
            loop.call_soon_threadsafe(settle, result, error)

    context = contextvars.copy_context()
    start_thread(lambda: context.run(run))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        box.cancel()
        # The kill takes milliseconds; leaving before it is done would leave the snippet running behind the caller's back.
        with contextlib.suppress(BaseException):
            await asyncio.shield(future)
        raise
