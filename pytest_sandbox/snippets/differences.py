"""What a snippet finds around it on every executor, and the one table of where an executor differs.

The conformance suite holds every executor to this module: a global that is listed must work and one that is not must be absent,
and a case may fail on an executor only where a difference is declared here, and must then fail. The differential run
(``tests/differential``) compares the outcomes of one corpus of snippets on all executors, by the same rule. ``docs/environment.md``
is made from this module: ``python -m pytest_sandbox.snippets.differences > docs/environment.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["ABSENT", "DIFFERENCES", "GLOBALS", "Difference", "differences_of", "render"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not on one executor what it is on the others.

    Attributes:
        executor: the executor's name.
        id: what differs, in a word or two; several executors can share it.
        effect: what a snippet notices.
        reason: why it is so.
        hardened: of `container`, whether only with ``hardened=True`` (True) or only without it (False); None is either way.
    """

    executor: str
    id: str
    effect: str
    reason: str
    hardened: bool | None = None


GLOBALS: Final[Mapping[str, tuple[str, ...]]] = {
    "Tools and console": ("codemode", "console"),
    "Timers and microtasks": ("setTimeout", "setInterval", "clearTimeout", "clearInterval", "queueMicrotask"),
    "Web APIs": ("URL", "URLSearchParams", "TextEncoder", "TextDecoder", "atob", "btoa", "structuredClone"),
    "Values and functions": (
        "globalThis",
        "Infinity",
        "NaN",
        "undefined",
        "eval",
        "isFinite",
        "isNaN",
        "parseFloat",
        "parseInt",
        "decodeURI",
        "decodeURIComponent",
        "encodeURI",
        "encodeURIComponent",
        "escape",
        "unescape",
    ),
    "Fundamental objects": ("Object", "Function", "Boolean", "Symbol", "Reflect", "Proxy", "Iterator", "Intl"),
    "Errors": (
        "Error",
        "AggregateError",
        "EvalError",
        "RangeError",
        "ReferenceError",
        "SuppressedError",
        "SyntaxError",
        "TypeError",
        "URIError",
    ),
    "Numbers, dates and text": ("Number", "BigInt", "Math", "Date", "String", "RegExp", "JSON"),
    "Collections": ("Array", "Map", "Set", "WeakMap", "WeakSet", "WeakRef", "FinalizationRegistry"),
    "Bytes": (
        "ArrayBuffer",
        "DataView",
        "Int8Array",
        "Uint8Array",
        "Uint8ClampedArray",
        "Int16Array",
        "Uint16Array",
        "Int32Array",
        "Uint32Array",
        "BigInt64Array",
        "BigUint64Array",
        "Float16Array",
        "Float32Array",
        "Float64Array",
    ),
    "Promises and resources": ("Promise", "DisposableStack", "AsyncDisposableStack"),
}
"""Every global of a snippet, by topic. `realm/hardening.js` removes whatever else an engine offers."""

ABSENT: Final[Mapping[str, str]] = {
    "WebAssembly": "its memory escapes the heap limit, and it is one more compiler to attack",
    "SharedArrayBuffer": "with a second thread it makes a precise clock",
    "Atomics": "it can block the thread for good, and is of no use without SharedArrayBuffer",
    "Temporal": "only some engines have it yet",
    "fetch": "there is no network",
    "WebSocket": "there is no network",
    "EventSource": "there is no network",
    "XMLHttpRequest": "there is no network",
    "Worker": "an execution is one thread",
    "SharedWorker": "an execution is one thread",
    "BroadcastChannel": "executions do not see each other",
    "MessageChannel": "an execution is one thread",
    "localStorage": "nothing outlasts an execution",
    "sessionStorage": "nothing outlasts an execution",
    "indexedDB": "nothing outlasts an execution",
    "caches": "nothing outlasts an execution",
    "require": "there are no modules, and import() of anything is refused",
    "module": "a snippet is no module",
    "exports": "a snippet is no module",
    "process": "it is the host program's",
    "Deno": "it is the host program's",
    "Bun": "it is the host program's",
    "Buffer": "only Node has it; use Uint8Array, TextEncoder, atob and btoa",
    "global": "only Node has it; use globalThis",
    "window": "only browsers have it; use globalThis",
    "self": "only browsers and workers have it; use globalThis",
    "setImmediate": "only Node has it; use setTimeout or queueMicrotask",
    "clearImmediate": "only Node has it; use clearTimeout",
    "performance": "not every engine has it; use Date.now()",
    "crypto": "not every engine has it; give the snippet a tool",
    "navigator": "it tells of the host",
    "Event": "not every engine has it",
    "EventTarget": "not every engine has it",
    "AbortController": "not every engine has it",
    "AbortSignal": "not every engine has it",
    "Blob": "not every engine has it; use Uint8Array",
    "FormData": "not every engine has it",
    "ReadableStream": "not every engine has it; use async generators",
    "DOMException": "not every engine has it",
    "alert": "there is nobody to ask",
    "confirm": "there is nobody to ask",
    "prompt": "there is nobody to ask",
}
"""Notable globals that are absent everywhere, each with the reason; whatever else is not in `GLOBALS` is absent, too."""

