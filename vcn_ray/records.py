"""Arrays that travel together; it knows nothing of files, networks or Ray.

Letters of shapes: t frames, n faces, m crops, k tracks, d embedding, o head outputs.
Times are seconds from the start of the video; boxes are x0 y0 x1 y1 in displayed pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vcn_ray.errors import ShapeError

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

KEPT = "kept"
"""Status of a face that passed the filters of METHOD 1.3; the others say why it was marked."""


def check_rows(record: Any, count: int) -> None:
    """Raise ShapeError unless every array field of `record` has `count` rows."""
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray) and len(value) != count:
            raise ShapeError(
                f"{type(record).__name__}.{field.name} needs {count} rows, got {value.shape}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A keyframe-aligned time range of a video: the unit of distribution."""

    index: int  # 0, 1, ... in order of time
    start_pts: int  # first presentation time stamp that belongs to it, in the stream's time base
    end_pts: int | None  # first one that does not; None: up to the end
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class VideoInfo:
    """What the container says of a video."""

    width: int  # pixels of the displayed frame: rotation and sample aspect applied
    height: int
    rotation: (
        int  # degrees counter-clockwise that the decoder's frames must be turned: 0 90 180 270
    )
    duration_seconds: float
    frame_rate: float  # average; VFR files have no one rate, so times always come from frames
    codec: str
    hdr: bool  # PQ or HLG transfer; frames are not tone-mapped
    interlaced: bool  # flagged by the stream; frames are not deinterlaced


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Faces found in one frame, best score first."""

    boxes: F32  # (n, 4) x0 y0 x1 y1, pixels of the frame given to the detector
    scores: F32  # (n,) larger is surer; the scale is the detector's own
    landmarks: F32  # (n, 5, 2) x y; which five points is between a pack's detector and its aligner

    def __post_init__(self) -> None:
        check_rows(self, len(self.boxes))

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class FrameSignals:
    """What remains of every frame of a video once its pixels are gone, in order of time."""

    seconds: F64  # (t,)
    analysed: Mask  # (t,) true where faces were looked for
    content: F32  # (t,) change of picture from the frame before, 0..255; 0 for the first
    histogram: F32  # (t, b) colour histogram, rows sum to 1
    motion: F32  # (t, 2, 3) camera motion from the last analysed frame, in displayed pixels

    def __post_init__(self) -> None:
        check_rows(self, len(self.seconds))

    def __len__(self) -> int:
        return len(self.seconds)


@dataclass(frozen=True, slots=True, eq=False)
class Shots:
    """Runs of frames without a cut, in order; together they cover the video."""

    starts: I64  # (s,) first frame
    ends: I64  # (s,) one past the last frame

    def __post_init__(self) -> None:
        check_rows(self, len(self.starts))

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """All faces of a video, in order of frame."""

    frame: I64  # (n,) frame number in the video
    boxes: F32  # (n, 4) pixels of the displayed frame
    scores: F32  # (n,)
    kept: Mask  # (n,) true where the filters of METHOD 1.3 passed it

    def __post_init__(self) -> None:
        check_rows(self, len(self.frame))

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True, slots=True, eq=False)
class TitleCrops:
    """The sampled crops of a title's tracks: what a model adapts to."""

    crops: U8  # (m, p, p, 3) RGB, aligned for the encoder
    track: I64  # (m,) 0..k-1; each track has at least one crop
    cannot_link: I64  # (c, 2) pairs of tracks that share a frame, so are two people

    def __post_init__(self) -> None:
        if self.crops.ndim != 4 or self.crops.shape[3] != 3 or self.crops.dtype != np.uint8:
            raise ShapeError(
                f"crops need (m, p, p, 3) uint8, got {self.crops.shape} {self.crops.dtype}"
            )
        if self.track.shape != (len(self.crops),):
            raise ShapeError(f"{len(self.crops)} crops need as many tracks, got {self.track.shape}")
        missing = np.setdiff1d(np.arange(self.tracks), self.track)
        if len(missing) or (len(self.track) and self.track.min() < 0):
            raise ShapeError(f"tracks must be 0..k-1, each with a crop; without: {missing[:5]}")
        pairs = self.cannot_link
        if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.isin(pairs, self.track).all():
            raise ShapeError(f"cannot_link needs (c, 2) tracks of 0..{self.tracks - 1}")

    @property
    def tracks(self) -> int:
        """Number k of tracks."""
        return int(self.track.max()) + 1 if len(self.track) else 0


class SoftAssignments(NamedTuple):
    """The two sides of the loss for a set of head outputs (METHOD 4): all that clustering needs."""

    teacher: F32  # (m, o) P = softmax((z - c) / tau_t)
    student: F32  # (m, o) Q = log softmax(z / tau_s)


@dataclass(frozen=True, slots=True, eq=False)
class TrackOutputs:
    """What the adapted student says of each track: all that quality and clustering need.

    The loss is bilinear in the two sides of SoftAssignments (METHOD 4, closed form), so means over
    a track's crops are enough.
    """

    crops: I64  # (k,) crops of each track, at least 1
    teacher: F32  # (k, o) mean P over the plain crops of a track
    student: F32  # (k, o) mean Q over the plain crops of a track
    within: F64  # (k,) METHOD 4.2 over the plain crops; over its views where a track has one crop
    within_views: F64  # (k,) the same between two augmented views of distinct crops
    output: F32  # (k, o) mean head output z
    embedding: F32  # (k, d) unit mean embedding of the adapted encoder
    pretrained: F32  # (k, d) unit mean embedding of the encoder as the pack ships it
    pretrained_views: F64  # (k,) mean cosine distance, pretrained encoder, between two augmented
    # views of distinct crops; between two views of the one crop where a track has only one
    quality: F32  # (k,) METHOD 3.1-3.2, in [0, 1]
    centre: F32  # (o,) c
    teacher_temperature: float  # tau_t
    student_temperature: float  # tau_s

    def __len__(self) -> int:
        return len(self.crops)


@dataclass(frozen=True, slots=True, eq=False)
class Merge:
    """One merge of METHOD 4: why the tracks of two clusters are one person."""

    round: int  # 1, 2, ...
    rule: str  # which rule merged them, for instance "closure" or "title_cut"
    left: int  # lowest track row of either side
    right: int
    left_tracks: int  # tracks on either side before the merge
    right_tracks: int
    distance: float  # D of the two sides (METHOD 4.3)
    left_threshold: float  # of either side (METHOD 4.2), or the title's cut
    right_threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class Clustering:
    """Which tracks are one person (METHOD 4)."""

    label: I64  # (k,) cluster number 0.. of each track, by its first track; -1: unknown
    confidence: F32  # (k,) in [0, 1]; 0 for unknown
    merges: tuple[Merge, ...]  # in the order they were made
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_rows(self, len(self.label))
