"""A title as its page shows it, made from its tables; it knows nothing of HTML or storage."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, NamedTuple

import pyarrow as pa

from vcn_ray.errors import ShapeError
from vcn_ray.report.choose import Row, best_unknown, choose, fill
from vcn_ray.report.face_images import Album, read_crops
from vcn_ray.report.notes import (
    Listing,
    PackView,
    RejectedView,
    WarningView,
    rejected_text,
    view_config,
    view_listings,
    view_pack,
    view_rejected,
    view_warnings,
)
from vcn_ray.report.people import Cast, PersonView, TrackView, view_people, view_track
from vcn_ray.report.spans import Appearance, Bar, Film, Tick, VideoView, least_gap, union_seconds
from vcn_ray.report.words import count, length, percent


class TitleTables(NamedTuple):
    """The tables of a title's result, and of all its videos."""

    people: pa.Table  # schema PEOPLE
    tracks: pa.Table  # schema RESULT_TRACKS
    appearances: pa.Table  # schema APPEARANCES
    merges: pa.Table  # schema MERGES
    shots: pa.Table  # schema SHOTS
    crops: pa.Table  # schema CROPS; rows without a picture may be missing


@dataclass(frozen=True, slots=True)
class Timeline:
    """The axis that all timelines of the page share."""

    seconds: float
    ticks: list[Tick]
    cuts: str  # SVG path in a box 1000 wide and 1 high
    cut_count: int
    unknown: list[Bar]
    joined: str  # how near appearances share a bar; empty: each has its own


@dataclass(frozen=True, slots=True)
class Unknown:
    """The tracks that were left out of every person."""

    listed: list[TrackView]  # best first
    tracks: int  # those not listed included
    usual_quality: float | None  # median of the other tracks


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures at the top of the page."""

    length: str
    screen: str  # time with any face on screen
    screen_share: str
    screen_seconds: float
    shots: int
    tracks: int


@dataclass(frozen=True, slots=True)
class TitleView:
    """Everything a title's page shows; texts are plain and not yet escaped."""

    title: str
    title_id: str
    names_key: str  # where the browser keeps typed names; changes with the people
    summary: Summary
    videos: list[VideoView]
    timeline: Timeline
    people: list[PersonView]
    unknown: Unknown
    images: list[str]  # base64 JPEG
    bar_images: Mapping[str, int]  # track id -> picture of its bar
    left_out: list[str]  # what the page leaves out to stay light
    warnings: list[WarningView]
    rejected: list[RejectedView]
    rejected_text: str  # how many altogether, in words
    pack: PackView
    listings: list[Listing]
    config: str  # JSON


def build_view(
    result: Mapping[str, Any], tables: TitleTables, rejected: Mapping[str, int]
) -> TitleView:
    """Make the view of a title.

    Args:
        result: `result.json`.
        tables: The title's tables.
        rejected: Faces found and not used, by reason (METHOD 1.3).

    Raises:
        ShapeError: A track belongs to no video of the title, or to no person of the table.
    """
    film = Film(result["videos"], tables.shots.to_pylist())
    rows = _ordered_tracks(tables.tracks, film)
    cast = _cast(tables, film, rows)
    nobody = [_appearance(row) for row in rows if row["person_id"] is None]
    gap = least_gap(film, [*cast.appearances.values(), nobody])
    cast = replace(cast, gap_seconds=gap)
    listed = best_unknown(rows)
    fill(cast.album, cast.choices, listed)
    people = view_people(cast)
    timeline = Timeline(
        film.seconds,
        film.ticks(),
        film.cuts_path(),
        len(film.cuts),
        film.bars(nobody, gap),
        length(math.ceil(gap)) if gap > 0 else "",
    )
    return TitleView(
        title=str(result["title"]),
        title_id=str(result["title_id"]),
        names_key=_names_key(str(result["title_id"]), rows),
        summary=_summary(cast, nobody, tables.shots.num_rows),
        videos=film.videos,
        timeline=timeline,
        people=people,
        unknown=Unknown(
            [view_track(row, film, cast.album) for row in listed], len(nobody), _usual_quality(rows)
        ),
        images=cast.album.images,
        bar_images=_bar_images(
            [*timeline.unknown, *(b for p in people for b in p.bars)], cast.album
        ),
        left_out=_left_out(cast, people, len(nobody) - len(listed)),
        warnings=view_warnings(result),
        rejected=view_rejected(rejected),
        rejected_text=rejected_text(rejected, result.get("counts", {}).get("faces")),
        pack=view_pack(result),
        listings=view_listings(result),
        config=view_config(result),
    )


