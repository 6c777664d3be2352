"""The one table behind all exports: who is seen where, in frames and seconds; it reads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from operator import attrgetter

from vcn_ray.errors import UsageError
from vcn_ray.exports.frame_clock import FrameClock
from vcn_ray.exports.timecode import Timecode
from vcn_ray.records import F32, F64, I64, Mask
from vcn_ray.rows.spans import is_joined

NUMBERED = re.compile(r"p(\d+)")  # the ids that clustering gives
ACTS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
NO_RATE = (
    "has no constant frame rate that editing tools know, so it has no exact timecode: make a copy "
    "that has one by ffmpeg -i VIDEO -vf fps=25 -c:a copy COPY, and index that; or name the rate "
    "of your timeline, such as --rate 25, and frames are counted in it from seconds; csv and "
    "webvtt hold seconds without it"
)


def plain(text: str) -> str:
    """A text on one line: control characters, which files of lines and XML cannot hold, are spaces.

    Marks within an emoji stay.
    """
    return " ".join(ACTS.sub(" ", text).split())


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody to export.

    Attributes:
        person_id: In its title.
        name: As reviewers named the person; empty: nobody did.
        number: 3 of p003; those whom a reviewer made count on from the last.
    """

    person_id: str
    name: str
    number: int

    @property
    def label(self) -> str:
        """What people read: the name, or else the id."""
        return self.name or self.person_id


def number_people(names: dict[str, str | None]) -> dict[str, Person]:
    """The people of a title by their ids, with one number each."""
    numbers = {
        person_id: int(found[1]) for person_id in names if (found := NUMBERED.fullmatch(person_id))
    }
    last = max(numbers.values(), default=0)
    for person_id in sorted(names.keys() - numbers.keys()):
        numbers[person_id] = last = last + 1
    return {
        person_id: Person(person_id, plain(name or ""), numbers[person_id])
        for person_id, name in names.items()
    }


@dataclass(frozen=True, slots=True)
class Range:
    """A person is seen from one frame to another."""

    person: Person
    start_frame: int  # of the timeline, see FrameClock
    end_frame: int  # one past the last
    start_seconds: float  # as players show it
    end_seconds: float
    shots: tuple[str, ...]
    tracks: tuple[str, ...]

    @property
    def frames(self) -> int:
        """Its length."""
        return self.end_frame - self.start_frame


def join_ranges(ranges: Iterable[Range], gap_seconds: float) -> list[Range]:
    """Join ranges of one person with at most so many seconds between them; in order of time."""
    joined: list[Range] = []
    open_ranges: dict[str, Range] = {}  # the last one of each person
    for seen in sorted(ranges, key=attrgetter("start_seconds")):
        last = open_ranges.get(seen.person.person_id)
        if last and is_joined(last.end_seconds, seen.start_seconds, gap_seconds):
            seen = _join(last, seen)
        elif last:
            joined.append(last)
        open_ranges[seen.person.person_id] = seen
    return in_order([*joined, *open_ranges.values()])


def _join(first: Range, second: Range) -> Range:
    return replace(
        first,
        end_frame=max(first.end_frame, second.end_frame),
        end_seconds=max(first.end_seconds, second.end_seconds),
        shots=tuple(dict.fromkeys((*first.shots, *second.shots))),
        tracks=(*first.tracks, *second.tracks),
    )


def in_order(ranges: Iterable[Range]) -> list[Range]:
    """Ranges by their start, then by person."""
    return sorted(ranges, key=lambda seen: (seen.start_frame, seen.person.number, seen.end_frame))


@dataclass(frozen=True, slots=True, eq=False)
class TrackBoxes:
    """The box of one track in every picture between its first and its last face."""

    track_id: str
    person: Person | None  # None: of nobody
    picture: I64  # (n,) number of the picture in the video, as frames are counted
    seconds: F64  # (n,)
    boxes: F32  # (n, 4) x0 y0 x1 y1, displayed pixels, within the picture
    scores: F32  # (n,) of the detector, interpolated like the boxes
    measured: Mask  # (n,) true where the detector found the face


@dataclass(frozen=True, slots=True, eq=False)
class ExportVideo:
    """A video of a title, and who of those chosen is seen in it."""

    title_id: str
    title: str
    video_id: str
    uri: str
    name: str  # the file's
    width: int  # displayed pixels
    height: int
    clock: FrameClock
    ranges: tuple[Range, ...] = ()  # by start
    boxes: tuple[TrackBoxes, ...] = ()  # by start; only where a format asks for them

    @property
    def frames(self) -> int:
        """Frames of its timeline."""
        return self.clock.length

    @property
    def timecode(self) -> Timecode:
        """Of its frames.

        Raises:
            UsageError: It has none, so a rate has to be named.
        """
        if self.clock.timecode is None:
            raise UsageError(f"{self.name} {NO_RATE}")
        return self.clock.timecode

    @property
    def rate(self) -> Fraction:
        """Frames per second of its timeline; as `timecode`."""
        return self.timecode.rate


def labels(videos: Iterable[ExportVideo]) -> Iterator[str]:
    """All labels that an export holds."""
    seen: dict[str, None] = {}
    for video in videos:
        seen.update(dict.fromkeys(found.person.label for found in video.ranges))
        seen.update(dict.fromkeys(b.person.label for b in video.boxes if b.person))
    yield from seen
