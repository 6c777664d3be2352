"""Arrays that belong together; it knows nothing of files, networks or Ray.

Letters of shapes: t frames, s shots, n faces, m crops, k tracks, d embedding, o head outputs.
Times are seconds from the start of the video; boxes are x0 y0 x1 y1 in displayed pixels.

A record prints the shapes of its arrays. A record of rows can be indexed, which gives a record:

    >>> faces
    Faces(frame=int64[2], boxes=float32[2,4], scores=float32[2], kept=bool[2])
    >>> faces[faces.kept]
    Faces(frame=int64[1], boxes=float32[1,4], scores=float32[1], kept=bool[1])
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from vcn_ray.errors import ShapeError

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

Index = slice | int | I64 | Mask | list[int]
"""Chooses rows; an int chooses one row and keeps the axis."""

KEPT = "kept"
"""Status of a face that passes the filters of METHOD 1.3; the other statuses are reasons."""


def check_rows(record: Any, count: int) -> None:
    """Raise ShapeError unless every array of `record` has `count` rows, except its SHARED ones."""
    for name, value in _arrays(record).items():
        if len(value) != count:
            raise ShapeError(
                f"{type(record).__name__}.{name} needs {count} rows, got {value.shape}"
            )


def _arrays(record: Any) -> dict[str, npt.NDArray[Any]]:
    shared = getattr(record, "SHARED", ())
    values = {f.name: getattr(record, f.name) for f in fields(record) if f.name not in shared}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


class Record:
    """Base of records with arrays: it prints their types and shapes, not their values."""

    __slots__ = ()

    def __repr__(self) -> str:
        record: Any = self
        parts = (f"{f.name}={_show(getattr(record, f.name))}" for f in fields(record))
        return f"{type(self).__name__}({', '.join(parts)})"


def _show(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, tuple) and len(value) > 3:
        return f"<{len(value)} {type(value[0]).__name__}>"
    return repr(value)


class Rows(Record):
    """Base of records whose arrays have one row for each item; SHARED names the arrays without."""

    __slots__ = ()
    SHARED: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_rows(self, len(self))

    def __len__(self) -> int:
        return len(next(iter(_arrays(self).values())))

    def __getitem__(self, rows: Index) -> Self:
        chosen: Any = [rows] if isinstance(rows, int | np.integer) else rows
        record: Any = self
        result: Self = replace(record, **{n: value[chosen] for n, value in _arrays(self).items()})
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A keyframe-aligned time range of a video: the unit of distribution."""

    index: int  # 0, 1, ... in order of time
    start_pts: int  # first presentation time stamp inside it, in the stream's time base
    end_pts: int | None  # first one after it; None: it ends with the video
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class VideoInfo:
    """Facts from the header of a video's container."""

    width: int  # pixels of the displayed frame: rotation and sample aspect applied
    height: int
    rotation: int  # degrees counter-clockwise by which to turn decoded frames: 0 90 180 270
    duration_seconds: float  # from the start of the file to the end of the picture; 0: unknown
    frame_rate: float  # average; the rate may vary, so times always come from the frames
    codec: str
    hdr: bool  # PQ or HLG transfer; frames are not tone-mapped
    interlaced: bool  # flagged by the stream; frames are not deinterlaced
    moving_pictures: int = 1  # streams of moving pictures, of which one is used
    timecode: str | None = None  # of the first frame, as stated; "": none; None: not looked for


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Detections(Rows):
    """Faces found in one frame, best score first."""

    boxes: F32  # (n, 4) x0 y0 x1 y1, pixels of the frame given to the detector
    scores: F32  # (n,) larger is more certain; each detector has its own scale
    landmarks: F32  # (n, 5, 2) x y; the pack's detector and aligner agree on the five points


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FrameSignals(Rows):
    """What is kept of every frame of a video besides its faces, in order of time."""

    seconds: F64  # (t,)
    analysed: Mask  # (t,) true where faces were sought
    layout: U8  # (t, 8, 8, 3) mean RGB of each cell of the picture
    histogram: F32  # (t, b) colour histogram, rows sum to 1
    motion: F32  # (t, 2, 3) camera motion since the last analysed frame, in displayed pixels
    motion_known: Mask  # (t,) true for analysed frames where one such motion explains the picture
    ends: F64 | None = None  # (t,) seconds until which each frame stands; None: until the next


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Shots(Rows):
    """Runs of frames without a cut, in order; together they cover the video."""

    starts: I64  # (s,) first frame
    ends: I64  # (s,) one past the last frame


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Faces(Rows):
    """All faces of a video, in order of frame."""

    frame: I64  # (n,) frame number in the video
    boxes: F32  # (n, 4) pixels of the displayed frame
    scores: F32  # (n,)
    kept: Mask  # (n,) true for a face that passes the filters of METHOD 1.3


