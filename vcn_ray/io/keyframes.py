"""Cuts a video at keyframes into segments, by its index or by its packets; it decodes nothing."""

from __future__ import annotations

from typing import NamedTuple

import av
from av.packet import Packet
from av.video.stream import VideoStream

from vcn_ray.io.decoding import packets_from_keyframe
from vcn_ray.io.timeline import MAX_GAP_DISCONTINUOUS, may_jump
from vcn_ray.io.video import (
    MAX_PIXELS,
    DecodeConfig,
    OpenVideo,
    Source,
    open_video,
)
from vcn_ray.records import Segment


def plan_segments(
    source: Source, config: DecodeConfig, max_pixels: int = MAX_PIXELS
) -> tuple[Segment, ...]:
    """Cut a video at keyframes into segments; each owns the frames start_pts <= pts < end_pts.

    The first also owns the frames before its start. Keyframes come from the container's index where
    it has one (mp4, mov, mkv with cues), else from a scan over all packets. A file without usable
    time stamps is one segment.

    Raises:
        MediaError: The file cannot be opened, or contains no usable video.
    """
    with open_video(source, max_pixels=max_pixels) as video:
        end_seconds = video.end_seconds()
        if _lacks_presentation_times(video) and end_seconds is not None:
            return _segments([_first_start(video)], end_seconds)
        ticks = config.segment_seconds / float(video.time_base)
        starts = None
        # Where stamps may jump, FFmpeg's index lists what it has read so far, not the whole file.
        if end_seconds is not None and not may_jump(video.container):
            starts = _indexed_starts(video, ticks, end_seconds)
        if starts is None:
            return _scanned_segments(video, config.segment_seconds)
        return _segments(
            [_first_start(video), *(_Start(pts, video.seconds(pts)) for pts in starts)],
            end_seconds or 0.0,
        )


def _lacks_presentation_times(video: OpenVideo) -> bool:
    """True where frames are stored out of order and only the order of decoding is stored."""
    return video.container.format.name == "avi" and bool(video.stream.codec_context.has_b_frames)


class _Start(NamedTuple):
    """Where a segment starts."""

    pts: int
    seconds: float


def _first_start(video: OpenVideo) -> _Start:
    return _Start(video.first_pts, video.seconds(video.first_pts))


def _segments(starts: list[_Start], end_seconds: float) -> tuple[Segment, ...]:
    ends = [*starts[1:], _Start(0, max(end_seconds, starts[-1].seconds))]
    return tuple(
        Segment(
            index=index,
            start_pts=start.pts,
            end_pts=end.pts if index + 1 < len(starts) else None,
            start_seconds=start.seconds,
            end_seconds=end.seconds,
        )
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    )


def _indexed_starts(video: OpenVideo, ticks: float, end_seconds: float) -> list[int] | None:
    """Segment starts from the container's index; None if no index covers the whole file."""
    keys = sorted(
        entry.timestamp
        for entry in video.stream.index_entries
        if entry.is_keyframe and not entry.is_discard  # by an edit list
    )
    if not keys or (end_seconds - video.seconds(keys[-1])) / float(video.time_base) > ticks:
        return None
    # Some indexes list decoding times, which run ahead of presentation times by this delay.
    delay = max(0, video.first_pts - keys[0])
    starts: list[int] = []
    for key in _spaced(keys, ticks)[1:]:
        # Frames are owned by presentation time, which only the keyframe's packet contains.
        pts = _keyframe_pts(video, key, delay)
        if pts is None:
            break  # the file ends before its index does: the current segment runs to the end
        if pts - (starts[-1] if starts else video.first_pts) >= ticks:
            starts.append(pts)
    return starts


def _keyframe_pts(video: OpenVideo, timestamp: int, delay: int) -> int | None:
    """Presentation time of the keyframe that the index lists at `timestamp`."""
    try:
        video.container.seek(timestamp + delay, stream=video.stream)
    except av.FFmpegError:
        return None
    for packet in packets_from_keyframe(video, []):
        if packet.pts is None:
            return None
        if packet.is_keyframe and max(packet.pts, packet.dts or packet.pts) >= timestamp:
            return int(packet.pts)
    return None


def _scanned_segments(video: OpenVideo, segment_seconds: float) -> tuple[Segment, ...]:
    """Segments from a scan over all packets.

    Where time stamps restart, they identify no frame, so the whole file is one segment.
    """
    clock = video.timeline()
    starts = [_first_start(video)]
    end, unique = starts[0].seconds, True
    for packet in packets_from_keyframe(video, []):
        if packet.size == 0:
            break
        if packet.is_discard:
            continue  # an edit list leaves it out
        stamp = packet.pts if packet.dts is None else packet.dts
        decoded = clock.read(None if stamp is None else video.seconds(stamp))
        if packet.pts is None or stamp is None:
            unique = False
            end = max(end, decoded + _duration(video, packet))
            continue
        shown = video.seconds(packet.pts) + clock.offset
        if abs(shown - decoded) > MAX_GAP_DISCONTINUOUS:
            shown = decoded  # one of the two stamps is from before a jump
        if packet.is_keyframe and packet.pts <= starts[-1].pts:
            unique &= len(starts) == 1 and not clock.jumps
        elif packet.is_keyframe and shown - starts[-1].seconds >= segment_seconds:
            starts.append(_Start(packet.pts, shown))
        end = max(end, shown + _duration(video, packet))
    if not unique or clock.jumped_back:
        starts = starts[:1]
    return _segments(starts, end)


def _duration(video: OpenVideo, packet: Packet[VideoStream]) -> float:
    return float((packet.duration or 0) * video.time_base)


def _spaced(keys: list[int], ticks: float) -> list[int]:
    """The first key, then each next key that is at least `ticks` after the last one taken."""
    taken: list[int] = []
    for key in keys:
        if not taken or key - taken[-1] >= ticks:
            taken.append(key)
    return taken
