"""The system call filter: call by call in a real process, and as a program for both architectures."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import platform
import struct
from typing import Any

import pytest

from pytest_sandbox.processes.seccomp import ARCHITECTURES, DENIED, UNSEEN_MEMORY, filter_program

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/ns"), reason="the jail is for Linux")

COLUMN = list(ARCHITECTURES).index(platform.machine()) if platform.machine() in ARCHITECTURES else 0
NUMBERS = {name: numbers[COLUMN] for name, numbers in DENIED.items() if numbers[COLUMN] is not None}
WHOLE = {"forks": True, "sockets": True}

# Every argument is -1: nothing could come of a call even where it is allowed.
CALL_ALL = f"told({{name: call(number, -1, -1, -1, -1, -1, -1) for name, number in {NUMBERS!r}.items()}})"
PTRACE_ME = f"told(call({NUMBERS['ptrace']}, 0, 0, 0, 0))"


@pytest.mark.parametrize("options", [{}, WHOLE], ids=["runner", "command"])
def test_every_call_of_the_list_is_denied(python: Any, options: dict[str, bool]) -> None:
    outside = python.outside(CALL_ALL).value
    # What the kernel itself denies to this user, or does not have, says nothing about the filter; root sees the rest.
    telling = {name for name, answer in outside.items() if answer != "EPERM"}
    assert len(telling) > (50 if os.geteuid() == 0 else 15), outside
    assert python.inside(CALL_ALL, **options).value == dict.fromkeys(NUMBERS, "EPERM")


def test_a_process_cannot_be_traced(python: Any) -> None:
    assert python.outside(PTRACE_ME).value == "done"
    assert python.inside(PTRACE_ME).value == "EPERM"


CLONE = {"x86_64": 56, "aarch64": 220}.get(platform.machine(), 0)
NAMESPACES = {
    "mnt": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}


def clone(flags: int) -> str:
    """Return code that forks with flags; the child ends at once."""
    return f"""
result = libc.syscall(ctypes.c_long({CLONE}), ctypes.c_long({flags | 17}), 0, 0, 0, 0)
if result == 0:
    os._exit(0)
told("done" if result > 0 else errno.errorcode[ctypes.get_errno()])
"""


@pytest.mark.parametrize("name", NAMESPACES)
def test_no_namespace_can_be_made(python: Any, name: str) -> None:
    user = 0 if os.geteuid() == 0 else NAMESPACES["user"]
    outside = python.outside(clone(NAMESPACES[name] | user)).value
    if outside != "done":
        pytest.skip(f"this machine does not allow it anyway ({outside})")
    assert python.inside(clone(0), **WHOLE).value == "done"
    assert python.inside(clone(NAMESPACES[name] | user), **WHOLE).value == "EPERM"


def test_a_runner_cannot_fork_by_any_call(python: Any) -> None:
    code = "told([call(57), call(58)])" if platform.machine() == "x86_64" else "told([])"
    assert python.inside(clone(0)).value == "EPERM"
    assert set(python.inside(code).value) <= {"EPERM"}


def test_a_runner_cannot_keep_memory_where_nobody_looks_for_it(python: Any) -> None:
    column = list(ARCHITECTURES).index(platform.machine())
    memfd, shmget, semget, msgget = (UNSEEN_MEMORY[name][column] for name in ("memfd_create", "shmget", "semget", "msgget"))
    code = f"""
name = ctypes.create_string_buffer(b"x")
told([call({memfd}, ctypes.addressof(name), 0), call({shmget}, 0, 4096, 0o1600), call({semget}, 0, 1, 0o1600), call({msgget}, 0, 0o1600)])
"""
    # In a jail of a command, which has a namespace of its own for them, so that none is left on this machine.
    assert python.inside(code, **WHOLE).value == ["done"] * 4
    assert python.inside(code).value == ["EPERM"] * 4


def test_calls_whose_flags_are_in_memory_or_that_are_newer_than_the_list_do_not_exist(python: Any) -> None:
    code = "told([call(435, 0, 0), call(457, 0), call(470, 0), call(4000, 0), call(0x40000000 | 39)])"
    assert python.outside("told(call(435, 0, 0))").value == "EINVAL"
    assert python.inside(code, **WHOLE).value == ["ENOSYS"] * 5


IOCTL = {"x86_64": 16, "aarch64": 29}.get(platform.machine(), 0)


def test_nothing_can_be_typed_into_a_terminal(python: Any) -> None:
    # On a pipe the real call says ENOTTY. The upper half of the number is ignored by the kernel, and so it is by the filter.
    code = f"told([call({IOCTL}, 1, number, 0) for number in (0x5412, 0x541C, 0x5412 | 1 << 32, 0x541C | 0xABC << 32, 0x5413)])"
    assert python.outside(code).value == ["ENOTTY"] * 5
    assert python.inside(code, **WHOLE).value == ["EPERM"] * 4 + ["ENOTTY"]


PERSONALITY = {"x86_64": 135, "aarch64": 92}.get(platform.machine(), 0)


def test_the_personality_can_be_asked_for_and_not_changed(python: Any) -> None:
    code = f"told([call({PERSONALITY}, value) for value in (0xFFFFFFFF, 0, 0x0040000, 0x0008)])"
    assert python.outside(code).value == ["done"] * 4
    assert python.inside(code, **WHOLE).value == ["done", "done", "EPERM", "EPERM"]


SOCKETS = """
answers = {}
for name in ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_ALG", "AF_VSOCK"):
    kind = {"AF_NETLINK": socket.SOCK_RAW, "AF_ALG": socket.SOCK_SEQPACKET, "AF_PACKET": socket.SOCK_RAW}.get(name, socket.SOCK_STREAM)
    try:
        socket.socket(getattr(socket, name), kind).close()
        answers[name] = "made"
    except OSError as error:
        answers[name] = errno.errorcode[error.errno]
