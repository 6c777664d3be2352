"""A short clip around an appearance, as browsers play it, with a box around the face.

The video is decoded in the isolated child process, as in a run, since it may be anybody's file. The
frames are encoded here. It knows no page and no edits.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import av
import cv2
import numpy as np

from vcn_ray.errors import MediaError
from vcn_ray.io.frames import DecodedFrame
from vcn_ray.io.isolation import IsolationConfig, plan_segments, read_segment
from vcn_ray.io.paths import file_name
from vcn_ray.io.s3 import S3Config
from vcn_ray.io.s3_file import open_source
from vcn_ray.io.video import DecodeConfig
from vcn_ray.records import F32, F64, U8, Segment

CLIP_SECONDS = 8.0
LEAD_SECONDS = 1.5  # before the appearance
LINES = 360
MAX_WIDTH = 640
BITS = 500_000  # a second
BOX_SECONDS = 0.3  # from a frame to the face whose box is drawn
BOX_COLOUR = (255, 196, 0)
TICKS = 1000  # a second
CLIPS_KEPT = 16
REALTIME = {"deadline": "realtime", "cpu-used": "8", "row-mt": "1"}  # a tenth of the time of VP8

DECODING = DecodeConfig(segment_seconds=10.0, analysis_fps=12.0, long_side_pixels=MAX_WIDTH)


class Appearance(NamedTuple):
    """Where and when a face is seen in a video."""

    uri: str
    start: float  # seconds
    end: float
    seconds: F64  # (n,) of each of its boxes, rising
    boxes: F32  # (n, 4) displayed pixels

    @property
    def window(self) -> tuple[float, float]:
        """Start and end of the clip."""
        start = max(0.0, self.start - LEAD_SECONDS)
        if self.end - self.start > CLIP_SECONDS:  # its middle shows it best
            start = (self.start + self.end - CLIP_SECONDS) / 2
        return start, start + CLIP_SECONDS


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is kept of clips and videos; by one thread at a time."""

    clips: OrderedDict[tuple[str, float, float], bytes]
    segments: dict[str, tuple[Segment, ...]]


class ClipMaker:
    """Makes clips, one at a time, and keeps the latest.

    Args:
        s3: How videos on S3 are reached.
        limits: What a decoder may use.
    """

    def __init__(self, s3: S3Config, limits: IsolationConfig) -> None:
        self._s3 = s3
        self._limits = limits
        self._lock = threading.Lock()
        self._kept = _Kept(OrderedDict(), {})

    def clip(self, seen: Appearance) -> bytes:
        """A clip of an appearance, as WebM.

        Raises:
            MediaError: The video cannot be reached or decoded.
        """
        key = (seen.uri, seen.start, seen.end)
        with self._lock:
            clips = self._kept.clips
            if key not in clips:
                clips[key] = self._make(seen)
                while len(clips) > CLIPS_KEPT:
                    clips.popitem(last=False)
            clips.move_to_end(key)
            return clips[key]

    def _make(self, seen: Appearance) -> bytes:
        name = file_name(seen.uri)
        try:
            frames = self._frames(seen)
            made = encode_webm(draw_box(frame, seen) for frame in frames)
        except OSError as error:  # S3, or a folder that is not mounted here
            raise MediaError("missing", f"{name}: {error}") from error
        if not made:
            raise MediaError("decode_error", f"{name}: no frame from {seen.start:.1f} s on decodes")
        return made

    def _frames(self, seen: Appearance) -> Iterator[DecodedFrame]:
        open_it = partial(open_source, seen.uri, "", self._s3)
        if seen.uri not in self._kept.segments:
            planned = plan_segments(open_it(), DECODING, self._limits)
            self._kept.segments[seen.uri] = planned
        start, end = seen.window
        for segment in self._kept.segments[seen.uri]:
            if segment.end_seconds <= start or segment.start_seconds >= end:
                continue
            for frame in read_segment(open_it(), segment, DECODING, self._limits):
                if frame.seconds >= end:
                    return
                if frame.image is not None and frame.seconds >= start:
                    yield frame


class _Picture(NamedTuple):
    """A frame of a clip."""

    seconds: float
    image: U8  # (h, w, 3) RGB, both even


def draw_box(frame: DecodedFrame, seen: Appearance) -> _Picture:
    """Draw the box of a face that is seen at the time of a frame, and make it LINES high at most.

    Args:
        frame: With its picture.
        seen: The face.
    """
    assert frame.image is not None, "frames without a picture are left out"
    image = np.ascontiguousarray(frame.image)
    height, width = image.shape[:2]
    shrink = min(1.0, LINES / height, MAX_WIDTH / width)
    size = (max(2, round(width * shrink) // 2 * 2), max(2, round(height * shrink) // 2 * 2))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if len(seen.seconds):
        at = int(np.argmin(np.abs(seen.seconds - frame.seconds)))
        if abs(seen.seconds[at] - frame.seconds) <= BOX_SECONDS:
            scale = np.array([size[0] / width, size[1] / height] * 2) / frame.scale
            x0, y0, x1, y1 = np.rint(seen.boxes[at] * scale).astype(int).tolist()
            cv2.rectangle(small, (x0, y0), (x1, y1), BOX_COLOUR, 2)
    return _Picture(frame.seconds, np.asarray(small, np.uint8))


def encode_webm(pictures: Iterator[_Picture]) -> bytes:
    """Encode pictures as VP9 in WebM; empty where there are none.

    Args:
        pictures: In order of time; one of another size than the first is left out.
    """
    first = next(pictures, None)
    if first is None:
        return b""
    out = io.BytesIO()
    with av.open(out, "w", format="webm") as container:
        height, width = first.image.shape[:2]
        stream = container.add_stream("libvpx-vp9", rate=round(DECODING.analysis_fps))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = BITS
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        stream.codec_context.options = REALTIME
        last = -1
        for picture in (first, *pictures):
            ticks = round((picture.seconds - first.seconds) * TICKS)
            if picture.image.shape != first.image.shape or ticks <= last:
                continue
            frame = av.VideoFrame.from_ndarray(picture.image, format="rgb24")
            frame.pts, frame.time_base, last = ticks, Fraction(1, TICKS), ticks
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()
