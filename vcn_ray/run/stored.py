"""Finished titles read back from storage, for pages and for scores; it changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from vcn_ray.errors import DamagedError, UsageError, listed
from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import column_array, read_boxes
from vcn_ray.records import F32, F64, I64, Mask
from vcn_ray.rows.title_rows import split_faces
from vcn_ray.run.commit import RESULT_TABLES
from vcn_ray.run.damage import segment_name
from vcn_ray.run.parallel import THREADS, map_in_order
from vcn_ray.run.retention import removed_from
from vcn_ray.schema import BOX_COLUMNS, CROPS, SCHEMA_VERSION, SHOTS

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_NAMED = 5  # titles in an error


@dataclass(frozen=True, slots=True, eq=False)
class StoredTitle:
    """The newest result of a title and what it was made of."""

    title_id: str
    folder: str  # of the result, below the output
    summary: dict[str, Any]  # result.json
    people: pa.Table
    tracks: pa.Table
    appearances: pa.Table
    merges: pa.Table
    shots: pa.Table  # of all its videos
    crops: pa.Table  # every face of every track, of all its videos
    removed: dict[str, str] = field(default_factory=dict)  # by retention, and when


@dataclass(frozen=True, slots=True, eq=False)
class StoredDetections:
    """Every frame of a video that was read, and every face that was detected in it."""

    seconds: F64  # (t,) time of each frame
    analysed: Mask  # (t,) true for frames in which faces were sought
    frame: I64  # (n,) frame of each face, as an index into `seconds`
    boxes: F32  # (n, 4) pixels of the displayed frame
    complete: bool  # false if a segment before the last failed: later indices are then too small


class TitleVideos(NamedTuple):
    """A title that has a result, and where its videos are."""

    title_id: str
    uris: dict[str, str]  # by video id


@dataclass(slots=True)
class TitleReader:
    """Reads all titles that have a result, by id.

    A damaged title, and one of another version, is skipped with a warning.

    Args:
        storage: The output.

    Attributes:
        damaged: Titles that were skipped because a file of theirs is damaged.
    """

    storage: Storage
    damaged: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[StoredTitle]:
        """Read the titles.

        Raises:
            UsageError: There is none.
        """
        found = False
        for title_id in find_titles(self.storage):
            title = self.attempt(title_id, partial(read_title, title_id, self.storage))
            if title is not None:
                found = True
                yield title
        self._check_found(found)

    def videos(self) -> Iterator[TitleVideos]:
        """Where the videos of each title are; only the pointers to the results are read.

        Raises:
            UsageError: No title has a result.
        """
        for title_id, latest in self.pointers():
            yield TitleVideos(title_id, latest["uris"])

    def pointers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The id of each title and what names its newest result; nothing else is read.

        Raises:
            UsageError: No title has a result.
        """
        found = False
        title_ids = self.storage.names("titles")
        pointers = map_in_order(self._read_pointer, title_ids, THREADS)
        for title_id, latest in zip(title_ids, pointers, strict=True):
            if latest is not None:
                found = True
                yield title_id, latest
        self._check_found(found)

    def _read_pointer(self, title_id: str) -> dict[str, Any] | None:
        return self.attempt(title_id, partial(_find_pointer, title_id, self.storage))

    def _check_found(self, found: bool) -> None:
        if not found and not self.damaged:
            raise UsageError(
                f"{self.storage.uri} holds no results: run vcn index with --output "
                f"{self.storage.uri}"
            )

    def attempt(self, title_id: str, read: Callable[[], T]) -> T | None:
        """What a reading gives; None where the title has to be skipped."""
        try:
            return read()
        except DamagedError as error:
            self.damaged.append(title_id)
            repair = f"index it again, or use vcn verify {self.storage.uri} --repair"
            log.warning("%s is skipped: %s; %s", title_id, error, repair)
        except UsageError as error:
            log.warning("skipped: %s", error)
        return None


def stored_titles(storage: Storage) -> Iterator[StoredTitle]:
    """All titles that have a result and can be read; as TitleReader."""
    return iter(TitleReader(storage))


def _find_pointer(title_id: str, storage: Storage) -> dict[str, Any] | None:
    """What names the newest result of a title; None where it has no result."""
    path = f"titles/{title_id}/latest.json"
    latest = storage.find_json(path)
    if latest is None and _has_result(title_id, storage):
        raise storage.damaged(path, "it is missing")
    return latest


def find_titles(storage: Storage) -> Iterator[str]:
    """Ids of all titles that have a result, in order; one without its pointer is damaged."""
    for title_id in storage.names("titles"):
        if _has_result(title_id, storage):
            yield title_id


def _has_result(title_id: str, storage: Storage) -> bool:
    names = storage.names(f"titles/{title_id}")
    return "latest.json" in names or any(
        name.startswith("cluster-") and storage.is_committed(f"titles/{title_id}/{name}")
        for name in names
    )


class LatestResult(NamedTuple):
    """The newest result of a title."""

    folder: str  # below the output
    summary: dict[str, Any]  # result.json, with the present places of the videos


