"""What ordinary commands need of the host to run in a jail: its programs and libraries, and the harmless part of /etc."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["system_view"]

_FOLDERS: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_WHOLE: Final = ("/usr", "/nix/store")

# No keys, no passwords, no settings of services. Names are resolved only where the jail has the host's network.
_ETC: Final = (
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "gitconfig",
    "group",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)


def system_view() -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the files and folders to show read-only, and the symbolic links to make, for `Confinement`."""
    links = {f"/{name}": os.readlink(f"/{name}") for name in _FOLDERS if os.path.islink(f"/{name}")}
    folders = [f"/{name}" for name in _FOLDERS if f"/{name}" not in links]
    candidates = (*_WHOLE, *folders, *(f"/etc/{name}" for name in _ETC))
    return tuple(path for path in candidates if os.path.exists(path)), links
