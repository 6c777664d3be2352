"""The stages of a title: crops to outputs of an adapted student, to people, to tables (METHOD 2-4).

It works on tables and arrays in memory; where they are stored is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.config import RunConfig
from vcn_ray.core.cluster import cluster_tracks
from vcn_ray.core.quality import low_outliers
from vcn_ray.core.track import cannot_link_pairs
from vcn_ray.io.tables import column_array, decode_image, empty_table
from vcn_ray.learn.adapt import Adapted, adapt
from vcn_ray.learn.hooks import Hooks
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import I64, U8, Clustering, Mask, TitleCrops, TrackOutputs
from vcn_ray.schema import CROPS, VIDEO_TRACKS


@dataclass(frozen=True, slots=True, eq=False)
class TitleTracks:
    """All tracks of a title, in one order that does not depend on how its videos were listed."""

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
    joined = pa.concat_tables(tracks) if tracks else empty_table(VIDEO_TRACKS)
    keys = [("video_id", "ascending"), ("start_frame", "ascending"), ("track_id", "ascending")]
    joined = joined.sort_by(keys)
    faces = pa.concat_tables(crops) if crops else empty_table(CROPS)
    row = {name: number for number, name in enumerate(joined.column("track_id").to_pylist())}
    owner = np.array([row[name] for name in faces.column("track_id").to_pylist()], np.int64)
    order = np.lexsort((column_array(faces, "frame"), owner))
    faces, owner = faces.take(pa.array(order)), owner[order]
    return TitleTracks(joined, faces, owner, _cannot_link(joined, faces, owner))


def _cannot_link(tracks: pa.Table, faces: pa.Table, owner: I64) -> I64:
    # Frames are counted in each video, so that pairs are looked for in one video at a time.
    videos = np.asarray(tracks.column("video_id").to_pylist(), dtype=object)
    frames = column_array(faces, "frame")
    found = [
        cannot_link_pairs(frames[mask], owner[mask])
        for mask in ((videos == name)[owner] for name in dict.fromkeys(videos.tolist()))
    ]
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def load_crops(title: TitleTracks) -> tuple[U8, I64]:
    """Decode the sampled crops.

    Returns:
        (m, p, p, 3) uint8 RGB crops, by track and frame, and the (m,) track row of each.
    """
    sampled = np.flatnonzero(pc.is_valid(title.faces.column("image")).to_numpy())
    images = [
        decode_image(data)
        for data in title.faces.column("image").take(pa.array(sampled)).to_pylist()
    ]
    if not images:
        return np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, np.int64)
    return np.stack(images), title.owner[sampled]


def adapt_encoder(
    title: TitleTracks, encoder: Backbone, hooks: Hooks, config: RunConfig
) -> Adapted:
    """Fine-tune the encoder on the title's own tracks (METHOD 2) and ask it about each of them.

    Args:
        title: Its tracks.
        encoder: As the pack ships it; it stays so.
        hooks: Who hears of it and what keeps it.
        config: Settings of the run.
    """
    crops, owner = load_crops(title)
    job = TitleCrops(crops, owner, title.cannot_link)
    cut = config.cluster.cut
    return adapt(job, encoder, config.finetune, cut, seed=config.seed, hooks=hooks)


def find_valid(outputs: TrackOutputs, config: RunConfig) -> Mask:
    """Which tracks are good enough to be clustered (METHOD 3.2)."""
    return ~low_outliers(outputs.quality, config.quality)


def cluster_people(
    outputs: TrackOutputs, valid: Mask, title: TitleTracks, config: RunConfig
) -> Clustering:
    """Which tracks are one person (METHOD 4)."""
    return cluster_tracks(outputs, valid, title.cannot_link, config.cluster)
