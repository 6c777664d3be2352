"""Which faces of a shot are one face in motion, and which of them become crops (METHOD 1.4, 1.5).

It reads boxes, scores and stored camera motion; it does not know what a face looks like.
"""

from __future__ import annotations

import math

import numpy as np
import supervision as sv
from pydantic.dataclasses import dataclass
from trackers import BoTSORTTracker
from trackers.utils.cmc import CMC

from vcn_ray.bounds import STRICT, Count, Fraction, NonNegative, Positive
from vcn_ray.core.vectors import pairwise_iou
from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, F64, I64, Faces, FrameSignals, Mask, Shots

HELD_SECONDS = 1.0  # a face in pictures that stand this long is no flicker, however few they are
STRONG, WEAK = 1.0, 0.3  # the scores given to the tracker, whose thresholds lie half-way between
NO_PICTURE = np.zeros((1, 1, 3), np.uint8)  # the tracker reads camera motion only with a frame


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrackerConfig:
    """How faces are tracked and sampled. One setting for every title and every detector."""

    strong_fraction: Fraction = 0.5  # of the video's usual high score; weaker faces only continue
    # tracks
    min_overlap: Fraction = 0.3  # IoU with the box where the track is expected
    gap_overlap: Fraction = 0.5  # minimum IoU with the last box after frames without the face: who
    # reappears is often another person, and one mixed track costs more than two short ones
    lost_seconds: NonNegative = 1.0  # a face hidden for longer starts a new track (BoT-SORT's own)
    min_faces: Count = 3  # shorter tracks are flickers of the detector
    sample_seconds: Positive = 0.25  # METHOD 1.5: one crop in each such interval of a track
    max_crops: Count = 8  # of a track; a longer track has longer intervals. On real clips, 24 give
    # the same people as 8; see benchmarks/findings.md


def track_faces(faces: Faces, shots: Shots, signals: FrameSignals, config: TrackerConfig) -> I64:
    """Track faces inside shots: BoT-SORT by motion alone (METHOD 1.4).

    Marked faces carry a track across frames that have no other face of it, but belong to no track.

    Args:
        faces: All faces of the analysed frames, in order of frame.
        shots: The shots of the same video.
        signals: Times, analysed frames and camera motion.
        config: The thresholds.

    Returns:
        (n,) track number of each face; tracks are numbered by first frame, then from left to right.
        -1 for marked faces, and for tracks with fewer than `min_faces` faces unless their pictures
        stand for long, as in slide shows.

    Raises:
        ShapeError: A face is in a frame that was not analysed.
    """
    track = np.full(len(faces), -1, dtype=np.int64)
    strong = _strong_faces(faces, config)
    analysed = np.flatnonzero(signals.analysed)
    if len(faces) and not np.isin(faces.frame, analysed).all():
        raise ShapeError("faces need frames that were analysed")
    rate = _analysis_rate(signals.seconds[analysed])
    offset = 0
    for start, end in zip(shots.starts, shots.ends, strict=True):
        frames = analysed[np.searchsorted(analysed, start) : np.searchsorted(analysed, end)]
        first, last = np.searchsorted(faces.frame, [start, end])
        if first == last:
            continue
        tracker = _ShotTracker(rate, config)
        for frame in frames:
            rows = np.arange(*np.searchsorted(faces.frame, [frame, frame + 1]))
            track[rows] = tracker.step(
                faces.boxes[rows], strong[rows], signals.motion[frame], signals.seconds[frame]
            )
        found = track[first:last]
        found[found >= 0] += offset
        offset = max(offset, int(found.max()) + 1)
    track = _split_at_gaps(track, faces, signals, config.gap_overlap)
    track[~faces.kept] = -1
    return _renumber(track, faces, _standing_seconds(signals)[faces.frame], config.min_faces)


