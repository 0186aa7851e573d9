"""The system call filter of the jail: calls that neither a JavaScript engine nor an ordinary command needs, and kernels broke over.

It lists denials, so that engines run at full speed (the kernel does not even ask the filter about calls that it always allows),
and closes two doors by default: calls that are newer than `_NEWEST`, and calls of another architecture. Namespaces and the user
id are the walls; the filter keeps the kernel code behind these calls out of reach.

It is assembled here because the bindings of libseccomp need a compiler or the system's library, which knows only the calls of its
own time.
"""

from __future__ import annotations

import errno
import functools
import struct
from typing import Final

__all__ = ["ARCHITECTURES", "DENIED", "UNSEEN_MEMORY", "filter_program"]

# AUDIT_ARCH_* of include/uapi/linux/audit.h, by what uname calls the machine. Both are little-endian, see _ARGUMENTS.
ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# The numbers on x86_64 and on aarch64, from Linux's arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h;
# None where there is no such call.
_Numbers = tuple[int | None, int | None]
DENIED: Final[dict[str, _Numbers]] = {
    # Looking into other processes, or at the whole machine.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    "syslog": (103, 116),
    # Programs inside the kernel, and what its exploits are built with.
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "memfd_secret": (447, 447),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Other views of the files, other namespaces.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "unshare": (272, 97),
    "setns": (308, 268),
    # The kernel itself, and the state of the machine.
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "nfsservctl": (180, 42),
    "uselib": (134, None),
    "_sysctl": (156, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
}
# What holds memory, or a queue of it, that is not resident in the process that made it: no engine needs it, and whoever watches a
# process for its memory would not see it.
UNSEEN_MEMORY: Final[dict[str, _Numbers]] = {
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
}
_FORKS: Final[dict[str, _Numbers]] = {"fork": (57, None), "vfork": (58, None)}
_SOCKETS: Final[dict[str, _Numbers]] = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
}
_CLONE: Final = (56, 220)
_CLONE3: Final = (435, 435)
_IOCTL: Final = (16, 29)
_PERSONALITY: Final = (135, 92)
_SOCKET: Final = (41, 198)
_SOCKETPAIR: Final = (53, 199)

_NEWEST: Final = 456
"""futex_requeue of Linux 6.7. Newer calls do not exist here, and programs then do without, as on an older kernel. The calls of the
ABI x32, whose numbers have bit 30 set, fall under this, too."""

_CLONE_NAMESPACES: Final = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET; NEWTIME is for clone3 only
_CLONE_THREAD: Final = 0x00010000
_TIOCSTI: Final = 0x5412
_TIOCLINUX: Final = 0x541C
_PERSONALITY_QUERY: Final = 0xFFFFFFFF
_AF_UNIX: Final = 1
_ORDINARY_FAMILIES: Final = (_AF_UNIX, 2, 10, 16)  # and AF_INET, AF_INET6, AF_NETLINK (which resolvers use)

# Instructions of the classic BPF, include/uapi/linux/{bpf_common,filter}.h, and answers, include/uapi/linux/seccomp.h.
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_GREATER: Final = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_IF_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000  # the whole process
_FAIL: Final = 0x00050000  # with the error number in the low bits

# Offsets in struct seccomp_data. Of the arguments only the low half counts: the kernel takes these as 32 bits wide, or the flags
# looked for lie there.
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_ARGUMENTS: Final = tuple(16 + 8 * index for index in range(6))

_Instruction = tuple[int, int, int, int]
_Block = list[_Instruction]


def _load(offset: int) -> _Block:
    return [(_LOAD, 0, 0, offset)]


def _return(answer: int) -> _Block:
    return [(_RETURN, 0, 0, answer)]


def _fail(number: int) -> _Block:
    return _return(_FAIL | number)


def _if(test: int, value: int, then: _Block) -> _Block:
    """Do ``then``, which returns, when the test holds."""
    return [(test, 0, len(then), value), *then]


def _on(number: int | None, then: _Block) -> _Block:
    return [] if number is None else _if(_IF_EQUAL, number, then)


@functools.cache
def filter_program(machine: str, *, forks: bool, sockets: bool) -> bytes:
    """Return the filter as an array of ``struct sock_filter``, as bubblewrap's ``--seccomp`` reads it.

    Args:
        machine: one of `ARCHITECTURES`.
        forks: whether new processes may be made, and memory that is nobody's, as commands do; threads can always be made.
        sockets: whether sockets of the ordinary families may be made; without, there are only nameless pairs.
    """
    column = list(ARCHITECTURES).index(machine)
    program = [
        *_load(_ARCHITECTURE),
        (_IF_EQUAL, 1, 0, ARCHITECTURES[machine]),
        *_return(_KILL),
        *_load(_NUMBER),
        *_if(_IF_GREATER, _NEWEST, _fail(errno.ENOSYS)),
        # Its flags are in memory, where a filter cannot look; libraries fall back to clone.
        *_on(_CLONE3[column], _fail(errno.ENOSYS)),
        *_on(_CLONE[column], _clone(forks)),
        *_on(_IOCTL[column], _allow_unless(1, (_TIOCSTI, _TIOCLINUX), errno.EPERM)),
        *_on(_PERSONALITY[column], _allow_only(0, (0, _PERSONALITY_QUERY), errno.EPERM)),
    ]
    if sockets:
        program += _on(_SOCKET[column], _allow_only(0, _ORDINARY_FAMILIES, errno.EAFNOSUPPORT))
    else:
        program += _on(_SOCKETPAIR[column], _allow_only(0, (_AF_UNIX,), errno.EAFNOSUPPORT))
    denied = {**DENIED, **({} if forks else _FORKS | UNSEEN_MEMORY), **({} if sockets else _SOCKETS)}
    for numbers in denied.values():
        program += _on(numbers[column], _fail(errno.EPERM))
    program += _return(_ALLOW)
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def _clone(forks: bool) -> _Block:
    block = [*_load(_ARGUMENTS[0]), *_if(_IF_ANY_BIT, _CLONE_NAMESPACES, _fail(errno.EPERM))]
    if not forks:
        block += [*_if(_IF_ANY_BIT, _CLONE_THREAD, _return(_ALLOW)), *_fail(errno.EPERM)]
    return [*block, *_return(_ALLOW)]


def _allow_only(argument: int, values: tuple[int, ...], error: int) -> _Block:
    block = _load(_ARGUMENTS[argument])
    for value in values:
        block += _if(_IF_EQUAL, value, _return(_ALLOW))
    return [*block, *_fail(error)]


def _allow_unless(argument: int, values: tuple[int, ...], error: int) -> _Block:
    block = _load(_ARGUMENTS[argument])
    for value in values:
        block += _if(_IF_EQUAL, value, _fail(error))
    return [*block, *_return(_ALLOW)]
