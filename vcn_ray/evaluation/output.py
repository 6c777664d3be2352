"""An output compared with labels of who is where (METHOD 5); it changes no result."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from vcn_ray.core.metrics import match_times
from vcn_ray.errors import StorageError, UsageError, listed
from vcn_ray.evaluation.labels import Labels, Truth, is_person, rows_by_name
from vcn_ray.evaluation.matching import (
    DEFAULT_FRAME_SECONDS,
    MIN_IOU,
    FaceTracks,
    FrameBoxes,
    LabelledFaces,
    TrackMatches,
    best_overlaps,
    match_tracks,
    place_labels,
)
from vcn_ray.evaluation.scores import (
    CUT_TOLERANCE,
    CutScores,
    MatchedTrack,
    TitleScores,
    count_people,
    recall_by_height,
    score_clustering,
    unknown_seconds_fraction,
)
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import column_array, read_boxes
from vcn_ray.records import F32, F64, Mask
from vcn_ray.run.stored import (
    StoredDetections,
    StoredTitle,
    TitleReader,
    TitleVideos,
    detect_folders,
    read_detections,
    read_title,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

NO_ROWS = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class MatchedTitle:
    """A title beside its labels; of several videos those that are labelled."""

    title: str
    tracks: tuple[MatchedTrack, ...]  # in the order of the result
    there: set[str]  # names of the labelled people
    boxes: F32  # (n, 4) of their faces, in pixels of the displayed frame
    detected: Mask  # (n,) true for those that a detection overlaps
    tracked: Mask  # (n,) true for those that the box of a track overlaps
    cuts: CutScores | None  # None where no cuts are labelled


class _VideoMatches(NamedTuple):
    """A video beside its labels: k tracks, n labelled faces of people."""

    track_ids: list[str]  # k
    matches: TrackMatches  # of all labels
    boxes: F32  # (n, 4)
    detected: Mask  # (n,)
    tracked: Mask  # (n,)


def evaluate_output(storage: Storage, truth: Truth) -> list[TitleScores]:
    """Score every title that has labels.

    Args:
        storage: An output with results.
        truth: Labels and cuts.

    Raises:
        UsageError: The labels name no video of this output, or one name fits several.
        StorageError: A title is damaged.
    """
    reader = TitleReader(storage)
    titles = list(reader.videos())
    _check_damage(reader)
    _check_names({*truth.labels, *truth.cuts}, titles)
    # Results are read one at a time, and only those that have labels.
    labelled = (title for title in titles if _by_video(title.uris, truth.labels))
    scores = [_score(title, reader, truth) for title in labelled]
    found = [score for score in scores if score is not None]
    if not found:
        names = listed(sorted(truth.labels), 3)
        raise UsageError(f"the labels name {names}; no such video is in {storage.uri}")
    return found


def _score(videos: TitleVideos, reader: TitleReader, truth: Truth) -> TitleScores | None:
    title = reader.attempt(videos.title_id, partial(read_title, videos.title_id, reader.storage))
    _check_damage(reader)
    if title is None:  # another version made it, which was said
        return None
    if title.removed:
        log.warning(
            "%s: the pictures of its faces were removed by retention; scores do not need them",
            title.title_id,
        )
    labels, cuts = _by_video(videos.uris, truth.labels), _by_video(videos.uris, truth.cuts)
    return score_title(match_title(title, labels, cuts, reader.storage))


def _check_damage(reader: TitleReader) -> None:
    if reader.damaged:  # scores of a part would pass for those of the whole
        raise StorageError(
            f"{', '.join(reader.damaged[:3])}: damaged, so there are no scores: use vcn verify "
            f"{reader.storage.uri} --repair"
        )


def match_title(
    title: StoredTitle, labels: Mapping[str, Labels], cuts: Mapping[str, F64], storage: Storage
) -> MatchedTitle:
    """Compare one title with its labels.

    Args:
        title: Its result.
        labels: By video id; videos without labels are left out.
        cuts: Seconds, by video id.
        storage: The output that holds the title.

    Raises:
        UsageError: The labels of an incomplete video give frame numbers.
    """
    rows_of = _TitleRows(title)
    videos = [_match_video(rows_of, video, truth, storage) for video, truth in labels.items()]
    identity = {
        track_id: (name, bool(matched))
        for video in videos
        for track_id, name, matched in zip(
            video.track_ids, video.matches.identity, video.matches.matched, strict=True
        )
    }
    rows = [row for row in title.tracks.to_pylist() if row["video_id"] in labels]
    return MatchedTitle(
        title=title.summary["title"],
        tracks=tuple(
            MatchedTrack(
                track_id=row["track_id"],
                identity=identity[row["track_id"]][0],
                person=row["person_id"],
                seconds=row["end_seconds"] - row["start_seconds"],
                matched=identity[row["track_id"]][1],
            )
            for row in rows
        ),
        there={name for truth in labels.values() for name in truth.identity if is_person(name)},
        boxes=np.concatenate([video.boxes for video in videos]),
        detected=np.concatenate([video.detected for video in videos]),
        tracked=np.concatenate([video.tracked for video in videos]),
        cuts=_match_cuts(title, cuts) if cuts else None,
    )


def score_title(title: MatchedTitle) -> TitleScores:
    """Score one title (METHOD 5)."""
    return TitleScores(
        title=title.title,
        scores=score_clustering(title.tracks),
        people=count_people(title.tracks, title.there),
        heights=recall_by_height(title.boxes, title.detected, title.tracked),
        cuts=title.cuts,
        tracks=len(title.tracks),
        tracks_scored=sum(is_person(track.identity) for track in title.tracks),
        tracks_unknown=sum(track.person is None for track in title.tracks),
        tracks_unlabelled=sum(not track.matched for track in title.tracks),
        unknown_seconds_fraction=unknown_seconds_fraction(title.tracks),
    )


class _TitleRows:
    """The rows of a title by the video or track that they belong to, found once for all videos."""

    def __init__(self, title: StoredTitle) -> None:
        self._title = title
        self._tracks = rows_by_name(title.tracks.column("video_id").to_pylist())
        self._crops = rows_by_name(title.crops.column("track_id").to_pylist())
        self.shots = {row["shot_id"]: row for row in title.shots.to_pylist()}
        self.folders = detect_folders(title)

    def tracks(self, video_id: str) -> pa.Table:
        """The tracks of a video."""
        return self._title.tracks.take(self._tracks.get(video_id, NO_ROWS))

    def crops(self, track_ids: list[str]) -> pa.Table:
        """Every face of some tracks, in the order of the title's crops."""
        rows = [self._crops.get(name, NO_ROWS) for name in track_ids]
        return self._title.crops.take(np.sort(np.concatenate([NO_ROWS, *rows])))


