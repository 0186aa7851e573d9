"""The messages between the host and a Lua process: MessagePack arrays behind their length, as four bytes.

Everything that comes from there is untrusted: its length is looked at before it is read, and it is parsed into these types or not
at all. To the process: one request to run a script, and then one answer for each message but those that have none.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from pytest_sandbox.lua.result import LuaErrorObject

__all__ = ["PROTOCOL", "Message", "answer", "decode", "frame", "refusal", "request"]

PROTOCOL: Final = 1
"""Version of this protocol; `runner/main.py` has the same number."""

_ERROR_OBJECT: Final = 1
_FUNCTION: Final = 2


class _Message(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    pass


class Ready(_Message, tag="ready"):
    """The process can take its request."""

    protocol: int
    lua: str


class Log(_Message, tag="log"):
    """One call of ``print``; ``written`` counts all printed bytes so far, lost ones included. It has no answer."""

    text: bytes
    written: int


class Get(_Message, tag="get"):
    """``exec.get``."""

    id: bytes


class Exec(_Message, tag="exec"):
    """``executor:exec``."""

    executor: int
    command: bytes
    work_dir: bytes | None
    names: list[bytes]
    variables: list[bytes]


class Drop(_Message, tag="drop"):
    """``executor:release`` of one that has created no process. It has no answer."""

    executor: int


class Release(_Message, tag="release"):
    """``executor:release``."""

    executor: int


class Start(_Message, tag="start"):
    """``process:start``."""

    process: int


class Wait(_Message, tag="wait"):
    """``process:wait``."""

    process: int


class Signal(_Message, tag="signal"):
    """``process:signal``."""

    process: int
    number: int


class WriteStdin(_Message, tag="write_stdin"):
    """``process:write_stdin``."""

    process: int
    data: bytes


class OpenStream(_Message, tag="stream"):
    """``process:stdout_stream`` and ``process:stderr_stream``."""

    process: int
    name: bytes


class Close(_Message, tag="close"):
    """``process:close``."""

    process: int
    force: bool


class Read(_Message, tag="read"):
    """``stream:read``."""

    stream: int
    size: int | None


class CloseStream(_Message, tag="close_stream"):
    """``stream:close``."""

    stream: int


class Call(_Message, tag="call"):
    """A call of a function of a Python table."""

    function: int
    args: list[Any]


class Result(_Message, tag="result"):
    """The script has returned; the last message."""

    values: list[Any]


class Failure(_Message, tag="error"):
    """The script has failed; the last message."""

    kind: bytes
    message: bytes
    error_kind: bytes | None = None
    retryable: bool | None = None
    traceback: bytes | None = None
    returned: bool = False


Message = (
    Ready
    | Log
    | Get
    | Exec
    | Drop
    | Release
    | Start
    | Wait
    | Signal
    | WriteStdin
    | OpenStream
    | Close
    | Read
    | CloseStream
    | Call
    | Result
    | Failure
)


def _read_extension(code: int, data: memoryview) -> object:
    if code != _ERROR_OBJECT:
        raise ValueError(f"extension type {code}")
    kind, message, retryable = _plain_decoder.decode(data)
    return LuaErrorObject(text(kind), text(message), retryable)


def _write_extension(value: object) -> object:
    if isinstance(value, Function):
        return msgspec.msgpack.Ext(_FUNCTION, value.number.to_bytes(4, "big"))
    raise NotImplementedError


class Function:
    """A host function on its way to Lua, by its number."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


_plain_decoder: Final = msgspec.msgpack.Decoder(tuple[bytes, bytes, bool])
_decoder: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message, ext_hook=_read_extension)
_encoder: Final = msgspec.msgpack.Encoder(enc_hook=_write_extension)


def text(value: bytes) -> str:
    """Return a string of Lua as text; what is not UTF-8 becomes U+FFFD."""
    return value.decode("utf-8", "replace")


def decode(payload: bytes | bytearray) -> Message:
    """Return a message of a Lua process.

    Raises:
        msgspec.DecodeError: when it is none (like RecursionError and ValueError).
    """
    return _decoder.decode(payload)


def frame(payload: bytes) -> bytes:
    """Return a message behind its length."""
    return len(payload).to_bytes(4, "big") + payload


def answer(*values: Any) -> bytes:
    """Return the answer to a call that succeeded, framed."""
    return frame(_encoder.encode((True, *values)))


def refusal(kind: str, message: str, *, retryable: bool) -> bytes:
    """Return the answer to a call that failed, framed."""
    return frame(_encoder.encode((False, kind, message.encode("utf-8", "replace"), retryable)))


def request(fields: dict[str, Any]) -> bytes:
    """Return the request to run a script, framed."""
    return frame(_encoder.encode(fields))
