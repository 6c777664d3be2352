"""Tables and arrays without some tracks or faces; the rows of all others stay as they are.

It knows no storage. Faces are named by ranges of frames of a video's tracks, because a track may
be split between two people.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.io.tables import column_array, make_table, read_boxes
from vcn_ray.records import F64, KEPT, Mask
from vcn_ray.rows.result_rows import cover_scores, screen_seconds
from vcn_ray.rows.title_rows import Splits
from vcn_ray.rows.video_rows import SHORT
from vcn_ray.schema import PEOPLE, VIDEO_TRACKS

PICTURES = ("image", "face")


class FrameRange(NamedTuple):
    """A part of a track: the frames from `start` to before `end`."""

    track_id: str  # before it is split
    start: int
    end: int


def base_id(track_id: str, splits: Splits) -> str:
    """The id of the track that a part belongs to; its own where it is no part."""
    base = track_id.rpartition("-")[0]
    return base if base in splits else track_id


def faces_in(crops: pa.Table, ranges: Collection[FrameRange]) -> Mask:
    """The rows of a video's CROPS that lie in ranges."""
    by_track: dict[str, list[FrameRange]] = {}
    for each in ranges:
        by_track.setdefault(each.track_id, []).append(each)
    frames = column_array(crops, "frame")
    inside = np.zeros(crops.num_rows, np.bool_)
    names = np.array(crops.column("track_id").to_pylist(), object)
    for row in np.flatnonzero(np.isin(names, list(by_track))) if by_track else ():
        inside[row] = any(part.start <= frames[row] < part.end for part in by_track[names[row]])
    return inside


def tracks_without(tracks: pa.Table, crops: pa.Table, erased: Mask) -> pa.Table:
    """VIDEO_TRACKS without the erased faces; a track of which some faces are left is shortened.

    Args:
        tracks: VIDEO_TRACKS.
        crops: CROPS of all of them.
        erased: (n,) rows of `crops`.
    """
    names = np.array(crops.column("track_id").to_pylist(), object)
    hurt = set(names[erased])
    rows: list[dict[str, Any]] = []
    for row in tracks.to_pylist():
        if row["track_id"] in hurt:
            mine = np.flatnonzero(names == row["track_id"])
            left = mine[~erased[mine]]
            if len(left):
                rows.append(_shortened(row, crops, mine, left))
        else:
            rows.append(row)
    return make_table(sorted(rows, key=_place), VIDEO_TRACKS)


def _place(row: Mapping[str, Any]) -> tuple[int, str]:
    return row["start_frame"], row["track_id"]


def _shortened(row: dict[str, Any], crops: pa.Table, mine: Any, left: Any) -> dict[str, Any]:
    frames, seconds = column_array(crops, "frame"), column_array(crops, "seconds")
    sampled = pc.is_valid(crops.column("image")).to_numpy(zero_copy_only=False)
    stands = row["end_seconds"] - float(seconds[mine].max())  # how long a frame is
    return row | {
        "start_frame": int(frames[left].min()),
        "end_frame": int(frames[left].max()) + 1,
        "start_seconds": float(seconds[left].min()),
        "end_seconds": float(seconds[left].max()) + stands,
        "faces": len(left),
        # Without pictures (retention) nobody knows which faces were sampled.
        "crops": int(sampled[left].sum()) if sampled.any() else min(row["crops"], len(left)),
    }


def count_rejected(status: Sequence[str], tracked: int) -> dict[str, int]:
    """How many faces of a video are left out, by reason, as step `track` counts them.

    Args:
        status: Of every detected face.
        tracked: Number of faces of tracks.
    """
    counts = {name: status.count(name) for name in sorted(set(status)) if name != KEPT}
    short = status.count(KEPT) - tracked
    return counts | ({SHORT: short} if short else {})


def without_pictures(table: pa.Table) -> pa.Table:
    """DETECTIONS or CROPS with nulls instead of pictures."""
    for name in PICTURES:
        place = table.schema.get_field_index(name)
        field = table.schema.field(place)
        table = table.set_column(place, field, pa.nulls(table.num_rows, field.type))
    return table


def rows_without(table: pa.Table, drop: Collection[str], *columns: str) -> pa.Table:
    """The rows of a table that name no dropped track.

    Args:
        table: Any.
        drop: Ids of tracks.
        columns: Those that name tracks.
    """
    dropped = pa.array(sorted(drop), pa.string())
    for name in columns:
        table = table.filter(pc.invert(pc.is_in(table.column(name), dropped)))
    return table


def people_without(
    people: pa.Table,
    tracks: pa.Table,
    drop: Collection[str],
    videos: list[str],
    faces_of: Callable[[list[str]], pa.Table],
) -> pa.Table:
    """PEOPLE without some tracks.

    People keep their ids. Those who lose all tracks are left out, those who lose some are counted
    again; the rows of all others stay as they are.

    Args:
        people: PEOPLE.
        tracks: RESULT_TRACKS, before any is dropped.
        drop: Ids of tracks.
        videos: Ids of the title's videos, in the order in which people watch them.
        faces_of: Gives CROPS of some tracks, for a new cover.
    """
    left = rows_without(tracks, drop, "track_id")
    lost = tracks.filter(pc.is_in(tracks.column("track_id"), pa.array(sorted(drop), pa.string())))
    hurt = set(lost.column("person_id").to_pylist()) - {None}
    rows = [
        row if row["person_id"] not in hurt else _recounted(row, left, videos, faces_of)
        for row in people.to_pylist()
    ]
    return make_table([row for row in rows if row is not None], PEOPLE)


def _recounted(
    person: dict[str, Any],
    tracks: pa.Table,
    videos: list[str],
    faces_of: Callable[[list[str]], pa.Table],
) -> dict[str, Any] | None:
    """The row of a person with the tracks that are left; None where there are none."""
    mine = tracks.filter(pc.equal(tracks.column("person_id"), person["person_id"])).to_pylist()
    if not mine:
        return None
    place = np.array([videos.index(row["video_id"]) for row in mine], np.int64)
    spans: F64 = np.array([[row["start_seconds"], row["end_seconds"]] for row in mine])
    first = min(range(len(mine)), key=lambda n: (place[n], spans[n, 0], n))
    row = person | {
        "tracks": len(mine),
        "screen_seconds": screen_seconds(spans, place),
        "first_seconds": float(spans[first, 0]),
        "confidence": min(row["confidence"] for row in mine),
    }
    ids = [row["track_id"] for row in mine]
    if person["cover_track_id"] in ids:
        return row
    faces = faces_of(ids)
    owner = np.array([ids.index(name) for name in faces.column("track_id").to_pylist()], np.int64)
    quality = np.array([row["quality"] for row in mine], np.float32)
    best = int(np.argmax(cover_scores(faces, owner, quality)))
    cover = {"cover_track_id": ids[owner[best]], "cover_crop": faces.column("frame")[best].as_py()}
    return row | cover


def overlaps(track_id: Sequence[str], matched: Mask, fraction: float) -> set[str]:
    """Ids of tracks of whose faces at least a fraction is matched.

    Args:
        track_id: (n) of each face.
        matched: (n,) of each face.
        fraction: In (0, 1].
    """
    names = np.array(track_id, object)
    return {str(name) for name in set(names[matched]) if matched[names == name].mean() >= fraction}


def face_keys(table: pa.Table) -> list[tuple[float, ...]]:
    """Time and box of each face of DETECTIONS or CROPS, equal in both to the bit."""
    boxes = read_boxes(table).tolist()
    return [
        (when, *box)
        for when, box in zip(column_array(table, "seconds").tolist(), boxes, strict=True)
    ]
