"""What the registry keeps of each title: its people, their names, screen time and mean faces.

A title is read again only when its result, its corrections, or what is kept of its embeddings and
pictures have changed, which its key says. It links nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.core.strangers import exact_codes
from vcn_ray.core.vectors import TINY
from vcn_ray.edits.store import edit_names
from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.identity import digest
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.io.tables import column_array, make_table
from vcn_ray.records import F64, TrackOutputs
from vcn_ray.rows.result_rows import screen_seconds
from vcn_ray.rows.title_rows import split_faces
from vcn_ray.run.current import CurrentTitle, current_key, read_current
from vcn_ray.run.outputs import kept_outputs, read_outputs
from vcn_ray.run.retention import PICTURES, removed_from
from vcn_ray.run.stored import LatestResult, read_result
from vcn_ray.schema import CATALOG_FACES

CARD_VERSION = "1"


@dataclass(frozen=True, slots=True)
class TitleState:
    """A title as it is now; nothing of its tables was read."""

    title_id: str
    latest: LatestResult
    key: str  # changes whenever its card would, or what is kept of it
    embeddings: bool  # whether those of its tracks are kept
    pictures: bool  # whether those of any video are


def read_state(title_id: str, storage: Storage) -> TitleState:
    """Read what says whether a title has changed.

    Raises:
        UsageError: Another version made its result.
        DamagedError: It has no result, or a damaged one.
        StorageError: It cannot be read.
    """
    latest = read_result(title_id, storage)
    edits = edit_names(storage, title_id)
    embeddings = kept_outputs(latest, storage) is not None
    pictures = list(_pictured_videos(latest, storage))
    # An erasure rewrites a result in its place: the counts tell it from the one before.
    counts = latest.summary["counts"]
    kept = [embeddings, pictures]
    key = digest("card", CARD_VERSION, current_key(latest, edits), counts, kept)
    return TitleState(title_id, latest, key, embeddings, any(pictures))


def _pictured_videos(latest: LatestResult, storage: Storage) -> Iterator[bool]:
    """Whether the pictures of each video of a title are kept; only manifests are read."""
    for folder in latest.summary["keys"]["track"]:
        manifest = storage.find_sound_json(f"{folder}/{MANIFEST}")
        yield manifest is not None and PICTURES not in removed_from([manifest])


def read_card(state: TitleState, storage: Storage) -> pa.Table:
    """The people of a title, CATALOG_FACES.

    Raises:
        DamagedError: A file of the title is damaged.
        StorageError: It cannot be read.
    """
    title = read_current(state.title_id, storage, state.latest)
    outputs = read_outputs(state.latest, title.tables.tracks.num_rows, storage)
    rows = card_rows(title, outputs)
    return make_table([row | {"key": state.key} for row in rows], CATALOG_FACES)


def card_rows(title: CurrentTitle, outputs: TrackOutputs | None) -> list[dict[str, Any]]:
    """The rows of a title but for their key, by person.

    Args:
        title: The title.
        outputs: Of the tracks of its result, in their order; None: not kept.
    """
    tracks = title.tables.tracks
    person = np.array([who or "" for who in tracks.column("person_id").to_pylist()], object)
    video = np.array(tracks.column("video_id").to_pylist(), object)
    spans = np.stack(
        [column_array(tracks, name) for name in ("start_seconds", "end_seconds")], axis=1
    )
    order = [each["video_id"] for each in title.summary["videos"]]
    rows = []
    for about in title.tables.people.to_pylist():
        mine = np.flatnonzero(person == about["person_id"])
        seen = [each for each in order if (video[mine] == each).any()]
        rows.append(
            {
                "title_id": title.title_id,
                "title": title.name,
                "encoder": str(title.summary["pack"]["encoder_hash"]),
                "video_ids": seen,
                "episodes": [order.index(each) + 1 for each in seen],
                "video_seconds": [_seconds(spans[mine[video[mine] == each]]) for each in seen],
                "codes": None if outputs is None else _mean_face(outputs, mine),
                "stranger_mean": None,
                "stranger_sd": None,
            }
            | {name: about[name] for name in _OF_PEOPLE}
        )
    return sorted(rows, key=lambda row: str(row["person_id"]))


_OF_PEOPLE = (
    "person_id",
    "name",
    "screen_seconds",
    "tracks",
    "cover_track_id",
    "cover_crop",
)


def _seconds(spans: F64) -> float:
    return screen_seconds(spans, np.zeros(len(spans), np.int64))


def _mean_face(outputs: TrackOutputs, rows: Sequence[int] | np.ndarray[Any, Any]) -> bytes:
    """The mean of some tracks' embeddings, as codes; one that shows more of a face weighs more."""
    weight = np.maximum(outputs.recognisability[rows].astype(np.float64), TINY)
    mean = (outputs.pretrained[rows].astype(np.float64) * weight[:, None]).sum(axis=0)
    codes: bytes = exact_codes(mean[None])[0].tobytes()
    return codes


def read_covers(
    latest: LatestResult, wanted: Sequence[tuple[str, int]], storage: Storage
) -> list[bytes | None]:
    """Pictures of faces of a title, JPEG.

    Args:
        latest: The newest result of the title.
        wanted: Track and frame of each.
        storage: The output.

    Returns:
        A picture for each; None where it is not kept.
    """
    found: dict[tuple[str, int], bytes] = {}
    tracks = {track for track, _ in wanted}
    for folder in latest.summary["keys"]["track"]:
        faces = CommittedFolder.open(storage, folder).read_table(
            "crops.parquet", ["track_id", "frame", "face"]
        )
        faces = split_faces(faces.filter(pc.is_valid(faces["face"])), latest.summary["splits"])
        for row in faces.to_pylist():
            if row["track_id"] in tracks:
                found[row["track_id"], row["frame"]] = row["face"]
    return [found.get(each) for each in wanted]
