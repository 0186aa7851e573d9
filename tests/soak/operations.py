"""What the soak does: random snippets, abuse, failing tools, cancellations and commands, each with what must come of it."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

from pytest_sandbox import ExecuteResult, SnippetExecutor
from pytest_sandbox.commands import CommandExecutor

Operation = Callable[[SnippetExecutor, random.Random, threading.Event], None]

SHORT = 0.3
"""Seconds that an endless snippet gets."""
LONG = 90.0
"""Seconds for a snippet that must succeed: the machine is kept busy on purpose."""

ENDLESS = (
    "for (;;) {}",
    "await 0; for (;;) {}",
    "const storm = () => Promise.resolve().then(storm); await storm()",
    "const storm = () => { setTimeout(storm, 0); setTimeout(storm, 0) }; storm(); await new Promise(() => {})",
    "await new Promise(() => {})",
    "return /^(a+)+$/.test('a'.repeat(60) + 'b')",
    "return { get a() { for (;;) {} } }",
    "throw { get message() { for (;;) {} } }",
    "await codemode.hang()",
    "const n = 7n ** 30000000n; return n.toString().length",
)
GREEDY = (
    "const a = []; for (;;) a.push(new Array(1e4).fill(1.5))",
    "const a = []; for (;;) { const b = new Uint8Array(4e6); b.fill(1); a.push(b) }",
    "return new Array(1e8).fill(0).length",
    "const m = new Map(); for (let i = 0; ; i++) m.set(i, { i })",
)


class Wrong(Exception):
    """Something came out that must not."""


def require(what: object, result: ExecuteResult, code: str) -> None:
    if not what:
        raise Wrong(f"{result!r} of {code}")


def kind_of(result: ExecuteResult) -> str:
    return "ok" if result.error is None else result.error.kind


def value(executor: SnippetExecutor, dice: random.Random, over: threading.Event) -> None:
    """A value goes through a tool and comes back, with logs."""
    data: Any = [dice.randrange(-(10**6), 10**6), {"text": "x" * dice.randrange(2000), "list": [dice.random() for _ in range(5)]}]
    code = (
        "console.log('log', codemode.seed); const got = await codemode.give(); console.log(got[0]); return await codemode.same(got)"
    )
    if dice.random() < 0.3:
        code = f"async () => {{ {code} }}"
    result = executor.execute(code, {"give": lambda: data, "same": lambda given: given}, timeout=LONG)
    require(result.ok and result.value == data and result.logs[-1].text == str(data[0]), result, code)


def typescript(executor: SnippetExecutor, dice: random.Random, over: threading.Event) -> None:
    """TypeScript."""
    number = dice.randrange(10**9)
    code = f"const x: number = {number}; interface A {{ a: string }}; return x as unknown"
    result = executor.execute(code, language="ts", timeout=LONG)
    require(result.ok and result.value == number, result, code)


def error(executor: SnippetExecutor, dice: random.Random, over: threading.Event) -> None:
    """A snippet that throws, or cannot be parsed."""
    text = f"e{dice.randrange(10**9)}"
    result = executor.execute(f"throw new RangeError('{text}')", timeout=LONG)
    require(result.error is not None and (result.error.name, result.error.message) == ("RangeError", text), result, text)
    result = executor.execute("return (1 +", timeout=LONG)
    require(kind_of(result) == "syntax", result, "syntax")


def failing_tool(executor: SnippetExecutor, dice: random.Random, over: threading.Event) -> None:
    """A tool that raises; sync or async."""
    text = f"t{dice.randrange(10**9)}"

    def sync() -> None:
        raise KeyError(text)

    async def later() -> None:
        await asyncio.sleep(0)
        raise KeyError(text)

    result = executor.execute("await codemode.fail()", {"fail": dice.choice([sync, later])}, timeout=LONG)
    require(result.error is not None and result.error.name == "KeyError" and text in result.error.message, result, text)


def hanging_tool(executor: SnippetExecutor, dice: random.Random, over: threading.Event) -> None:
    """A tool that hangs fails after its timeout, and the snippet goes on."""
    code = "try { await codemode.hang() } catch (error) { return error.name }"
    result = executor.execute(code, {"hang": over.wait}, tool_timeout=SHORT, timeout=LONG)
    require(result.value == "ToolTimeout" or over.is_set(), result, code)


def endless(executor: SnippetExecutor, dice: random.Random, over: threading.Event) -> None:
    """A snippet without an end, ended by its timeout; by its memory at times, where it has come far enough by then."""
    code = dice.choice(ENDLESS)
    result = executor.execute(code, {"hang": over.wait}, timeout=SHORT)
    refused = result.error is not None and result.error.name == "RangeError"  # a BigInt of that size, by some engines
    let_go = "hang" in code and over.is_set()
    require(kind_of(result) in ("timeout", "memory") or refused or let_go, result, code)


def greedy(executor: SnippetExecutor, dice: random.Random, over: threading.Event) -> None:
    """A snippet that takes all the memory that it can get; V8 refuses some buffers by itself."""
    code = dice.choice(GREEDY)
    result = executor.execute(code, timeout=LONG)
    refused = result.error is not None and result.error.name == "RangeError"
    require(kind_of(result) == "memory" or refused, result, code)


def flood(executor: SnippetExecutor, dice: random.Random, over: threading.Event) -> None:
    """Logs without an end; tool calls without an end."""
    result = executor.execute("for (;;) console.log('x'.repeat(999))", timeout=LONG)
    require(kind_of(result) == "output" and result.truncated, result, "log flood")
    result = executor.execute("for (;;) await codemode.f()", {"f": lambda: None}, timeout=LONG)
    require(result.error is not None and result.error.limit == "tool_calls", result, "flood of calls")


def cancel(executor: SnippetExecutor, dice: random.Random, over: threading.Event) -> None:
    """An asynchronous execution that is cancelled, at any moment."""

    async def main() -> None:
        task = asyncio.ensure_future(executor.aexecute("await codemode.nap(); for (;;) {}", {"nap": lambda: asyncio.sleep(0.01)}))
        await asyncio.sleep(dice.random() * 0.3)
        task.cancel()
        try:
            result = await task
        except asyncio.CancelledError:
            return
        raise Wrong(f"{result!r} of a call that was cancelled")

    asyncio.run(main())


def nested(executor: SnippetExecutor, dice: random.Random, over: threading.Event) -> None:
    """A tool that executes on the executor that has called it."""
    number = dice.randrange(10**6)
    tools = {"again": lambda n: executor.execute(f"return {n} + 1", timeout=LONG).check().value}
    result = executor.execute(f"return await codemode.again({number})", tools, timeout=LONG)
    require(result.value == number + 1, result, "nested")


SNIPPETS: tuple[tuple[Operation, int], ...] = (
    (value, 10),
    (typescript, 3),
    (error, 4),
    (failing_tool, 4),
    (hanging_tool, 2),
    (endless, 4),
    (greedy, 1),
    (flood, 1),
    (cancel, 3),
    (nested, 2),
)


def command(executor: CommandExecutor, dice: random.Random) -> str:
    """A command: one that answers, one that fails, one that is killed, one that is left to be closed; return which."""
    which = dice.choice(["echo", "exit", "timeout", "left"])
    number = dice.randrange(200)
    if which == "echo":
        result = executor.run(f"/bin/echo {number}", timeout=LONG)
        if not result.ok or result.stdout != f"{number}\n":
            raise Wrong(f"{result!r} of echo {number}")
    elif which == "exit":
        result = executor.run(f"/bin/sh -c 'exit {number}'", timeout=LONG)
        if result.exit_code != number:
            raise Wrong(f"{result!r} of exit {number}")
    elif which == "timeout":
        result = executor.run("/bin/sh -c '/bin/sleep 60 & wait'", timeout=SHORT)
        if not result.timed_out:
            raise Wrong(f"{result!r} of sleep 60")
    else:
        executor.exec("/bin/sleep 60").start()
    return which
