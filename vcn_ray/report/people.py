"""What a page says about each person: times, tracks, merges, company; it knows nothing of HTML."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vcn_ray.report.selection import Album, Choice, Crop, Row, merge_limit, strip
from vcn_ray.report.timeline import Appearance, Bar, TimeAxis
from vcn_ray.report.words import MARK_WORDS, clock, count, number, percent, reason_words, rule_words

MAX_COMPANY_LISTED = 12
"""Other people in the detail panel: those with most shots in common."""

GOLDEN_ANGLE = 137.508
"""Degrees between the hues of neighbours in the list, so that their colours differ clearly."""

Shot = tuple[str, str]
"""Video id and shot id."""


@dataclass(frozen=True, slots=True)
class FaceView:
    """One crop on the page."""

    image: int | None  # number in the album; None: left out
    text: str  # its time


@dataclass(frozen=True, slots=True)
class TrackView:
    """A track in a detail panel or among the tracks of nobody."""

    text: str  # its time
    shot: str
    quality: float  # in [0, 1]
    confidence: float  # in [0, 1]
    reason: str  # why it is of nobody; empty if it is of a person
    faces: list[FaceView]  # best first


@dataclass(frozen=True, slots=True)
class SideView:
    """One of the two groups of a merge."""

    image: int | None
    text: str


@dataclass(frozen=True, slots=True)
class MergeView:
    """One merge of two groups of tracks, and why it was allowed."""

    left: SideView
    right: SideView
    distance: str
    limit: str
    fill: float | None  # distance in per cent of the limit; None if that is no number up to 100


@dataclass(frozen=True, slots=True)
class MergeGroup:
    """Consecutive merges by the same rule."""

    name: str
    text: str  # what the rule merges
    merges: list[MergeView]


@dataclass(frozen=True, slots=True)
class CompanyView:
    """Another person who appears in the same shots."""

    person_id: str
    name: str
    image: int | None
    text: str


@dataclass(frozen=True, slots=True)
class PersonView:
    """One person of the title."""

    person_id: str
    name: str  # by a correction, or their rank, until somebody types another one
    marks: tuple[str, ...]  # what else corrections say
    hue: int  # degrees; the person's colour in timelines
    cover: int | None
    faces: list[FaceView]
    screen: str  # time on screen
    screen_percent: float  # of the title's length
    screen_percent_text: str
    first: str
    tracks: int
    shots: int
    confidence: float
    bars: list[Bar]
    listed: list[TrackView]
    folded: list[TrackView]  # the shorter ones, with one face each
    merges: list[MergeGroup]
    merges_listed: int
    merges_left_out: int
    company: list[CompanyView]


@dataclass(frozen=True, slots=True)
class Cast:
    """The data about a title's people from which their views are made."""

    axis: TimeAxis
    album: Album
    choices: Sequence[Choice]
    tracks: Mapping[str, Row]  # by track id
    appearances: Mapping[str, list[Appearance]]  # by person id
    unknown: list[Appearance]  # of the tracks with a face of nobody
    no_face: list[Appearance]  # of the tracks without a face
    gap_seconds: float  # appearances less than this apart share a bar


def person_views(cast: Cast) -> list[PersonView]:
    """Return the views of all people, most screen time first."""
    shots: dict[str, set[Shot]] = {
        choice.person["person_id"]: {(row["video_id"], row["shot_id"]) for row in choice.tracks}
        for choice in cast.choices
    }
    return [_person_view(cast, rank, shots) for rank in range(len(cast.choices))]


def track_view(row: Row, axis: TimeAxis, album: Album) -> TrackView:
    """Return the view of a track with all its faces."""
    return _track_view(row, axis, album, strip(album, row["track_id"]))


def folded_view(row: Row, axis: TimeAxis, album: Album) -> TrackView:
    """Return the view of a track with its best face on the page."""
    best = album.best(row["track_id"])
    return _track_view(row, axis, album, [best] if best else [])


