"""Reads what exports need of a title: its people, their tracks and the times of all pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from vcn_ray.config import RunConfig
from vcn_ray.errors import MediaError, StorageError, UsageError
from vcn_ray.exports.boxes import FACE_COLUMNS, boxes_of_tracks
from vcn_ray.exports.frame_clock import FrameClock, FrameTimes, find_rate, timeline_frames
from vcn_ray.exports.ranges import (
    ExportVideo,
    Person,
    Range,
    TrackBoxes,
    in_order,
    join_ranges,
    number_people,
    plain,
)
from vcn_ray.exports.timecode import DROPPED, Timecode, is_drop, rate_name
from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.isolation import probe
from vcn_ray.io.paths import file_name
from vcn_ray.io.s3_file import open_source
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import column_array
from vcn_ray.rows.result_rows import NO_FACE
from vcn_ray.rows.title_rows import split_faces
from vcn_ray.run.current import CurrentTitle
from vcn_ray.run.damage import segment_name
from vcn_ray.run.parallel import THREADS, map_in_order
from vcn_ray.run.summary import START_TIMECODE

BY_REVIEWER = "reviewer"  # reason of a track that a person looked at
UNCOUNTED = "a part of it could not be read: frames behind it are counted without that part"
ESTIMATED = (
    "the times of its pictures were deleted with detect-..., so they are taken from faces and shots"
)
ZERO = "00:00:00:00"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is exported, and how frames are counted.

    Attributes:
        persons: Ids or names; none: everybody.
        others: Everybody but these.
        start: Timecode of the first frame; empty: the file's.
        rate: Of the timeline; None: the video's own.
        drop: Drop frame; None: as the start timecode is written.
        join_seconds: Ranges with at most so much between them are joined; None: none are.
        boxes: Whether boxes are needed, and those of nobody with `others`.
        timed: Whether frames need timecode.
    """

    persons: tuple[str, ...] = ()
    others: bool = False
    start: str = ""
    rate: Fraction | None = None
    drop: bool | None = None
    join_seconds: float | None = None
    boxes: bool = False
    timed: bool = True


def read_export(
    title: CurrentTitle, wanted: Wanted, storage: Storage, config: RunConfig
) -> list[ExportVideo]:
    """The videos of a title in which somebody who is wanted is seen.

    Args:
        title: As it is known now.
        wanted: Who, and how frames are counted.
        storage: The output.
        config: How videos are reached, for a start timecode that the result does not hold.

    Raises:
        UsageError: A video has no constant rate and none is named, or a timecode cannot be.
        StorageError: A table cannot be read.
    """
    tables = title.tables
    named = zip(*(tables.people.column(n).to_pylist() for n in ("person_id", "name")), strict=True)
    people = number_people(dict(named))
    chosen = choose(people, wanted)
    rows = [row for row in tables.tracks.to_pylist() if _is_wanted(row, chosen, wanted)]
    found = []
    for place, video in enumerate(title.summary["videos"]):
        mine = [row for row in rows if row["video_id"] == video["video_id"]]
        if mine:
            found.append(_read_video(title, place, mine, people, wanted, storage, config))
    return found


def choose(people: dict[str, Person], wanted: Wanted) -> set[str]:
    """The ids of the people that are wanted; of those that the title has."""
    if not wanted.persons:
        return set(people)
    names = {plain(text) for text in wanted.persons}
    named = {key for key, who in people.items() if key in names or who.name in names}
    return set(people) - named if wanted.others else named


def _is_wanted(row: dict[str, Any], chosen: set[str], wanted: Wanted) -> bool:
    if row["person_id"] is not None:
        return row["person_id"] in chosen
    # Whoever blurs all others wants strangers too, and rather a poster's face than one too few.
    looked_at = row["status"] == NO_FACE and row["reason"] == BY_REVIEWER
    return wanted.boxes and wanted.others and not looked_at


def _read_video(  # noqa: PLR0913 - a step of read_export
    title: CurrentTitle,
    place: int,
    rows: list[dict[str, Any]],
    people: dict[str, Person],
    wanted: Wanted,
    storage: Storage,
    config: RunConfig,
) -> ExportVideo:
    video, keys = title.summary["videos"][place], title.summary["keys"]
    times = read_frame_times(keys["detect"][place], storage)
    if times is None:
        times = estimate_frame_times(video, keys["track"][place], storage)
    clock = make_clock(video, times, wanted, partial(_probe_timecode, video["uri"], config))
    ranges = [_range(row, clock, people) for row in rows if row["person_id"]]
    if wanted.join_seconds is not None:
        ranges = join_ranges(ranges, wanted.join_seconds)
    boxes: tuple[TrackBoxes, ...] = ()
    if wanted.boxes:
        faces = CommittedFolder.open(storage, keys["track"][place]).read_table(
            "crops.parquet", [*FACE_COLUMNS, "detected"]
        )
        boxes = boxes_of_tracks(rows, split_faces(faces, title.summary["splits"]), clock, people)
    return ExportVideo(
        title_id=title.title_id,
        title=plain(title.name),
        video_id=video["video_id"],
        uri=video["uri"],
        name=plain(file_name(video["uri"])),
        width=int(times.width.max()),
        height=int(times.height.max()),
        clock=clock,
        ranges=tuple(in_order(ranges)),
        boxes=boxes,
    )


def _range(row: dict[str, Any], clock: FrameClock, people: dict[str, Person]) -> Range:
    start, end = clock.span(row["start_frame"], row["end_frame"], row["end_seconds"])
    return Range(
        person=people[row["person_id"]],
        start_frame=start,
        end_frame=end,
        start_seconds=row["start_seconds"],
        end_seconds=row["end_seconds"],
        shots=(row["shot_id"],),
        tracks=(row["track_id"],),
    )


