"""What a page says of each person: times, tracks, merges, company; it knows nothing of HTML."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vcn_ray.report.choose import STRIP_FACES, Choice, Row, merge_limit
from vcn_ray.report.face_images import Album, strip
from vcn_ray.report.spans import Appearance, Bar, Film
from vcn_ray.report.words import clock, count, number, percent, rule_words

SHARED_LISTED = 12
"""Other people in the detail panel: those with most shots in common."""


@dataclass(frozen=True, slots=True)
class FaceView:
    """One crop on the page."""

    image: int | None  # number in the album; None: left out
    text: str  # when it is seen


@dataclass(frozen=True, slots=True)
class TrackView:
    """A track in a detail panel or among the unknown."""

    track_id: str
    text: str  # when it is seen
    shot: str
    quality: float  # in [0, 1]
    confidence: float
    crops: int
    faces: list[FaceView]


@dataclass(frozen=True, slots=True)
class SideView:
    """One side of a merge."""

    image: int | None
    text: str


@dataclass(frozen=True, slots=True)
class MergeView:
    """Why two groups of tracks are one person."""

    left: SideView
    right: SideView
    distance: str
    limit: str
    fill: float | None  # distance in per cent of the limit; None where there is none to compare


@dataclass(frozen=True, slots=True)
class MergeGroup:
    """Merges that followed one another by the same rule."""

    name: str
    text: str  # what the rule is
    merges: list[MergeView]


@dataclass(frozen=True, slots=True)
class SharedView:
    """Another person seen in the same shots."""

    person_id: str
    name: str
    image: int | None
    text: str


@dataclass(frozen=True, slots=True)
class PersonView:
    """One person of the title."""

    person_id: str
    name: str  # until somebody types a better one
    hue: int  # degrees; the person's colour in timelines
    cover: int | None
    faces: list[FaceView]
    screen: str  # time on screen
    share: float  # per cent of the film
    share_text: str
    first: str
    tracks: int
    shots: int
    confidence: float
    bars: list[Bar]
    listed: list[TrackView]
    tracks_left_out: int
    merges: list[MergeGroup]
    merges_listed: int
    merges_left_out: int
    shared: list[SharedView]


@dataclass(frozen=True, slots=True)
class Cast:
    """Everything known of a title's people while their views are made."""

    film: Film
    album: Album
    choices: Sequence[Choice]
    tracks: Mapping[str, Row]  # by track id
    appearances: Mapping[str, list[Appearance]]  # by person id
    gap_seconds: float = 0.0  # appearances nearer than this share a bar


def view_people(cast: Cast) -> list[PersonView]:
    """Return the views of all people, most screen time first."""
    shots = {
        choice.person["person_id"]: {(row["video_id"], row["shot_id"]) for row in choice.tracks}
        for choice in cast.choices
    }
    return [_person(cast, row, shots) for row in range(len(cast.choices))]


def view_track(row: Row, film: Film, album: Album, faces: int = STRIP_FACES) -> TrackView:
    """Return the view of a track with up to `faces` crops."""
    shot = film.shot_number.get((row["video_id"], row["shot_id"]))
    crops = strip(album.by_track.get(row["track_id"], []), faces)
    return TrackView(
        track_id=row["track_id"],
        text=film.where(row["video_id"], row["start_seconds"], row["end_seconds"]),
        shot=f"shot {shot}" if shot else "",
        quality=row["quality"],
        confidence=row["confidence"],
        crops=row["crops"],
        faces=[FaceView(album.number(crop), clock(crop.seconds, film.tenths)) for crop in crops],
    )


def _person(cast: Cast, position: int, shots: Mapping[str, set[tuple[str, str]]]) -> PersonView:
    choice, film, album = cast.choices[position], cast.film, cast.album
    person = choice.person
    person_id = person["person_id"]
    share = person["screen_seconds"] / film.seconds if film.seconds > 0 else 0.0
    return PersonView(
        person_id=person_id,
        name=person_name(position),
        # The golden angle keeps neighbours in the list far apart in colour.
        hue=round(250 + 137.508 * position) % 360,
        cover=album.number(choice.cover),
        faces=[
            FaceView(
                album.number(crop), film.moment(cast.tracks[crop.key[0]]["video_id"], crop.seconds)
            )
            for crop in choice.faces
            if album.number(crop) is not None
        ],
        screen=clock(person["screen_seconds"]),
        share=min(100.0, 100 * share),
        share_text=percent(share),
        first=film.moment(choice.tracks[0]["video_id"], person["first_seconds"]),
        tracks=len(choice.tracks),
        shots=len(shots[person_id]),
        confidence=person["confidence"],
        bars=film.bars(cast.appearances.get(person_id, []), cast.gap_seconds),
        listed=[view_track(row, film, album) for row in choice.listed],
        tracks_left_out=len(choice.tracks) - len(choice.listed),
        merges=_merge_groups(choice.merges, cast),
        merges_listed=len(choice.merges),
        merges_left_out=choice.merges_left_out,
        shared=_shared(cast, person_id, shots),
    )


def person_name(position: int) -> str:
    """Name a person until somebody types a better one; `position` 0 has most screen time."""
    return f"Person {position + 1}"


def _merge_groups(rows: list[Row], cast: Cast) -> list[MergeGroup]:
    groups = itertools.groupby(rows, key=lambda row: (row["round"], row["rule"]))
    return [
        MergeGroup(f"Round {key[0]}", rule_words(key[1]), [_merge(row, cast) for row in group])
        for key, group in groups
    ]


def _merge(row: Row, cast: Cast) -> MergeView:
    limit, left, right = merge_limit(row), row["left_threshold"], row["right_threshold"]
    text = number(limit)
    if left != right and math.isfinite(left) and math.isfinite(right):
        text += f", the larger of {number(left)} and {number(right)}"
    fits = math.isfinite(limit) and limit > 0 and row["distance"] <= limit
    return MergeView(
        left=_side(row["left_track_id"], row["left_tracks"], cast),
        right=_side(row["right_track_id"], row["right_tracks"], cast),
        distance=number(row["distance"]),
        limit=text,
        fill=max(2.0, 100 * row["distance"] / limit) if fits else None,
    )


def _side(track_id: str, tracks: int, cast: Cast) -> SideView:
    row = cast.tracks[track_id]
    at = cast.film.moment(row["video_id"], row["start_seconds"])
    text = f"the track at {at}" if tracks == 1 else f"{count(tracks, 'track')}, first at {at}"
    return SideView(cast.album.any_of(track_id), text)


def _shared(
    cast: Cast, person_id: str, shots: Mapping[str, set[tuple[str, str]]]
) -> list[SharedView]:
    found: list[tuple[int, Any]] = []
    for position, choice in enumerate(cast.choices):
        other = choice.person["person_id"]
        together = len(shots[person_id] & shots[other])
        if other != person_id and together:
            view = SharedView(
                other,
                person_name(position),
                cast.album.number(choice.cover),
                count(together, "shot") + " together",
            )
            found.append((together, view))
    found.sort(key=lambda item: -item[0])
    return [view for _, view in found[:SHARED_LISTED]]
