"""Notices that a file is cut, has a hole or is scrambled, where FFmpeg reads on in silence.

Each check trusts what the container itself states: sizes, marks of an end, positions of packets.
Formats that state nothing, such as raw streams, cannot be checked.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from vcn_ray.io import matroska
from vcn_ray.io.matroska import read_at

BLOCK_HEAD = 4  # bytes of track, time and flags in a block of Matroska before its frame
USUAL_GAP = 32  # bytes between two blocks; a new cluster starts within them, too
MAX_HEADERS = 256  # of boxes that are walked; a file of more fragments is left to the demuxer
MIN_HOLE_SECONDS, MAX_HOLE_SECONDS = 0.5, 60.0  # between two packets around a loss
_BOXES = b"ftyp moov mdat moof free skip wide uuid mfra sidx styp meta emsg prft ssix pdin imda"
BOXES = frozenset(_BOXES.split())
"""Of the top level of an MP4 or QuickTime file."""
TAIL_BYTES = 1 << 16
TS_SIZES = (188, 192, 204)  # bytes of a packet of a transport stream
SCRAMBLED_BYTES = 1 << 20  # from the start, in which a stream shows whether it is scrambled
MIN_SCRAMBLED = 0.5  # of the packets with a payload of the liveliest stream


class _Block(NamedTuple):
    """A block of Matroska."""

    start: int  # of its content in the file
    size: int  # of the frame in it


class DamageWatch:
    """Follows the packets of a container in the order in which they are stored.

    Args:
        container: At the start, or just after a seek.
        file: What it reads.
    """

    def __init__(self, container: InputContainer, file: BinaryIO) -> None:
        self._file = file
        self._formats = set(container.format.name.split(","))
        self._block: _Block | None = None  # the last block of Matroska
        self._incomplete: Packet[Stream] | None = None  # the last packet, if it is

    def add(self, packet: Packet[Stream], *, is_picture: bool) -> str | None:
        """Take in the next packet; returns a line if something is missing before it."""
        line = None
        if is_picture and self._incomplete is not None:
            # Where recordings are joined, the last packet of the first may look incomplete, too.
            gap = _seconds_between(self._incomplete, packet)
            if MIN_HOLE_SECONDS <= gap <= MAX_HOLE_SECONDS:
                line = f"{gap:.1f} s of the picture are missing"
        if is_picture or packet.is_corrupt:
            self._incomplete = packet if packet.is_corrupt else None
        if "matroska" in self._formats and packet.pos is not None and packet.pos > 0:
            block = _Block(packet.pos, packet.size)
            line = self._hole(block) or line
            self._block = block
        return line

    def at_end(self) -> list[str]:
        """Lines about the end of the file, once no packet is left."""
        # In a transport stream the mark says that packets before it are missing.
        is_cut = self._incomplete is not None and "mpegts" not in self._formats
        lines = ["its last packet is incomplete"] if is_cut else []
        with _Undisturbed(self._file):
            size = self._file.seek(0, os.SEEK_END)
            if self._block is not None:
                lines += self._end_of_blocks(self._block, size)
            for name, check in _ENDS.items():
                if name in self._formats:
                    found = check(self._file, size)
                    lines += [found] if found else []
        return list(dict.fromkeys(lines))

    def _hole(self, block: _Block) -> str | None:
        last = self._block
        if last is None or last.start == block.start:
            return None  # frames that share a block
        if 0 <= block.start - (last.start + BLOCK_HEAD + last.size) <= USUAL_GAP:
            return None
        with _Undisturbed(self._file):
            start = matroska.block_end(self._file, last.start)
            found = None if start is None else matroska.find_break(self._file, start, block.start)
        if start is not None and start > block.start:
            return f"bytes {last.start} to {start} are damaged"  # FFmpeg looked for more in them
        if found is None:
            return None
        return f"bytes {found} to {block.start} are damaged or missing"

    def _end_of_blocks(self, last: _Block, size: int) -> list[str]:
        cluster = matroska.cluster_end(self._file, last.start)
        if cluster is not None and cluster > size:
            return ["its last cluster is incomplete"]
        size = min(size, matroska.segment_end(self._file) or size)  # what follows is no video
        start = matroska.block_end(self._file, last.start)
        found = None if start is None else matroska.find_break(self._file, start, size)
        if found is None or found > size:
            return []
        return [f"bytes {found} to {size}, its last, are damaged or incomplete"]


def is_scrambled(file: BinaryIO) -> bool:
    """True for a transport stream whose liveliest stream is scrambled."""
    with _Undisturbed(file):
        data = read_at(file, 0, SCRAMBLED_BYTES)
    size = _packet_size(data)
    if size is None:
        return False
    counts: dict[int, list[int]] = {}
    for at in range(size - 188, len(data) - 188, size):
        _, high, low, flags = data[at : at + 4]
        if data[at] == 0x47 and flags & 0x10:  # it has a payload
            counts.setdefault((high & 0x1F) << 8 | low, []).append(flags >> 6)
    marks = max(counts.values(), key=len, default=[])
    return sum(mark >= 2 for mark in marks) > MIN_SCRAMBLED * len(marks)


class _Undisturbed:
    """Puts a file back to its position: a demuxer reads on from there."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __enter__(self) -> None:
        self._position = self._file.tell()

    def __exit__(self, *_: object) -> None:
        self._file.seek(self._position)


def _seconds_between(before: Packet[Stream], after: Packet[Stream]) -> float:
    if before.dts is None or after.dts is None or before.time_base != after.time_base:
        return 0.0
    return float((after.dts - before.dts) * after.time_base)


def _end_of_matroska(file: BinaryIO, size: int) -> str | None:
    return _shorter(matroska.segment_end(file), size)


