"""The box of each track in every picture, interpolated between its faces; it reads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.exports.frame_clock import FrameClock
from vcn_ray.exports.ranges import Person, TrackBoxes
from vcn_ray.io.tables import column_array, read_boxes
from vcn_ray.records import F32, I64, Mask

FACE_COLUMNS = ("track_id", "frame", "x0_pixels", "y0_pixels", "x1_pixels", "y1_pixels", "score")
"""Columns of CROPS that boxes are made of, beside `detected`."""


def boxes_of_tracks(
    tracks: list[dict[str, Any]],
    faces: pa.Table,
    clock: FrameClock,
    people: Mapping[str, Person],
) -> tuple[TrackBoxes, ...]:
    """The boxes of some tracks of a video.

    Args:
        tracks: Rows of RESULT_TRACKS.
        faces: CROPS of the video, or those of its columns that are needed here.
        clock: Of the video.
        people: By id.

    Returns:
        For each track that has faces, the boxes of all pictures from its first to its last.
    """
    wanted = [row["track_id"] for row in tracks]
    faces = faces.filter(pc.is_in(faces.column("track_id"), pa.array(wanted, pa.string())))
    names = np.array(faces.column("track_id").to_pylist(), dtype=object)
    made = [_track(row, faces, names == row["track_id"], clock, people) for row in tracks]
    found = [track for track in made if track is not None]
    return tuple(sorted(found, key=lambda track: (int(track.picture[0]), track.track_id)))


def _track(
    row: dict[str, Any],
    faces: pa.Table,
    mine: Mask,
    clock: FrameClock,
    people: Mapping[str, Person],
) -> TrackBoxes | None:
    own = faces.filter(pa.array(mine))
    if not own.num_rows:
        return None
    own = own.sort_by("frame")
    frames: I64 = column_array(own, "frame").astype(np.int64)
    every: I64 = np.arange(frames[0], frames[-1] + 1)
    limit = np.stack([clock.times.width, clock.times.height], axis=1)[every]
    boxes = interpolate(frames, read_boxes(own), every)
    scores = interpolate(frames, column_array(own, "score").astype(np.float32)[:, None], every)
    detected: Mask = column_array(own, "detected").astype(np.bool_)
    return TrackBoxes(
        track_id=row["track_id"],
        person=people.get(row["person_id"] or ""),
        picture=clock.frame[every] if clock.own else every,
        seconds=clock.times.seconds[every],
        boxes=np.clip(boxes, 0, np.tile(limit, 2)).astype(np.float32),
        scores=scores[:, 0],
        measured=np.isin(every, frames[detected]),
    )


def interpolate(frames: I64, values: F32, every: I64) -> F32:
    """Values (n, c) that are known in some frames (n,), rising, in every frame (m,), linearly."""
    columns = [np.interp(every, frames, values[:, column]) for column in range(values.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32)
