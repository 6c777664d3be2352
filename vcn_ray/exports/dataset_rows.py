"""The rows of one title in a dataset; it knows nothing of files and partitions.

Every row names its title, and its video where it has one, so that most questions need no join.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.io.paths import file_name
from vcn_ray.io.tables import column_array, make_table
from vcn_ray.rows.result_rows import screen_seconds
from vcn_ray.run.current import CurrentTitle
from vcn_ray.schema import (
    DATASET_APPEARANCES,
    DATASET_PEOPLE,
    DATASET_SCREEN_TIME,
    DATASET_SHOTS,
    DATASET_TITLES,
    DATASET_TRACKS,
    DATASET_VIDEOS,
)

TABLES = {
    "titles": DATASET_TITLES,
    "videos": DATASET_VIDEOS,
    "shots": DATASET_SHOTS,
    "people": DATASET_PEOPLE,
    "tracks": DATASET_TRACKS,
    "appearances": DATASET_APPEARANCES,
    "screen_time": DATASET_SCREEN_TIME,
}
"""Folder of each table -> its columns."""

Rows = dict[str, pa.Table]
"""Folder of each table -> rows."""


def dataset_rows(title: CurrentTitle, shots: Sequence[pa.Table]) -> Rows:
    """The rows of a title in each table of a dataset.

    Args:
        title: As it is known now.
        shots: SHOTS of each of its videos, in their order.
    """
    videos = _videos(title)
    tracks = _tracks(title, videos)
    seen = _appearances(title, tracks)
    return {
        "titles": _titles(title),
        "videos": videos,
        "shots": pa.concat_tables(
            [
                DATASET_SHOTS.empty_table(),
                *(_shots(videos.slice(number, 1), table) for number, table in enumerate(shots)),
            ]
        ),
        "people": _filled([title.tables.people], DATASET_PEOPLE, _of_title(title)),
        "tracks": tracks,
        "appearances": seen,
        "screen_time": _screen_time(seen),
    }


def _of_title(title: CurrentTitle) -> dict[str, Any]:
    return {"title_id": title.title_id, "title": title.name}


def _titles(title: CurrentTitle) -> pa.Table:
    row = _of_title(title) | {
        "videos": len(title.summary["videos"]),
        "people": title.tables.people.num_rows,
        "tracks": title.tables.tracks.num_rows,
        "corrections": len(title.edits),
        "warnings": " ".join(warning["code"] for warning in title.summary["warnings"]),
    }
    return make_table([row], DATASET_TITLES)


def _videos(title: CurrentTitle) -> pa.Table:
    rows = [
        _of_title(title)
        | {
            "video_id": video["video_id"],
            "video": file_name(video["uri"]),
            "episode": number,
            "uri": video["uri"],
            "duration_seconds": video.get("duration_seconds"),
        }
        for number, video in enumerate(title.summary["videos"], start=1)
    ]
    return make_table(rows, DATASET_VIDEOS)


def _shots(video: pa.Table, shots: pa.Table) -> pa.Table:
    return _filled([shots], DATASET_SHOTS, video.to_pylist()[0])


def _tracks(title: CurrentTitle, videos: pa.Table) -> pa.Table:
    tracks, people = title.tables.tracks, title.tables.people
    found = [
        tracks,
        _matching(tracks, "video_id", videos),
        _matching(tracks, "person_id", people).select(["name"]),
    ]
    order = ["episode", "start_frame", "track_id"]
    table = _filled(found, DATASET_TRACKS, _of_title(title))
    return table.sort_by([(name, "ascending") for name in order])


def _appearances(title: CurrentTitle, tracks: pa.Table) -> pa.Table:
    shown = title.tables.appearances
    found = [shown, _matching(shown, "track_id", tracks)]
    order = ["person_id", "episode", "start_seconds", "track_id"]
    table = _filled(found, DATASET_APPEARANCES, {})
    return table.sort_by([(name, "ascending") for name in order])


def _screen_time(appearances: pa.Table) -> pa.Table:
    """Rows of DATASET_SCREEN_TIME, from appearances by person, episode and time."""
    spans = np.stack(
        [column_array(appearances, name) for name in ("start_seconds", "end_seconds")], axis=1
    )
    person, episode = (column_array(appearances, name) for name in ("person_id", "episode"))
    changes = (person[1:] != person[:-1]) | (episode[1:] != episode[:-1])
    bounds = [*np.flatnonzero(np.concatenate([[True] * bool(len(person)), changes])), len(person)]
    groups = [spans[first:end] for first, end in pairwise(bounds)]
    measured = pa.table(
        {
            "screen_seconds": pa.array(
                [screen_seconds(rows, np.zeros(len(rows), np.int64)) for rows in groups],
                pa.float64(),
            ),
            "first_seconds": pa.array([rows[0, 0] for rows in groups], pa.float64()),
            "appearances": pa.array([len(rows) for rows in groups], pa.int32()),
        }
    )
    first = appearances.take(pa.array(bounds[:-1], pa.int64()))
    return _filled([measured, first], DATASET_SCREEN_TIME, {})


def _matching(rows: pa.Table, key: str, of: pa.Table) -> pa.Table:
    """The row of another table for each row, by a key that both have; nulls where there is none."""
    return of.take(pc.index_in(rows.column(key), of.column(key).combine_chunks()))


def _filled(tables: Sequence[pa.Table], schema: pa.Schema, same: Mapping[str, Any]) -> pa.Table:
    """A table with the columns of a schema, each from the first that has it.

    Args:
        tables: Of equally many rows, in one order.
        schema: What is wanted.
        same: Values of all rows, by column; they come before the tables.
    """
    rows = tables[0].num_rows
    columns = [
        pa.repeat(pa.scalar(same[field.name], field.type), rows)
        if field.name in same
        else next(t for t in tables if field.name in t.column_names).column(field.name)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
