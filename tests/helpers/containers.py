"""Containers for tests: streams put together, moved in time, encrypted, cut; made by PyAV."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

CENC = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
    "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
}
"""Options of FFmpeg's mp4 for common encryption (ISO/IEC 23001-7)."""


class Track(NamedTuple):
    """A stream to copy."""

    source: Path  # its first stream is copied
    later: float = 0.0  # seconds by which its times are moved
    disposition: Disposition | None = None
    packets: int | None = None  # only so many of its first
    filters: str = ""  # of FFmpeg's bitstream filters


def mux(path: Path, tracks: Sequence[Track], **options: str) -> Path:
    """Copy streams into one file, in the order of their times.

    Args:
        path: The ending chooses the container.
        tracks: Streams, in the order in which the file lists them.
        options: Of FFmpeg's muxer.
    """
    with av.open(str(path), "w", options=options) as target:
        packets = []
        for track in tracks:
            with av.open(str(track.source)) as source:
                stream = target.add_stream_from_template(source.streams[0])
                if track.disposition is not None:
                    stream.disposition = track.disposition
                packets += [(p, stream) for p in _packets(track, source)]
        packets.sort(key=lambda pair: (pair[0].dts or 0) * pair[0].time_base)
        for packet, stream in packets:
            packet.stream = stream
            target.mux(packet)
    return path


def _packets(track: Track, source: InputContainer) -> list[Packet[Stream]]:
    stream = source.streams[0]
    filters = BitStreamFilterContext(track.filters, stream) if track.filters else None
    found: list[Packet[Stream]] = []
    for packet in source.demux(stream):
        if packet.dts is None or packet.pts is None:
            continue
        found += filters.filter(packet) if filters else [packet]
    for packet in found:
        ticks = int(Fraction(track.later).limit_denominator(1000) / packet.time_base)
        packet.pts, packet.dts = (packet.pts or 0) + ticks, (packet.dts or 0) + ticks
    return found[: track.packets]


def with_edits(source: Path, path: Path, edits: Sequence[tuple[int, float | None]]) -> Path:
    """A copy of an MP4 of one stream, whose `moov` comes last, with another edit list.

    Args:
        source: The file; it has an edit list.
        path: The copy.
        edits: How long each lasts, in thousandths of a second, and at which second of the stream it
            begins; None: nothing is shown.
    """
    data = bytearray(source.read_bytes())
    at = data.index(b"mdhd")
    (scale,) = struct.unpack(">I", data[at + 16 : at + 20])
    starts = [(length, -1 if start is None else round(start * scale)) for length, start in edits]
    rows = b"".join(struct.pack(">IiI", length, start, 1 << 16) for length, start in starts)
    listed = struct.pack(">I4sII", 16 + len(rows), b"elst", 0, len(edits)) + rows
    new = struct.pack(">I4s", 8 + len(listed), b"edts") + listed
    at = data.index(b"edts") - 4
    (old,) = struct.unpack(">I", data[at : at + 4])
    data[at : at + old] = new
    for name in (b"trak", b"moov"):
        at = data.index(name) - 4
        (size,) = struct.unpack(">I", data[at : at + 4])
        data[at : at + 4] = struct.pack(">I", size + len(new) - old)
    path.write_bytes(data)
    return path
