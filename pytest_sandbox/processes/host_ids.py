"""User ids of the host that belong to nobody, each lent to one jail at a time.

A test run as root gives every jail a user of its own: file permissions and process limits then bind for it as for any stranger, and
two jails are strangers to each other. The claim on an id is an abstract socket of a name that tells the id: other test runs and
xdist workers see it (in the same network namespace), and it vanishes with its owner, however that dies.
"""

from __future__ import annotations

import functools
import os
import secrets
import socket
from typing import Final

__all__ = ["FIRST_ID", "HostId", "claim", "mapped_ids"]

FIRST_ID: Final = 0x7F000000
"""The first of the ids to lend, 2130706432. Distributions, systemd and the usual subordinate id ranges leave these alone, see
https://systemd.io/UIDS-GIDS."""

_COUNT: Final = 1 << 16
_FEW: Final = 512
"""How many ids are lent where the high ones do not exist, as in a container with a user namespace: the last ones below _NOBODY."""

_NOBODY: Final = 65534
_TRIES: Final = 500


class HostId:
    """A claimed user and group id, the same number for both.

    Attributes:
        number: the id.
    """

    def __init__(self, number: int, claim: socket.socket) -> None:
        self.number = number
        self._claim = claim

    @property
    def descriptor(self) -> int:
        """The descriptor that holds the claim; -1 once the id is given back."""
        return self._claim.fileno()

    def release(self) -> None:
        """Give the id back: once its processes are gone, others may have it; safe to call twice."""
        self._claim.close()


def claim() -> HostId:
    """Claim an id that no other jail has.

    Raises:
        OSError: when this process cannot use ids of other users, or all that were tried are taken.
    """
    lent = mapped_ids()
    if not lent:
        raise OSError("this process runs in a user namespace that has no user ids to spare")
    for _ in range(_TRIES):
        number = secrets.choice(lent)  # not from `random`: its state belongs to the tests
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            mark.bind(f"\0pytest-sandbox-uid-{number}")
        except OSError:
            mark.close()
        else:
            return HostId(number, mark)
    raise OSError(f"{_TRIES} user ids of {lent.start} to {lent.stop - 1} were tried, and all are taken")


@functools.cache
def mapped_ids() -> range:
    """Return the ids to lend that exist for this process; empty where there are none to spare."""
    users, groups = _mapped("uid_map"), _mapped("gid_map")
    for ids in (range(FIRST_ID, FIRST_ID + _COUNT), range(_NOBODY - _FEW, _NOBODY)):
        if all(any(ids.start in part and ids[-1] in part for part in parts) for parts in (users, groups)):
            return ids
    return range(0)


def _mapped(name: str) -> list[range]:
    """Return the ids that a map of this process's user namespace lists."""
    try:
        with open(f"/proc/{os.getpid()}/{name}", encoding="ascii") as file:
            lines = [[int(word) for word in line.split()] for line in file]
    except (OSError, ValueError):
        return []
    return [range(inside, inside + count) for inside, _outside, count in lines]
