"""The tables of a title's result: people, tracks, appearances, merges; it decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.io.tables import column_array, make_table, read_boxes
from vcn_ray.records import F64, I64, Clustering, TrackOutputs
from vcn_ray.rows.title_rows import TitleTracks
from vcn_ray.schema import APPEARANCES, MERGES, PEOPLE, RESULT_TRACKS

CLUSTERED = "clustered"
UNKNOWN = "unknown"


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
    cover_score = _cover_scores(title, outputs)
    for cluster, person in name.items():
        mine = np.flatnonzero(clustering.label == cluster)
        faces = np.flatnonzero(np.isin(title.owner, mine))
        cover = int(faces[np.argmax(cover_score[faces])])
        first = min(mine, key=lambda r: (place[r], spans[r, 0], r))
        lengths = spans[mine, 1] - spans[mine, 0] + 1e-9
        rows.append(
            {
                "person_id": person,
                "tracks": len(mine),
                "screen_seconds": screen_seconds(spans[mine], place[mine]),
                "first_seconds": float(spans[first, 0]),
                "confidence": float(np.average(clustering.confidence[mine], weights=lengths)),
                "cover_track_id": track_ids[int(title.owner[cover])],
                "cover_crop": int(column_array(title.faces, "frame")[cover]),
            }
        )
    return make_table(rows, PEOPLE)


def _cover_scores(title: TitleTracks, outputs: TrackOutputs) -> F64:
    # A good cover is large, sharp, surely a face and of a good track; only sampled faces have
    # crops.
    boxes = read_boxes(title.faces).astype(np.float64)
    side = np.sqrt(np.clip((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1, None))
    sharp = np.log1p(column_array(title.faces, "sharpness").astype(np.float64))
    score = column_array(title.faces, "score").astype(np.float64)
    quality = outputs.quality[title.owner].astype(np.float64) if len(title.owner) else 1.0
    sampled = pc.is_valid(title.faces.column("image")).to_numpy(zero_copy_only=False)
    return np.where(sampled, np.log(side) + sharp + score + 2 * quality, -np.inf)


def _tracks_table(
    title: TitleTracks, outputs: TrackOutputs, clustering: Clustering, person: list[str | None]
) -> pa.Table:
    added = {
        "quality": pa.array(outputs.quality, pa.float32()),
        "status": pa.array([UNKNOWN if p is None else CLUSTERED for p in person], pa.string()),
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