DIFFERENCES: Final[tuple[Difference, ...]] = (
    Difference(
        "isolated-vm",
        "import-words",
        "A refused `import()` fails with an `Error` that says `Not supported`, instead of a `TypeError` that says what is refused",
        "the engine has its own words, and cannot be given others",
    ),
    Difference(
        "deno",
        "import-words",
        "A refused `import()` fails with a `TypeError` that says `A dynamic import callback was not specified.`",
        "the engine has its own words, and cannot be given others",
    ),
    Difference(
        "deno",
        "words-for-the-global",
        "An error about a property of the global object that cannot be changed calls it `[object Object]`, not `[object global]`",
        "the engine makes up the name of a global object",
    ),
    Difference(
        "deno",
        "newer-engine",
        "Methods that Node 24 does not have are there (`Math.sumPrecise`, `Iterator.concat`, `Map.prototype.getOrInsert`, "
        "`Uint8Array.fromBase64`), and some errors of `Intl` are worded differently",
        "Deno's V8 is newer than that of Node 24, on which the others run",
    ),
    Difference(
        "container",
        "runtime-frames",
        "A snippet sees frames of Node's own task queue in `error.stack`; results have none of them",
        "the realm shares the stack with the runtime",
    ),
    Difference(
        "container",
        "full-runtime",
        "All of Node is there: its globals, `require`, `import()`, `eval`, and builtins and a global object that can be changed",
        "the container is the wall; `hardened=True` takes them away",
        hardened=False,
    ),
    Difference(
        "container",
        "node-apis",
        "Timers and Web APIs are Node's own: a timer is an object, an odd delay writes a warning to the console, a URL that is "
        "returned is an empty object, errors are worded differently",
        "what Node has is not replaced",
        hardened=False,
    ),
    Difference(
        "container",
        "escaped-words",
        "The text of a function shows words such as `import` and `catch` escaped in literals (`\\u0069mport`) and blanked in "
        "comments; the `source` of a regular expression shows those that look like code in the same way",
        "whatever could be code that Node must not see is written in another way, in literals as well",
        hardened=True,
    ),
    Difference(
        "vm2",
        "no-proxy",
        "`Proxy` is undefined",
        "vm2 takes it away: with it, snippets climbed vm2's own wall of proxies",
    ),
    Difference(
        "vm2",
        "no-weak-references",
        "`WeakRef` and `FinalizationRegistry` are undefined",
        "vm2 takes them away: they would let a snippet watch the host's garbage collection",
    ),
    Difference(
        "vm2",
        "error-lines",
        "The stack of an error has no lines of the snippet (those of syntax errors excepted)",
        "vm2 hides all stack frames from its sandbox; line numbers are never made up",
    ),
    Difference(
        "vm2",
        "global-not-sealed",
        "New properties can be added to the global object, for this execution; what is there cannot be changed",
        "vm2's global object cannot be frozen",
    ),
    Difference(
        "vm2",
        "unknown-tool",
        "`codemode.unknown` is undefined instead of a function whose call names the known tools; an error that is not caught names "
        "them all the same",
        "without `Proxy`, an object cannot answer for names that it does not have",
    ),
    Difference(
        "vm2",
        "stack-formatter",
        "`Error.prepareStackTrace` can be set, for this execution; it is shown frames without functions and without the host's "
        "files",
        "vm2 defines it as an accessor that cannot be changed",
    ),
    Difference(
        "vm2",
        "frozen-promises",
        "Assigning `then`, `catch` or `finally` on a promise has no effect, or is an error in strict code; a class that extends "
        "`Promise` can define them",
        "vm2 freezes `Promise.prototype` before anything else runs",
    ),
    Difference(
        "vm2",
        "latest-syntax",
        "Syntax newer than ECMAScript 2022 is an error: `using` declarations, the flag `v` and modifiers of regular expressions",
        "vm2 reads every snippet with a parser of its own, set to that version",
    ),
    Difference(
        "vm2",
        "promise-constructor",
        "The promise of an async function, and those that the static methods of a subclass make, are instances, but have another "
        "constructor; `Promise.name` is `localPromise`",
        "vm2 puts a class of its own in the place of `Promise`",
    ),
    Difference(
        "vm2",
        "endless-causes",
        "Throwing an error whose chain of causes has no end takes until the timeout",
        "vm2 looks through all causes of whatever is thrown, for objects of its host",
    ),
    Difference(
        "vm2",
        "import-throws",
        "`import()` throws at once instead of returning a promise that is rejected",
        "vm2 replaces it in the source text by a function that throws",
    ),
    Difference(
        "vm2",
        "escaped-words",
        "The text of a function shows words such as `import` and `catch` escaped in literals (`\\u0069mport`) and blanked in "
        "comments; the `source` of a regular expression shows those that look like code in the same way",
        "whatever could be code that vm2 would rewrite is written in another way, in literals as well",
    ),
)