def read_frame_times(folder: str, storage: Storage) -> FrameTimes | None:
    """The times and sizes of all pictures of a video that were read.

    Args:
        folder: Where its step `detect` wrote, below the output.
        storage: The output.

    Returns:
        None where the folder was deleted to save room, which it may be.
    """
    detected = CommittedFolder.find(storage, folder)
    if detected is None:
        return None
    columns = ["seconds", "end_seconds", "width_pixels", "height_pixels"]
    segments = list(detected.manifest["read"])
    names = [segment_name(index, "frames") for index in segments]
    tables = list(map_in_order(lambda name: detected.read_table(name, columns), names, THREADS))
    ends = np.cumsum([0, *(table.num_rows for table in tables)])
    broken = [
        int(ends[row])
        for row, index in enumerate(segments)
        if index != (segments[row - 1] + 1 if row else 0)
    ]
    joined = pa.concat_tables(tables)
    return FrameTimes(
        seconds=column_array(joined, "seconds"),
        width=column_array(joined, "width_pixels").astype(np.int64),
        height=column_array(joined, "height_pixels").astype(np.int64),
        gaps=np.array(broken, np.int64),
        end_seconds=float(column_array(joined, "end_seconds")[-1]),
    )


def estimate_frame_times(video: dict[str, Any], folder: str, storage: Storage) -> FrameTimes:
    """The times of all pictures of a video, interpolated between those of its faces and shots.

    Args:
        video: Its entry of result.json.
        folder: Where its step `track` wrote, below the output.
        storage: The output.
    """
    tracked = CommittedFolder.open(storage, folder)
    known: dict[int, float] = {}
    for name in ("shots", "tracks"):
        for end in ("end", "start"):  # a start is the time of a picture, which an end only borders
            columns = [f"{end}_frame", f"{end}_seconds"]
            known |= _pairs(tracked.read_table(f"{name}.parquet", columns), *columns)
    known |= _pairs(tracked.read_table("crops.parquet", ["frame", "seconds"]), "frame", "seconds")
    frames = np.array(sorted(known), np.int64)
    every = np.arange(frames[-1] + 1)
    seconds = np.interp(every, frames, [known[frame] for frame in frames.tolist()])
    return FrameTimes(
        seconds=seconds[:-1],
        width=np.full(len(every) - 1, video["width"], np.int64),
        height=np.full(len(every) - 1, video["height"], np.int64),
        gaps=np.zeros(0, np.int64),
        end_seconds=float(seconds[-1]),
        estimated=True,
    )


def _pairs(table: pa.Table, frame: str, seconds: str) -> dict[int, float]:
    return dict(
        zip(table.column(frame).to_pylist(), table.column(seconds).to_pylist(), strict=True)
    )


def make_clock(
    video: dict[str, Any],
    times: FrameTimes,
    wanted: Wanted,
    probe_timecode: Callable[[], str | None],
) -> FrameClock:
    """How the pictures of a video are counted.

    Args:
        video: Its entry of result.json.
        times: Of its pictures.
        wanted: The rate and the start that the user names, if any.
        probe_timecode: Returns the start timecode that the file states; asked only where the result
            does not say.

    Raises:
        UsageError: A timecode does not exist at the rate.
    """
    own = find_rate(times, float(video.get("frame_rate") or 0.0))
    rate = wanted.rate or own
    estimated = (ESTIMATED,) if times.estimated else ()
    if rate is None:
        plainly = np.arange(len(times.seconds))
        return FrameClock(
            None, False, times, plainly, (*estimated, *((UNCOUNTED,) if len(times.gaps) else ()))
        )
    timecode, notes = _timecode(video, rate, wanted, probe_timecode)
    notes += estimated
    if rate != own:
        notes += (
            f"{rate_name(rate)} frames a second are not its own rate: frames are counted from "
            "seconds, to the nearest",
        )
    elif len(times.gaps):
        notes += ("a part of it could not be read: frames behind it are counted from seconds",)
    return FrameClock(timecode, rate == own, times, timeline_frames(times, rate), notes)


def _timecode(
    video: dict[str, Any], rate: Fraction, wanted: Wanted, probe_timecode: Callable[[], str | None]
) -> tuple[Timecode, tuple[str, ...]]:
    """The timecode of a video at a rate, and what to say of it."""
    notes: tuple[str, ...] = ()
    start: str | None = wanted.start
    if not start and wanted.timed:
        start = video.get(START_TIMECODE)
        start = probe_timecode() if start is None else start
        if not start:
            why = "has no start timecode" if start == "" else "cannot be reached for its timecode"
            notes = (f"it {why}, so it starts at {ZERO}: --start names another",)
    drop = wanted.drop if wanted.drop is not None else (rate in DROPPED and is_drop(start or ""))
    timecode = Timecode(rate, drop)
    if not start:
        if rate in DROPPED and wanted.drop is None and wanted.timed:
            notes += ("counted in non-drop frame: --drop-frame counts as broadcasters do",)
        return timecode, notes
    try:
        return Timecode(rate, drop, timecode.count(start)), notes
    except UsageError as error:
        if wanted.start:
            raise
        return timecode, (*notes, f"its own {error}; so it starts at {ZERO}")


def _probe_timecode(uri: str, config: RunConfig) -> str | None:
    """The start timecode that a file states; empty: none; None: the file cannot be reached."""
    try:
        return probe(open_source(uri, "", config.s3), config.isolation).timecode or ""
    except (MediaError, StorageError, UsageError, OSError):
        return None
