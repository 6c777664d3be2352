"""How good results are, against labels of who is where (METHOD 5); it changes no result.

Labels give faces frame by frame: `video, frame or seconds, x0, y0, x1, y1, identity`. A track's
true identity is the one that most of its faces overlap; without any overlap it is not scored.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from vcn_ray import schema
from vcn_ray.core.metrics import ClusterScores, evaluate_clustering
from vcn_ray.core.vectors import pairwise_iou
from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage, one_line
from vcn_ray.io.tables import column_array, read_boxes
from vcn_ray.records import F32, F64, I64
from vcn_ray.run.commit import segment_file
from vcn_ray.run.stored import StoredTitle, stored_titles

MIN_IOU = 0.3  # detectors disagree with labellers on how much chin and hair is face
BOX_COLUMNS = ("x0", "y0", "x1", "y1")
USED_COLUMNS = ("video", "frame", "seconds", "identity", *BOX_COLUMNS)
_FRAME_COLUMNS = ["seconds", "analysed"]


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """True faces of one video, one row each."""

    frame: I64 | None  # (n,) frame number, or None where the labels give seconds
    seconds: F64 | None  # (n,)
    boxes: F32  # (n, 4) pixels of the displayed frame
    identity: list[str]  # n names


@dataclass(frozen=True, slots=True)
class TitleScores:
    """METHOD 5 for one title."""

    title: str
    scores: ClusterScores
    detection_recall: float  # labelled faces in analysed frames that a detection covers
    track_recall: float  # and that a track covers
    tracks_scored: int
    tracks_unlabelled: int  # tracks that overlap no labelled face

    def row(self) -> list[str]:
        """For a table."""
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
        """For machines."""
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
            "unknown_share": s.unknown_fraction,
            "detection_recall": self.detection_recall,
            "track_recall": self.track_recall,
            "tracks_scored": self.tracks_scored,
            "tracks_unlabelled": self.tracks_unlabelled,
        }


def evaluate_output(storage: Storage, labels: Path) -> list[TitleScores]:
    """Score every title that the labels speak of.

    Raises:
        UsageError: The labels cannot be read, or speak of no video in this output.
    """
    known = read_labels(labels)
    titles = list(stored_titles(storage))
    _check_names(known, titles, labels)
    scores = []
    for title in titles:
        mine = {
            video["video_id"]: known[name]
            for video in title.summary["videos"]
            for name in _names_of(video)
            if name in known
        }
        if mine:
            scores.append(score_title(title, mine, storage))
    if not scores:
        raise UsageError(
            f"{labels} speaks of {', '.join(sorted(known)[:3])}; no such video is in {storage.uri}"
        )
    return scores


def _check_names(known: dict[str, Labels], titles: list[StoredTitle], path: Path) -> None:
    places: dict[str, set[str]] = {name: set() for name in known}
    for title in titles:
        for video in title.summary["videos"]:
            for name in _names_of(video):
                if name in places:
                    places[name].add(video["video_id"])
    for name, ids in places.items():
        if len(ids) > 1:
            raise UsageError(
                f"{path}: {name} fits {' and '.join(sorted(ids))}: name the video by one of these"
            )


def read_labels(path: Path) -> dict[str, Labels]:
    """Labels by what the file calls each video.

    Raises:
        UsageError: A column is missing or holds something else.
    """
    try:
        table = pacsv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} cannot be read as CSV: {one_line(error)}") from error
    names = table.column_names
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise UsageError(f"{path} has more than once: {', '.join(double)}")
    empty = [n for n in names if n in USED_COLUMNS and table.column(n).null_count]
    if empty:
        raise UsageError(f"{path} has empty cells in {', '.join(empty)}")
    missing = [name for name in ("video", "identity", *BOX_COLUMNS) if name not in names]
    if "frame" not in names and "seconds" not in names:
        missing.append("frame or seconds")
    if missing:
        raise UsageError(f"{path} lacks {', '.join(missing)}; it has {', '.join(names)}")
    videos = [str(name) for name in table.column("video").to_pylist()]
    found: dict[str, Labels] = {}
    for video in dict.fromkeys(videos):
        rows = table.take(pa.array([n for n, name in enumerate(videos) if name == video]))
        found[video] = _labels_of(rows, path)
    return found


def _labels_of(rows: pa.Table, path: Path) -> Labels:
    try:
        boxes = np.stack([column_array(rows, n).astype(np.float32) for n in BOX_COLUMNS], axis=1)
        by_frame = "frame" in rows.column_names
        frame = column_array(rows, "frame").astype(np.int64) if by_frame else None
        seconds = None if by_frame else column_array(rows, "seconds").astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"{path}: a frame, time or box is no number: {one_line(error)}") from error
    if not np.isfinite(boxes).all() or (seconds is not None and not np.isfinite(seconds).all()):
        raise UsageError(f"{path}: a time or box is not finite")
    return Labels(
        frame, seconds, boxes, [str(name) for name in rows.column("identity").to_pylist()]
    )


def _names_of(video: dict[str, Any]) -> tuple[str, ...]:
    path = Path(video["uri"])
    return (video["uri"], path.name, path.stem, video["video_id"])


@dataclass(frozen=True, slots=True, eq=False)
class _Tally:
    """What the labels of one video say of its faces and tracks."""

    labelled: int  # faces in analysed frames
    detected: int  # of these
    tracked: int  # of these
    votes: dict[str, Counter[str]]  # identities that the faces of each track overlap


def score_title(title: StoredTitle, labels: dict[str, Labels], storage: Storage) -> TitleScores:
    """METHOD 5 for one title.

    Args:
        title: Its result.
        labels: By video id; videos without labels are not scored.
        storage: Where its faces are.
    """
    videos = (video["video_id"] for video in title.summary["videos"])
    folders = dict(zip(videos, title.summary["keys"]["faces"], strict=True))
    tallies = [_tally(title, v, folders[v], truth, storage) for v, truth in labels.items()]
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


def _tally(
    title: StoredTitle, video_id: str, folder: str, truth: Labels, storage: Storage
) -> _Tally:
    manifest = storage.read_manifest(folder)
    last = manifest["segments"] - 1
    if truth.frame is not None and any(f["segment"] != last for f in manifest["failures"]):
        raise UsageError(
            f"{video_id} was not read in full, so its frames cannot be counted: label in seconds"
        )
    frames, detections = _read_detections(folder, manifest["read"], storage)
    number = _label_frames(truth, frames)
    usable = np.flatnonzero(number >= 0)
    wanted = (number[usable], truth.boxes[usable])
    mine = title.tracks.filter(pc.equal(title.tracks.column("video_id"), video_id))
    names = mine.column("track_id").combine_chunks()
    crops = title.crops.filter(pc.is_in(title.crops.column("track_id"), names))
    faces = (column_array(crops, "frame").astype(np.int64), read_boxes(crops))
    return _Tally(
        labelled=len(usable),
        detected=int((_best_overlaps(*wanted, *detections) >= MIN_IOU).sum()),
        tracked=int((_best_overlaps(*wanted, *faces) >= MIN_IOU).sum()),
        votes=_vote(crops.column("track_id").to_pylist(), faces, number, truth),
    )


def _read_detections(
    folder: str, segments: list[int], storage: Storage
) -> tuple[pa.Table, tuple[I64, F32]]:
    """Frame times of a video, and frame numbers and boxes of everything that was detected in it."""
    start, frames = 0, [schema.FRAMES.empty_table().select(_FRAME_COLUMNS)]
    numbers, boxes = [np.zeros(0, np.int64)], [np.zeros((0, 4), np.float32)]
    for index in segments:
        part = storage.read_table(segment_file(folder, index, "frames"), _FRAME_COLUMNS)
        columns = ["frame_in_segment", *schema.BOX_COLUMNS]
        found = storage.read_table(segment_file(folder, index, "seg"), columns)
        frames.append(part)
        numbers.append(column_array(found, "frame_in_segment").astype(np.int64) + start)
        boxes.append(read_boxes(found))
        start += part.num_rows
    return pa.concat_tables(frames, promote_options="permissive"), (
        np.concatenate(numbers),
        np.concatenate(boxes),
    )


def _label_frames(truth: Labels, frames: pa.Table) -> I64:
    """The analysed frame that each label belongs to, or -1."""
    seconds = column_array(frames, "seconds")
    analysed = column_array(frames, "analysed").astype(np.bool_)
    if not len(seconds):
        return np.full(len(truth.boxes), -1, np.int64)
    if truth.frame is not None:
        inside = (truth.frame >= 0) & (truth.frame < len(seconds))
        number = np.where(inside, truth.frame, 0)
    else:
        wanted = np.asarray(truth.seconds)
        right = np.clip(np.searchsorted(seconds, wanted), 0, len(seconds) - 1)
        left = np.maximum(right - 1, 0)
        number = np.where(wanted - seconds[left] < seconds[right] - wanted, left, right)
        step = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.04
        inside = np.abs(seconds[number] - wanted) <= step
    return np.where(inside & analysed[number], number, -1)


def _best_overlaps(number: I64, boxes: F32, found_number: I64, found_boxes: F32) -> F32:
    """Best IoU of each labelled face with a found face of its frame."""
    best = np.zeros(len(number), np.float32)
    for frame in np.unique(number):
        mine, there = number == frame, found_number == frame
        if there.any():
            best[mine] = pairwise_iou(boxes[mine], found_boxes[there]).max(axis=1)
    return best


def _vote(
    tracks: list[str], faces: tuple[I64, F32], number: I64, truth: Labels
) -> dict[str, Counter[str]]:
    """Let every face of a track vote for the labelled face it overlaps most."""
    votes: dict[str, Counter[str]] = {}
    for frame in np.unique(faces[0]):
        mine, there = np.flatnonzero(faces[0] == frame), np.flatnonzero(number == frame)
        if not len(there):
            continue
        overlap = pairwise_iou(faces[1][mine], truth.boxes[there])
        for row, best in enumerate(overlap.argmax(axis=1)):
            if overlap[row, best] >= MIN_IOU:
                identity = truth.identity[int(there[best])]
                votes.setdefault(tracks[int(mine[row])], Counter())[identity] += 1
    return votes
