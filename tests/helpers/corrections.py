"""Made-up titles of boxes that move, in memory and in storage, for tests of corrections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vcn_ray.edits.anchor import TrackIndex
from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import make_table, save_outputs
from vcn_ray.records import F32, TrackOutputs
from vcn_ray.rows.result_rows import screen_seconds
from vcn_ray.schema import (
    APPEARANCES,
    BOX_COLUMNS,
    CROPS,
    MERGES,
    PEOPLE,
    RESULT_TRACKS,
    SCHEMA_VERSION,
    SHOTS,
    VIDEO_TRACKS,
)

FRAME_RATE = 25.0
VIDEO = "film-0123456789ab"
TITLE_ID = "film-ba9876543210"
ENCODER = "e" * 12
LEFT = (100.0, 100.0, 200.0, 220.0)
RIGHT = (400.0, 100.0, 500.0, 220.0)
DIM = 64


@dataclass(frozen=True)
class Seen:
    """A track: a box that moves evenly."""

    track_id: str
    person: str | None = None
    start: float = 0.0
    end: float = 4.0
    box: tuple[float, float, float, float] = LEFT
    move: tuple[float, float] = (0.0, 0.0)  # pixels a second, right and down
    face: int = 0  # whose face it is: decides the embedding
    video: str = VIDEO
    fps: float = 5.0  # faces a second
    jitter: float = 0.0  # pixels
    rate: float = FRAME_RATE


def faces_of(seen: Seen) -> list[dict[str, Any]]:
    """Rows of CROPS."""
    rng = np.random.default_rng(len(seen.track_id) + int(10 * seen.start))
    rows = []
    for seconds in np.arange(seen.start, seen.end - 1e-9, 1 / seen.fps):
        shift = np.tile(seen.move, 2) * (seconds - seen.start)
        box = np.array(seen.box) + shift + rng.normal(0, seen.jitter, 4)
        rows.append(
            dict(zip(BOX_COLUMNS, box.tolist(), strict=True))
            | {
                "track_id": seen.track_id,
                "frame": round(seconds * seen.rate),
                "seconds": float(seconds),
                "score": 0.9,
                "sharpness": 50.0,
                "detected": True,
                "frontality": 0.9,
                "image": None,
                "face": None,
            }
        )
    return rows


def _track_row(seen: Seen) -> dict[str, Any]:
    return {
        "track_id": seen.track_id,
        "video_id": seen.video,
        "shot_id": "s0000",
        "start_seconds": seen.start,
        "end_seconds": seen.end,
        "start_frame": round(seen.start * seen.rate),
        "end_frame": round(seen.end * seen.rate),
        "crops": 3,
        "quality": 0.8,
        "status": "clustered" if seen.person else "unknown",
        "reason": None if seen.person else "ambiguous",
        "person_id": seen.person,
        "confidence": 0.7 if seen.person else 0.0,
    }


def tables(seen: Sequence[Seen]) -> tuple[pa.Table, pa.Table]:
    """RESULT_TRACKS and CROPS of some tracks."""
    faces = [row for each in seen for row in faces_of(each)]
    return make_table([_track_row(each) for each in seen], RESULT_TRACKS), make_table(faces, CROPS)


def embeddings(seen: Sequence[Seen]) -> F32:
    """One unit direction (k, DIM) for each face, nearly at right angles to the others."""
    rows = [np.random.default_rng(1000 + each.face).normal(size=DIM) for each in seen]
    array = np.array(rows, np.float32).reshape(-1, DIM)
    unit: F32 = array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-9)
    return unit


def index_of(seen: Sequence[Seen], encoder: str = "") -> TrackIndex:
    """The tracks as anchors are made of them; with embeddings where an encoder is named."""
    return TrackIndex(*tables(seen), embeddings(seen) if encoder else None, encoder)


def people_of(seen: Sequence[Seen]) -> dict[str, str | None]:
    """Person of each track."""
    return {each.track_id: each.person for each in seen}


def write_title(
    storage: Storage,
    seen: Sequence[Seen],
    result: str = "cluster-000000000001",
    title: str = "Film",
    title_id: str = TITLE_ID,
    splits: Mapping[str, list[int]] | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Commit a title as a run does: its tracks, its embeddings, its result, and the pointer.

    `facts` are what `result.json` says of videos besides their place, and `detect`, a folder.
    """
    facts = facts or {}
    videos = list(dict.fromkeys(each.video for each in seen)) or [VIDEO]
    sources = [f"videos/{video}/track-{result[-6:]}" for video in videos]
    for video, folder in zip(videos, sources, strict=True):
        _write_video(storage, folder, [each for each in seen if each.video == video])
    adapt = f"titles/{title_id}/adapt-{result[-6:]}"
    writer = FolderWriter(storage, adapt)
    writer.write_bytes("outputs.safetensors", save_outputs(_outputs(seen)))
    writer.commit({"splits": {}, "warnings": []})
    writer = FolderWriter(storage, f"titles/{title_id}/{result}")
    for name, table in _result(seen).items():
        writer.write_table(f"{name}.parquet", table)
    writer.write_bytes("model.safetensors", b"weights")
    writer.write_json(
        "result.json",
        {
            "schema_version": SCHEMA_VERSION,
            "title": title,
            "videos": [
                {"video_id": video, "uri": f"{video}.mp4", **facts.get(video, {})}
                for video in videos
            ],
            "splits": dict(splits or {}),
            "keys": {
                "track": sources,
                "adapt": adapt,
                "detect": [
                    facts.get(video, {}).get("detect", source)
                    for video, source in zip(videos, sources, strict=True)
                ],
            },
            "pack": {"name": "made-up", "encoder_hash": ENCODER},
            "warnings": [],
            "counts": {"people": 0, "tracks": len(seen), "unknown": 0, "no_face": 0},
            "seconds": {},
        },
    )
    writer.commit({"counts": {}})
    pointer = {"result": result, "title": title, "uris": {}}
    storage.write_json(f"titles/{title_id}/latest.json", pointer)


