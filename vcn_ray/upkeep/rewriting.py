"""Rewrites the folders of an erasure without the erased; the rows of all others stay as they are.

Each function can be called again, also after a kill in the middle of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.io.committed import FILES, FileRecords
from vcn_ray.io.storage import MANIFEST, Storage, table_bytes
from vcn_ray.io.tables import load_outputs, save_outputs
from vcn_ray.records import TrackOutputs
from vcn_ray.rows.title_rows import Splits, part_ids, split_faces
from vcn_ray.rows.tombstones import Span, painted_frames
from vcn_ray.rows.without import (
    count_rejected,
    faces_in,
    people_without,
    rows_without,
    tracks_without,
)
from vcn_ray.run.commit import MODEL
from vcn_ray.run.rewrite import Amend, manifest_before, rewrite_folder
from vcn_ray.run.summary import count_tracks, explain_warning
from vcn_ray.run.tombstones import HONOURED, honoured
from vcn_ray.schema import CROPS
from vcn_ray.upkeep.order import TitleWork, TrackWork
from vcn_ray.upkeep.tracing import TrackedFaces, is_detections

ERASED = "erased"  # code of the warning of a result

TRACK_COLUMNS = {
    "appearances.parquet": ("track_id",),
    "merges.parquet": ("left_track_id", "right_track_id"),
    "tracks.parquet": ("track_id",),
}
"""Columns of a result's tables that name tracks."""


def _table(path: str, storage: Storage, columns: list[str] | None = None) -> pa.Table:
    """A table that another one is rewritten by.

    Raises:
        DamagedError: It is missing or damaged.
    """
    data = storage.find_bytes(path)
    if data is None:
        raise storage.damaged(path, "it is missing")
    return storage.parse_table(path, data, columns)


def _json(path: str, storage: Storage) -> dict[str, Any]:
    """A JSON object that another file is rewritten by; as _table."""
    content = storage.find_json(path)
    if content is None:
        raise storage.damaged(path, "it is missing")
    return content


def _amended(erased: Sequence[str], **more: Any) -> Amend:
    """Amend a manifest: it names tombstones, and some values are other ones."""

    def amend(content: dict[str, Any]) -> dict[str, Any]:
        return content | more | honoured([*content.get(HONOURED, ()), *erased])

    return amend


def rewrite_detections(
    works: Sequence[TrackWork], spans: Sequence[Span], stone: str, storage: Storage
) -> None:
    """Remove the erased from the detections of a video.

    Args:
        works: Of the tracks that were made of these detections.
        spans: Where the erased are seen.
        stone: The hash of the tombstone.
        storage: The output.
    """
    folder, faces = works[0].detect, TrackedFaces.read(works, storage)
    rows: dict[str, int] = {}

    def change(name: str, data: bytes, files: FileRecords) -> bytes:
        path = f"{folder}/{name}"
        if name.endswith(".json"):
            marker = storage.parse_json(path, data)
            marker[FILES] = {file: files.get(file, old) for file, old in marker[FILES].items()}
            marker["faces"] = rows.get(f"{name.removesuffix('.json')}.parquet", marker["faces"])
            return storage.json_bytes(path, _amended([stone])(marker))
        table = storage.parse_table(path, data)
        if not is_detections(name):
            painted = painted_frames(table, spans)
            return data if painted is table else table_bytes(painted)
        left = table.filter(pa.array(~faces.erased(table, spans)))
        rows[name] = left.num_rows
        return data if left.num_rows == table.num_rows else table_bytes(left)

    def amend(content: dict[str, Any]) -> dict[str, Any]:
        return _amended([stone], faces=sum(rows.values()))(content)

    rewrite_folder(folder, storage, change, amend)


def rewrite_tracks(work: TrackWork, stone: str, storage: Storage) -> None:
    """Remove the erased from the tracks of a video, whose detections are rewritten."""

    def change(name: str, data: bytes, files: FileRecords) -> bytes:
        if name == "shots.parquet":
            return data
        crops = _table(f"{work.track}/crops.parquet", storage)
        erased = faces_in(crops, work.ranges)
        if not erased.any():
            return data
        if name == "crops.parquet":
            return table_bytes(crops.filter(pa.array(~erased)))
        tracks = storage.parse_table(f"{work.track}/{name}", data)
        return table_bytes(tracks_without(tracks, crops, erased))

    amend = partial(_amend_tracks, work, stone, storage)
    rewrite_folder(work.track, storage, change, amend, first="tracks.parquet")


