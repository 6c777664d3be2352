"""The content of a title's page, made from its tables; it knows nothing of HTML or storage."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median

import pyarrow as pa

from vcn_ray.errors import ShapeError
from vcn_ray.report.notes import MisfitView, Notes, build_notes
from vcn_ray.report.people import Cast, PersonView, TrackView, folded_view, person_views, track_view
from vcn_ray.report.selection import Album, Listed, Row, best_first, choose, fill_album, read_crops
from vcn_ray.report.timeline import (
    Appearance,
    Bar,
    Tick,
    TimeAxis,
    VideoView,
    min_gap,
    union_seconds,
)
from vcn_ray.report.words import brief, count, length, percent, reason_words, sentence
from vcn_ray.rows.result_rows import NO_FACE, UNKNOWN
from vcn_ray.run.reviewed import ReviewedTitle
from vcn_ray.run.stored import StoredTitle
from vcn_ray.run.summary import count_tracks


@dataclass(frozen=True, slots=True)
class Timeline:
    """The axis that all timelines of the page share, and the bars of the tracks of nobody."""

    seconds: float
    ticks: list[Tick]
    cuts: str  # SVG path in a box 1000 wide and 1 high
    cut_count: int
    unknown: list[Bar]
    no_face: list[Bar]
    gap: str  # appearances less than this apart share a bar; empty: each has its own


@dataclass(frozen=True, slots=True)
class Outside:
    """Tracks of no person: unknown faces, or no faces at all."""

    listed: list[TrackView]  # best first
    folded: list[TrackView]  # the others, with one face each
    tracks: int
    seconds: str  # the sum of their lengths
    share: str  # of the lengths of all tracks
    reasons: list[tuple[str, int]]  # how they look, and how many do; most frequent first


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures at the top of the page."""

    length: str
    screen: str  # time with any face on screen
    screen_percent: str
    shots: int
    tracks: int
    shares: str  # a sentence about people, unknown and no face; empty without tracks


@dataclass(frozen=True, slots=True)
class TitleView:
    """Everything a title's page shows; texts are plain and not yet escaped."""

    title: str
    title_id: str
    names_key: str  # under which the browser keeps typed names; changes with the people
    summary: Summary
    videos: list[VideoView]
    timeline: Timeline
    people: list[PersonView]
    unknown: Outside
    no_face: Outside
    usual_quality: float | None  # median of the tracks that belong to a person
    images: list[str]  # base64 JPEG
    bar_images: Mapping[str, int]  # track id -> picture of its bar
    left_out: list[str]  # what the page leaves out to stay small
    result: str  # name of the result's folder
    corrections: int  # that count
    misfits: list[MisfitView]
    notes: Notes


def build_view(title: StoredTitle, reviewed: ReviewedTitle | None = None) -> TitleView:
    """Make the view of a title.

    Args:
        title: The title.
        reviewed: The same after corrections; None: there are none.

    Raises:
        ShapeError: A track belongs to no video of the title, or to no person of the people table.
    """
    title = title if reviewed is None else _corrected(title, reviewed)
    axis = TimeAxis(title.summary["videos"], title.shots.to_pylist())
    rows = _sorted_tracks(title.tracks, axis)
    cast = _cast(title, axis, rows)
    counts = count_tracks(title.tracks)
    outside = {
        name: best_first(row for row in rows if outside_part(row) == name)
        for name in (UNKNOWN, NO_FACE)
    }
    fill_album(cast.album, cast.choices, list(outside.values()))
    people = person_views(cast)
    timeline = _timeline(cast)
    return TitleView(
        title=str(title.summary["title"]),
        title_id=title.title_id,
        names_key=_names_key(title.title_id, rows),
        summary=_summary(cast, title.shots.num_rows, counts["seconds"]),
        videos=axis.videos,
        timeline=timeline,
        people=people,
        unknown=_outside(outside[UNKNOWN], cast, counts["seconds"]),
        no_face=_outside(outside[NO_FACE], cast, counts["seconds"]),
        usual_quality=_usual_quality(rows),
        images=cast.album.images,
        bar_images=_bar_images(timeline, people, cast.album),
        left_out=_left_out(cast, people),
        result=title.folder.rpartition("/")[2],
        corrections=0 if reviewed is None else reviewed.corrections,
        misfits=[] if reviewed is None else _misfits(reviewed, axis),
        notes=build_notes(title.summary, title.removed),
    )


