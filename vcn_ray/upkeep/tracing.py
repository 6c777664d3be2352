"""Where a person is seen in the videos of a title: in tracks, in tracks of nobody, and without any.

It reads tables and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import column_array, read_boxes
from vcn_ray.records import F32, Mask
from vcn_ray.rows.result_rows import CLUSTERED
from vcn_ray.rows.tombstones import MARGIN_SECONDS, Span, erased_faces
from vcn_ray.rows.without import FrameRange, base_id, face_keys, faces_in, overlaps
from vcn_ray.run.outputs import track_embeddings
from vcn_ray.run.stored import StoredTitle
from vcn_ray.upkeep.likeness import FindEncoder, Likeness, likeness_of
from vcn_ray.upkeep.order import TrackWork

MIN_OVERLAP = 0.5
"""Fraction of the faces of a track of nobody that lie on the person, for it to be theirs."""


def is_detections(name: str) -> bool:
    """True for the file of a segment's faces."""
    return name.startswith("seg-") and name.endswith(".parquet")


class TrackedFaces(NamedTuple):
    """Faces of a video's tracks, by time and box."""

    gone: set[tuple[float, ...]]  # those to remove
    kept: set[tuple[float, ...]]  # of other tracks
    loose: bool = False  # whether all faces without a track are to be removed

    @classmethod
    def read(cls, works: Sequence[TrackWork], storage: Storage) -> TrackedFaces:
        """Read them from all folders of tracks that were made of the same detections."""
        gone: set[tuple[float, ...]] = set()
        kept: set[tuple[float, ...]] = set()
        for work in works:
            crops = storage.read_table(f"{work.track}/crops.parquet")
            inside = faces_in(crops, work.ranges)
            keys = face_keys(crops)
            gone.update(key for key, mine in zip(keys, inside, strict=True) if mine)
            kept.update(key for key, mine in zip(keys, inside, strict=True) if not mine)
        return cls(gone, kept - gone, any(work.loose for work in works))

    def erased(self, detections: pa.Table, spans: Sequence[Span]) -> Mask:
        """The rows (n,) of DETECTIONS that show the erased, but for the faces of other tracks."""
        keys = face_keys(detections)
        seen = erased_faces(spans, column_array(detections, "seconds"), read_boxes(detections))
        gone, kept = (
            np.array([key in faces for key in keys], np.bool_).reshape(seen.shape)
            for faces in (self.gone, self.kept)
        )
        result: Mask = ((seen | self.loose) & ~kept) | gone
        return result


