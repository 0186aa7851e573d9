"""The Docker SDK as a client: deadlines for single requests, and our own errors for whatever it raises.

Importing this module imports the SDK (about 0.1 s): do it only when an engine is needed.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import docker.errors
import requests.exceptions
import urllib3.exceptions
from docker.api.client import APIClient

from pytest_sandbox.engines.base import DEFAULT_TIMEOUT
from pytest_sandbox.engines.dialing import DialingAdapter
from pytest_sandbox.engines.hijack import Endpoint, HijackRefused
from pytest_sandbox.engines.sdkfacts import innermost, was_refused
from pytest_sandbox.errors import ContainerGone, EngineError, EngineGone, EngineRefused, EngineTimeout, ImageNotFound

__all__ = ["SdkClient"]

_Found = TypeVar("_Found")

_FIRST_VERSION: Final = "1.40"  # for the first question only; its answer tells the version that is spoken from then on
_FIRST_LOOK, _LONGEST_PAUSE = 0.002, 0.1  # seconds between two looks at what is waited for


class _Client(APIClient):
    """The SDK's client with a deadline of its own for each request, instead of one for all."""

    deadline = threading.local()

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> Any:
        seconds = getattr(self.deadline, "seconds", None)
        if seconds is not None:
            kwargs["timeout"] = seconds
        return super().request(method, url, *args, **kwargs)


class SdkClient:
    """Requests to one engine over its socket.

    Args:
        endpoint: where it is.
        label: which engine it is, for errors.
    """

    def __init__(self, endpoint: Endpoint, label: str) -> None:
        self.endpoint = endpoint
        self.label = label
        self.api_version = _FIRST_VERSION
        self._clients: dict[int, _Client] = {}
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        """Begin without requests; also in a forked child, where a thread that is not there may seem to make one."""
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._under_way = 0

    @property
    def api(self) -> Any:
        """The SDK's client, whose type stubs lack half of what is used here."""
        # A forked child must not share connections with its parent.
        pid = os.getpid()
        client = self._clients.get(pid)
        if client is None:
            client = _Client(base_url="unix:///dialled/by/us", version=self.api_version, timeout=int(DEFAULT_TIMEOUT))
            client.mount("http+docker://", DialingAdapter(self.endpoint))
            client.trust_env = False  # no proxy between us and an engine
            self._clients = {pid: client}
        return client

    @contextlib.contextmanager
    def translated(self, action: str, timeout: float | None, *, container: str = "", image: str = "") -> Iterator[None]:
        """Bound every request inside, and turn whatever the SDK raises into our own errors.

        Args:
            action: what is done, for errors.
            timeout: seconds for each request; None is `DEFAULT_TIMEOUT`.
            container: on which container.
            image: with which image.
        """
        seconds = DEFAULT_TIMEOUT if timeout is None else timeout
        before = getattr(_Client.deadline, "seconds", None)
        _Client.deadline.seconds = seconds
        if os.getpid() != self._owner:
            self._begin()
        with self._lock:
            self._under_way += 1
        try:
            yield
        except EngineError:
            raise
        except docker.errors.ImageNotFound as error:
            raise ImageNotFound(self.label, image or str(error.explanation)) from error
        except docker.errors.NotFound as error:
            words = str(error.explanation or error)
            if container and "container" in words.lower():
                raise ContainerGone(self.label, action, container) from error
            if image and not container:
                raise ImageNotFound(self.label, image) from error
            raise EngineRefused(self.label, action, words, 404) from error
        except docker.errors.APIError as error:
            if image and "cannot specify 64-byte hexadecimal strings" in str(error.explanation):
                raise ImageNotFound(self.label, image) from error  # Podman, of an id that it does not know
            raise EngineRefused(self.label, action, str(error.explanation or error), error.status_code) from error
        except HijackRefused as error:
            if error.status == 404:
                raise ContainerGone(self.label, action, container) from error
            raise EngineRefused(self.label, action, error.message, error.status) from error
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
            raise EngineTimeout(self.label, action, seconds) from error
        except (
            requests.exceptions.RequestException,
            urllib3.exceptions.HTTPError,
            docker.errors.DockerException,
            OSError,
        ) as error:
            raise EngineGone(self.label, action, innermost(error), was_asked=not was_refused(error)) from error
        finally:
            _Client.deadline.seconds = before
            with self._lock:
                self._under_way -= 1
                self._drop_if_closed()

    def poll(self, action: str, timeout: float | None, container: str, look: Callable[[], _Found | None]) -> _Found:
        """Look again and again, until something is found or the time is up.

        Args:
            action: what is waited for, for errors.
            timeout: seconds, or None for ever.
            container: on which container.
            look: asks the engine once, and returns what it found or None.

        Raises:
            EngineTimeout: when nothing was found in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_LOOK
        while True:
            with self.translated(action, None, container=container):
                found = look()
            if found is not None:
                return found
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise EngineTimeout(self.label, action, timeout or 0.0, "it still runs")
            time.sleep(pause if left is None else min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def close(self) -> None:
        """Drop all connections; what comes late, such as a thread that removes a container, leaves none behind either."""
        if os.getpid() != self._owner:
            self._begin()
        with self._lock:
            self._is_closed = True
            self._drop_if_closed()

    def _drop_if_closed(self) -> None:
        """Drop the connections, but none that another thread is about to use."""
        if self._is_closed and self._under_way == 0:
            self.drop()

    def drop(self) -> None:
        """Drop the connections that there are; the next request makes a new one."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()
