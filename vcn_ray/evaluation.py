"""Scores of results against labels of who is where (METHOD 5); it changes no result.

Labels give one face a row: `video, frame or seconds, x0, y0, x1, y1, identity`. The true identity
of a track is the one whose labels overlap most of its faces; a track without any overlap is not
scored.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from vcn_ray.core.metrics import ClusterScores, evaluate_clustering
from vcn_ray.core.vectors import pairwise_iou
from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage, one_line
from vcn_ray.io.tables import column_array, read_boxes
from vcn_ray.records import F32, F64, I64, Mask
from vcn_ray.run.stored import StoredTitle, read_detections, stored_titles

MIN_IOU = 0.3  # detectors and labellers disagree on how much chin and hair belongs to a face
BOX_COLUMNS = ("x0", "y0", "x1", "y1")
USED_COLUMNS = ("video", "frame", "seconds", "identity", *BOX_COLUMNS)
DEFAULT_FRAME_SECONDS = 0.04  # of a video with a single frame


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """True faces of one video, one row each."""

    frame: I64 | None  # (n,) frame number, or None if the labels give seconds
    seconds: F64 | None  # (n,)
    boxes: F32  # (n, 4) pixels of the displayed frame
    identity: list[str]  # n names


class FrameBoxes(NamedTuple):
    """Faces of one video, one row each."""

    frame: I64  # (n,) frame number
    boxes: F32  # (n, 4) pixels of the displayed frame


@dataclass(frozen=True, slots=True)
class TitleScores:
    """The scores of one title (METHOD 5)."""

    title: str
    scores: ClusterScores
    detection_recall: float  # labelled faces of analysed frames that a detection overlaps
    track_recall: float  # labelled faces of analysed frames that a track overlaps
    tracks_scored: int
    tracks_unlabelled: int  # tracks that overlap no labelled face

    def row(self) -> list[str]:
        """Return the scores as cells of a table for people."""
        s = self.scores
        return [
            self.title,
            f"{s.wcp:.4f}",
            f"{s.pcr:.2f} ({s.clusters}/{s.identities})",
            f"{s.nmi:.4f}",
            f"{s.bcubed_precision:.4f} / {s.bcubed_recall:.4f} / {s.bcubed_f:.4f}",
            f"{s.unknown_fraction:.1%}",
            f"{self.detection_recall:.4f}",
            f"{self.tracks_scored} (+{self.tracks_unlabelled} without label)",
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the scores as JSON values."""
        s = self.scores
        return {
            "title": self.title,
            "wcp": s.wcp,
            "pcr": s.pcr,
            "people_found": s.clusters,
            "people_true": s.identities,
            "nmi": s.nmi,
            "bcubed_precision": s.bcubed_precision,
            "bcubed_recall": s.bcubed_recall,
            "bcubed_f": s.bcubed_f,
            "unknown_fraction": s.unknown_fraction,
            "detection_recall": self.detection_recall,
            "track_recall": self.track_recall,
            "tracks_scored": self.tracks_scored,
            "tracks_unlabelled": self.tracks_unlabelled,
        }


def evaluate_output(storage: Storage, path: Path) -> list[TitleScores]:
    """Score every title that has labels.

    Args:
        storage: An output with results.
        path: A CSV file of labels.

    Raises:
        UsageError: The labels cannot be read, or name no video of this output.
    """
    labels = read_labels(path)
    titles = list(stored_titles(storage))
    _check_names(labels, titles, path)
    scores = []
    for title in titles:
        by_id = {
            video["video_id"]: labels[name]
            for video in title.summary["videos"]
            for name in _names_of(video)
            if name in labels
        }
        if by_id:
            scores.append(score_title(title, by_id, storage))
    if not scores:
        raise UsageError(
            f"{path} names {', '.join(sorted(labels)[:3])}; no such video is in {storage.uri}"
        )
    return scores


