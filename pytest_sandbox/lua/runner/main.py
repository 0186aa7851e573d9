"""The program of a Lua process: it starts Lua, waits for one request, runs it, and ends.

It is no part of the package: it is run by its path, without site-packages, often in a jail that holds nothing but what it imports.
Its arguments are the folder of lupa and the folder of this program. Messages are MessagePack behind their length in four bytes.
"""

import os
import sys

sys.path.append(sys.argv[1])

from lupa import lua54

PROTOCOL = 1
"""Version of the protocol; `protocol.py` has the same number."""

_ANSWER_AT_ONCE = 65536
"""Bytes of an answer that Lua always has room for; it makes room for larger ones (`make_room` in main.lua)."""
_RESERVE = 4 * _ANSWER_AT_ONCE
_OUT_OF_MEMORY = 77
_NO_LIMIT = 1 << 60
_FILES = ("main", "values", "errors", "exec")


class _Host:
    """The other end of the pipes. What Lua calls never raises: Lua would get to see the exception."""

    def __init__(self) -> None:
        self._input = b""
        self._waiting = b""
        self._answer = b""
        self.lua = lua54.LuaRuntime(
            encoding=None,
            register_eval=False,
            register_builtins=False,
            attribute_handlers=(_refuse, _refuse),
            unpack_returned_tuples=True,
            max_memory=_NO_LIMIT,
        )

    def read(self) -> bytes:
        """Return the next message."""
        data = self._input or os.read(0, 1 << 16)
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
            more = os.read(0, 1 << 20)
            if not more:
                os._exit(0)  # the host is gone, or has no more use for us
            data += more
        size = 4 + int.from_bytes(data[:4], "big")
        self._input = data[size:]
        return data[4:size]

    def send(self, message: bytes) -> None:
        """Send a message that has no answer."""
        try:
            data = self._waiting + len(message).to_bytes(4, "big") + message
            self._waiting = b""
            written = os.write(1, data)
            while written < len(data):
                data = data[written:]
                written = os.write(1, data)
        except BaseException as error:
            _end(error)

    def post(self, message: bytes) -> None:
        """Send a message that has no answer, but not before the next one."""
        try:
            self._waiting += len(message).to_bytes(4, "big") + message
        except BaseException as error:
            _end(error)

    def call(self, message: bytes) -> bytes | int | None:
        """Send a message and return the answer; of a large one its size, see `take`."""
        self.send(message)
        try:
            answer = self.read()
        except BaseException as error:
            _end(error)
        if len(answer) <= _ANSWER_AT_ONCE:
            return answer
        self._answer = answer
        return len(answer)

    def take(self) -> bytes:
        """Return the large answer."""
        answer, self._answer = self._answer, b""
        return answer

    def arm(self, memory: int) -> bool:
        """Limit what Lua may use from now on; return whether that is limited."""
        try:
            if memory > 0:
                self.lua.set_max_memory(memory + _RESERVE, total=True)
        except BaseException as error:
            _end(error)
        return memory > 0

    def finish(self, message: bytes) -> None:
        """Send the last message."""
        self.send(message)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _refuse(*_: object) -> None:
    raise AttributeError("not for Lua")


def _end(error: BaseException) -> None:
    os._exit(_OUT_OF_MEMORY if isinstance(error, MemoryError) else 70)


def main() -> None:
    """Run one script."""
    host = _Host()
    sources = {name: _read(f"{sys.argv[2]}/{name}.lua") for name in _FILES}
    lua = host.lua
    functions = lua.table_from({name.encode(): getattr(host, name) for name in ("arm", "call", "finish", "post", "send", "take")})
    # Our own source is the only one that is ever compiled by way of Python.
    start = lua.execute(b"return load(..., '=(sandbox)', 't')", sources["main"])
    run = start(functions, lua.table_from({name.encode(): source for name, source in sources.items()}))
    version = lua.execute(b"return ...", b".".join(b"%d" % part for part in lua.lua_version)).decode()
    host.send(b"\x93\xa5ready" + bytes([PROTOCOL]) + bytes([0xA0 + len(version)]) + version.encode())
    run(host.read())
    os._exit(0)


main()
