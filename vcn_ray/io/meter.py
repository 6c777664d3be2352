"""How many bytes this process has read from and written to storage; only ever more."""

from __future__ import annotations

from typing import NamedTuple


class Bytes(NamedTuple):
    """A reading of the meter, or the difference of two."""

    read: int
    written: int

    def since(self, earlier: Bytes) -> Bytes:
        """What has come since an earlier reading."""
        return Bytes(self.read - earlier.read, self.written - earlier.written)


_now = Bytes(0, 0)


def count_bytes(read: int = 0, written: int = 0) -> None:
    """Add to the meter."""
    global _now
    _now = Bytes(_now.read + read, _now.written + written)


def bytes_so_far() -> Bytes:
    """The meter's reading."""
    return _now