class Constraints(NamedTuple):
    """What is known for certain of k tracks, as from a reviewer."""

    must: I64  # (m, 2) tracks of one person
    cannot: I64  # (c, 2) tracks of two people
    no_face: I64  # (j,) tracks that show no face, rising

    def among(self, rows: I64, tracks: int) -> Constraints:
        """Those between the tracks `rows` (rising) of all k, as places in `rows`."""
        place = np.full(tracks, -1, np.int64)
        place[rows] = np.arange(len(rows))
        must, cannot, no_face = (place[known] for known in self)
        return Constraints(
            must[(must >= 0).all(axis=1)], cannot[(cannot >= 0).all(axis=1)], no_face[no_face >= 0]
        )


NO_CONSTRAINTS = Constraints(
    np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64), np.zeros(0, np.int64)
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TitleCrops(Record):
    """The sampled crops of a title's tracks: what a model adapts to."""

    crops: U8  # (m, p, p, 3) RGB, aligned for the encoder; those of one track in order of time
    track: I64  # (m,) 0..k-1; each track has at least one crop
    cannot_link: I64  # (c, 2) pairs of tracks that share a frame, so are mostly two people
    score: F32 | None = None  # (m,) of the detector; None: unknown
    frame: I64 | None = None  # (m,) frame of its video; None: unknown
    constraints: Constraints = NO_CONSTRAINTS  # what a reviewer says of the tracks

    def __post_init__(self) -> None:
        for name, known in (("scores", self.score), ("frames", self.frame)):
            if known is not None and known.shape != (len(self.crops),):
                raise ShapeError(f"{len(self.crops)} crops need as many {name}, got {known.shape}")
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
        for name, rows in self.constraints._asdict().items():
            if not np.isin(rows, self.track).all():
                raise ShapeError(f"constraints.{name} needs tracks of 0..{self.tracks - 1}")

    @property
    def tracks(self) -> int:
        """Number k of tracks."""
        return int(self.track.max()) + 1 if len(self.track) else 0


class SoftAssignments(NamedTuple):
    """Both sides of the loss for a set of head outputs (METHOD 2.3)."""

    teacher: F32  # (m, o) P = softmax((z - c) / tau_t)
    student: F32  # (m, o) Q = log softmax(z / tau_s)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TrackOutputs(Rows):
    """What the adapted student gives for each track: the input of quality and clustering.

    The loss is bilinear in the two sides of SoftAssignments (METHOD 4, closed form), so means over
    a track's crops are enough.
    """

    SHARED: ClassVar[frozenset[str]] = frozenset({"centre"})

    crops: I64  # (k,) number of crops, at least 1
    teacher: F32  # (k, o) mean P over the plain crops of a track
    student: F32  # (k, o) mean Q over the plain crops of a track
    within: F64  # (k,) METHOD 4.2 over the plain crops; for a track of one crop, over its views
    within_views: F64  # (k,) METHOD 4.2 between a crop and the mirror image of another
    output: F32  # (k, o) mean head output z
    embedding: F32  # (k, d) unit mean embedding of the adapted encoder
    pretrained: F32  # (k, d) unit mean embedding of the pretrained encoder
    pretrained_views: F64  # (k,) mean cosine distance, pretrained encoder, between a crop and the
    # mirror image of another; for a track of one crop, of itself
    quality: F32  # (k,) METHOD 3.1-3.2, pretrained encoder, in [0, 1]
    score: F32  # (k,) mean score of the detector; nan: unknown
    recognisability: F32  # (k,) mean, in [0, 1], see core.prior; 1 where the pack has no prior
    centre: F32  # (o,) c
    teacher_temperature: float  # tau_t
    student_temperature: float  # tau_s


class Tiers(NamedTuple):
    """What each of k tracks may do. A track that is neither core nor junk is weak."""

    core: Mask  # (k,) may found a person
    junk: Mask  # (k,) no face, or nothing left of one: belongs to nobody
    readable: Mask  # (k,) shows enough of a face to tell whose it is


@dataclass(frozen=True, slots=True, eq=False)
class Merge:
    """One merge of METHOD 4: why the tracks of two clusters are one person."""

    round: int  # 1, 2, ...
    rule: str  # the rule that merged them, for instance "closure" or "title_cut"
    left: int  # lowest track row of the left cluster
    right: int  # and of the right one
    left_tracks: int  # size of the left cluster before the merge
    right_tracks: int
    distance: float  # between the two clusters (METHOD 4.3), with penalties for cannot-link pairs
    left_threshold: float  # of the left cluster (METHOD 4.2), or the title's cut
    right_threshold: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Clustering(Record):
    """Which tracks are one person (METHOD 4)."""

    label: I64  # (k,) cluster of each track, numbered 0.. by first track; -1: unknown
    confidence: F32  # (k,) probability that the track shows this person; 0 for unknown
    distance: F32  # (k,) from the other tracks of its cluster, mean, in units of the cut; 0 alone,
    # NaN for unknown
    merges: tuple[Merge, ...]  # in the order they were made
    reason: tuple[str, ...]  # (k) why a track is in no cluster, as in schema.py; "" if it is in one
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_rows(self, len(self.label))