def _amend_tracks(
    work: TrackWork, stone: str, storage: Storage, content: dict[str, Any]
) -> dict[str, Any]:
    tracks, crops = (
        _table(f"{work.track}/{name}.parquet", storage) for name in ("tracks", "crops")
    )
    before, tracked = content["tracked"], crops.num_rows
    changed: dict[str, Any] = {
        "tracked": tracked,
        "tracks": tracks.num_rows,
        "crops": sum(tracks.column("crops").to_pylist()),
        # Which of them lay on their side is not stored here; the fraction decides, and it stays.
        "turned": round(content["turned"] * tracked / before) if before else 0,
    }
    manifest = storage.find_json(f"{work.detect}/{MANIFEST}")
    if manifest is not None:  # a user may have deleted the bulky detections
        status = [
            text
            for name in sorted(filter(is_detections, manifest[FILES]))
            for text in _table(f"{work.detect}/{name}", storage, ["status"])[0].to_pylist()
        ]
        changed["rejected"] = count_rejected(status, tracked)
        changed["detect"] = content["detect"] | {"faces": manifest["faces"]}
    return _amended([stone], **changed)(content)


def rewrite_adapted(work: TitleWork, storage: Storage) -> None:
    """Remove the erased from the outputs of a title's model, and the model, which has seen them."""
    manifest = manifest_before(work.adapt, storage)
    if manifest is None:
        return
    splits = _splits_without(manifest["splits"], set(work.drop))

    def change(name: str, data: bytes, files: FileRecords) -> bytes | None:
        if name == MODEL:  # also where its head alone is new: that is centred on all crops
            return None
        return save_outputs(_outputs_without(load_outputs(data), work))

    rewrite_folder(work.adapt, storage, change, _amended(work.erased, splits=splits))


def _outputs_without(outputs: TrackOutputs, work: TitleWork) -> TrackOutputs:
    if len(outputs) == work.tracks:
        outputs = outputs[np.setdiff1d(np.arange(work.tracks), work.rows)]
    outputs.centre.fill(0.0)  # the mean of all outputs, which no later step reads
    return outputs


def _splits_without(splits: Splits, drop: set[str]) -> Splits:
    return {name: at for name, at in splits.items() if not drop.issuperset(part_ids(name, splits))}


def rewrite_result(work: TitleWork, storage: Storage) -> None:
    """Remove the erased from the result of a title, whose other folders are rewritten."""
    drop, folder = set(work.drop), work.cluster

    def change(name: str, data: bytes, files: FileRecords) -> bytes | None:
        path = f"{folder}/{name}"
        if name == MODEL:
            return None
        if name == "result.json":
            summary = _summary_without(storage.parse_json(path, data), work, storage)
            return storage.json_bytes(path, summary)
        table = storage.parse_table(path, data)
        if name in TRACK_COLUMNS:
            left = rows_without(table, drop, *TRACK_COLUMNS[name])
        else:
            tracks = _table(f"{folder}/tracks.parquet", storage)
            faces = partial(_faces_of, work, storage)
            left = people_without(table, tracks, drop, list(work.videos), faces)
        return data if left.equals(table) else table_bytes(left)

    def amend(content: dict[str, Any]) -> dict[str, Any]:
        counts = _json(f"{folder}/result.json", storage)["counts"]
        return _amended(work.erased, counts=counts)(content)

    rewrite_folder(folder, storage, change, amend)


def _faces_of(work: TitleWork, storage: Storage, track_ids: list[str]) -> pa.Table:
    """The faces of some tracks of a title, which are left."""
    summary = _json(f"{work.cluster}/result.json", storage)
    crops = [_table(f"{track}/crops.parquet", storage) for track in summary["keys"]["track"]]
    faces = split_faces(pa.concat_tables([CROPS.empty_table(), *crops]), summary["splits"])
    return faces.filter(pc.is_in(faces.column("track_id"), pa.array(track_ids, pa.string())))


def _summary_without(summary: dict[str, Any], work: TitleWork, storage: Storage) -> dict[str, Any]:
    """`result.json` with the counts of the tables that are left, and a warning."""
    tracks, people = (
        _table(f"{work.cluster}/{name}.parquet", storage) for name in ("tracks", "people")
    )
    videos = [_json(f"{track}/{MANIFEST}", storage) for track in summary["keys"]["track"]]
    rejected: dict[str, int] = {}
    for video in videos:
        for reason, number in sorted(video["rejected"].items()):
            rejected[reason] = rejected.get(reason, 0) + number
    counts = summary["counts"] | {
        "people": people.num_rows,
        **count_tracks(tracks),
        "faces": sum(video["detect"]["faces"] for video in videos),
        "rejected": dict(sorted(rejected.items())),
    }
    others = [warning for warning in summary["warnings"] if warning["code"] != ERASED]
    return summary | {
        "counts": counts,
        "splits": _splits_without(summary["splits"], set(work.drop)),
        "warnings": [*others, explain_warning(ERASED)],
    }
