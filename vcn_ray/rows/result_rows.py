"""The tables of a title's result: people, tracks, appearances, merges; it decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.core.cluster import LOW_SCORE
from vcn_ray.core.pictures import picture_value
from vcn_ray.io.tables import column_array, make_table, read_boxes
from vcn_ray.records import F32, F64, I64, Clustering, TrackOutputs
from vcn_ray.rows.title_rows import TitleTracks
from vcn_ray.schema import APPEARANCES, MERGES, PEOPLE, RESULT_TRACKS

CLUSTERED = "clustered"
UNKNOWN = "unknown"
NO_FACE = "no_face"

STATUS = {"": CLUSTERED, LOW_SCORE: NO_FACE}
"""Status of a track by the reason why it is in no cluster."""


@dataclass(frozen=True, slots=True, eq=False)
class ResultTables:
    """What a title's result consists of."""

    people: pa.Table
    tracks: pa.Table
    appearances: pa.Table
    merges: pa.Table


def result_tables(
    title: TitleTracks, outputs: TrackOutputs, clustering: Clustering, videos: list[str]
) -> ResultTables:
    """Write down who is who.

    Args:
        title: The k tracks.
        outputs: Of the adapted model; for their quality.
        clustering: Their clusters.
        videos: The title's video ids in the order people watch them; decides who is first.

    Returns:
        The four tables; people are numbered by falling screen time.
    """
    spans = _spans(title)
    place = np.array(
        [videos.index(v) for v in title.tracks.column("video_id").to_pylist()], np.int64
    )
    people = _order_people(clustering.label, spans, place)
    name = {cluster: f"p{number:03d}" for number, cluster in enumerate(people, start=1)}
    person = [name.get(int(label)) for label in clustering.label]
    return ResultTables(
        people=_people_table(title, outputs, clustering, name, spans, place),
        tracks=_tracks_table(title, outputs, clustering, person),
        appearances=_appearances_table(title, person),
        merges=_merges_table(title, clustering),
    )


def screen_seconds(spans: F64, place: I64) -> float:
    """Seconds in which at least one of some tracks is seen.

    Args:
        spans: (k, 2) start and end of each track in its video.
        place: (k,) number of its video.
    """
    total = 0.0
    for video in np.unique(place):
        reach = -np.inf
        for start, end in sorted(map(tuple, spans[place == video])):
            total += max(0.0, end - max(start, reach))
            reach = max(reach, end)
    return total


def _spans(title: TitleTracks) -> F64:
    columns = [column_array(title.tracks, n) for n in ("start_seconds", "end_seconds")]
    return np.stack(columns, axis=1).astype(np.float64).reshape(-1, 2)


def _order_people(label: I64, spans: F64, place: I64) -> list[int]:
    def rank(cluster: int) -> tuple[float, int, float, int]:
        rows = np.flatnonzero(label == cluster)
        first = min((int(place[r]), float(spans[r, 0]), int(r)) for r in rows)
        return (-round(screen_seconds(spans[rows], place[rows]), 6), *first)

    return sorted((int(c) for c in np.unique(label[label >= 0])), key=rank)


def _people_table(
    title: TitleTracks,
    outputs: TrackOutputs,
    clustering: Clustering,
    name: dict[int, str],
    spans: F64,
    place: I64,
) -> pa.Table:
    rows: list[dict[str, Any]] = []
    track_ids = title.tracks.column("track_id").to_pylist()
    cover_score = cover_scores(title.faces, title.owner, outputs.quality)
    for cluster, person in name.items():
        mine = np.flatnonzero(clustering.label == cluster)
        faces = np.flatnonzero(np.isin(title.owner, mine))
        cover = int(faces[np.argmax(cover_score[faces])])
        first = min(mine, key=lambda r: (place[r], spans[r, 0], r))
        rows.append(
            {
                "person_id": person,
                "tracks": len(mine),
                "screen_seconds": screen_seconds(spans[mine], place[mine]),
                "first_seconds": float(spans[first, 0]),
                "confidence": float(clustering.confidence[mine].min()),
                "cover_track_id": track_ids[int(title.owner[cover])],
                "cover_crop": int(column_array(title.faces, "frame")[cover]),
            }
        )
    return make_table(rows, PEOPLE)


def cover_scores(faces: pa.Table, owner: I64, quality: F32) -> F64:
    """How well each face would show its person: frontal, sharp, surely a face, of a good track.

    Args:
        faces: (n rows) CROPS.
        owner: (n,) track of each.
        quality: (k,) of the tracks (METHOD 3.1).

    Returns:
        (n,) above 0 for faces with a picture for people; below 0 for those with an aligned crop
        alone, which are covers only of people without pictures; -inf for faces with neither.
    """
    columns = (column_array(faces, name) for name in ("score", "sharpness", "frontality"))
    value = picture_value(read_boxes(faces), *(column.astype(np.float32) for column in columns))
    score = value.astype(np.float64) * np.maximum(quality[owner], 1e-6)
    pictured, sampled = (
        pc.is_valid(faces.column(name)).to_numpy(zero_copy_only=False) for name in ("face", "image")
    )
    return np.where(pictured, score, np.where(sampled, -1 / score, -np.inf))


def _tracks_table(
    title: TitleTracks, outputs: TrackOutputs, clustering: Clustering, person: list[str | None]
) -> pa.Table:
    added = {
        "quality": pa.array(outputs.quality, pa.float32()),
        "status": pa.array([STATUS.get(why, UNKNOWN) for why in clustering.reason], pa.string()),
        "reason": pa.array([why or None for why in clustering.reason], pa.string()),
        "person_id": pa.array(person, pa.string()),
        "confidence": pa.array(clustering.confidence, pa.float32()),
    }
    columns = {n: added[n] if n in added else title.tracks.column(n) for n in RESULT_TRACKS.names}
    return pa.table(columns, schema=RESULT_TRACKS)


def _appearances_table(title: TitleTracks, person: list[str | None]) -> pa.Table:
    names = ("video_id", "start_seconds", "end_seconds", "track_id")
    rows = title.tracks.select(names).to_pylist()
    seen = [
        row | {"person_id": who} for row, who in zip(rows, person, strict=True) if who is not None
    ]
    seen.sort(key=lambda r: (r["person_id"], r["video_id"], r["start_seconds"], r["track_id"]))
    return make_table(seen, APPEARANCES)


def _merges_table(title: TitleTracks, clustering: Clustering) -> pa.Table:
    track_ids = title.tracks.column("track_id").to_pylist()
    rows = [
        {
            "number": number,
            "round": merge.round,
            "rule": merge.rule,
            "left_track_id": track_ids[merge.left],
            "right_track_id": track_ids[merge.right],
            "left_tracks": merge.left_tracks,
            "right_tracks": merge.right_tracks,
            "distance": merge.distance,
            "left_threshold": merge.left_threshold,
            "right_threshold": merge.right_threshold,
        }
        for number, merge in enumerate(clustering.merges, start=1)
    ]
    return make_table(rows, MERGES)
