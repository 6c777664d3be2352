"""Where the elements of a Matroska or WebM file lie; FFmpeg skips damage there without a word."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

EBML, SEGMENT, CLUSTER, BLOCK_GROUP = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0xA0
SIMPLE_BLOCK, BLOCK = 0xA3, 0xA1
CONTAINERS = (SEGMENT, CLUSTER, BLOCK_GROUP)
"""Elements whose children are walked through."""

KNOWN = (
    *CONTAINERS,
    *(EBML, SIMPLE_BLOCK, BLOCK, 0xAF, 0xEC, 0xBF),  # encrypted block, void, checksum
    *(0xE7, 0xA7, 0xAB, 0x5854),  # of clusters: time, position, size of the last, silent tracks
    *(0x9B, 0xFB, 0xFA, 0xFD, 0xA4, 0x75A1, 0x75A2, 0x8E, 0xC8),  # of block groups
    *(0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1254C367, 0x1941A469, 0x1043A770),
)
"""Elements that may stand in a segment, a cluster or a block group."""

HEADER_BYTES = 12  # at most: four of the id and eight of the size
WINDOW_BYTES, MAX_WINDOWS = 1 << 18, 64  # searched backwards for the start of a cluster
MAX_STEPS = 10_000  # elements in one walk


class Element(NamedTuple):
    """The header of an element."""

    id: int
    start: int  # of its content
    size: int | None  # of its content; None: unknown, as in a live recording

    @property
    def end(self) -> int | None:
        """One past its last byte, if that is known."""
        return None if self.size is None else self.start + self.size


def read_at(file: BinaryIO, position: int, size: int) -> bytes:
    """Read a range of a file, shorter only at its end; objects on S3 are read block by block."""
    file.seek(position)
    data = file.read(size)
    while data and len(data) < size:
        more = file.read(size - len(data))
        if not more:
            break
        data += more
    return data


def read_element(file: BinaryIO, position: int) -> Element | None:
    """Read the header of an element; None where there is none."""
    data = read_at(file, position, HEADER_BYTES)
    if not data or not data[0]:
        return None
    id_length = 9 - data[0].bit_length()
    if id_length > 4 or len(data) <= id_length or not data[id_length]:
        return None
    length = 9 - data[id_length].bit_length()
    number = data[id_length : id_length + length]
    if len(number) < length:
        return None
    size = int.from_bytes(number) & ((1 << 7 * length) - 1)
    unknown = size == (1 << 7 * length) - 1
    start = position + id_length + length
    return Element(int.from_bytes(data[:id_length]), start, None if unknown else size)


def segment_end(file: BinaryIO) -> int | None:
    """Where the file says that its first segment ends; None if it does not say."""
    head = read_element(file, 0)
    if head is None or head.id != EBML or head.end is None:
        return None
    segment = read_element(file, head.end)
    return segment.end if segment and segment.id == SEGMENT else None


def block_end(file: BinaryIO, start: int) -> int | None:
    """Where the block whose content starts at `start` ends; None if there is none."""
    for length in range(1, 9):
        element = read_element(file, start - 1 - length) if start > length else None
        if element and element.id in (SIMPLE_BLOCK, BLOCK) and element.start == start:
            return element.end
    return None


def cluster_end(file: BinaryIO, block: int) -> int | None:
    """Where the cluster around a block says that it ends; None if it does not say."""
    mark = CLUSTER.to_bytes(4)
    for back in range(1, MAX_WINDOWS + 1):
        start = max(0, block - back * WINDOW_BYTES)
        data = read_at(file, start, min(block - start, WINDOW_BYTES + len(mark)))
        while (at := data.rfind(mark)) >= 0:
            cluster = read_element(file, start + at)
            if cluster and (cluster.end is None or cluster.end > block):
                return cluster.end
            data = data[:at]
        if start == 0:
            break
    return None


def find_break(file: BinaryIO, position: int, stop: int) -> int | None:
    """Walk from element to element; returns where there is none, or None if all is sound.

    Args:
        file: The file.
        position: Where an element starts.
        stop: Where the content of a block starts, or the file ends.
    """
    for _ in range(MAX_STEPS):
        if position == stop:
            return None
        element = read_element(file, position) if position < stop else None
        if element is None or not (element.id in KNOWN or _is_foreign(file, element, stop)):
            return position
        if element.id in CONTAINERS or element.start == stop:
            position = element.start
        elif element.end is None or element.end > stop:
            return position
        else:
            position = element.end
    return None


def _is_foreign(file: BinaryIO, element: Element, stop: int) -> bool:
    """True for an element of a later version of the format: what follows it is known."""
    if element.end is None or element.end > stop:
        return False
    after = read_element(file, element.end)
    return element.end == stop or (after is not None and after.id in KNOWN)
