"""The tracks of all videos of a title in one order, split where they have to be, and their crops.

`Splits` say where the face of a track changes: the first frame of each further person, by track.
The parts are tracks of their own, with the track's id and a number: "...-t02-1", "...-t02-2".
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.core.track import cannot_link_pairs
from vcn_ray.io.tables import column_array, decode_image, make_table
from vcn_ray.records import I64, TitleCrops
from vcn_ray.schema import CROPS, VIDEO_TRACKS

Splits = dict[str, list[int]]
"""Track id -> the frames with which its second and further parts begin, rising."""


@dataclass(frozen=True, slots=True, eq=False)
class TitleTracks:
    """All tracks of a title, in one order that is independent of the order of its videos."""

    tracks: pa.Table  # (k rows) VIDEO_TRACKS, by video_id, start_frame, track_id
    faces: pa.Table  # (n rows) CROPS of all of them
    owner: I64  # (n,) track row of each face
    cannot_link: I64  # (c, 2) track rows seen in one frame


def gather_tracks(tracks: list[pa.Table], crops: list[pa.Table]) -> TitleTracks:
    """Put the tracks of a title's videos together.

    Args:
        tracks: VIDEO_TRACKS of each video.
        crops: CROPS of each video, in the same order.

    Returns:
        The title's tracks; no rows where no video has a face.
    """
    joined = pa.concat_tables(tracks) if tracks else VIDEO_TRACKS.empty_table()
    keys = [("video_id", "ascending"), ("start_frame", "ascending"), ("track_id", "ascending")]
    joined = joined.sort_by(keys)
    faces = pa.concat_tables(crops) if crops else CROPS.empty_table()
    row = {name: number for number, name in enumerate(joined.column("track_id").to_pylist())}
    owner = np.array([row[name] for name in faces.column("track_id").to_pylist()], np.int64)
    order = np.lexsort((column_array(faces, "frame"), owner))
    faces, owner = faces.take(pa.array(order)), owner[order]
    return TitleTracks(joined, faces, owner, _cannot_link(joined, faces, owner))


def _cannot_link(tracks: pa.Table, faces: pa.Table, owner: I64) -> I64:
    # Frames are counted within a video, so pairs are looked for video by video.
    videos = np.asarray(tracks.column("video_id").to_pylist(), dtype=object)
    frames = column_array(faces, "frame")
    found = [
        cannot_link_pairs(frames[mask], owner[mask])
        for mask in ((videos == name)[owner] for name in dict.fromkeys(videos.tolist()))
    ]
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def find_splits(title: TitleTracks, crops: TitleCrops, row: I64) -> Splits:
    """Say where the tracks of a title are split.

    Args:
        title: Before it.
        crops: Its sampled crops, by `decode_crops`.
        row: (m,) track of each crop, after it.
    """
    splits: Splits = {}
    if crops.frame is not None:
        new = (np.diff(row) != 0) & (np.diff(crops.track) == 0)
        for at in (np.flatnonzero(new) + 1).tolist():
            name = title.tracks.column("track_id")[int(crops.track[at])].as_py()
            splits.setdefault(name, []).append(int(crops.frame[at]))
    return splits


def part_ids(track_id: str, splits: Splits) -> list[str]:
    """The ids of a track's parts in order of time; its own where it is not split."""
    if track_id not in splits:
        return [track_id]
    return [f"{track_id}-{number + 1}" for number in range(len(splits[track_id]) + 1)]


def split_tracks(title: TitleTracks, splits: Splits) -> TitleTracks:
    """The tracks of a title with a track for each part of those that are split."""
    if not splits:
        return title
    rows = [part for row in title.tracks.to_pylist() for part in _parts(row, title.faces, splits)]
    return gather_tracks([make_table(rows, VIDEO_TRACKS)], [split_faces(title.faces, splits)])


def split_faces(faces: pa.Table, splits: Splits) -> pa.Table:
    """Faces of tracks, CROPS, with the ids of the parts that they belong to."""
    names = faces.column("track_id").to_pylist()
    if splits.keys().isdisjoint(names):
        return faces
    frames = column_array(faces, "frame")
    parts = [
        part_ids(name, splits)[int(np.searchsorted(splits[name], frame, side="right"))]
        if name in splits
        else name
        for name, frame in zip(names, frames, strict=True)
    ]
    place = faces.schema.get_field_index("track_id")
    return faces.set_column(place, faces.schema.field("track_id"), pa.array(parts, pa.string()))


def _parts(row: dict[str, Any], faces: pa.Table, splits: Splits) -> list[dict[str, Any]]:
    """The rows of a track's parts, VIDEO_TRACKS."""
    names = part_ids(row["track_id"], splits)
    if len(names) == 1:
        return [row]
    mine = faces.filter(pc.equal(faces.column("track_id"), row["track_id"]))
    frames, seconds = column_array(mine, "frame"), column_array(mine, "seconds")
    sampled = pc.is_valid(mine.column("image")).to_numpy(zero_copy_only=False)
    shown = row["end_seconds"] - seconds[-1]  # how long a frame is
    cuts = np.searchsorted(frames, splits[row["track_id"]]).tolist()
    bounds = zip(names, pairwise([0, *cuts, len(frames)]), strict=True)
    return [
        row
        | {
            "track_id": name,
            "start_frame": int(frames[first]),
            "end_frame": int(frames[end - 1]) + 1,
            "start_seconds": float(seconds[first]),
            "end_seconds": float(seconds[end - 1] + shown),
            "faces": end - first,
            "crops": int(sampled[first:end].sum()),
        }
        for name, (first, end) in bounds
        if first < end  # of a part that was erased, no face is left
    ]


def decode_crops(title: TitleTracks) -> TitleCrops:
    """The sampled crops of a title as pictures, by track and frame."""
    sampled = np.flatnonzero(pc.is_valid(title.faces.column("image")).to_numpy())
    images = [
        decode_image(data)
        for data in title.faces.column("image").take(pa.array(sampled)).to_pylist()
    ]
    if not images:
        return TitleCrops(np.zeros((0, 1, 1, 3), np.uint8), title.owner[:0], title.cannot_link)
    score = column_array(title.faces, "score").astype(np.float32)[sampled]
    frame = column_array(title.faces, "frame").astype(np.int64)[sampled]
    return TitleCrops(np.stack(images), title.owner[sampled], title.cannot_link, score, frame)
