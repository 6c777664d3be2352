"""The tracks of all videos of a title in one order, and their sampled crops as pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.core.track import cannot_link_pairs
from vcn_ray.io.tables import column_array, decode_image
from vcn_ray.records import I64, TitleCrops
from vcn_ray.schema import CROPS, VIDEO_TRACKS


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
    return TitleCrops(np.stack(images), title.owner[sampled], title.cannot_link, score)
