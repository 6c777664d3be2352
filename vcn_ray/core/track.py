"""Which faces of a shot are one face in motion, and which of them become crops (METHOD 1.4, 1.5).

Boxes, scores and stored camera motion are all it sees; it does not know what a face looks like.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import supervision as sv
from trackers import BoTSORTTracker
from trackers.utils.cmc import CMC

from vcn_ray.core.boxes import carry_box, pairwise_iou
from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, F64, I64, Faces, FrameSignals, Mask, Shots

STRONG, WEAK = 1.0, 0.3  # what the tracker is told of a score; it halves them at 0.5
NO_PICTURE = np.zeros((1, 1, 3), np.uint8)  # the tracker asks for motion only where it has a frame


@dataclass(frozen=True, kw_only=True)
class TrackConfig:
    """How faces are linked and sampled. One setting for every title and every detector."""

    strong_share: float = 0.5  # of the title's usual high score: weaker faces continue tracks only
    min_overlap: float = 0.3  # IoU with the place where the track is expected
    gap_overlap: float = 0.5  # IoU with the last place after frames without the face: whoever comes
    # out from behind somebody is often somebody else, and a mixed track costs more than two
    lost_seconds: float = 1.0  # a face hidden longer starts a new track (BoT-SORT's own)
    min_faces: int = 3  # shorter tracks are flickers of the detector
    sample_seconds: float = 0.25  # METHOD 1.5: one crop in each such interval of a track
    max_crops: int = 24  # of one track; longer intervals beyond


def link_tracks(faces: Faces, shots: Shots, signals: FrameSignals, config: TrackConfig) -> I64:
    """Link faces to tracks inside shots: BoT-SORT by motion alone (METHOD 1.4).

    Marked faces carry a track over the frames where they are all there is, but belong to none.

    Args:
        faces: Of all analysed frames, in order of frame.
        shots: Of the same video.
        signals: Times, analysed frames and camera motion.
        config: Thresholds.

    Returns:
        (n,) track number of each face, in order of a track's first frame, then from left to right;
        -1 for marked faces and for tracks under `min_faces`.
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
        linker = _ShotLinker(rate, config)
        for frame in frames:
            rows = np.arange(*np.searchsorted(faces.frame, [frame, frame + 1]))
            track[rows] = linker.step(
                faces.boxes[rows], strong[rows], signals.motion[frame], signals.seconds[frame]
            )
        found = track[first:last]
        found[found >= 0] += offset
        offset = max(offset, int(found.max()) + 1)
    track = _split_at_gaps(track, faces, signals, config.gap_overlap)
    track[~faces.kept] = -1
    return _renumber(track, faces, config.min_faces)


def sample_crops(seconds: F64, track: I64, sharpness: F32, config: TrackConfig) -> Mask:
    """Choose the faces of each track that become crops (METHOD 1.5).

    A track is divided into equal intervals and gives the sharpest face of each.

    Args:
        seconds: (n,) in rising order.
        track: (n,) track number, or -1.
        sharpness: (n,) larger is sharper.
        config: Interval and limit.

    Returns:
        (n,) true for faces to sample: at least one of each track, two where it has two.
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


def co_occurring(frame: I64, track: I64) -> I64:
    """Pairs of tracks that share a frame, so cannot be one person.

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
    """Camera motion read earlier, where BoT-SORT would estimate it from pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.motion: F32 = np.eye(2, 3, dtype=np.float32)

    def estimate(self, frame_bgr: object, dets_xyxy: object = None) -> F32:
        """The motion set for this step."""
        return self.motion


class _FaceTracker(BoTSORTTracker):  # type: ignore[misc]  # the library has no type information
    """BoT-SORT that numbers a track at its first face: offline, brief tracks are dropped later."""

    tracker_id = "vcn-botsort"

    def _spawn_new_tracks(self, *args: object, is_first_frame: bool = False) -> None:
        super()._spawn_new_tracks(*args, is_first_frame=True)


class _ShotLinker:
    """Links the faces of one shot, analysed frame after analysed frame, empty ones too."""

    def __init__(self, rate: float, config: TrackConfig) -> None:
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
        """Track number of each face of the next frame, from 0 in this shot; -1 for none."""
        self._camera.motion = motion
        # Equal time stamps would not count as a frame.
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


def _strong_faces(faces: Faces, config: TrackConfig) -> Mask:
    """Faces that may start a track: not marked, and not far below the video's usual good score.

    Detectors differ in scale (0..1, or a margin around 0..1.2), so a share is asked, not a score.
    """
    if not faces.kept.any():
        return faces.kept
    usual = float(np.quantile(faces.scores[faces.kept], 0.9))
    return faces.kept & (faces.scores >= config.strong_share * usual)


def _analysis_rate(seconds: F64) -> float:
    """Analysed frames a second."""
    steps = np.diff(seconds)
    steps = steps[steps > 0]
    return float(1.0 / np.median(steps)) if len(steps) else 1.0


def _split_at_gaps(track: I64, faces: Faces, signals: FrameSignals, gap_overlap: float) -> I64:
    """Start a new track where a face was not seen for a while and came back elsewhere."""
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
            box = carry_box(box, motion)  # stays where it is at frames that are not analysed
        if pairwise_iou(box[None], faces.boxes[right][None])[0, 0] < gap_overlap:
            breaks[at + 1] = 1
    result = track.copy()
    # Each break, like each track before it, takes a number of its own.
    result[order] = np.cumsum(breaks + np.append(0, track[before] != track[after]))
    return result


def _renumber(track: I64, faces: Faces, min_faces: int) -> I64:
    """Drop short tracks and number the others by first frame, then x."""
    known = np.flatnonzero(track >= 0)
    numbers, first, inverse, counts = np.unique(
        track[known], return_index=True, return_inverse=True, return_counts=True
    )
    starts = known[first]
    order = np.lexsort((numbers, faces.boxes[starts, 0], faces.frame[starts]))
    order = order[counts[order] >= min_faces]
    renamed = np.full(len(numbers), -1, dtype=np.int64)
    renamed[order] = np.arange(len(order))
    result = np.full(len(track), -1, dtype=np.int64)
    result[known] = renamed[inverse]
    return result
