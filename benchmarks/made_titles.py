"""Finished titles without videos, from labels and embeddings: what a registry reads of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import make_table, save_outputs
from vcn_ray.records import F32, I64, TrackOutputs
from vcn_ray.schema import APPEARANCES, CROPS, MERGES, PEOPLE, RESULT_TRACKS, SCHEMA_VERSION, SHOTS

SECONDS = 2.0  # of each track
RATE = 24
RESULT = "cluster-000000000001"


class MadeTitle(NamedTuple):
    """A title whose tracks come one after the other."""

    title_id: str
    label: I64  # (k,) person of each track, 0, 1, ...; negative: nobody
    embedding: F32  # (k, d) unit, of the pretrained encoder
    encoder: str = "made"  # hash of the encoder
    pack: str = "made"  # its name, or where it is


def person_name(label: int) -> str:
    """The id of a person of a title."""
    return f"p{label + 1:04d}"


def write_made(storage: Storage, title: MadeTitle) -> None:
    """Commit a title as a run does."""
    home, video = f"titles/{title.title_id}", f"{title.title_id}-video"
    track, adapt = f"videos/{video}/track-{'0' * 12}", f"{home}/adapt-{'0' * 12}"
    commit_tables(storage, track, {"crops": CROPS.empty_table(), "shots": SHOTS.empty_table()})
    adapted = FolderWriter(storage, adapt)
    adapted.write_bytes("outputs.safetensors", save_outputs(_outputs(title.embedding)))
    adapted.commit({})
    summary = {
        "title": title.title_id,
        "videos": [{"video_id": video, "uri": f"{video}.mp4"}],
        "splits": {},
        "keys": {"detect": [], "track": [track], "adapt": adapt},
        "pack": {"name": title.pack, "encoder_hash": title.encoder},
        "counts": {"tracks": len(title.embedding)},
        "warnings": [],
    }
    commit_result(storage, home, RESULT, made_tables(title, video), summary)


def commit_tables(storage: Storage, folder: str, tables: Mapping[str, pa.Table]) -> None:
    """Commit a folder of tables, by their names."""
    writer = FolderWriter(storage, folder)
    for name, table in tables.items():
        writer.write_table(f"{name}.parquet", table)
    writer.commit({})


def commit_result(
    storage: Storage,
    home: str,
    result: str,
    tables: Mapping[str, pa.Table],
    summary: Mapping[str, Any],
) -> None:
    """Commit a result of a title, and point to it.

    Args:
        storage: The output.
        home: Folder of the title.
        result: Name of the result's folder in it.
        tables: By name.
        summary: What `result.json` says, but for the schema version.
    """
    writer = FolderWriter(storage, f"{home}/{result}")
    for name, table in tables.items():
        writer.write_table(f"{name}.parquet", table)
    writer.write_json("result.json", {"schema_version": SCHEMA_VERSION, **summary})
    writer.commit({})
    pointer = {"result": result, "title": summary["title"], "uris": {}}
    storage.write_json(f"{home}/latest.json", pointer)


def made_tables(title: MadeTitle, video: str) -> dict[str, pa.Table]:
    """The tables of a title's result."""
    tracks = [
        {
            "track_id": f"{title.title_id}-{row}",
            "video_id": video,
            "shot_id": "s0000",
            "start_seconds": SECONDS * row,
            "end_seconds": SECONDS * (row + 1),
            "start_frame": round(RATE * SECONDS) * row,
            "end_frame": round(RATE * SECONDS) * (row + 1),
            "crops": 6,
            "quality": 0.9,
            "status": "clustered" if label >= 0 else "unknown",
            "reason": None if label >= 0 else "ambiguous",
            "person_id": person_name(label) if label >= 0 else None,
            "confidence": 0.9 if label >= 0 else 0.0,
        }
        for row, label in enumerate(title.label.tolist())
    ]
    people = []
    for label in np.unique(title.label[title.label >= 0]).tolist():
        mine = np.flatnonzero(title.label == label)
        people.append(
            {
                "person_id": person_name(label),
                "tracks": len(mine),
                "screen_seconds": SECONDS * len(mine),
                "first_seconds": SECONDS * int(mine[0]),
                "confidence": 0.9,
                "cover_track_id": f"{title.title_id}-{mine[0]}",
                "cover_crop": round(RATE * SECONDS) * int(mine[0]),
            }
        )
    seen = [row for row in tracks if row["person_id"] is not None]
    seen.sort(key=lambda row: (row["person_id"], row["start_seconds"]))
    shown = [{name: row[name] for name in APPEARANCES.names} for row in seen]
    return {
        "people": make_table(people, PEOPLE),
        "tracks": make_table(tracks, RESULT_TRACKS),
        "appearances": make_table(shown, APPEARANCES),
        "merges": MERGES.empty_table(),
    }


def _outputs(embedding: F32) -> TrackOutputs:
    one = np.ones(len(embedding))
    flat, nothing = one.astype(np.float32), np.zeros((len(embedding), 1), np.float32)
    return TrackOutputs(
        crops=one.astype(np.int64),
        teacher=nothing,
        student=nothing,
        within=one,
        within_views=one,
        output=nothing,
        embedding=embedding,
        pretrained=embedding,
        pretrained_views=one,
        quality=flat,
        score=flat,
        recognisability=flat,
        centre=np.zeros(1, np.float32),
        teacher_temperature=0.04,
        student_temperature=0.1,
    )
