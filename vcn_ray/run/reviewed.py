"""A title after all corrections: its newest result with its edits replayed on it.

The tables lie beside the raw ones, under a key of the result and of all edits:

    titles/<title_id>/reviewed-<key>/{people,tracks,appearances,conflicts}.parquet manifest.json
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vcn_ray.edits.anchor import TrackIndex
from vcn_ray.edits.record import Edit, active_edits
from vcn_ray.edits.replay import REPLAY_VERSION, replay
from vcn_ray.edits.state import Reviewed
from vcn_ray.edits.store import EditLog, edit_names
from vcn_ray.edits.tables import BestFaces, ReviewedTables, best_faces, reviewed_tables
from vcn_ray.errors import StorageError
from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.identity import digest
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.run.outputs import track_embeddings
from vcn_ray.run.stored import StoredTitle
from vcn_ray.schema import SCHEMA_VERSION

REVIEWED = "reviewed-"
REVIEWED_TABLES = ("people", "tracks", "appearances", "conflicts")
STALE_SECONDS = 3600.0  # after which a folder without a manifest belongs to a killed process


@dataclass(frozen=True, eq=False)
class ReviewedTitle:
    """A title after all corrections.

    Attributes:
        title: Its newest result.
        index: The tracks of that result.
        edits: All that can be read, in order, with those that are undone.
        damaged: What is wrong with the others, by the names of their objects.
        state: Who is who.
        best: The best face of each track, where it is known already.
    """

    title: StoredTitle
    index: TrackIndex
    edits: tuple[Edit, ...]
    damaged: dict[str, str]
    state: Reviewed
    best: BestFaces | None = None

    @cached_property
    def tables(self) -> ReviewedTables:
        """The same as tables; a reviewer who makes one edit after the other does without them."""
        title = self.title
        best = self.best or best_faces(title.tracks, title.crops)
        order = [video["video_id"] for video in title.summary["videos"]]
        return reviewed_tables(title.tracks, best, order, self.state, self.damaged)

    @property
    def result(self) -> str:
        """Name of the result's folder."""
        return self.title.folder.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """Where the tables belong, below the output."""
        names = [edit.file_name for edit in self.edits]
        return reviewed_folder(self.title.title_id, self.result, names, self.damaged)

    @property
    def corrections(self) -> int:
        """How many edits count."""
        return len(active_edits(self.edits))

    @property
    def misfits(self) -> int:
        """How many edits do not fit the result, or only partly, or cannot be read."""
        return len(set(self.tables.conflicts.column("edit_id").to_pylist()))


def reviewed_folder(
    title_id: str, result: str, edits: Sequence[str], damaged: Iterable[str] = ()
) -> str:
    """Where the tables of a title after all corrections belong, below the output.

    Args:
        title_id: Of the title.
        result: Name of the result's folder.
        edits: Names of all edits that can be read, in order.
        damaged: Names of the others.
    """
    key = digest("reviewed", REPLAY_VERSION, SCHEMA_VERSION, result, list(edits), list(damaged))
    return f"titles/{title_id}/{REVIEWED}{key}"


def find_reviewed(
    title_id: str, result: str, edits: Sequence[str], storage: Storage
) -> dict[str, Any] | None:
    """The manifest of the tables after all of these edits; None where they are not written.

    One request, where none of the edits is damaged; else they are looked for as if they were not
    there.

    Args:
        title_id: Of the title.
        result: The result's folder, below the output.
        edits: Names of all edits that there are, in order.
        storage: The output.
    """
    folder = reviewed_folder(title_id, result.rpartition("/")[2], edits)
    return storage.find_sound_json(f"{folder}/{MANIFEST}")


def index_tracks(title: StoredTitle, storage: Storage) -> TrackIndex:
    """The tracks of a result as anchors are made of them and found among them."""
    encoder = str(title.summary["pack"]["encoder_hash"])
    return TrackIndex(title.tracks, title.crops, track_embeddings(title, storage), encoder)


def review(
    title: StoredTitle,
    index: TrackIndex,
    edits: Sequence[Edit],
    damaged: dict[str, str],
    best: BestFaces | None = None,
) -> ReviewedTitle:
    """Replay edits on a result; this reads and writes nothing.

    Args:
        title: The result.
        index: Its tracks.
        edits: In order, with those that are undone.
        damaged: What is wrong with edits that cannot be read.
        best: The best face of each track, where it is known already.
    """
    tracks = title.tracks
    names, people = (tracks.column(name).to_pylist() for name in ("track_id", "person_id"))
    person = dict(zip(names, people, strict=True))
    state = replay(person, index, edits, title.folder.rpartition("/")[2])
    return ReviewedTitle(title, index, tuple(edits), damaged, state, best)


def read_reviewed(title: StoredTitle, storage: Storage) -> ReviewedTitle:
    """A title after all corrections that storage holds."""
    log = EditLog(storage, title.title_id)
    edits = log.read()
    return review(title, index_tracks(title, storage), edits, log.damaged)


def commit_reviewed(reviewed: ReviewedTitle, storage: Storage) -> str:
    """Write the tables of a title after all corrections, unless they are there.

    Folders of fewer edits or of an older result are removed: they are made again when needed.

    Returns:
        Their folder, below the output.
    """
    folder = reviewed.folder
    if not storage.is_committed(folder):
        writer = FolderWriter(storage, folder)
        for name in REVIEWED_TABLES:
            writer.write_table(f"{name}.parquet", getattr(reviewed.tables, name))
        writer.commit(
            {
                "result": reviewed.result,
                "edits": [edit.file_name for edit in reviewed.edits],
                "corrections": reviewed.corrections,
                "misfits": reviewed.misfits,
                "found": reviewed.state.found,
            }
        )
    _remove_older(reviewed, storage)
    return folder


def _remove_older(reviewed: ReviewedTitle, storage: Storage) -> None:
    home, own = f"titles/{reviewed.title.title_id}", reviewed.folder.rpartition("/")[2]
    for other in storage.names(home):
        if other.startswith(REVIEWED) and other != own:
            folder = f"{home}/{other}"
            if _is_older(folder, reviewed, storage):
                remove_reviewed(folder, storage)


def _is_older(folder: str, reviewed: ReviewedTitle, storage: Storage) -> bool:
    """Whether a folder says less than these tables do; one in the making does not count."""
    manifest = storage.find_sound_json(f"{folder}/{MANIFEST}")
    if manifest is None:
        changed = [entry.changed for entry in storage.entries(folder).values()]
        return time.time() - max(changed, default=0.0) > STALE_SECONDS
    more = set(manifest["edits"]) - {edit.file_name for edit in reviewed.edits}
    if more & set(edit_names(storage, reviewed.title.title_id)):
        return False  # another reviewer has made more meanwhile
    if manifest["result"] == reviewed.result:
        return True
    latest = storage.find_sound_json(f"titles/{reviewed.title.title_id}/latest.json")
    return latest is None or latest["result"] != manifest["result"]  # a run made it meanwhile


def remove_reviewed(folder: str, storage: Storage) -> None:
    """Remove a folder of tables after corrections; they are made again when needed."""
    for file in (MANIFEST, *(f"{name}.parquet" for name in REVIEWED_TABLES)):
        storage.delete(f"{folder}/{file}")
    with suppress(StorageError):  # something else lies there
        storage.delete(folder)  # which is empty now, on a disk