def _match_video(
    title: _TitleRows, video_id: str, truth: Labels, storage: Storage
) -> _VideoMatches:
    found = read_detections(title.folders[video_id], storage)
    if truth.frame is not None and not found.complete:
        raise UsageError(
            f"{video_id} was not read in full, so its frames cannot be counted: label in seconds"
        )
    labels = place_labels(truth, found.seconds, found.analysed)
    tracks = title.tracks(video_id)
    matches = match_tracks(_face_tracks(tracks, title, found.seconds), labels)
    person = np.array([is_person(name) for name in labels.identity], np.bool_)
    compared = (labels.frame >= 0) & person
    return _VideoMatches(
        track_ids=tracks.column("track_id").to_pylist(),
        matches=matches,
        boxes=labels.boxes[compared],
        detected=_detected(labels, found)[compared],
        tracked=matches.covered[compared],
    )


def _detected(labels: LabelledFaces, found: StoredDetections) -> Mask:
    """(n,) true for the labels that a detection of their analysed frame overlaps."""
    labelled = FrameBoxes(labels.frame, labels.boxes)
    overlap = best_overlaps(labelled, FrameBoxes(found.frame, found.boxes))
    detected: Mask = overlap >= MIN_IOU
    return detected


def _face_tracks(tracks: pa.Table, title: _TitleRows, seconds: F64) -> FaceTracks:
    """The boxes of some tracks of a title, and between which times their shots lie."""
    inside = [title.shots[name] for name in tracks.column("shot_id").to_pylist()]
    # Labels are rounded, and their clock may be a frame ahead: half a frame is no other shot.
    slack = (float(np.median(np.diff(seconds))) if len(seconds) > 1 else DEFAULT_FRAME_SECONDS) / 2
    number = {name: n for n, name in enumerate(tracks.column("track_id").to_pylist())}
    crops = title.crops(list(number))
    owner = np.array([number[name] for name in crops.column("track_id").to_pylist()], np.int64)
    times = column_array(crops, "seconds")
    order = np.lexsort((times, owner))
    return FaceTracks(
        start=np.array([row["start_seconds"] - slack for row in inside], np.float64),
        end=np.array([row["end_seconds"] + slack for row in inside], np.float64),
        owner=owner[order],
        seconds=times[order],
        boxes=read_boxes(crops)[order],
    )


def _match_cuts(title: StoredTitle, cuts: Mapping[str, F64]) -> CutScores:
    """Compare the beginnings of shots, but for the first one of each video."""
    found = true = matched = 0
    shots = rows_by_name(title.shots.column("video_id").to_pylist())
    seconds = column_array(title.shots, "start_seconds")
    for video_id, times in cuts.items():
        starts = np.sort(seconds[shots.get(video_id, NO_ROWS)])[1:]
        found, true = found + len(starts), true + len(times)
        matched += match_times(starts, times, CUT_TOLERANCE)
    return CutScores(found, true, matched)


def _by_video(uris: Mapping[str, str], named: Mapping[str, T]) -> dict[str, T]:
    """What is known of a title's videos, by their ids instead of their names."""
    return {
        video_id: named[name]
        for video_id, uri in uris.items()
        for name in _names_of(video_id, uri)
        if name in named
    }


def _check_names(names: set[str], titles: list[TitleVideos]) -> None:
    """Raise UsageError if a name in the labels fits several videos."""
    ids: dict[str, set[str]] = {name: set() for name in names}
    for title in titles:
        for video_id, uri in title.uris.items():
            for name in _names_of(video_id, uri):
                if name in ids:
                    ids[name].add(video_id)
    for name, fits in sorted(ids.items()):
        if len(fits) > 1:
            raise UsageError(
                f"{name} of the labels fits {' and '.join(sorted(fits))}: "
                "name the video by one of these"
            )


def _names_of(video_id: str, uri: str) -> tuple[str, ...]:
    """Return the names by which labels may call a video."""
    path = PurePosixPath(uri)
    return (uri, path.name, path.stem, video_id)