class TracedTitle:
    """Finds where some people of a title are seen.

    Args:
        title: The title.
        people: Their ids.
        storage: The output.
        find_encoder: Gives the encoder of the title.

    Attributes:
        remarks: Lines for people.
    """

    def __init__(
        self,
        title: StoredTitle,
        people: Sequence[str],
        storage: Storage,
        find_encoder: FindEncoder,
    ) -> None:
        self.remarks: list[str] = []
        self._title = title
        self._people = people
        self._storage = storage
        self._encoder = find_encoder
        self._shots = title.shots.to_pylist()

    def works(self) -> Iterator[tuple[TrackWork, list[Span]]]:
        """The work on each video in which they are seen, and where they are."""
        title = self._title
        keys, splits = title.summary["keys"], title.summary["splits"]
        for video, track, detect in zip(
            title.summary["videos"], keys["track"], keys["detect"], strict=True
        ):
            video_id = video["video_id"]
            here = title.tracks.filter(pc.equal(title.tracks.column("video_id"), video_id))
            ids = self._tracks(here)
            spans = [self._span(row) for row in here.to_pylist() if row["track_id"] in ids]
            more, loose = self._loose_faces(video_id, here, detect)
            if not ids and not more:
                continue
            ranges = tuple(
                FrameRange(base_id(row["track_id"], splits), row["start_frame"], row["end_frame"])
                for row in here.to_pylist()
                if row["track_id"] in ids
            )
            yield TrackWork(video_id, track, detect, ranges, loose), spans + more

    def _tracks(self, here: pa.Table) -> set[str]:
        """Ids of their tracks in a video, and of those of nobody that show them too."""
        mine = pc.is_in(here.column("person_id"), pa.array(self._people, pa.string()))
        ids = set(here.filter(mine).column("track_id").to_pylist())
        nobody = here.filter(pc.not_equal(here.column("status"), CLUSTERED))
        names = nobody.column("track_id").to_pylist()
        if not names:
            return ids
        crops = self._title.crops
        crops = crops.filter(pc.is_in(crops.column("track_id"), pa.array(names, pa.string())))
        spans = [self._span(row) for row in here.filter(mine).to_pylist()]
        matched = erased_faces(spans, column_array(crops, "seconds"), read_boxes(crops))
        ids |= overlaps(crops.column("track_id").to_pylist(), matched, MIN_OVERLAP)
        if self._likeness is not None and self._embeddings is not None:
            every = self._title.tracks.column("track_id").to_pylist()
            rows = np.array([every.index(name) for name in names], np.int64)
            alike = self._likeness.of(self._embeddings[rows])
            ids |= {name for name, same in zip(names, alike, strict=True) if same}
        return ids

    def _loose_faces(self, video_id: str, here: pa.Table, detect: str) -> tuple[list[Span], bool]:
        """Where faces without a track show them, and whether nobody could compare these."""
        folder = CommittedFolder.find(self._storage, detect)
        if folder is None:
            return [], False
        crops = self._title.crops
        ids = here.column("track_id").combine_chunks()
        tracked = set(face_keys(crops.filter(pc.is_in(crops.column("track_id"), ids))))
        spans: list[Span] = []
        uncompared = 0
        for name in sorted(filter(is_detections, folder.files)):
            table = folder.read_table(name)
            keys, images = face_keys(table), table.column("image").to_pylist()
            rows = [
                row
                for row, (key, image) in enumerate(zip(keys, images, strict=True))
                if image is not None and key not in tracked
            ]
            if self._likeness is None or self._likeness.encoder is None:
                uncompared += len(rows)
                continue
            same = self._likeness.of_pictures([images[row] for row in rows])
            spans += [
                self._point(video_id, keys[row])
                for row, mine in zip(rows, same, strict=True)
                if mine
            ]
        if uncompared:
            self.remarks.append(
                f"{video_id}: {uncompared} faces without a track are removed, because nothing on "
                "this machine can compare them with the person; a later run may find some again: "
                "name the pack by --pack"
            )
        return spans, bool(uncompared)

    def _span(self, track: dict[str, Any]) -> Span:
        """Where a track is seen, with a margin within its shot."""
        crops = self._title.crops
        crops = crops.filter(pc.equal(crops.column("track_id"), track["track_id"]))
        seconds = column_array(crops, "seconds").astype(np.float64)
        order = np.argsort(seconds, kind="stable")
        shot = next(s for s in self._shots if s["shot_id"] == track["shot_id"])
        return Span(
            max(shot["start_seconds"], float(seconds.min()) - MARGIN_SECONDS),
            min(shot["end_seconds"], float(seconds.max()) + MARGIN_SECONDS),
            seconds[order],
            read_boxes(crops)[order],
        )

    def _point(self, video_id: str, face: tuple[float, ...]) -> Span:
        """Where one face is seen, with a margin within its shot."""
        seconds, *box = face
        start, end = seconds - MARGIN_SECONDS, seconds + MARGIN_SECONDS
        for shot in self._shots:
            inside = shot["start_seconds"] <= seconds < shot["end_seconds"]
            if shot["video_id"] == video_id and inside:
                start, end = max(start, shot["start_seconds"]), min(end, shot["end_seconds"])
        return Span(start, end, np.array([seconds]), np.array([box], np.float32))

    @cached_property
    def _embeddings(self) -> F32 | None:
        return track_embeddings(self._title, self._storage)

    @cached_property
    def _likeness(self) -> Likeness | None:
        embeddings = self._embeddings
        if embeddings is None or not len(embeddings):
            return None
        return likeness_of(self._title, embeddings, self._people, self._encoder(self._title))
