"""Which tracks and crops stand for each person; it knows nothing of time axes or HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vcn_ray.report.face_images import Album, Crop, best, parts, strip

CARD_FACES = 8
"""Faces on a person's card beside the cover, from as many shots as there are."""

STRIP_FACES = 8
"""Crops of one track in the detail panel."""

TRACKS_LISTED = 80
"""Tracks of one person in the detail panel: the longest ones."""

UNKNOWN_LISTED = 60
"""Unknown tracks on a page: the best ones."""

Row = dict[str, Any]
"""A row of the tracks or people table."""


MERGES_LISTED = 80
"""Merges of one person in the detail panel: those nearest to their limit, the most doubtful."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the page shows of a person."""

    person: Row
    tracks: list[Row]  # all of them, in order of time
    cover: Crop | None
    faces: list[Crop]  # best first
    listed: list[Row]  # in order of time
    merges: list[Row]  # in the order they were made
    merges_left_out: int


def choose(
    person: Row, tracks: list[Row], merges: list[Row], crops: Mapping[str, list[Crop]]
) -> Choice:
    """Choose cover, faces, listed tracks and merges of a person.

    Args:
        person: A row of the people table.
        tracks: The person's tracks in order of time.
        merges: The merges that made the person.
        crops: Track id -> crops with a picture.
    """
    cover = _cover(person, tracks, crops)
    doubtful = sorted(merges, key=_doubt, reverse=True)[:MERGES_LISTED]
    return Choice(
        person=person,
        tracks=tracks,
        cover=cover,
        faces=_card_faces(tracks, crops, cover),
        listed=longest(tracks, TRACKS_LISTED),
        merges=sorted(doubtful, key=lambda row: row["step"]),
        merges_left_out=len(merges) - len(doubtful),
    )


def merge_limit(merge: Row) -> float:
    """Return the limit that decided: the larger one (METHOD 4.4); nan where neither is a number."""
    found = [merge[name] for name in ("left_threshold", "right_threshold")]
    return max((value for value in found if math.isfinite(value)), default=math.nan)


def _doubt(merge: Row) -> float:
    limit = merge_limit(merge)
    return float(merge["distance"] / limit) if math.isfinite(limit) and limit > 0 else 0.0


def longest(tracks: Sequence[Row], wanted: int) -> list[Row]:
    """Return the longest tracks, in the order given."""
    ranked = sorted(tracks, key=lambda row: row["start_seconds"] - row["end_seconds"])[:wanted]
    kept = {row["track_id"] for row in ranked}
    return [row for row in tracks if row["track_id"] in kept]


def best_unknown(tracks: Sequence[Row], wanted: int = UNKNOWN_LISTED) -> list[Row]:
    """Return the unknown tracks with the best quality, best first."""
    unknown = [row for row in tracks if row["person_id"] is None]
    return sorted(unknown, key=lambda row: -row["quality"])[:wanted]


def fill(album: Album, choices: Sequence[Choice], unknown: Sequence[Row]) -> None:
    """Give the album everything the page wants to show, most important first.

    Covers come first, then a face of each unknown track, then the cards' faces, then one of every
    track that a strip or a merge shows, then one of every other track, for the timelines; at last
    the other crops of the strips.
    """
    album.add(choice.cover for choice in choices if choice.cover is not None)
    strips = [strip(album.by_track.get(row["track_id"], []), STRIP_FACES) for row in unknown]
    album.add(_by_level(strips, 1))
    album.add(_by_level([choice.faces for choice in choices], CARD_FACES))
    for choice in choices:
        for row in choice.listed:
            strips.append(strip(album.by_track.get(row["track_id"], []), STRIP_FACES))
    album.add(_by_level(strips, 1))
    named = [
        merge[side]
        for choice in choices
        for merge in choice.merges
        for side in ("left_track_id", "right_track_id")
    ]
    every = [row["track_id"] for choice in choices for row in choice.tracks]
    album.add_one_of_each([*named, *every])
    album.add(_by_level(strips, STRIP_FACES))


def _by_level(rows: Sequence[Sequence[Crop]], levels: int) -> list[Crop]:
    """Return the middle crop of every row, then the second most central of every row, and so on."""
    central = [[row[i] for i in _from_middle(len(row))] for row in rows]
    return [row[level] for level in range(levels) for row in central if level < len(row)]


def _from_middle(length: int) -> list[int]:
    return sorted(range(length), key=lambda i: abs(2 * i - length + 1))


def _cover(person: Row, tracks: Sequence[Row], crops: Mapping[str, list[Crop]]) -> Crop | None:
    wanted = (person["cover_track_id"], person["cover_crop"])
    for crop in crops.get(wanted[0], []):
        if crop.key == wanted:
            return crop
    ranked = sorted(tracks, key=lambda row: -row["quality"])
    return next((best(crops[row["track_id"]]) for row in ranked if row["track_id"] in crops), None)


def _card_faces(
    tracks: Sequence[Row], crops: Mapping[str, list[Crop]], cover: Crop | None
) -> list[Crop]:
    """Choose the best face of each of several stretches of the person's shots, best first."""
    quality = {row["track_id"]: row["quality"] for row in tracks}

    def rank(crop: Crop) -> tuple[float, float]:
        return quality[crop.key[0]], crop.value

    by_shot: dict[tuple[str, str], Crop] = {}
    for row in tracks:
        rest = [crop for crop in crops.get(row["track_id"], []) if crop != cover]
        found = best(rest)
        shot = (row["video_id"], row["shot_id"])
        if found and (shot not in by_shot or rank(found) > rank(by_shot[shot])):
            by_shot[shot] = found
    chosen = [max(run, key=rank) for run in parts(list(by_shot.values()), CARD_FACES)]
    # Few shots: further moments of the same tracks fill the row.
    spare = [
        crop
        for row in tracks
        for crop in strip(crops.get(row["track_id"], []), CARD_FACES)
        if crop != cover and crop not in chosen
    ]
    missing = CARD_FACES - len(chosen)
    return sorted(chosen, key=rank, reverse=True) + strip(spare, missing)