def sample_crops(seconds: F64, track: I64, sharpness: F32, config: TrackerConfig) -> Mask:
    """Choose the faces of each track that become crops (METHOD 1.5).

    A track is divided into equal intervals, and the sharpest face of each interval is chosen.
    VideoClusterNet, Algorithm 1 (on the poster), takes every 12th frame instead.

    Args:
        seconds: (n,) in rising order.
        track: (n,) track number, or -1.
        sharpness: (n,) larger is sharper.
        config: Interval and limit.

    Returns:
        (n,) true for the chosen faces: at least one of each track, or two if it has two.
    """
    chosen = np.zeros(len(track), dtype=np.bool_)
    order = np.argsort(track, kind="stable")
    ordered = track[order]
    edges = np.flatnonzero(np.diff(ordered)) + 1
    for rows in np.split(order, edges):
        if not len(rows) or track[rows[0]] < 0:
            continue
        times = seconds[rows] - seconds[rows[0]]
        wanted = math.ceil(times[-1] / config.sample_seconds)
        slots = max(min(wanted, config.max_crops), min(2, len(rows), config.max_crops))
        length = max(float(times[-1]), 1e-9)
        slot = np.minimum((times / length * slots).astype(np.int64), slots - 1)
        best = np.lexsort((-sharpness[rows], slot))
        is_first = np.diff(slot[best], prepend=-1) > 0
        chosen[rows[best[is_first]]] = True
    return chosen