def differences_of(executor: str, *, hardened: bool = True) -> Mapping[str, Difference]:
    """Return the declared differences of an executor, by id.

    Args:
        executor: its name.
        hardened: of `container`, whether it is set up with ``hardened=True``.
    """
    rows = (difference for difference in DIFFERENCES if difference.executor == executor)
    return {row.id: row for row in rows if row.hardened is None or row.hardened == hardened}


def render() -> str:
    """Return the text of docs/environment.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "<!-- Made by `python -m pytest_sandbox.snippets.differences`; a test fails when it is stale. -->"
    yield ""
    yield "# What a snippet finds around it"
    yield ""
    yield (
        "Every executor offers the same environment, unless a difference is declared below; `container` does so with "
        "`hardened=True`. The conformance suite checks both lists on every executor. A corpus of snippets is run on all of them, "
        "and has to come to the same values, errors (kind, name, message and line) and logs: a difference that is not declared "
        "fails the run, and so does a declared one that does not show."
    )
    yield ""
    yield "## Globals"
    yield ""
    yield from _table(("Topic", "Globals"), ((topic, _code(names)) for topic, names in GLOBALS.items()))
    yield ""
    yield (
        "`eval`, `Function` and every other function constructor are there and throw an `EvalError`. Prototypes and constructors "
        "are frozen; on instances and subclasses of objects, functions, arrays, maps, sets, promises and errors every inherited "
        "method can be assigned (`this.name = …`), on others `toString`, `toLocaleString`, `valueOf`, `toJSON`, `constructor`, "
        "`name`, `message` and `next`; the rest with `Object.defineProperty` or in a class. The global object is sealed: a "
        "variable needs a declaration. `import()` of anything is refused. `codemode` and `console` cannot be "
        "replaced. The time zone is UTC."
    )
    yield ""
    yield "Nothing else is global. Notably absent, on every executor:"
    yield ""
    yield from _table(("Absent", "Why"), ((f"`{name}`", reason) for name, reason in ABSENT.items()))
    yield ""
    yield "## Declared differences"
    yield ""
    yield from _table(
        ("Executor", "Id", "What a snippet notices", "Why"),
        ((_setting(row), f"`{row.id}`", row.effect, row.reason) for row in DIFFERENCES),
    )


def _setting(row: Difference) -> str:
    if row.hardened is None:
        return f"`{row.executor}`"
    return f"`{row.executor}`, {'with `hardened=True`' if row.hardened else 'by default'}"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield _row(head)
    yield _row("---" for _ in head)
    for row in rows:
        yield _row(row)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    print(render(), end="")
