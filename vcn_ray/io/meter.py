"""How many bytes a thread has read from and written to storage; only ever more.

By thread, for a step runs in one, while others may plan what comes next.
"""

from __future__ import annotations

import threading
from typing import NamedTuple


class Bytes(NamedTuple):
    """A reading of the meter, or the difference of two."""

    read: int
    written: int

    def since(self, earlier: Bytes) -> Bytes:
        """What has come since an earlier reading."""
        return Bytes(self.read - earlier.read, self.written - earlier.written)


_meter = threading.local()


def count_bytes(read: int = 0, written: int = 0) -> None:
    """Add to this thread's meter."""
    now = bytes_so_far()
    _meter.now = Bytes(now.read + read, now.written + written)


def bytes_so_far() -> Bytes:
    """The reading of this thread's meter."""
    now: Bytes = getattr(_meter, "now", Bytes(0, 0))
    return now