def _end_of_mp4(file: BinaryIO, size: int) -> str | None:
    """Every box must end within the file; what is no box was appended by others."""
    position = 0
    for _ in range(MAX_HEADERS):
        head = read_at(file, position, 16)
        if len(head) < 8:
            return _shorter(position + 8, size) if any(head) else None
        if head[4:8] not in BOXES:
            return None
        length = int.from_bytes(head[:4])
        if length == 1:
            length = int.from_bytes(head[8:16])
        if length == 0:
            return None  # it lasts to the end of the file
        if length < 8:
            return f"bytes {position} to {size} are damaged"
        position += length
        if position >= size:
            return _shorter(position, size)
    return None


def _end_of_riff(file: BinaryIO, size: int) -> str | None:
    """A large AVI has several RIFF chunks, one behind the other."""
    position = 0
    for _ in range(MAX_HEADERS):
        head = read_at(file, position, 8)
        if len(head) < 8 or head[:4] != b"RIFF":
            return None
        length = int.from_bytes(head[4:], "little")
        if not length:
            return "its header was never completed, so its end is missing"
        position += 8 + length + length % 2
        if position > size:
            return _shorter(position - length % 2, size)
    return None


def _end_of_ts(file: BinaryIO, size: int) -> str | None:
    packet = _packet_size(read_at(file, 0, 4 * TS_SIZES[-1]))
    if packet is None or not size % packet:
        return None
    return f"its last packet has {size % packet} of {packet} bytes"


def _packet_size(data: bytes) -> int | None:
    for size in TS_SIZES:
        start = 4 if size == 192 else 0  # a time stamp stands before each packet of an M2TS
        marks = data[start : start + 3 * size : size]
        if len(marks) == 3 and set(marks) == {0x47}:
            return size
    return None


def _end_of_ps(file: BinaryIO, size: int) -> str | None:
    """From the last pack on, every packet must end within the file."""
    tail = read_at(file, max(0, size - TAIL_BYTES), TAIL_BYTES)
    at = tail.rfind(b"\0\0\1\xba")
    if at < 0:
        return None
    while at < len(tail):
        head = tail[at : at + 14]
        if head[:4] == b"\0\0\1\xb9":
            return None  # the mark of the end
        if head[:3] != b"\0\0\1" or len(head) < 6:
            return None if not any(head) else "its last packet is incomplete"
        if head[3] != 0xBA:
            at += 6 + int.from_bytes(head[4:6])
        elif head[4] & 0xC0 == 0x40:  # MPEG-2
            at += 14 + (head[13] & 7 if len(head) == 14 else 0)
        else:
            at += 12
    return "its last packet is incomplete" if at > len(tail) else None


def _end_of_ogg(file: BinaryIO, size: int) -> str | None:
    """The last page is complete and says that it is the last."""
    tail = read_at(file, max(0, size - TAIL_BYTES), TAIL_BYTES)
    at = tail.rfind(b"OggS")
    if at < 0 or at + 27 > len(tail):
        return "its last page is incomplete"
    segments = tail[at + 27 : at + 27 + tail[at + 26]]
    length = 27 + len(segments) + sum(segments)
    if len(segments) < tail[at + 26] or at + length > len(tail):
        return "its last page is incomplete"
    return None if tail[at + 5] & 4 else "its last page does not say that the stream ends"


def _end_of_asf(file: BinaryIO, size: int) -> str | None:
    """The object of file properties states the size of the file."""
    data = read_at(file, 0, TAIL_BYTES)
    at = data.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    if at < 0 or at + 48 > len(data):
        return None
    return _shorter(int(struct.unpack_from("<Q", data, at + 40)[0]), size)


def _end_of_mxf(file: BinaryIO, size: int) -> str | None:
    """The first partition states where the last one is; from there, all fits into the file."""
    data = read_at(file, 0, TAIL_BYTES)
    at = data.find(bytes.fromhex("060e2b34020501010d0102010102"))
    if at < 0 or at + 21 > len(data):
        return None
    length = data[at + 16]
    content = at + 17 + (length & 0x7F if length & 0x80 else 0)
    footer = int.from_bytes(data[content + 24 : content + 32])
    if footer >= size:
        return f"its footer at byte {footer} is missing"
    position = footer
    for _ in range(MAX_HEADERS if footer else 0):
        head = read_at(file, position, 25)  # a key of 16 bytes and the length of the value
        if len(head) < 17:
            break
        count = head[16] & 0x7F if head[16] & 0x80 else 0
        position += 17 + count + (int.from_bytes(head[17 : 17 + count]) if count else head[16])
    return _shorter(position, size) if footer else None


def _end_of_flv(file: BinaryIO, size: int) -> str | None:
    """The last four bytes state how long the last tag is."""
    length = int.from_bytes(read_at(file, max(0, size - 4), 4))
    at = size - 4 - length
    if length < 11 or at < 9:
        return "its last tag is incomplete"
    tag = read_at(file, at, 4)
    complete = tag[0] & 0x1F in (8, 9, 18) and int.from_bytes(tag[1:]) == length - 11
    return None if complete else "its last tag is incomplete"


def _shorter(stated: int | None, size: int) -> str | None:
    if stated is None or stated <= size:
        return None
    return f"has {size} of {stated} bytes: its end is missing"


_ENDS: dict[str, Callable[[BinaryIO, int], str | None]] = {
    "matroska": _end_of_matroska,
    "mp4": _end_of_mp4,
    "avi": _end_of_riff,
    "mpegts": _end_of_ts,
    "mpeg": _end_of_ps,
    "ogg": _end_of_ogg,
    "asf": _end_of_asf,
    "mxf": _end_of_mxf,
    "flv": _end_of_flv,
}