def read_labels(path: Path) -> dict[str, Labels]:
    """Read labels, keyed by the name that the file gives each video.

    Raises:
        UsageError: A column is missing, repeated or incomplete, or holds wrong values.
    """
    try:
        table = pacsv.read_csv(path)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file") from error
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} cannot be read as CSV: {one_line(error)}") from error
    _check_columns(table, path)
    videos = [str(name) for name in table.column("video").to_pylist()]
    labels: dict[str, Labels] = {}
    for video in dict.fromkeys(videos):
        rows = table.take(pa.array([n for n, name in enumerate(videos) if name == video]))
        labels[video] = _labels_of(rows, path)
    return labels


def score_title(title: StoredTitle, labels: dict[str, Labels], storage: Storage) -> TitleScores:
    """Score one title (METHOD 5).

    Args:
        title: Its result.
        labels: By video id; videos without labels are not scored.
        storage: The output that holds the title.

    Raises:
        UsageError: The labels of an incomplete video give frame numbers.
    """
    tallies = [_tally(title, video, truth, storage) for video, truth in labels.items()]
    votes = {track: count for tally in tallies for track, count in tally.votes.items()}
    rows = [row for row in title.tracks.to_pylist() if row["video_id"] in labels]
    scored = [row for row in rows if row["track_id"] in votes]
    identities = sorted({name for count in votes.values() for name in count})
    people = {name: n for n, name in enumerate(title.people.column("person_id").to_pylist())}
    true = [identities.index(votes[row["track_id"]].most_common(1)[0][0]) for row in scored]
    predicted = [people.get(row["person_id"], -1) for row in scored]
    labelled = max(sum(tally.labelled for tally in tallies), 1)
    return TitleScores(
        title=title.summary["title"],
        scores=evaluate_clustering(np.array(true, np.int64), np.array(predicted, np.int64)),
        detection_recall=sum(tally.detected for tally in tallies) / labelled,
        track_recall=sum(tally.tracked for tally in tallies) / labelled,
        tracks_scored=len(scored),
        tracks_unlabelled=len(rows) - len(scored),
    )


def match_frames(truth: Labels, seconds: F64, analysed: Mask) -> I64:
    """Return the analysed frame to which each label belongs, or -1.

    Args:
        truth: n labels.
        seconds: (t,) time of each frame.
        analysed: (t,) true for frames on which the detector ran.

    Returns:
        (n,) frame numbers.
    """
    if not len(seconds):
        return np.full(len(truth.boxes), -1, np.int64)
    if truth.frame is not None:
        inside = (truth.frame >= 0) & (truth.frame < len(seconds))
        frame = np.where(inside, truth.frame, 0)
    else:
        wanted = np.asarray(truth.seconds)
        right = np.clip(np.searchsorted(seconds, wanted), 0, len(seconds) - 1)
        left = np.maximum(right - 1, 0)
        frame = np.where(wanted - seconds[left] < seconds[right] - wanted, left, right)
        many = len(seconds) > 1
        frame_seconds = float(np.median(np.diff(seconds))) if many else DEFAULT_FRAME_SECONDS
        inside = np.abs(seconds[frame] - wanted) <= frame_seconds
    return np.where(inside & analysed[frame], frame, -1)


def best_overlaps(labelled: FrameBoxes, found: FrameBoxes) -> F32:
    """Return the best IoU of each of n labelled faces with a found face of its frame, (n,)."""
    best = np.zeros(len(labelled.frame), np.float32)
    for number in np.unique(labelled.frame):
        rows, there = labelled.frame == number, found.frame == number
        if there.any():
            best[rows] = pairwise_iou(labelled.boxes[rows], found.boxes[there]).max(axis=1)
    return best


def count_votes(
    tracks: list[str], faces: FrameBoxes, frame: I64, truth: Labels
) -> dict[str, Counter[str]]:
    """Let every face of a track vote for the identity of the labelled face it overlaps most.

    Args:
        tracks: Track id of each face.
        faces: Faces of all tracks.
        frame: (n,) frame of each label, or -1.
        truth: n labels.

    Returns:
        Track id -> votes for each identity; tracks without any overlap are missing.
    """
    votes: dict[str, Counter[str]] = {}
    for number in np.unique(faces.frame):
        rows, there = np.flatnonzero(faces.frame == number), np.flatnonzero(frame == number)
        if not len(there):
            continue
        overlap = pairwise_iou(faces.boxes[rows], truth.boxes[there])
        for row, best in enumerate(overlap.argmax(axis=1)):
            if overlap[row, best] >= MIN_IOU:
                identity = truth.identity[int(there[best])]
                votes.setdefault(tracks[int(rows[row])], Counter())[identity] += 1
    return votes


