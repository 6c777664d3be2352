"""Cuts a video at keyframes into segments, by its index or by its packets; it decodes nothing."""

from __future__ import annotations

from typing import NamedTuple

import av

from vcn_ray.io.video import (
    MAX_PIXELS,
    DecodeConfig,
    OpenVideo,
    Source,
    open_video,
    packets_from_keyframe,
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
        if _lacks_presentation_times(video):
            return _segments(video, [], video.duration_seconds())
        ticks = config.segment_seconds / float(video.time_base)
        starts = _indexed_starts(video, ticks)
        end_seconds = video.duration_seconds()
        if starts is None:
            starts, last_pts = _scanned_starts(video, ticks)
            end_seconds = end_seconds if last_pts is None else video.seconds(last_pts)
        return _segments(video, starts, end_seconds)


def _lacks_presentation_times(video: OpenVideo) -> bool:
    """True where frames are stored out of order and only the order of decoding is stored."""
    return video.container.format.name == "avi" and bool(video.stream.codec_context.has_b_frames)


def _segments(video: OpenVideo, starts: list[int], end_seconds: float) -> tuple[Segment, ...]:
    bounds = [video.origin, *(start for start in starts if start > video.origin)]
    seconds = [video.seconds(pts) for pts in bounds]
    ends = [*seconds[1:], max(end_seconds, seconds[-1])]
    return tuple(
        Segment(
            index=index,
            start_pts=bounds[index],
            end_pts=bounds[index + 1] if index + 1 < len(bounds) else None,
            start_seconds=seconds[index],
            end_seconds=ends[index],
        )
        for index in range(len(bounds))
    )


def _indexed_starts(video: OpenVideo, ticks: float) -> list[int] | None:
    """Segment starts from the container's index; None if no index covers the whole file."""
    keys = sorted(entry.timestamp for entry in video.stream.index_entries if entry.is_keyframe)
    length = video.duration_seconds() / float(video.time_base)
    if not keys or not length or video.origin + length - keys[-1] > ticks:
        return None
    # Some indexes list decoding times, which run ahead of presentation times by this delay.
    delay = max(0, video.origin - keys[0])
    starts: list[int] = []
    for key in _spaced(keys, ticks)[1:]:
        # Frames are owned by presentation time, which only the keyframe's packet contains.
        pts = _keyframe_pts(video, key, delay)
        if pts is None:
            break  # the file ends before its index does: the current segment runs to the end
        if pts - (starts[-1] if starts else video.origin) >= ticks:
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


class _Scan(NamedTuple):
    """Result of reading every packet of a file."""

    starts: list[int]  # pts where segments start, the first segment's left out
    end: int | None  # pts at which the last frame ends; None if unknown


def _scanned_starts(video: OpenVideo, ticks: float) -> _Scan:
    """Segment starts and the end of the last frame from a scan over all packets."""
    keys: list[int] = []
    end: int | None = None
    for packet in packets_from_keyframe(video, []):
        if packet.size == 0:
            break
        if packet.pts is None:
            return _Scan([], None)
        if packet.is_keyframe and keys and packet.pts <= keys[-1]:
            return _Scan([], None)  # time runs backwards, so no time stamp identifies a frame
        if packet.is_keyframe:
            keys.append(packet.pts)
        end = max(packet.pts + (packet.duration or 0), end or packet.pts)
    return _Scan(_spaced(keys, ticks)[1:], end)


def _spaced(keys: list[int], ticks: float) -> list[int]:
    """The first key, then each next key that is at least `ticks` after the last one taken."""
    taken: list[int] = []
    for key in keys:
        if not taken or key - taken[-1] >= ticks:
            taken.append(key)
    return taken
