"""Layout, colours and camera motion of every frame; it knows no files and no faces.

Signals are read segment by segment, from small pictures. Layout and colours describe one frame
alone, so any two frames of a video can be compared later. `join_signals` joins the segments of a
video and computes the motion between frames on both sides of a segment's edge.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, F64, I64, U8, FrameSignals, Mask, Record

LAYOUT_SIDE = (
    8  # cells across and down; the mean of so many pixels is the same whether a picture is
)
# sharp, noisy or coarsely coded
HISTOGRAM_LEVELS = 4  # each of red, green and blue: 64 colours
CORNERS = 100  # points followed from one analysed frame to the next
CORNER_QUALITY = 0.01  # as a fraction of the strongest corner's
CORNER_DISTANCE = 8  # between two points, in pixels of the small picture
INLIER_PIXELS = 1.5
MIN_INLIERS = 8
MIN_INLIER_FRACTION = 0.4  # of all points; with fewer, no single motion explains the picture
MAX_ZOOM = 1.5  # between two analysed frames; a larger one is a wrong estimate

NO_MOTION: F32 = np.eye(2, 3, dtype=np.float32)
UNKNOWN_MOTION: F32 = np.full((2, 3), np.nan, dtype=np.float32)


class Shown(NamedTuple):
    """The size of a frame as players show it; it may change within a video."""

    width: int  # pixels
    height: int


class FrameSignal(NamedTuple):
    """The signals of one frame."""

    layout: U8  # (8, 8, 3) mean RGB of each cell of the picture
    histogram: U8  # (64,) fraction of the pixels of each colour, in 255ths
    motion: F32  # (2, 3) since the last analysed frame, displayed pixels; nan where unknown


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SegmentSignals(Record):
    """The signals of one segment's frames, and the analysed pictures at its edges."""

    seconds: F64  # (t,) from the start of the video, t at least 1
    analysed: Mask  # (t,) true for the first frame
    layout: U8  # (t, 8, 8, 3) as in FrameSignal
    histogram: U8  # (t, 64) as in FrameSignal
    motion: F32  # (t, 2, 3) as in FrameSignal
    first: U8  # (h, w, 3) small RGB picture of the first frame
    last_analysed: U8  # (h, w, 3) of the last analysed frame
    ends: F64  # (t,) seconds until which each frame stands
    shown: I64  # (t, 2) width and height as players show each frame, pixels

    def __post_init__(self) -> None:
        for values in (self.analysed, self.layout, self.histogram, self.motion, self.ends):
            if len(values) != len(self.seconds):
                raise ShapeError(
                    f"{len(self.seconds)} frames need as many rows, got {values.shape}"
                )
        if not len(self.seconds):
            raise ShapeError("a segment needs at least one frame")

    def __len__(self) -> int:
        return len(self.seconds)