@dataclass(frozen=True, slots=True, eq=False)
class _Tally:
    """How the faces and tracks of one video agree with its labels."""

    labelled: int  # labelled faces in analysed frames
    detected: int  # labelled faces that a detection overlaps
    tracked: int  # labelled faces that a face of a track overlaps
    votes: dict[str, Counter[str]]  # track id -> identities that its faces overlap


def _tally(title: StoredTitle, video_id: str, truth: Labels, storage: Storage) -> _Tally:
    found = read_detections(title, video_id, storage)
    if truth.frame is not None and not found.complete:
        raise UsageError(
            f"{video_id} was not read in full, so its frames cannot be counted: label in seconds"
        )
    frame = match_frames(truth, found.seconds, found.analysed)
    usable = np.flatnonzero(frame >= 0)
    labelled = FrameBoxes(frame[usable], truth.boxes[usable])
    tracks = title.tracks.filter(pc.equal(title.tracks.column("video_id"), video_id))
    track_ids = tracks.column("track_id").combine_chunks()
    crops = title.crops.filter(pc.is_in(title.crops.column("track_id"), track_ids))
    faces = FrameBoxes(column_array(crops, "frame").astype(np.int64), read_boxes(crops))
    detections = FrameBoxes(found.frame, found.boxes)
    return _Tally(
        labelled=len(usable),
        detected=int((best_overlaps(labelled, detections) >= MIN_IOU).sum()),
        tracked=int((best_overlaps(labelled, faces) >= MIN_IOU).sum()),
        votes=count_votes(crops.column("track_id").to_pylist(), faces, frame, truth),
    )


def _check_names(labels: dict[str, Labels], titles: list[StoredTitle], path: Path) -> None:
    """Raise UsageError if a name in the labels fits several videos."""
    ids: dict[str, set[str]] = {name: set() for name in labels}
    for title in titles:
        for video in title.summary["videos"]:
            for name in _names_of(video):
                if name in ids:
                    ids[name].add(video["video_id"])
    for name, fits in ids.items():
        if len(fits) > 1:
            raise UsageError(
                f"{path}: {name} fits {' and '.join(sorted(fits))}: name the video by one of these"
            )


def _names_of(video: dict[str, Any]) -> tuple[str, ...]:
    """Return the names by which labels may call a video."""
    path = Path(video["uri"])
    return (video["uri"], path.name, path.stem, video["video_id"])


def _check_columns(table: pa.Table, path: Path) -> None:
    names = table.column_names
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError(f"{path} has more than once: {', '.join(repeated)}")
    empty = [name for name in names if name in USED_COLUMNS and table.column(name).null_count]
    if empty:
        raise UsageError(f"{path} has empty cells in {', '.join(empty)}")
    missing = [name for name in ("video", "identity", *BOX_COLUMNS) if name not in names]
    if "frame" not in names and "seconds" not in names:
        missing.append("frame or seconds")
    if missing:
        raise UsageError(f"{path} lacks {', '.join(missing)}; it has {', '.join(names)}")


def _labels_of(rows: pa.Table, path: Path) -> Labels:
    try:
        boxes = np.stack([column_array(rows, n).astype(np.float32) for n in BOX_COLUMNS], axis=1)
        by_frame = "frame" in rows.column_names
        frame = column_array(rows, "frame").astype(np.int64) if by_frame else None
        seconds = None if by_frame else column_array(rows, "seconds").astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        message = f"{path}: a frame, time or box is not a number: {one_line(error)}"
        raise UsageError(message) from error
    if not np.isfinite(boxes).all() or (seconds is not None and not np.isfinite(seconds).all()):
        raise UsageError(f"{path}: a time or box is not finite")
    return Labels(
        frame, seconds, boxes, [str(name) for name in rows.column("identity").to_pylist()]
    )