def _corrected(title: StoredTitle, reviewed: ReviewedTitle) -> StoredTitle:
    tables = reviewed.tables
    return replace(
        title, people=tables.people, tracks=tables.tracks, appearances=tables.appearances
    )


def _misfits(reviewed: ReviewedTitle, axis: TimeAxis) -> list[MisfitView]:
    found = []
    for row in reviewed.tables.conflicts.to_pylist():
        known = row["video_id"] in axis.order and row["start_seconds"] is not None
        span = (row["video_id"], row["start_seconds"], row["end_seconds"])
        found.append(MisfitView(sentence(row["message"]), axis.range_text(*span) if known else ""))
    return found


def _sorted_tracks(tracks: pa.Table, axis: TimeAxis) -> list[Row]:
    rows: list[Row] = tracks.to_pylist()
    unmatched = sorted({row["video_id"] for row in rows} - set(axis.order))
    if unmatched:
        raise ShapeError(
            f"tracks need a video of the result, {sorted(axis.order)}, got {unmatched[:3]}"
        )
    return sorted(rows, key=lambda row: (axis.order[row["video_id"]], row["start_frame"]))


def _cast(title: StoredTitle, axis: TimeAxis, rows: list[Row]) -> Cast:
    people = sorted(
        title.people.to_pylist(), key=lambda row: (-row["screen_seconds"], row["person_id"])
    )
    tracks = _tracks_by_person(people, rows)
    appearances: dict[str, list[Appearance]] = {person_id: [] for person_id in tracks}
    for row in title.appearances.to_pylist():
        appearances[row["person_id"]].append(_appearance(row))
    unknown, no_face = (
        [_appearance(row) for row in rows if outside_part(row) == name]
        for name in (UNKNOWN, NO_FACE)
    )
    crops = read_crops(title.crops)
    by_id = {row["track_id"]: row for row in rows}
    merges = _merges_by_person(title.merges.to_pylist(), by_id)
    choices = []
    for person in people:
        person_id = person["person_id"]
        choices.append(choose(person, tracks[person_id], merges.get(person_id, []), crops))
    return Cast(
        axis=axis,
        album=Album(title.crops, crops),
        choices=choices,
        tracks=by_id,
        appearances=appearances,
        unknown=unknown,
        no_face=no_face,
        gap_seconds=min_gap(axis, [*appearances.values(), unknown, no_face]),
    )


def _tracks_by_person(people: list[Row], rows: list[Row]) -> dict[str, list[Row]]:
    by_person: dict[str, list[Row]] = {row["person_id"]: [] for row in people}
    unmatched = ({row["person_id"] for row in rows} - {None}) ^ set(by_person)
    if unmatched:
        raise ShapeError(
            f"people and tracks need the same persons, got {sorted(unmatched)[:3]} on one side only"
        )
    for row in rows:
        if row["person_id"] is not None:
            by_person[row["person_id"]].append(row)
    return by_person


def _merges_by_person(merges: list[Row], tracks: Mapping[str, Row]) -> dict[str, list[Row]]:
    """Group merges by the person they made; a merge that was undone later belongs to nobody."""
    by_person: dict[str, list[Row]] = {}
    for row in merges:
        left, right = (tracks[row[f"{side}_track_id"]]["person_id"] for side in ("left", "right"))
        if left is not None and left == right:
            by_person.setdefault(left, []).append(row)
    return by_person


