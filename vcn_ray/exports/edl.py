"""Markers for DaVinci Resolve and Avid as lines of text: rows to text, a file for each video.

All three are point markers in the timecode of the video. Resolve's and Avid's own carry a length,
so one marker is a range; a `* LOC:` of a CMX 3600 list has none, so a range is a pair there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

from vcn_ray.exports.ranges import ExportVideo, Range

LINE = "\r\n"  # as the tools of the 1980s that defined the format, and Windows, expect
REEL = "001"
BAR, BAR_WRITTEN = "|", "\u00a6"  # a broken bar looks alike, and separates nothing
USER = "vcn-ray"

RESOLVE_COLOURS = (
    "Blue",
    "Green",
    "Red",
    "Yellow",
    "Cyan",
    "Pink",
    "Purple",
    "Fuchsia",
    "Rose",
    "Lavender",
    "Sky",
    "Mint",
    "Lemon",
    "Sand",
    "Cocoa",
    "Cream",
)
AVID_COLOURS = ("red", "green", "blue", "cyan", "magenta", "yellow")
"""A person has one colour; after the last one they begin anew."""

COMES, GOES = "GREEN", "RED"
"""Locators of the first and of the last frame of a range, in Avid's colours."""


def without_bars(label: str) -> str:
    """A label as Resolve's markers can hold it: bars separate their fields."""
    return label.replace(BAR, BAR_WRITTEN)


def write_resolve(videos: Sequence[ExportVideo]) -> bytes:
    """A list whose import adds a marker with a length for each range.

    Resolve keeps one marker on a frame, so those that begin together are one: with all names, the
    length of the longest, and the length of each in its note.
    """
    (video,) = videos
    lines = _head(video)
    for number, seen in enumerate(by_frame(video.ranges), start=1):
        first = seen[0]
        marker = _event(video, number, first.start_frame, first.start_frame + 1)
        colour = RESOLVE_COLOURS[(first.person.number - 1) % len(RESOLVE_COLOURS)]
        label = without_bars(" + ".join(dict.fromkeys(each.person.label for each in seen)))
        frames = max(each.frames for each in seen)
        # The note comes first; an id begins with a letter, as a note has to.
        note = first.person.person_id
        if len(seen) > 1:
            note = ", ".join(_length(each) for each in seen)
        lines += [marker, f"{note} |C:ResolveColor{colour} |M:{label} |D:{frames}", ""]
    return _text(lines)


def _length(seen: Range) -> str:
    return f"{seen.person.person_id} {seen.frames} {'frame' if seen.frames == 1 else 'frames'}"


def by_frame(ranges: Iterable[Range]) -> list[list[Range]]:
    """Ranges, which are in order, together with others that begin at the same frame."""
    return [list(each) for _, each in groupby(ranges, key=attrgetter("start_frame"))]


def write_locators(videos: Sequence[ExportVideo]) -> bytes:
    """A list of one event, the whole video, with a pair of locators for each range."""
    (video,) = videos
    places = [(seen.start_frame, order, COMES, seen) for order, seen in enumerate(video.ranges)]
    places += [(seen.end_frame - 1, order, GOES, seen) for order, seen in enumerate(video.ranges)]
    places.sort(key=lambda place: (place[0], place[2] == GOES, place[1]))
    lines = [
        *_head(video),
        _event(video, 1, 0, video.frames),
        f"* FROM CLIP NAME: {video.name}",
        *(_locator(video, frame, colour, seen) for frame, _, colour, seen in places),
    ]
    return _text(lines)


def write_avid(videos: Sequence[ExportVideo]) -> bytes:
    """Lines of tab-separated fields, without a header, as Media Composer's Markers window reads."""
    (video,) = videos
    lines = []
    for seen in video.ranges:
        colour = AVID_COLOURS[(seen.person.number - 1) % len(AVID_COLOURS)]
        place = video.timecode.at(seen.start_frame)
        lines.append("\t".join([USER, place, "V1", colour, seen.person.label, str(seen.frames)]))
    return _text(lines)


def _head(video: ExportVideo) -> list[str]:
    mode = "DROP FRAME" if video.timecode.drop else "NON-DROP FRAME"
    return [f"TITLE: {video.name}", f"FCM: {mode}", ""]


def _event(video: ExportVideo, number: int, start: int, end: int) -> str:
    """A line of an event that uses frames start <= f < end, and puts them at their own place."""
    span = f"{video.timecode.at(start)} {video.timecode.at(end)}"
    return f"{number:03d}  {REEL}      V     C        {span} {span}"


def _locator(video: ExportVideo, frame: int, colour: str, seen: Range) -> str:
    return f"* LOC: {video.timecode.at(frame)} {colour:<7} {seen.person.label}"


def _text(lines: list[str]) -> bytes:
    return "".join(line + LINE for line in lines).encode()