def latest_result(title_id: str, storage: Storage) -> LatestResult | None:
    """The newest result of a title; None where it has none.

    Raises:
        UsageError: Another version made it.
        DamagedError: It is damaged.
        StorageError: It cannot be read.
    """
    latest = storage.find_json(f"titles/{title_id}/latest.json")
    if latest is None:
        return None
    folder = f"titles/{title_id}/{latest['result']}"
    path = f"{folder}/result.json"
    summary = storage.find_json(path)
    if summary is None:
        raise storage.damaged(path, "it is missing")
    version = summary.get("schema_version")
    if version != SCHEMA_VERSION:
        raise UsageError(
            f"{storage.locate(folder)} has schema version {version}, and this "
            f"version of vcn-ray reads {SCHEMA_VERSION}: index the title again"
        )
    for video in summary["videos"]:  # a file may have moved since
        video["uri"] = latest["uris"].get(video["video_id"], video["uri"])
    return LatestResult(folder, summary)


def read_result(title_id: str, storage: Storage) -> LatestResult:
    """The newest result of a title that must have one.

    Raises:
        UsageError: Another version made it.
        DamagedError: It has none, or a damaged one.
        StorageError: The result cannot be read.
    """
    latest = latest_result(title_id, storage)
    if latest is None:
        raise storage.damaged(f"titles/{title_id}/latest.json", "it is missing")
    return latest


def find_title_id(storage: Storage, wanted: str | None) -> str:
    """The id of the title with a name or id; of the only title where none is named.

    Only pointers to results are read, so a damaged or old result of another title does not matter.

    Raises:
        UsageError: There is no such title, or more than one.
    """
    ids = storage.names("titles")
    if wanted in ids and storage.exists(f"titles/{wanted}/latest.json"):
        return wanted
    names = {}
    for title_id in ids:
        if latest := storage.find_sound_json(f"titles/{title_id}/latest.json"):
            names[title_id] = latest["title"]
    if not names:
        raise UsageError(f"{storage.uri} holds no results: run vcn index --output {storage.uri}")
    fits = [title_id for title_id, name in names.items() if wanted in (None, name)]
    if len(fits) != 1:
        shown = {title_id: names[title_id] for title_id in fits or names}
        some = listed((f"{name} ({title_id})" for title_id, name in shown.items()), MAX_NAMED)
        what = "" if wanted is None else f" and {len(fits)} called {wanted!r}"
        raise UsageError(f"{storage.uri} holds {len(names)} titles{what}: name one of {some}")
    return fits[0]


def find_title(storage: Storage, wanted: str | None) -> LatestResult:
    """The newest result of the title with a name or id; of the only title where none is named.

    Raises:
        UsageError: There is no such title, or more than one, or another version made its result.
        StorageError: The result cannot be read.
    """
    return read_result(find_title_id(storage, wanted), storage)


def read_title(title_id: str, storage: Storage) -> StoredTitle:
    """The newest result of a title, with its tables.

    Raises:
        UsageError: It has no result, or another version made it.
        StorageError: The result cannot be read.
    """
    folder, summary = read_result(title_id, storage)
    result = CommittedFolder.open(storage, folder)
    tables = {name: result.read_table(f"{name}.parquet") for name in RESULT_TABLES}
    sources = [CommittedFolder.open(storage, source) for source in summary["keys"]["track"]]
    shots = [source.read_table("shots.parquet") for source in sources]
    crops = [source.read_table("crops.parquet") for source in sources]
    faces = pa.concat_tables([CROPS.empty_table(), *crops])
    return StoredTitle(
        title_id=title_id,
        folder=folder,
        summary=summary,
        shots=pa.concat_tables([SHOTS.empty_table(), *shots]),
        crops=split_faces(faces, summary["splits"]),
        removed=removed_from([source.manifest for source in sources]),
        **tables,
    )


def detect_folders(title: StoredTitle) -> dict[str, str]:
    """Where the detections of a title's videos are, below the output, by video id."""
    videos = [video["video_id"] for video in title.summary["videos"]]
    return dict(zip(videos, title.summary["keys"]["detect"], strict=True))


def read_detections(folder: str, storage: Storage) -> StoredDetections:
    """Read all detections of one video, including those that no track uses.

    Args:
        folder: One of `detect_folders`.
        storage: The output.
    """
    detected = CommittedFolder.open(storage, folder)
    manifest = detected.manifest
    start, seconds, analysed = 0, [np.zeros(0, np.float64)], [np.zeros(0, np.bool_)]
    frame, boxes = [np.zeros(0, np.int64)], [np.zeros((0, 4), np.float32)]
    for index in manifest["read"]:
        frames = detected.read_table(segment_name(index, "frames"), ["seconds", "analysed"])
        faces = detected.read_table(segment_name(index, "seg"), ["frame_in_segment", *BOX_COLUMNS])
        seconds.append(column_array(frames, "seconds"))
        analysed.append(column_array(frames, "analysed"))
        frame.append(column_array(faces, "frame_in_segment").astype(np.int64) + start)
        boxes.append(read_boxes(faces))
        start += frames.num_rows
    last = manifest["segments"] - 1
    return StoredDetections(
        seconds=np.concatenate(seconds),
        analysed=np.concatenate(analysed),
        frame=np.concatenate(frame),
        boxes=np.concatenate(boxes),
        complete=all(failure["segment"] == last for failure in manifest["failures"]),
    )
