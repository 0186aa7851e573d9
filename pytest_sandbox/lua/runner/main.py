"""The program of a Lua process: it starts Lua, waits for one request, runs it, and ends.

It is no part of the package: it is run by its path, without site-packages, often in a jail that holds nothing but what it imports.
Its arguments are the folder of lupa and the folder of this program. Messages are MessagePack behind their length in four bytes.
"""

import os
import sys

sys.path.append(sys.argv[1])

import lupa.lua54 as lua54  # "from lupa import lua54" would import more

PROTOCOL = 1
"""Version of the protocol; `protocol.py` has the same number."""

_AT_ONCE = 65536
"""Bytes of an answer that Lua always has room for; it makes room for larger ones (`make_room` in main.lua)."""
_RESERVE = 4 * _AT_ONCE
_OUT_OF_MEMORY = 77
_NO_LIMIT = 1 << 60
_FILES = ("main", "values", "errors", "exec")


class _Host:
    """The other end of the pipes. What Lua calls never raises: Lua would get to see the exception."""

    def __init__(self) -> None:
        self._input = b""
        self._answer = b""
        self.lua = lua54.LuaRuntime(
            encoding=None,
            register_eval=False,
            register_builtins=False,
            attribute_handlers=(_refuse, _refuse),
            unpack_returned_tuples=True,
            max_memory=_NO_LIMIT,
        )

    def read(self, data: bytes = b"") -> bytes:
        """Return the next message, of which a part may have been read."""
        data = self._input + data
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
            more = os.read(0, 1 << 20)
            if not more:
                os._exit(0)  # the host is gone, or has no more use for us
            data += more
        size = 4 + int.from_bytes(data[:4], "big")
        self._input = data[size:]
        return data[4:size]

    def send(self, messages: bytes) -> None:
        """Send messages, each behind its length."""
        try:
            written = os.write(1, messages)
            while written < len(messages):
                messages = messages[written:]
                written = os.write(1, messages)
        except BaseException as error:
            _end(error)

    def call(self, messages: bytes) -> bytes | int | None:
        """Send messages and return the answer to the last one; of a large answer its size, see `take`."""
        self.send(messages)
        try:
            data = os.read(0, _AT_ONCE)
            if 4 + int.from_bytes(data[:4], "big") == len(data) and not self._input:
                return data[4:]
            answer = self.read(data)
        except BaseException as error:
            _end(error)
        if len(answer) <= _AT_ONCE:
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
    functions = lua.table_from({name.encode(): getattr(host, name) for name in ("arm", "call", "send", "take")})
    # Our own source is the only one that is ever compiled by way of Python.
    start = lua.execute(b"return load(..., '=(sandbox)', 't')", sources["main"])
    run = start(functions, lua.table_from({name.encode(): source for name, source in sources.items()}))
    version = lua.execute(b"return ...", b".".join(b"%d" % part for part in lua.lua_version)).decode()
    ready = b"\x93\xa5ready" + bytes([PROTOCOL]) + bytes([0xA0 + len(version)]) + version.encode()
    host.send(len(ready).to_bytes(4, "big") + ready)
    run(host.read())
    os.read(0, 1)  # the host measures what was used, and then ends this process
    os._exit(0)


main()