def _appearance(row: Row) -> Appearance:
    return Appearance(row["video_id"], row["start_seconds"], row["end_seconds"], row["track_id"])


def _names_key(title_id: str, rows: list[Row]) -> str:
    """Return a storage key for typed names that changes as soon as a track changes its person."""
    pairs = sorted((row["track_id"], row["person_id"] or "") for row in rows)
    return f"vcn-names:{title_id}:{hashlib.sha256(repr(pairs).encode()).hexdigest()[:12]}"


def _timeline(cast: Cast) -> Timeline:
    axis, gap = cast.axis, cast.gap_seconds
    return Timeline(
        seconds=axis.seconds,
        ticks=axis.ticks(),
        cuts=axis.cuts_path(),
        cut_count=len(axis.cuts),
        unknown=axis.bars(cast.unknown, gap),
        no_face=axis.bars(cast.no_face, gap),
        gap=length(math.ceil(gap)) if gap > 0 else "",
    )


def outside_part(track: Row) -> str | None:
    """Return the status of a track of nobody; None for a track of a person."""
    if track["person_id"] is not None:
        return None
    return NO_FACE if track["status"] == NO_FACE else UNKNOWN


def _outside(listed: Listed, cast: Cast, seconds: Mapping[str, float]) -> Outside:
    rows = [*listed.shown, *listed.folded]
    length_seconds = sum(row["end_seconds"] - row["start_seconds"] for row in rows)
    reasons = Counter(reason_words(row.get("reason")) for row in rows)
    return Outside(
        listed=[track_view(row, cast.axis, cast.album) for row in listed.shown],
        folded=[folded_view(row, cast.axis, cast.album) for row in listed.folded],
        tracks=len(rows),
        seconds=brief(length_seconds),
        share=_share(length_seconds, seconds["tracks"]),
        reasons=[(words, number) for words, number in reasons.most_common() if words],
    )


def _share(part: float, whole: float) -> str:
    return percent(min(1.0, part / whole) if whole > 0 else 0.0)


def _shares(seconds: Mapping[str, float]) -> str:
    """Say how the screen time of all tracks is divided."""
    people, unknown, no_face = (
        _share(seconds[name], seconds["tracks"]) for name in ("people", "unknown", "no_face")
    )
    if not seconds["tracks"]:
        return ""
    return (
        f"Of the screen time of all face tracks, {people} belongs to people, {unknown} to unknown "
        f"faces, and {no_face} shows no face."
    )


def _summary(cast: Cast, shots: int, track_seconds: Mapping[str, float]) -> Summary:
    rows = [row for person in cast.appearances.values() for row in person]
    seconds, total = union_seconds([*rows, *cast.unknown]), cast.axis.seconds
    return Summary(
        length=length(total),
        screen=length(seconds),
        screen_percent=percent(min(1.0, seconds / total) if total > 0 else 0.0),
        shots=shots,
        tracks=len(cast.tracks),
        shares=_shares(track_seconds),
    )


def _usual_quality(rows: list[Row]) -> float | None:
    qualities = [row["quality"] for row in rows if row["person_id"] is not None]
    return median(qualities) if qualities else None


def _bar_images(timeline: Timeline, people: list[PersonView], album: Album) -> dict[str, int]:
    bars = [
        *timeline.unknown,
        *timeline.no_face,
        *(bar for person in people for bar in person.bars),
    ]
    numbers = {bar.track_id: album.best_number(bar.track_id) for bar in bars}
    return {track_id: number for track_id, number in numbers.items() if number is not None}


def _left_out(cast: Cast, people: list[PersonView]) -> list[str]:
    merges = sum(person.merges_left_out for person in people)
    counts = [
        (cast.album.left_out, "picture", "in crops.parquet"),
        (merges, "merge", "in merges.parquet"),
    ]
    return [f"{count(number, noun)} ({where})" for number, noun, where in counts if number > 0]
