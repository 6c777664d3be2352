"""Appearances and boxes as CSV for spreadsheets, pandas and blurring tools: rows to text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from vcn_ray.exports.ranges import ExportVideo, Range, TrackBoxes
from vcn_ray.exports.timecode import Timecode, rate_name

BOM = "\ufeff"  # without it, Excel takes UTF-8 for the code page of the machine
FORMULA = ("=", "+", "-", "@", "'")  # a cell that begins so is computed, or loses its first sign
GUARD = "'"

RANGE_COLUMNS = (
    "person_id",
    "name",
    "title",
    "video",
    "shot",
    "in_frame",
    "out_frame",
    "in_seconds",
    "out_seconds",
    "in_timecode",
    "out_timecode",
    "rate",
    "tracks",
    "title_id",
    "video_id",
)
BOX_COLUMNS = (
    "video",
    "frame",
    "seconds",
    "person_id",
    "name",
    "track_id",
    "x0_pixels",
    "y0_pixels",
    "x1_pixels",
    "y1_pixels",
    "position",
    "score",
    "video_id",
)
MEASURED, INTERPOLATED = "measured", "interpolated"


def guarded(text: str) -> str:
    """A text as a cell that spreadsheets show as it is: one that begins a formula gets a quote."""
    return GUARD + text if text.startswith(FORMULA) else text


def write_ranges(videos: Sequence[ExportVideo], separator: str = ",") -> bytes:
    """One row for each range of each person."""
    rows = (_range_row(video, seen) for video in videos for seen in video.ranges)
    return _csv(RANGE_COLUMNS, rows, separator)


def write_boxes(videos: Sequence[ExportVideo], separator: str = ",") -> bytes:
    """One row for each box in each picture, by picture."""
    return _csv(BOX_COLUMNS, (row for video in videos for row in _box_rows(video)), separator)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]], separator: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator)
    writer.writerow(columns)
    writer.writerows(rows)
    return (BOM + text.getvalue()).encode()


def _range_row(video: ExportVideo, seen: Range) -> tuple[object, ...]:
    timecode = video.clock.timecode
    return (
        seen.person.person_id,
        guarded(seen.person.name),
        guarded(video.title),
        guarded(video.name),
        " ".join(seen.shots),
        seen.start_frame,
        seen.end_frame,
        f"{seen.start_seconds:.6f}",
        f"{seen.end_seconds:.6f}",
        _timecode(timecode, seen.start_frame),
        _timecode(timecode, seen.end_frame),
        rate_name(timecode.rate) if timecode else "",
        " ".join(seen.tracks),
        video.title_id,
        video.video_id,
    )


def _timecode(timecode: Timecode | None, frame: int) -> str:
    """The timecode of a frame; empty where it has none."""
    return timecode.at(frame) if timecode and timecode.reaches(frame) else ""


def _box_rows(video: ExportVideo) -> Iterator[tuple[object, ...]]:
    rows = [
        (int(picture), number, place)
        for number, track in enumerate(video.boxes)
        for place, picture in enumerate(track.picture)
    ]
    for _, number, place in sorted(rows):
        yield _box_row(video, video.boxes[number], place)


def _box_row(video: ExportVideo, track: TrackBoxes, place: int) -> tuple[object, ...]:
    return (
        guarded(video.name),
        int(track.picture[place]),
        f"{track.seconds[place]:.6f}",
        track.person.person_id if track.person else "",
        guarded(track.person.name) if track.person else "",
        track.track_id,
        *(f"{value:.2f}" for value in track.boxes[place]),
        MEASURED if track.measured[place] else INTERPOLATED,
        f"{track.scores[place]:.4f}",
        video.video_id,
    )
