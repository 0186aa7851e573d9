"""HTTP for the SDK over connections that we dial.

The SDK's own need Paramiko for ssh, even to run the ssh program, and leave a socket open when nobody answers at its path.
"""

from __future__ import annotations

from typing import Any

import requests.adapters
import urllib3.connection
import urllib3.connectionpool

from pytest_sandbox.engines.hijack import Endpoint

__all__ = ["DialingAdapter"]

_PATIENCE = 60.0  # seconds for one read where a request has no deadline of its own


class _Connection(urllib3.connection.HTTPConnection):
    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__("engine")
        self._endpoint = endpoint

    def connect(self) -> None:
        self.sock = self._endpoint.dial(self.timeout if isinstance(self.timeout, int | float) else _PATIENCE)


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__("engine", maxsize=64)
        self._endpoint = endpoint

    def _new_conn(self) -> _Connection:
        return _Connection(self._endpoint)


class DialingAdapter(requests.adapters.HTTPAdapter):
    """Send every request over connections to one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._pool = _Pool(endpoint)
        super().__init__()

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> urllib3.connectionpool.HTTPConnectionPool:
        """Return the one pool, whatever the URL."""
        return self._pool

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        """Return path and query: there is no proxy on this way."""
        return str(request.path_url)

    def close(self) -> None:
        """Drop the connections."""
        self._pool.close()
        super().close()