class SignalReader:
    """Reads the signals of one segment, frame by frame."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._analysed: list[bool] = []
        self._signals: list[FrameSignal] = []
        self._first: U8 | None = None
        self._last_analysed: U8 | None = None
        self._last_shown = Shown(1, 1)
        self._ends: list[float] = []
        self._shown: list[Shown] = []

    def add(
        self,
        small: U8,
        seconds: float,
        *,
        analysed: bool,
        shown: Shown | None = None,
        end_seconds: float | None = None,
    ) -> FrameSignal:
        """Read the next frame.

        Args:
            small: (h, w, 3) uint8 RGB.
            seconds: From the start of the file.
            analysed: Whether the detector runs on this frame.
            shown: The size of the frame as players show it; by default, that of `small`.
            end_seconds: Until which it stands; by default, `seconds`.
        """
        shown = shown or Shown(small.shape[1], small.shape[0])
        motion = NO_MOTION
        if analysed and self._last_analysed is not None:
            motion = scaled_motion(self._last_analysed, small, self._last_shown, shown)
        signal = FrameSignal(picture_layout(small), colour_histogram(small), motion)
        self._seconds.append(seconds)
        self._analysed.append(analysed)
        self._signals.append(signal)
        self._ends.append(seconds if end_seconds is None else end_seconds)
        self._shown.append(shown)
        self._first = small if self._first is None else self._first
        if analysed:
            self._last_analysed, self._last_shown = small, shown
        return signal

    def result(self) -> SegmentSignals:
        """Return the signals of all frames.

        Raises:
            ShapeError: No frame was added, or none was analysed.
        """
        if self._first is None or self._last_analysed is None:
            raise ShapeError("signals need at least one frame, the first of them analysed")
        return SegmentSignals(
            seconds=np.array(self._seconds, np.float64),
            analysed=np.array(self._analysed, np.bool_),
            layout=np.stack([signal.layout for signal in self._signals]),
            histogram=np.stack([signal.histogram for signal in self._signals]),
            motion=np.stack([signal.motion for signal in self._signals]),
            first=self._first,
            last_analysed=self._last_analysed,
            ends=np.array(self._ends, np.float64),
            shown=np.array(self._shown, np.int64),
        )


def join_signals(segments: Sequence[SegmentSignals]) -> FrameSignals:
    """Join the segments of a video.

    Args:
        segments: In order of time. An unreadable segment may be missing: its neighbours are then
            compared with each other, and mostly look like a cut.

    Raises:
        ShapeError: There is no segment.
    """
    if not segments:
        raise ShapeError("a video needs at least one segment")
    motion = np.concatenate([segment.motion for segment in segments])
    motion[0] = NO_MOTION
    edge = 0
    for before, after in itertools.pairwise(segments):
        edge += len(before)
        last = Shown(*before.shown[np.flatnonzero(before.analysed)[-1]].tolist())
        first = Shown(*after.shown[0].tolist())
        motion[edge] = scaled_motion(before.last_analysed, after.first, last, first)
    known = np.isfinite(motion).all(axis=(1, 2))
    motion[~known] = NO_MOTION
    analysed = np.concatenate([segment.analysed for segment in segments])
    histogram = np.concatenate([segment.histogram for segment in segments]).astype(np.float32)
    seconds = np.concatenate([segment.seconds for segment in segments])
    ends = np.concatenate([segment.ends for segment in segments])
    if len(seconds) > 1:
        # A slide show stores too short a time for its last picture: muxers do not know it.
        ends[-1] = max(ends[-1], seconds[-1] + float(np.median(np.diff(seconds))))
    return FrameSignals(
        seconds=seconds,
        analysed=analysed,
        layout=np.concatenate([segment.layout for segment in segments]),
        histogram=histogram / np.maximum(histogram.sum(axis=1, keepdims=True), 1.0),
        motion=motion,
        motion_known=known & analysed,
        ends=ends,
    )


def _resize_like(picture: U8, other: U8) -> U8:
    """Resize a picture to another's size, for a video may change its size, as after adverts."""
    if picture.shape == other.shape:
        return picture
    height, width = other.shape[:2]
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def picture_layout(picture: U8) -> U8:
    """Shrink a picture (h, w, 3) to (8, 8, 3) cells, each the mean colour of its pixels."""
    cells = cv2.resize(picture, (LAYOUT_SIDE, LAYOUT_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cells, np.uint8)


def colour_histogram(picture: U8) -> U8:
    """Count the pixels of each of 64 colours in a picture (h, w, 3), as (64,) 255ths of all."""
    levels = [HISTOGRAM_LEVELS] * 3
    counts = cv2.calcHist([picture], [0, 1, 2], None, levels, [0, 256] * 3).ravel()
    return np.asarray(np.round(counts * (255.0 / counts.sum())), dtype=np.uint8)


def scaled_motion(before: U8, after: U8, shown_before: Shown, shown: Shown) -> F32:
    """Estimate the camera motion between two small pictures, in displayed pixels; or nan.

    Args:
        before: (h, w, 3) uint8 RGB.
        after: (h, w, 3) uint8 RGB, perhaps of another size.
        shown_before: The size in which players show the frame of `before`.
        shown: And that of `after`.

    Returns:
        (2, 3) float32. Where the size changes, what was at a place of the picture is at the same
        place of the larger or smaller one.
    """
    motion = camera_motion(_resize_like(before, after), after).copy()
    motion[:, 2] *= shown.width / after.shape[1]
    if shown != shown_before:
        motion[:, :2] *= np.divide(shown, shown_before, dtype=np.float32)
    return motion


def camera_motion(before: U8, after: U8) -> F32:
    """Estimate the shift, turn and zoom that maps most of one picture to the next (METHOD 1.4).

    Args:
        before: (h, w, 3) uint8 RGB.
        after: (h, w, 3) uint8 RGB of the same size.

    Returns:
        (2, 3) float32, from pixels of `before` to pixels of `after`; all nan where no single
        motion explains the pictures, as across a cut or on a blank wall.
    """
    if before.shape != after.shape:
        raise ShapeError(f"pictures need one size, got {before.shape} and {after.shape}")
    start, end = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (before, after))
    corners = cv2.goodFeaturesToTrack(start, CORNERS, CORNER_QUALITY, CORNER_DISTANCE)
    if corners is None or len(corners) < MIN_INLIERS:
        return UNKNOWN_MOTION
    there, found, _ = cv2.calcOpticalFlowPyrLK(start, end, corners, None)
    good = found.ravel() > 0
    if good.sum() < MIN_INLIERS:
        return UNKNOWN_MOTION
    # OpenCV seeds its random sampling in each call, so equal pictures give equal motion.
    motion, inliers = cv2.estimateAffinePartial2D(
        corners[good], there[good], method=cv2.RANSAC, ransacReprojThreshold=INLIER_PIXELS
    )
    if motion is None or inliers.sum() < max(MIN_INLIERS, MIN_INLIER_FRACTION * len(corners)):
        return UNKNOWN_MOTION
    zoom = float(np.hypot(motion[0, 0], motion[1, 0]))
    if not 1 / MAX_ZOOM <= zoom <= MAX_ZOOM:
        return UNKNOWN_MOTION
    return np.asarray(motion, dtype=np.float32)