def _track_view(row: Row, axis: TimeAxis, album: Album, crops: Sequence[Crop]) -> TrackView:
    shot = axis.shot_number.get((row["video_id"], row["shot_id"]))
    return TrackView(
        text=axis.range_text(row["video_id"], row["start_seconds"], row["end_seconds"]),
        shot=f"shot {shot}" if shot else "",
        quality=row["quality"],
        confidence=row["confidence"],
        reason=reason_words(row.get("reason")),
        faces=[FaceView(album.number(crop), clock(crop.seconds, axis.tenths)) for crop in crops],
    )


def _person_view(cast: Cast, rank: int, shots: Mapping[str, set[Shot]]) -> PersonView:
    choice, axis, album = cast.choices[rank], cast.axis, cast.album
    person = choice.person
    person_id = person["person_id"]
    fraction = person["screen_seconds"] / axis.seconds if axis.seconds > 0 else 0.0
    return PersonView(
        person_id=person_id,
        name=_name(person, rank),
        marks=tuple(words for mark, words in MARK_WORDS.items() if person.get(mark)),
        hue=round(250 + GOLDEN_ANGLE * rank) % 360,
        cover=album.number(choice.cover),
        faces=[
            FaceView(
                album.number(crop),
                axis.time_text(cast.tracks[crop.key[0]]["video_id"], crop.seconds),
            )
            for crop in choice.faces
            if album.number(crop) is not None
        ],
        screen=clock(person["screen_seconds"], tenths=person["screen_seconds"] < 10),
        screen_percent=min(100.0, 100 * fraction),
        screen_percent_text=percent(fraction),
        first=axis.time_text(choice.tracks[0]["video_id"], person["first_seconds"]),
        tracks=len(choice.tracks),
        shots=len(shots[person_id]),
        confidence=person["confidence"],
        bars=axis.bars(cast.appearances[person_id], cast.gap_seconds),
        listed=[track_view(row, axis, album) for row in choice.listed.shown],
        folded=[folded_view(row, axis, album) for row in choice.listed.folded],
        merges=_merge_groups(choice.merges, cast),
        merges_listed=len(choice.merges),
        merges_left_out=choice.merges_left_out,
        company=_company(cast, person_id, shots),
    )


def _name(person: Row, rank: int) -> str:
    """The name that a correction gives a person, or else one by their rank in screen time."""
    return person.get("name") or f"Person {rank + 1}"


def _merge_groups(rows: list[Row], cast: Cast) -> list[MergeGroup]:
    groups = itertools.groupby(rows, key=lambda row: (row["round"], row["rule"]))
    return [
        MergeGroup(f"Round {key[0]}", rule_words(key[1]), [_merge_view(row, cast) for row in group])
        for key, group in groups
    ]


def _merge_view(row: Row, cast: Cast) -> MergeView:
    limit, left, right = merge_limit(row), row["left_threshold"], row["right_threshold"]
    text = number(limit)
    if left != right and math.isfinite(left) and math.isfinite(right):
        text += f", the larger of {number(left)} and {number(right)}"
    fits = math.isfinite(limit) and limit > 0 and row["distance"] <= limit
    return MergeView(
        left=_side_view(row["left_track_id"], row["left_tracks"], cast),
        right=_side_view(row["right_track_id"], row["right_tracks"], cast),
        distance=number(row["distance"]),
        limit=text,
        fill=max(2.0, 100 * row["distance"] / limit) if fits else None,
    )


def _side_view(track_id: str, tracks: int, cast: Cast) -> SideView:
    row = cast.tracks[track_id]
    start = cast.axis.time_text(row["video_id"], row["start_seconds"])
    text = (
        f"the track at {start}" if tracks == 1 else f"{count(tracks, 'track')} (first at {start})"
    )
    return SideView(cast.album.best_number(track_id), text)


def _company(cast: Cast, person_id: str, shots: Mapping[str, set[Shot]]) -> list[CompanyView]:
    found: list[tuple[int, CompanyView]] = []
    for rank, choice in enumerate(cast.choices):
        other = choice.person["person_id"]
        together = len(shots[person_id] & shots[other])
        if other != person_id and together:
            view = CompanyView(
                person_id=other,
                name=_name(choice.person, rank),
                image=cast.album.number(choice.cover),
                text=f"{count(together, 'shot')} together",
            )
            found.append((together, view))
    found.sort(key=lambda item: -item[0])
    return [view for _, view in found[:MAX_COMPANY_LISTED]]
