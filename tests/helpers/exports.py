"""Videos with known frames for tests of exports: in memory, and as a run leaves them in storage."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from tests.helpers.corrections import TITLE_ID, VIDEO, Seen, write_title
from vcn_ray.exports.frame_clock import FrameClock, FrameTimes, timeline_frames
from vcn_ray.exports.ranges import ExportVideo, Person, Range, TrackBoxes, in_order
from vcn_ray.exports.timecode import Timecode
from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import make_table
from vcn_ray.records import F64
from vcn_ray.schema import FRAMES

FILM, NTSC, NTSC_60 = Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)
RATES = [
    (FILM, False),
    (Fraction(24), False),
    (Fraction(25), False),
    (NTSC, True),
    (NTSC, False),
    (Fraction(30), False),
    (Fraction(50), False),
    (NTSC_60, True),
    (NTSC_60, False),
]
"""Rates, and whether they are counted in drop frame."""

STARTS = ["00:00:00:00", "01:00:00:00"]

HOSTILE = [
    'Ann "The Boss" Lee',
    "Lee, Ann",
    "Ann\tLee",
    "Ann | Lee |D:7",
    "Ann --> Lee",
    "Ann \U0001f3ac Lee",
    "=1+1",
    "<b>&amp;</b>",
    "* LOC: x",
    "x" * 300,
]
"""Names that mean something to a format."""

MINUTES = 22  # longer than two gaps of ten minutes in drop frame


def even_times(count: int, rate: Fraction, offset: float = 0.0) -> FrameTimes:
    """The pictures of a video of constant rate."""
    seconds: F64 = np.arange(count) / float(rate) + offset
    size = np.full(count, 640)
    end = float(seconds[-1] + 1 / float(rate)) if count else 0.0
    return FrameTimes(seconds, size, size // 16 * 9, np.zeros(0, np.int64), end)


def person(number: int = 1, name: str = "") -> Person:
    return Person(f"p{number:03d}", name, number)


def spans_of(rate: Fraction, seed: int = 0) -> list[tuple[int, int]]:
    """Ranges of frames: shortest, around minutes and tens of them, and at random."""
    rng = random.Random(seed)
    nominal, last = round(rate), int(60 * MINUTES * rate)
    edges = [round(60 * minute * nominal) for minute in (1, 2, 10, 11, 20)]
    spans = [(0, 1), (0, last), (last - 1, last)]
    spans += [(edge - 3, edge - 3 + step) for edge in edges for step in (1, 2, 3, 4, 8)]
    starts = [rng.randrange(last - 300) for _ in range(60)]
    return spans + [(start, start + rng.randrange(1, 300)) for start in starts]


def video(
    rate: Fraction,
    drop: bool = False,
    start: str = "00:00:00:00",
    spans: Sequence[tuple[int, int]] = ((0, 1),),
    names: Sequence[str] = ("",),
    title: str = "A Film",
) -> ExportVideo:
    """A video of MINUTES minutes in which people are seen; the n-th span is of the n-th name."""
    times = even_times(int(60 * MINUTES * rate), rate)
    timecode = Timecode(rate, drop)
    timecode = Timecode(rate, drop, timecode.count(start))
    people = [person(number, name) for number, name in enumerate(names, start=1)]
    ranges = [
        Range(
            people[row % len(people)],
            first,
            end,
            first / float(rate),
            end / float(rate),
            (f"s{row:04d}",),
            (f"s{row:04d}-t00",),
        )
        for row, (first, end) in enumerate(spans)
    ]
    return ExportVideo(
        title_id="a-film-0123456789ab",
        title=title,
        video_id="film-0123456789ab",
        uri="/films/film.mov",
        name="film.mov",
        width=640,
        height=360,
        clock=FrameClock(timecode, True, times, timeline_frames(times, rate)),
        ranges=tuple(in_order(ranges)),
    )


def spans_in(video: ExportVideo) -> list[tuple[int, int]]:
    """First frame and one past the last of each range, in order."""
    return [(seen.start_frame, seen.end_frame) for seen in video.ranges]


def track(
    name: str, who: Person | None, pictures: Sequence[int], measured: Sequence[bool], left: float
) -> TrackBoxes:
    """A face of 20 x 30 pixels."""
    count = len(pictures)
    return TrackBoxes(
        track_id=name,
        person=who,
        picture=np.array(pictures, np.int64),
        seconds=np.array(pictures) / 25.0,
        boxes=np.tile(np.array([left, 10.5, left + 20, 40.5], np.float32), (count, 1)),
        scores=np.full(count, 0.75, np.float32),
        measured=np.array(measured),
    )


def write_frames(
    storage: Storage, folder: str, parts: Sequence[F64], lost: Sequence[int] = ()
) -> None:
    """Commit the pictures of a video as step `detect` does, a part a segment.

    Args:
        storage: The output.
        folder: Below it.
        parts: Seconds of the pictures of each segment.
        lost: Segments that could not be read.
    """
    writer = FolderWriter(storage, folder)
    read = [index for index in range(len(parts)) if index not in lost]
    for index in read:
        writer.write_table(f"frames-{index:05d}.parquet", _frames(index, parts[index]))
    failures = [{"segment": index, "reason": "decode_error"} for index in lost]
    writer.commit({"read": read, "segments": len(parts), "failures": failures})


def _frames(segment: int, seconds: F64) -> pa.Table:
    ends = [*seconds[1:].tolist(), float(seconds[-1] + np.diff(seconds[-2:]).sum())]
    rows: list[dict[str, Any]] = [
        {
            "segment": segment,
            "frame_in_segment": row,
            "seconds": float(start),
            "end_seconds": end,
            "width_pixels": 640,
            "height_pixels": 360,
            "analysed": True,
            "layout": b"",
            "histogram": b"",
            "motion": None,
            "thumbnail": None,
        }
        for row, (start, end) in enumerate(zip(seconds, ends, strict=True))
    ]
    return make_table(rows, FRAMES)


def write_film(
    storage: Storage,
    seen: Sequence[Seen],
    rate: Fraction = Fraction(25),
    timecode: str | None = "",
    seconds: F64 | None = None,
    title: str = "Film",
    title_id: str = TITLE_ID,
    video_id: str = VIDEO,
) -> None:
    """Commit a title of one video of 40 s, cut into two segments, with the times of its pictures.

    Args:
        storage: The output.
        seen: Its tracks.
        rate: Of its pictures, at even steps.
        timecode: What its file states; None: the result is of a version that did not look.
        seconds: Of its pictures, if they are at no even steps.
        title: Its name.
        title_id: Its id.
        video_id: Of its video.
    """
    every = even_times(int(40 * rate), rate).seconds if seconds is None else seconds
    folder = f"videos/{video_id}/detect-000000000001"
    write_frames(storage, folder, np.array_split(every, 2))
    facts: dict[str, Any] = {"detect": folder, "frame_rate": float(rate), "uri": "/no/film.mov"}
    facts |= {"width": 640, "height": 360}
    facts |= {} if timecode is None else {"start_timecode": timecode}
    write_title(
        storage,
        [replace(each, video=video_id) for each in seen],
        title=title,
        facts={video_id: facts},
        title_id=title_id,
    )
