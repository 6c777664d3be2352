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
import pyarrow.csv as pacsv

from vcn_ray.core.boxes import pairwise_iou
from vcn_ray.core.metrics import ClusterScores, evaluate_clustering
from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage, one_line
from vcn_ray.io.tables import column_array, read_boxes
from vcn_ray.records import F32, F64, I64
from vcn_ray.run.results import StoredTitle, stored_titles
from vcn_ray.run.steps import segment_file

MIN_IOU = 0.3  # detectors disagree with labellers on how much chin and hair is face
BOX_COLUMNS = ("x0", "y0", "x1", "y1")


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
            f"{s.unknown_share:.1%}",
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
            "unknown_share": s.unknown_share,
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
    scores = []
    for title in stored_titles(storage):
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
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: a frame, time or box is no number: {one_line(error)}") from error
    return Labels(
        frame, seconds, boxes, [str(name) for name in rows.column("identity").to_pylist()]
    )


def _names_of(video: dict[str, Any]) -> tuple[str, ...]:
    path = Path(video["uri"])
    return (video["uri"], path.name, path.stem, video["video_id"])


def score_title(title: StoredTitle, labels: dict[str, Labels], storage: Storage) -> TitleScores:
    """METHOD 5 for one title, whose labels are given by video id."""
    votes: dict[str, Counter[str]] = {}
    covered = tracked = total = 0
    folders = dict(
        zip(
            (v["video_id"] for v in title.summary["videos"]),
            title.summary["keys"]["faces"],
            strict=True,
        )
    )
    for video_id, truth in labels.items():
        frames, detections = _read_detections(folders[video_id], storage)
        number = _label_frames(truth, frames)
        usable = np.flatnonzero(number >= 0)
        hits = _best_overlaps(number[usable], truth.boxes[usable], *detections)
        tracks = title.tracks.filter(pa.compute.equal(title.tracks.column("video_id"), video_id))
        mine = title.crops.filter(
            pa.compute.is_in(
                title.crops.column("track_id"), tracks.column("track_id").combine_chunks()
            )
        )
        faces = (column_array(mine, "frame").astype(np.int64), read_boxes(mine))
        on_track = _best_overlaps(number[usable], truth.boxes[usable], *faces)
        total += len(usable)
        covered += int((hits >= MIN_IOU).sum())
        tracked += int((on_track >= MIN_IOU).sum())
        _vote(votes, mine, faces, number, truth)
    rows = [r for r in title.tracks.to_pylist() if r["track_id"] in votes]
    truth_names = [votes[r["track_id"]].most_common(1)[0][0] for r in rows]
    _, true = np.unique(np.array(truth_names, dtype=str), return_inverse=True)
    people = {name: n for n, name in enumerate(title.people.column("person_id").to_pylist())}
    predicted = np.array([people.get(r["person_id"], -1) for r in rows], np.int64)
    labelled = [v for v in labels]
    all_mine = sum(r["video_id"] in labelled for r in title.tracks.to_pylist())
    return TitleScores(
        title=title.summary["title"],
        scores=evaluate_clustering(true.astype(np.int64), predicted),
        detection_recall=covered / total if total else 0.0,
        track_recall=tracked / total if total else 0.0,
        tracks_scored=len(rows),
        tracks_unlabelled=all_mine - len(rows),
    )


def _read_detections(folder: str, storage: Storage) -> tuple[pa.Table, tuple[I64, F32]]:
    """Frame times of a video, and frame numbers and boxes of everything that was detected in it."""
    start, frames, numbers, boxes = 0, [], [], []
    for index in storage.read_manifest(folder)["read"]:
        path = segment_file(folder, index, "frames")
        part = storage.read_table(path, columns=["seconds", "analysed"])
        found = storage.read_table(segment_file(folder, index, "seg"))
        frames.append(part)
        numbers.append(column_array(found, "frame_in_segment").astype(np.int64) + start)
        boxes.append(read_boxes(found))
        start += part.num_rows
    joined = (
        (np.concatenate(numbers), np.concatenate(boxes))
        if frames
        else (np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
    )
    return pa.concat_tables(frames) if frames else pa.table({"seconds": [], "analysed": []}), joined


def _label_frames(truth: Labels, frames: pa.Table) -> I64:
    """The analysed frame that each label belongs to, or -1."""
    seconds, analysed = (
        column_array(frames, "seconds"),
        column_array(frames, "analysed").astype(bool),
    )
    if truth.frame is not None:
        inside = (truth.frame >= 0) & (truth.frame < len(seconds))
        number = np.where(inside, truth.frame, 0)
    else:
        wanted = np.asarray(truth.seconds)
        right = np.clip(np.searchsorted(seconds, wanted), 1, max(len(seconds) - 1, 1))
        number = np.where(wanted - seconds[right - 1] < seconds[right] - wanted, right - 1, right)
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
    votes: dict[str, Counter[str]],
    rows: pa.Table,
    faces: tuple[I64, F32],
    number: I64,
    truth: Labels,
) -> None:
    """Let every face of a track vote for the labelled face it overlaps most."""
    names = rows.column("track_id").to_pylist()
    for frame in np.unique(faces[0]):
        mine, there = np.flatnonzero(faces[0] == frame), np.flatnonzero(number == frame)
        if not len(there):
            continue
        overlap = pairwise_iou(faces[1][mine], truth.boxes[there])
        for row, best in enumerate(overlap.argmax(axis=1)):
            if overlap[row, best] >= MIN_IOU:
                identity = truth.identity[int(there[best])]
                votes.setdefault(names[int(mine[row])], Counter())[identity] += 1