def _write_video(storage: Storage, folder: str, seen: Sequence[Seen]) -> None:
    tracks, faces = tables(seen)
    rows = [{name: row.get(name, 1) for name in VIDEO_TRACKS.names} for row in tracks.to_pylist()]
    shot = dict.fromkeys(SHOTS.names, 0) | {"shot_id": "s0000", "video_id": "v"}
    writer = FolderWriter(storage, folder)
    writer.write_table("tracks.parquet", make_table(rows, VIDEO_TRACKS))
    writer.write_table("crops.parquet", faces)
    writer.write_table("shots.parquet", make_table([shot], SHOTS))
    writer.commit({"detect": {"failures": []}})


def _outputs(seen: Sequence[Seen]) -> TrackOutputs:
    rows, one = embeddings(seen), np.ones(len(seen))
    flat = one.astype(np.float32)
    return TrackOutputs(
        crops=one.astype(np.int64),
        teacher=rows,
        student=rows,
        within=one,
        within_views=one,
        output=rows,
        embedding=rows,
        pretrained=rows,
        pretrained_views=one,
        quality=flat,
        score=flat,
        recognisability=flat,
        centre=np.zeros(DIM, np.float32),
        teacher_temperature=0.04,
        student_temperature=0.1,
    )


def _result(seen: Sequence[Seen]) -> dict[str, pa.Table]:
    tracks, _ = tables(seen)
    people, shown = [], []
    for person in sorted({each.person for each in seen if each.person}):
        mine = [each for each in seen if each.person == person]
        spans = np.array([(each.start, each.end) for each in mine])
        place = np.array([hash(each.video) for each in mine])
        people.append(
            {
                "person_id": person,
                "tracks": len(mine),
                "screen_seconds": screen_seconds(spans, place),
                "first_seconds": min(each.start for each in mine),
                "confidence": 0.7,
                "cover_track_id": mine[0].track_id,
                "cover_crop": round(mine[0].start * FRAME_RATE),
            }
        )
        shown += [
            {
                "person_id": person,
                "video_id": each.video,
                "start_seconds": each.start,
                "end_seconds": each.end,
                "track_id": each.track_id,
            }
            for each in mine
        ]
    return {
        "people": make_table(people, PEOPLE),
        "tracks": tracks,
        "appearances": make_table(shown, APPEARANCES),
        "merges": MERGES.empty_table(),
    }