def thin_crops(track: I64, limit: int) -> I64:
    """Choose crops of tracks, as many of each track as there is room for (METHOD 2.2).

    Args:
        track: (m,) track of each crop, from 0, in order of time within a track.
        limit: Maximum number of crops, at least 2.

    Returns:
        (r,) rows, rising: all, if there are no more than `limit`; else up to n crops of each
        track, evenly spaced. Where two of each are too many, some tracks have none.
    """
    if len(track) <= limit:
        return np.arange(len(track))
    order = np.argsort(track, kind="stable")
    present, start, counts = np.unique(track[order], return_index=True, return_counts=True)
    totals = np.cumsum(len(counts) - np.cumsum(np.bincount(counts))[:-1])  # at most 1, 2, ... each
    each = max(2, int(np.searchsorted(totals, limit, side="right")))
    taken = np.minimum(counts, each)
    if taken.sum() > limit:
        chosen = _spread(len(present), limit // each)
        start, counts, taken = start[chosen], counts[chosen], taken[chosen]
    parts = [
        first + _spread(count, n) for first, count, n in zip(start, counts, taken, strict=True)
    ]
    return np.sort(order[np.concatenate(parts)])


def _spread(count: int, chosen: int) -> I64:
    """Choose some of 0..count-1, evenly spaced."""
    return ((np.arange(chosen) + 0.5) * count / chosen).astype(np.int64)


def cannot_link_pairs(frame: I64, track: I64) -> I64:
    """Find the pairs of tracks that share a frame, so are two people.

    Args:
        frame: (n,) frame of each face.
        track: (n,) track number, or -1.

    Returns:
        (c, 2) track numbers i < j, in rising order, each pair once.
    """
    rows = np.flatnonzero(track >= 0)
    rows = rows[np.argsort(frame[rows], kind="stable")]
    pairs: set[tuple[int, int]] = set()
    for together in np.split(track[rows], np.flatnonzero(np.diff(frame[rows])) + 1):
        present = np.unique(together).tolist()
        pairs.update((i, j) for at, i in enumerate(present) for j in present[at + 1 :])
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


class _StoredMotion(CMC):  # type: ignore[misc]  # the library has no type information
    """Stored camera motion, which BoT-SORT would otherwise estimate from pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.motion: F32 = np.eye(2, 3, dtype=np.float32)

    def estimate(self, frame_bgr: object, dets_xyxy: object = None) -> F32:
        """Return the motion that was set for this step."""
        return self.motion


class _FaceTracker(BoTSORTTracker):  # type: ignore[misc]  # the library has no type information
    """BoT-SORT that numbers a track at its first face; short tracks are dropped afterwards."""

    tracker_id = "vcn-botsort"

    def _spawn_new_tracks(self, *args: object, is_first_frame: bool = False) -> None:
        super()._spawn_new_tracks(*args, is_first_frame=True)


class _ShotTracker:
    """Tracks the faces of one shot, frame by frame, including analysed frames without faces."""

    def __init__(self, rate: float, config: TrackerConfig) -> None:
        self._camera = _StoredMotion()
        self._tracker = _FaceTracker(
            lost_track_buffer=math.ceil(config.lost_seconds * 30),  # it counts frames of 1/30 s
            frame_rate=rate,
            track_activation_threshold=(STRONG + WEAK) / 2,
            high_conf_det_threshold=(STRONG + WEAK) / 2,
            minimum_consecutive_frames=1,
            minimum_iou_threshold_first_assoc=config.min_overlap,
            minimum_iou_threshold_second_assoc=config.min_overlap,
            minimum_iou_threshold_unconfirmed_assoc=config.min_overlap,
        )
        self._tracker.cmc = self._camera
        self._last_seconds = -math.inf

    def step(self, boxes: F32, strong: Mask, motion: F32, seconds: float) -> I64:
        """Return the track of each face of the next frame, from 0 in this shot; -1 for none."""
        self._camera.motion = motion
        # The tracker skips a frame with the time stamp of the previous one.
        self._last_seconds = max(seconds, self._last_seconds + 1e-3)
        detections = sv.Detections(
            xyxy=boxes.astype(np.float64).reshape(-1, 4),
            confidence=np.where(strong, STRONG, WEAK),
            data={"row": np.arange(len(boxes))},
        )
        found = self._tracker.update(detections, frame=NO_PICTURE, timestamp=self._last_seconds)
        track = np.full(len(boxes), -1, dtype=np.int64)
        if len(found):
            track[found.data["row"]] = found.tracker_id
        return track


def _strong_faces(faces: Faces, config: TrackerConfig) -> Mask:
    """Find faces that may start a track: kept ones not far below the video's usual high score.

    Detectors score on different scales (0..1, or a margin around 0..1.2), so the limit is a
    fraction of that score.
    """
    if not faces.kept.any():
        return faces.kept
    usual = float(np.quantile(faces.scores[faces.kept], 0.9))
    return faces.kept & (faces.scores >= config.strong_fraction * usual)


def _analysis_rate(seconds: F64) -> float:
    """Return the number of analysed frames per second."""
    steps = np.diff(seconds)
    steps = steps[steps > 0]
    return float(1.0 / np.median(steps)) if len(steps) else 1.0


def _split_at_gaps(track: I64, faces: Faces, signals: FrameSignals, gap_overlap: float) -> I64:
    """Start a new track where a face reappears elsewhere after frames without it."""
    order = np.lexsort((faces.frame, track))
    order = order[track[order] >= 0]
    before, after = order[:-1], order[1:]
    steps = np.cumsum(signals.analysed)[faces.frame]
    gaps = (track[before] == track[after]) & (steps[after] - steps[before] > 1)
    breaks = np.zeros(len(order), dtype=np.int64)
    for at in np.flatnonzero(gaps):
        left, right = before[at], after[at]
        box = faces.boxes[left]
        for motion in signals.motion[faces.frame[left] + 1 : faces.frame[right] + 1]:
            box = carry_box(box, motion)  # frames that are not analysed have no motion
        if pairwise_iou(box[None], faces.boxes[right][None])[0, 0] < gap_overlap:
            breaks[at + 1] = 1
    result = track.copy()
    # Every break and every change of track starts a new number.
    result[order] = np.cumsum(breaks + np.append(0, track[before] != track[after]))
    return result


def carry_box(box: F32, motion: F32) -> F32:
    """Apply a camera motion (2, 3) to a box (4,): its centre moves, its sides scale by the zoom."""
    centre = motion[:, :2] @ ((box[:2] + box[2:]) / 2) + motion[:, 2]
    half = (box[2:] - box[:2]) / 2 * np.hypot(motion[0, 0], motion[1, 0])
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def _standing_seconds(signals: FrameSignals) -> F64:
    """How long each frame stands; 0 for the last one if that is unknown."""
    if signals.ends is not None:
        return signals.ends - signals.seconds
    return np.diff(signals.seconds, append=signals.seconds[-1:])


def _renumber(track: I64, faces: Faces, standing: F64, min_faces: int) -> I64:
    """Drop short tracks and number the others by first frame, then from left to right."""
    known = np.flatnonzero(track >= 0)
    numbers, first, inverse, counts = np.unique(
        track[known], return_index=True, return_inverse=True, return_counts=True
    )
    starts = known[first]
    order = np.lexsort((numbers, faces.boxes[starts, 0], faces.frame[starts]))
    seen = np.bincount(inverse, standing[known], len(numbers))
    long = (counts >= min_faces) | (seen >= HELD_SECONDS - 1e-6)
    order = order[long[order]]
    renamed = np.full(len(numbers), -1, dtype=np.int64)
    renamed[order] = np.arange(len(order))
    result = np.full(len(track), -1, dtype=np.int64)
    result[known] = renamed[inverse]
    return result