def _ordered_tracks(tracks: pa.Table, film: Film) -> list[Row]:
    rows: list[Row] = tracks.to_pylist()
    strangers = sorted({row["video_id"] for row in rows} - set(film.order))
    if strangers:
        raise ShapeError(
            f"tracks need a video of the result, {sorted(film.order)}, got {strangers[:3]}"
        )
    return sorted(rows, key=lambda row: (film.order[row["video_id"]], row["start_frame"]))


def _cast(tables: TitleTables, film: Film, rows: list[Row]) -> Cast:
    persons = sorted(
        tables.people.to_pylist(), key=lambda row: (-row["screen_seconds"], row["person_id"])
    )
    names = {row["person_id"] for row in persons}
    strangers = ({row["person_id"] for row in rows} - {None}) ^ names
    if strangers:
        raise ShapeError(
            f"people and tracks need the same persons, got {sorted(strangers)[:3]} on one side only"
        )
    own: dict[str, list[Row]] = {name: [] for name in names}
    for row in rows:
        if row["person_id"] is not None:
            own[row["person_id"]].append(row)
    seen: dict[str, list[Appearance]] = {name: [] for name in names}
    for row in tables.appearances.to_pylist():
        seen[row["person_id"]].append(_appearance(row))
    pictures = read_crops(tables.crops)
    tracks = {row["track_id"]: row for row in rows}
    merges = _merges_by_person(tables.merges.to_pylist(), tracks)
    choices = []
    for person in persons:
        name = person["person_id"]
        choices.append(choose(person, own[name], merges.get(name, []), pictures))
    return Cast(
        film=film,
        album=Album(tables.crops, pictures),
        choices=choices,
        tracks=tracks,
        appearances=seen,
    )


def _merges_by_person(merges: list[Row], tracks: Mapping[str, Row]) -> dict[str, list[Row]]:
    """Group merges by the person they made; one that a later step took back belongs to nobody."""
    found: dict[str, list[Row]] = {}
    for row in merges:
        left, right = (tracks[row[f"{side}_track_id"]]["person_id"] for side in ("left", "right"))
        if left is not None and left == right:
            found.setdefault(left, []).append(row)
    return found


def _appearance(row: Row) -> Appearance:
    return Appearance(row["video_id"], row["start_seconds"], row["end_seconds"], row["track_id"])


def _names_key(title_id: str, rows: list[Row]) -> str:
    """Name the place of typed names: another one as soon as any track changes its person."""
    pairs = sorted((row["track_id"], row["person_id"] or "") for row in rows)
    return f"vcn-names:{title_id}:{hashlib.sha256(repr(pairs).encode()).hexdigest()[:12]}"


def _summary(cast: Cast, nobody: list[Appearance], shots: int) -> Summary:
    seconds = union_seconds([*(item for row in cast.appearances.values() for item in row), *nobody])
    total = cast.film.seconds
    return Summary(
        length=length(total),
        screen=length(seconds),
        screen_share=percent(min(1.0, seconds / total) if total > 0 else 0.0),
        screen_seconds=seconds,
        shots=shots,
        tracks=len(cast.tracks),
    )


def _usual_quality(rows: list[Row]) -> float | None:
    found = [row["quality"] for row in rows if row["person_id"] is not None]
    return median(found) if found else None


def _bar_images(bars: list[Bar], album: Album) -> dict[str, int]:
    found = {bar.track_id: album.any_of(bar.track_id) for bar in bars}
    return {track_id: number for track_id, number in found.items() if number is not None}


def _left_out(cast: Cast, people: list[PersonView], unknown: int) -> list[str]:
    tracks = sum(person.tracks_left_out for person in people)
    merges = sum(person.merges_left_out for person in people)
    notes = [
        (cast.album.left_out, "picture", "in crops.parquet"),
        (tracks, "shorter track", "in tracks.parquet"),
        (unknown, "unknown track", "in tracks.parquet"),
        (merges, "merge", "in merges.parquet"),
    ]
    return [f"{count(number, noun)} ({where})" for number, noun, where in notes if number > 0]
