"""Bytes that each thread has read from and written to storage; the counts never fall.

Threads are counted separately, because a step runs in one thread while others plan.
"""

from __future__ import annotations

import threading
from typing import NamedTuple


class Bytes(NamedTuple):
    """A reading of the meter, or the difference between two readings."""

    read: int
    written: int

    def since(self, earlier: Bytes) -> Bytes:
        """Subtract an earlier reading."""
        return Bytes(self.read - earlier.read, self.written - earlier.written)


_meter = threading.local()


def count_bytes(read: int = 0, written: int = 0) -> None:
    """Add bytes to this thread's meter."""
    now = bytes_so_far()
    _meter.now = Bytes(now.read + read, now.written + written)


def bytes_so_far() -> Bytes:
    """Read this thread's meter."""
    now: Bytes = getattr(_meter, "now", Bytes(0, 0))
    return now
