"""Outputs for tests of review: made-up titles, as a run would have committed them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from tests.helpers.report_data import Title
from vcn_ray.core.vectors import unit_rows
from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import save_outputs
from vcn_ray.records import F32, TrackOutputs
from vcn_ray.run.commit import RESULT_TABLES
from vcn_ray.run.summary import ORIGIN

WIDTH = 32  # of embeddings
NOISE = 0.12  # of one track, in each direction
ENCODER = "0" * 64


def write_title(
    storage: Storage,
    title: Title,
    name: str = "First Light",
    embedding: F32 | None = None,
    title_id: str = "",
) -> str:
    """Write a title with all that review reads; returns its id.

    Args:
        storage: The output.
        title: Built shot by shot.
        name: Of the title.
        embedding: (k, WIDTH) of its tracks; None: near a direction of the person of each.
        title_id: Where there are several titles.
    """
    stored = title.stored(name)
    title_id = title_id or stored.title_id
    home = f"titles/{title_id}"
    videos = [video["video_id"] for video in title.videos]
    summary = stored.summary | {
        "title_id": title_id,
        "splits": {},
        "keys": {
            "adapt": f"{home}/adapt-0",
            "cluster": f"{home}/cluster-0",
            "detect": [f"videos/{video}/detect-0" for video in videos],
            "track": [f"videos/{video}/track-0" for video in videos],
        },
    }
    summary["pack"] = summary["pack"] | {"encoder_hash": ENCODER}
    for video in videos:
        tracks = FolderWriter(storage, f"videos/{video}/track-0")
        tracks.write_table("shots.parquet", stored.shots.filter(pc.equal(_of(stored.shots), video)))
        mine = pc.match_substring(stored.crops.column("track_id"), f"{video}-")
        tracks.write_table("crops.parquet", stored.crops.filter(mine))
        tracks.commit({})
    adapted = FolderWriter(storage, f"{home}/adapt-0")
    rows = embedding if embedding is not None else embeddings(title)
    adapted.write_bytes("outputs.safetensors", save_outputs(_outputs(rows)))
    adapted.commit({})
    result = FolderWriter(storage, f"{home}/cluster-0")
    for table in RESULT_TABLES:
        result.write_table(f"{table}.parquet", getattr(stored, table))
    result.write_json("result.json", summary)
    origin = {"title": name, "named": False, "settings": ""}
    origin |= {step: summary["keys"][step] for step in ("detect", "track", "adapt")}
    result.commit({ORIGIN: origin | {"uris": [video["uri"] for video in title.videos]}})
    uris = {video["video_id"]: video["uri"] for video in title.videos}
    storage.write_json(f"{home}/latest.json", {"title": name, "result": "cluster-0", "uris": uris})
    return title_id


def _of(table: Any) -> Any:
    return table.column("video_id")


def embeddings(title: Title, seed: int = 3) -> F32:
    """(k, WIDTH) unit rows, near a direction of the person of each track."""
    rng = np.random.default_rng(seed)
    people = {row["person"] for row in title.tracks}
    centre = {person: rng.normal(size=WIDTH) for person in sorted(people, key=str)}
    rows = [unit(centre[row["person"]]) for row in title.tracks]
    noisy = np.array(rows) + NOISE * rng.normal(size=(len(rows), WIDTH))
    result: F32 = unit_rows(noisy).astype(np.float32)
    return result


def unit(row: Any) -> Any:
    """The direction of a vector."""
    return row / np.linalg.norm(row)


def _outputs(rows: F32) -> TrackOutputs:
    count = len(rows)
    ones = np.ones(count, np.float64)
    wide = np.zeros((count, 4), np.float32)
    return TrackOutputs(
        crops=np.ones(count, np.int64),
        teacher=wide,
        student=wide,
        within=ones,
        within_views=ones,
        output=wide,
        embedding=rows,
        pretrained=rows,
        pretrained_views=ones,
        quality=ones.astype(np.float32),
        score=ones.astype(np.float32),
        recognisability=ones.astype(np.float32),
        centre=np.zeros(4, np.float32),
        teacher_temperature=0.1,
        student_temperature=0.1,
    )


def small_title() -> Title:
    """Six people in twelve shots, 26 tracks of which two are nobody's and one is no face."""
    title = Title(seed=5, looks=3)
    shots = title.add_video("First_Light", [4.0] * 12)
    for row, shot in enumerate(shots):
        title.add_track(shot, row % 6, (0.05, 0.9), crops=4)
        if row < 11:
            title.add_track(shot, (row + 2) % 6, (0.1, 0.6 - 0.03 * row), crops=4)
    title.add_track(shots[0], None, (0.1, 0.5), crops=3)
    title.add_track(shots[3], None, (0.1, 0.3), crops=3)
    title.add_track(shots[5], None, (0.2, 0.4), crops=3, reason="low_score")
    return title


def crowd_title(
    people: int = 300, tracks: int = 5000, crops: int = 2, more_faces: int = 0
) -> Title:
    """A long title of many people and tracks.

    Args:
        people: Number of people.
        tracks: Number of tracks.
        crops: Sampled faces of each track.
        more_faces: Others of each track, without pictures, as most faces are.
    """
    title = Title(seed=6, looks=6)
    shots = title.add_video("The_Crowd", [3.0] * (tracks // 4))
    weights = 1 / np.arange(3, people + 3)
    chosen = title.rng.choice(people, size=tracks, p=weights / weights.sum())
    chosen[:people] = np.arange(people)  # everybody at least once
    for row, person in enumerate(chosen.tolist()):
        shot = shots[row % len(shots)]
        unknown = row >= people and row % 50 == 7
        track = title.add_track(shot, None if unknown else person, (0.1, 0.9), crops=crops)
        span = shot["end_seconds"] - shot["start_seconds"]
        for number in range(more_faces):
            seconds = shot["start_seconds"] + span * (0.1 + 0.8 * (number + 0.5) / more_faces)
            title._add_crop(track, seconds, None, None)
    return title
