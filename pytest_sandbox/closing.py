"""What has to be closed: with a block, or from code that runs under asyncio."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

__all__ = ["Closable"]


class Closable(ABC):
    """Something that holds processes, containers or files until it is closed; a context manager, synchronous and asynchronous."""

    @abstractmethod
    def close(self) -> None:
        """Free everything; safe to call twice."""

    async def aclose(self) -> None:
        """Do the same as `close` without blocking the running loop."""
        import asyncio

        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
