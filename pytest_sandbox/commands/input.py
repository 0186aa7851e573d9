"""What is written to a process: one piece at a time, as far as its input takes it now."""

from __future__ import annotations

from collections.abc import Callable

from pytest_sandbox.commands.output import CHUNK

__all__ = ["Input"]


class Input:
    """What waits to be written to standard input. Every method is called with the process's lock held.

    Attributes:
        pending: what is not written yet of the piece that is being written; None when there is none.
        failed: whether something could not be written, because nobody reads any more.
        ends_after: whether the input ends with the piece that is being written.
    """

    def __init__(self) -> None:
        self.pending: memoryview | None = None
        self.failed = False
        self.ends_after = False

    @property
    def is_over(self) -> bool:
        """Whether it is to be closed now that nothing waits."""
        return self.ends_after or self.failed

    def push(self, write: Callable[[memoryview], int]) -> bool:
        """Write what can be written now.

        Args:
            write: writes without blocking, and returns how many bytes were taken; 0, like a `BlockingIOError`, is none for now.

        Returns:
            Whether nothing waits any more: everything is written, or nobody reads it.
        """
        try:
            while self.pending is not None and len(self.pending):
                written = write(self.pending[:CHUNK])
                if not written:
                    return False
                self.pending = self.pending[written:]
        except BlockingIOError:
            return False
        except OSError:
            self.failed = True
        self.pending = None
        return True

    def drop(self) -> None:
        """Give up on what waits."""
        self.failed = self.failed or self.pending is not None
        self.pending = None
