"""Which labelled faces do tracks and detections show? It knows arrays only, no files and no scores.

Labels may stand on every frame, on eight a second or on one a second, and at other times than the
frames on which the detector ran. So a track is asked where its box is at the time of a label:
between two measured boxes it lies on the straight line between them, and before the first and after
the last one it stays, for at most half the time between two labels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from vcn_ray.core.vectors import paired_iou, pairwise_iou
from vcn_ray.evaluation.labels import NO_FACE, UNIDENTIFIED, Labels
from vcn_ray.records import F32, F64, I64, Mask

MIN_IOU = 0.3  # detectors and labellers disagree on how much chin and hair belongs to a face
MAX_REACH = 0.5  # seconds; a face further away from its label shows little about it
ROUNDING = 0.001  # seconds; times in CSV files often have three decimals
DEFAULT_FRAME_SECONDS = 0.04  # of a video with a single frame


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFaces:
    """The labels of one video on its clock, in the order of time."""

    seconds: F64  # (n,)
    boxes: F32  # (n, 4) pixels of the displayed frame
    identity: list[str]  # n names, UNIDENTIFIED or NO_FACE
    frame: I64  # (n,) the analysed frame that is compared with the label; -1: none
    interval: float  # seconds between two labelled times

    @property
    def reach(self) -> float:
        """Seconds by which a label and a face may be apart."""
        return min(self.interval / 2, MAX_REACH)


@dataclass(frozen=True, slots=True, eq=False)
class FaceTracks:
    """The k tracks of one video and their n measured boxes."""

    start: F64  # (k,) seconds before which a track is in another shot
    end: F64  # (k,) and after which it is
    owner: I64  # (n,) track of each box, rising
    seconds: F64  # (n,) rising within a track
    boxes: F32  # (n, 4) pixels of the displayed frame


class FrameBoxes(NamedTuple):
    """Faces of one video, one row each."""

    frame: I64  # (n,) frame number
    boxes: F32  # (n, 4) pixels of the displayed frame


class TrackMatches(NamedTuple):
    """What k tracks and n labels say of each other."""

    identity: list[str]  # k names, UNIDENTIFIED or NO_FACE
    matched: Mask  # (k,) true for a track that overlaps a labelled face
    covered: Mask  # (n,) true for a label that a track overlaps


def place_labels(truth: Labels, seconds: F64, analysed: Mask) -> LabelledFaces:
    """Put labels on the clock of their video.

    Args:
        truth: Labels; one whose frame the video lacks is dropped.
        seconds: (t,) time of each frame.
        analysed: (t,) true for frames in which faces were sought.
    """
    rows = np.arange(len(truth.boxes))
    if truth.frame is not None:
        rows = np.flatnonzero((truth.frame >= 0) & (truth.frame < len(seconds)))
        times = seconds[truth.frame[rows]]
    else:
        times = np.asarray(truth.seconds)
    order = np.argsort(times, kind="stable")
    rows, times = rows[order], times[order]
    labels = LabelledFaces(
        seconds=times,
        boxes=truth.boxes[rows],
        identity=[truth.identity[row] for row in rows],
        frame=np.full(len(rows), -1, np.int64),
        interval=label_interval(times, seconds, analysed),
    )
    frames = np.flatnonzero(analysed)
    nearest = nearest_frames(times, seconds[frames], labels.reach)
    return replace(labels, frame=np.append(frames, -1)[nearest])


def label_interval(times: F64, seconds: F64, analysed: Mask) -> float:
    """Return the median time between two labelled times, at least that of a frame.

    Where one time alone is labelled, it is the time between two analysed frames.

    Args:
        times: (n,) time of each label.
        seconds: (t,) time of each frame.
        analysed: (t,) true for frames in which faces were sought.
    """
    frame_seconds = _median_step(seconds, DEFAULT_FRAME_SECONDS)
    default = _median_step(seconds[analysed], frame_seconds)
    return max(_median_step(np.unique(times), default), frame_seconds)


def nearest_frames(times: F64, analysed: F64, tolerance: float) -> I64:
    """Return the analysed frame that is compared with each label.

    Each frame belongs to the labelled time nearest to it, and of several frames the nearest one is
    taken. So labels between two analysed frames are left out where labels are dense, and none
    where they are sparse.

    Args:
        times: (n,) seconds of each label; labels of one frame have equal times.
        analysed: (a,) seconds of each analysed frame, rising.
        tolerance: Seconds between a label and its frame.

    Returns:
        (n,) rows of `analysed`, or -1.
    """
    labelled, label = np.unique(times, return_inverse=True)
    chosen = np.full(len(labelled), -1, np.int64)
    if len(labelled) and len(analysed):
        right = np.clip(np.searchsorted(labelled, analysed), 0, len(labelled) - 1)
        left = np.maximum(right - 1, 0)
        nearer = np.abs(analysed - labelled[left]) <= np.abs(labelled[right] - analysed)
        owner = np.where(nearer, left, right)
        distance = np.abs(analysed - labelled[owner])
        order = np.lexsort((distance, owner))
        order = order[distance[order] <= tolerance + ROUNDING]
        owned, first = np.unique(owner[order], return_index=True)
        chosen[owned] = order[first]
    found: I64 = chosen[label]
    return found


def interpolate_boxes(seconds: F64, boxes: F32, at: F64) -> F32:
    """Return the boxes (m, 4) of a face at m times, from its boxes (n, 4) at n rising times.

    They move evenly between two of these; before the first and after the last they stay.
    """
    columns = [np.interp(at, seconds, boxes[:, side].astype(np.float64)) for side in range(4)]
    return np.stack(columns, axis=1).astype(np.float32)


def match_tracks(tracks: FaceTracks, labels: LabelledFaces) -> TrackMatches:
    """Let each track vote for an identity at every labelled time: for the face it overlaps most.

    The identity with most votes is the track's. A track that overlaps no label is NO_FACE, unless
    it is so short that it may lie between two labelled times: then it is UNIDENTIFIED.
    """
    count, reach = len(tracks.start), labels.reach
    identity, matched = [], np.zeros(count, np.bool_)
    covered = np.zeros(len(labels.seconds), np.bool_)
    starts = np.searchsorted(tracks.owner, np.arange(count + 1))
    for number in range(count):
        rows = slice(starts[number], starts[number + 1])
        seconds = tracks.seconds[rows]
        first, last = float(seconds[0]), float(seconds[-1])
        inside = _between(
            labels.seconds,
            max(first - reach, float(tracks.start[number])),
            min(last + reach, float(tracks.end[number])),
        )
        at = labels.seconds[inside]
        overlap = paired_iou(
            interpolate_boxes(seconds, tracks.boxes[rows], at), labels.boxes[inside]
        )
        covered[inside] |= overlap >= MIN_IOU
        best = _best_each(at, overlap) + inside.start
        votes = Counter(
            labels.identity[row] for row in best if overlap[row - inside.start] >= MIN_IOU
        )
        seen = _between(labels.seconds, first, last)
        certain = seen.stop > seen.start or last - first + ROUNDING >= labels.interval
        unmatched = NO_FACE if certain else UNIDENTIFIED
        identity.append(votes.most_common(1)[0][0] if votes else unmatched)
        matched[number] = bool(votes)
    return TrackMatches(identity, matched, covered)


def best_overlaps(labelled: FrameBoxes, found: FrameBoxes) -> F32:
    """Return the best IoU of each of n labelled faces with a found face of its frame, (n,)."""
    best = np.zeros(len(labelled.frame), np.float32)
    numbers = np.unique(labelled.frame)
    ours, theirs = (_rows_of_frames(boxes.frame, numbers) for boxes in (labelled, found))
    for rows, there in zip(ours, theirs, strict=True):
        if len(there):
            best[rows] = pairwise_iou(labelled.boxes[rows], found.boxes[there]).max(axis=1)
    return best


def _rows_of_frames(frames: I64, numbers: I64) -> list[I64]:
    """The rows of each of some frames, in time that grows with the rows alone."""
    order = np.argsort(frames, kind="stable")
    start, end = (np.searchsorted(frames[order], numbers, side) for side in ("left", "right"))
    return [order[i:j] for i, j in zip(start, end, strict=True)]


def _median_step(times: F64, default: float) -> float:
    return float(np.median(np.diff(times))) if len(times) > 1 else default


def _between(times: F64, low: float, high: float) -> slice:
    """The rows of rising `times` from `low` to `high`, give or take rounding."""
    start = int(np.searchsorted(times, low - ROUNDING, "left"))
    return slice(start, max(start, int(np.searchsorted(times, high + ROUNDING, "right"))))


def _best_each(times: F64, overlap: F64) -> I64:
    """The row with the largest overlap for each of the times, the first one of equals."""
    order = np.lexsort((-overlap, times))
    rows: I64 = order[np.unique(times[order], return_index=True)[1]]
    return rows
