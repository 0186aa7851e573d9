"""The messages between host and runner, and how they are written and read.

Lines of JSON. To the runner: ``R`` + a run request, or ``T`` + the outcome of a tool call. From the runner: every line carries the
stamp of its execution (``-`` before the first one), then one message. Everything that comes from a runner is untrusted: it is
capped before it is parsed, and parsed into these types or not at all.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from pytest_sandbox.errors import near_miss
from pytest_sandbox.result import ErrorKind, LogLevel
from pytest_sandbox.values import ValueCannotCross, to_wire

__all__ = [
    "PROTOCOL",
    "Call",
    "Error",
    "ErrorBody",
    "Log",
    "Message",
    "Ready",
    "Result",
    "Retire",
    "decode",
    "decode_value",
    "error_frame",
    "run_frame",
    "tool_error_frame",
    "tool_value_frame",
    "unknown_tool_frame",
    "unknown_tool_message",
]

PROTOCOL: Final = 1
"""Version of this protocol; `channel.mjs` has the same number."""

TEXT_MOST: Final = 16_384
"""Characters of an error's name or message that are sent to a snippet."""


class Ready(msgspec.Struct, tag_field="op", tag="ready"):
    """The runner can take requests; ``versions`` says what it runs on, ``settings`` what its container really is."""

    protocol: int
    versions: dict[str, str]
    settings: dict[str, Any] | None = None


class Log(msgspec.Struct, tag_field="op", tag="log"):
    """One call of ``console.*``; ``cut`` says that text was lost to the limit."""

    level: LogLevel
    text: str
    cut: bool = False


class Call(msgspec.Struct, tag_field="op", tag="call"):
    """The snippet calls a tool."""

    id: int
    name: str
    args: msgspec.Raw


class Result(msgspec.Struct, tag_field="op", tag="result"):
    """The snippet returned; the last message. ``written`` counts characters of log text, lost ones included."""

    value: msgspec.Raw
    written: int = 0


class ErrorBody(msgspec.Struct):
    """What an error says of itself."""

    name: str
    message: str
    stack: str = ""
    kind: ErrorKind = "runtime"
    limit: Literal["memory", "output", "result"] | None = None
    line: int | None = None
    column: int | None = None
    cause: ErrorBody | None = None


class Error(msgspec.Struct, tag_field="op", tag="error"):
    """The snippet failed; the last message."""

    error: ErrorBody
    written: int = 0


class Retire(msgspec.Struct, tag_field="op", tag="retire"):
    """The runner is of no use after this execution."""


Message = Ready | Log | Call | Result | Error | Retire

_decoder: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)
_encoder: Final = msgspec.json.Encoder()


def decode(payload: bytes) -> Message:
    """Return the message in a line that has lost its stamp.

    Raises:
        msgspec.DecodeError: when it is none (the runner's fault, or the snippet's).
        RecursionError: when it is nested absurdly deep (likewise).
    """
    return _decoder.decode(payload)


def decode_value(raw: msgspec.Raw) -> Any:
    """Return the JSON inside a message; raises like `decode`."""
    return msgspec.json.decode(raw)


def run_frame(*, nonce: str, source: str, language: str, tools: tuple[str, ...], output: int | None, result: int | None) -> bytes:
    """Return the request to run a snippet, as a line."""
    request = {"nonce": nonce, "source": source, "language": language, "tools": tools, "output": output, "result": result}
    return b"R" + _encoder.encode(request) + b"\n"


def tool_value_frame(call: int, name: str, value: Any, most: int | None) -> bytes:
    """Return what a tool returned, as a line; an error instead when it cannot cross or is larger than ``most`` bytes."""
    try:
        body = _encoder.encode(to_wire(value))
    except ValueCannotCross as error:
        return error_frame(call, "TypeError", f'Tool "{name}" returned what cannot cross: {error}')
    except Exception as error:  # of an object that the tool made: iterating or printing it runs its code
        return error_frame(
            call, "TypeError", f'Tool "{name}" returned what cannot be read: {type(error).__name__}: {_words(error)}'
        )
    if most is not None and len(body) > most:
        return error_frame(
            call, "RangeError", f'Tool "{name}" returned {len(body)} bytes: more than the limit result of {most} bytes'
        )
    return b'T{"op":"tool","id":%d,"ok":true,"value":%s}\n' % (call, body)


def tool_error_frame(call: int, error: BaseException) -> bytes:
    """Return the exception that a tool raised, as a line: its name and message cross, nothing else."""
    return error_frame(call, type(error).__name__, _words(error))


def _words(error: BaseException) -> str:
    try:
        return "".join(str(error))
    except (Exception, SystemExit):
        return "(its message cannot be shown)"


def error_frame(call: int, name: str, message: str) -> bytes:
    """Return the failure of a tool call, as a line."""
    clean = message[:TEXT_MOST].encode("utf-8", "replace").decode("utf-8")
    return b'T{"op":"tool","id":%d,"ok":false,"error":%s}\n' % (call, _encoder.encode({"name": name, "message": clean}))


def unknown_tool_frame(call: int, name: str, known: tuple[str, ...]) -> bytes:
    """Return the answer to a call of a tool that does not exist, as a line."""
    return error_frame(call, "TypeError", unknown_tool_message(name, known))


def unknown_tool_message(name: str, known: tuple[str, ...]) -> str:
    """Return the sentence that lists the known tools."""
    listed = ", ".join(known) if known else "none; pass tools={...} to execute()"
    return f'Unknown tool "{name[:200]}"{near_miss(name[:200], known)}: known tools are {listed}'