try:
    [end.close() for end in socket.socketpair()]
    answers["pair"] = "made"
except OSError as error:
    answers["pair"] = errno.errorcode[error.errno]
told(answers)
"""


def test_only_ordinary_sockets_can_be_made_and_a_runner_makes_none(python: Any) -> None:
    outside = python.outside(SOCKETS).value
    assert {name for name in ("AF_UNIX", "AF_INET", "pair") if outside[name] == "made"} == {"AF_UNIX", "AF_INET", "pair"}
    inside = python.inside(SOCKETS, **WHOLE).value
    for name in ("AF_PACKET", "AF_ALG", "AF_VSOCK"):
        assert inside.pop(name) == "EAFNOSUPPORT"
    assert inside == {name: outside[name] for name in inside}
    runner = python.inside(SOCKETS).value
    assert runner.pop("pair") == "made", "Deno waits for signals with one"
    assert set(runner.values()) == {"EPERM"}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 has a second kind of system call")
def test_a_call_of_another_architecture_ends_the_process(python: Any) -> None:
    code = """
import mmap
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid of i386); int 0x80; ret
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()
told("back")
"""
    outside = python.outside(code)
    if outside.code != 0:
        pytest.skip("this kernel has no such calls")
    assert outside.value == "back"
    inside = python.inside(code, **WHOLE)
    assert (inside.lines, inside.code) == (["trying"], -31)  # SIGSYS


# -- the program itself, for machines that are not here -------------------------------------------------------------


def run_filter(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Interpret a filter as the kernel does, and return its answer."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(*arguments, *[0] * (6 - len(arguments))))
    instructions = list(struct.iter_unpack("<HBBI", program))
    at = accumulator = 0
    for _ in range(len(instructions)):
        code, then, otherwise, value = instructions[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            return int(value)
        else:
            held = {0x15: accumulator == value, 0x25: accumulator > value, 0x45: bool(accumulator & value)}[code]
            at += then if held else otherwise
    raise AssertionError("the filter does not end")


ALLOWED, KILLED = 0x7FFF0000, 0x80000000


def failed(number: int) -> int:
    return 0x00050000 | number


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("forks", [True, False])
@pytest.mark.parametrize("sockets", [True, False])
def test_the_filter_of_every_architecture_says_the_same(machine: str, forks: bool, sockets: bool) -> None:
    column = list(ARCHITECTURES).index(machine)
    program = filter_program(machine, forks=forks, sockets=sockets)

    def answer(number: int, *arguments: int) -> int:
        return run_filter(program, ARCHITECTURES[machine], number, *arguments)

    assert len(program) // 8 < 4096, "the kernel takes no longer ones"
    for other in (*ARCHITECTURES.values(), 0x40000003):
        if other != ARCHITECTURES[machine]:
            assert run_filter(program, other, 0) == KILLED
    for name, numbers in DENIED.items():
        number = numbers[column]
        assert number is None or answer(number) == failed(errno.EPERM), name
    for name, numbers in UNSEEN_MEMORY.items():
        number = numbers[column]
        assert number is not None and answer(number) == (ALLOWED if forks else failed(errno.EPERM)), name
    read, execve, clone_number, socket_number, pair = [(0, 63), (59, 221), (56, 220), (41, 198), (53, 199)]
    assert answer(read[column]) == answer(execve[column]) == ALLOWED
    assert answer(clone_number[column], 0x003D0F00) == ALLOWED  # what pthread_create asks for
    assert answer(clone_number[column], 17) == (ALLOWED if forks else failed(errno.EPERM))
    assert answer(clone_number[column], 0x10000000 | 0x003D0F00) == failed(errno.EPERM)
    assert answer(socket_number[column], 2) == (ALLOWED if sockets else failed(errno.EPERM))
    assert answer(socket_number[column], 38) == failed(errno.EAFNOSUPPORT if sockets else errno.EPERM)
    assert answer(pair[column], 1) == ALLOWED
    assert answer(435) == answer(457) == answer(0x40000000) == failed(errno.ENOSYS)


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_numbers_are_those_that_libseccomp_knows(machine: str) -> None:
    path = ctypes.util.find_library("seccomp")
    if path is None:
        pytest.skip("libseccomp is not installed")
    resolve = ctypes.CDLL(path).seccomp_syscall_resolve_name_arch
    resolve.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    column = list(ARCHITECTURES).index(machine)
    ours = {name: numbers[column] for name, numbers in (DENIED | UNSEEN_MEMORY).items()}
    theirs = {name: resolve(ARCHITECTURES[machine], name.encode()) for name in ours}
    assert ours == {name: number if number >= 0 else None for name, number in theirs.items()}
