"""Anchors: how a track of one result is found again in another result of the same videos.

A track is found by where its face is seen: boxes of the same moment that overlap vote for the
tracks that they belong to. Where boxes lie elsewhere, as in a video that is turned now, the
embedding decides among the tracks of the same time. It knows no edits, and guesses nothing: what
is not clear is not found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from vcn_ray.edits.record import MAX_BOXES, Anchor, pack_embedding, unpack_embedding
from vcn_ray.io.tables import column_array, read_boxes
from vcn_ray.records import F32, F64, I64

MAX_APART_SECONDS = 0.3  # between an anchor's box and the face that it is compared with
MIN_IOU = 0.4
MIN_LEAD = 0.15  # of the best box over that of any other track
MIN_VOTES = 0.5  # fraction of the anchor's boxes within a track's time that must be of this track
MIN_COSINE = 0.6  # of two embeddings of one face, seen at the same time
COSINE_LEAD = 0.15  # over any other track of that time

How = Literal["id", "box", "embedding", "lost"]


@dataclass(frozen=True, slots=True)
class Found:
    """What an anchor is in a result."""

    tracks: tuple[str, ...]  # ids; several where the track is cut in parts there
    how: How


@dataclass(frozen=True, slots=True, eq=False)
class _Faces:
    """All faces of the tracks of a video, in order of time."""

    seconds: F64  # (n,)
    boxes: F32  # (n, 4)
    row: I64  # (n,) of the track
    by_track: I64  # (n,) places of the faces by track and time
    rising: I64  # (n,) the rows in that order

    def of(self, row: int) -> I64:
        """Places of the faces of one track, in order of time."""
        low, high = np.searchsorted(self.rising, [row, row + 1])
        return self.by_track[low:high]


class TrackIndex:
    """The tracks of a title, to make anchors of them and to find anchors among them.

    Args:
        tracks: (k rows) with the columns of VIDEO_TRACKS that say when a track is seen.
        faces: CROPS of all of them.
        embedding: (k, d) unit embeddings of the pretrained encoder; None: not kept.
        encoder: Hash of that encoder.
    """

    def __init__(
        self,
        tracks: pa.Table,
        faces: pa.Table,
        embedding: F32 | None = None,
        encoder: str = "",
    ) -> None:
        self.encoder = encoder if embedding is not None else ""
        self.ids: list[str] = tracks.column("track_id").to_pylist()
        self.row = {name: row for row, name in enumerate(self.ids)}
        self.start: F64 = column_array(tracks, "start_seconds").astype(np.float64)
        self.end: F64 = column_array(tracks, "end_seconds").astype(np.float64)
        self.video: list[str] = tracks.column("video_id").to_pylist()
        self.embedding = embedding
        self._faces = self._by_video(faces)

    def _by_video(self, faces: pa.Table) -> dict[str, _Faces]:
        row = np.array([self.row[name] for name in faces.column("track_id").to_pylist()], np.int64)
        seconds, boxes = column_array(faces, "seconds").astype(np.float64), read_boxes(faces)
        video = np.array(self.video, object)[row] if len(row) else np.zeros(0, object)
        found = {}
        for name in dict.fromkeys(self.video):
            mine = np.flatnonzero(video == name)
            mine = mine[np.lexsort((row[mine], seconds[mine]))]
            owner = row[mine]
            by_track = np.argsort(owner, kind="stable")
            found[name] = _Faces(seconds[mine], boxes[mine], owner, by_track, owner[by_track])
        return found

    def seen(self, track_id: str) -> tuple[F64, F32]:
        """Times (n,) and boxes (n, 4) of the faces of a track, in order of time.

        Raises:
            KeyError: There is no such track.
        """
        row = self.row[track_id]
        faces = self._faces[self.video[row]]
        mine = faces.of(row)
        return faces.seconds[mine], faces.boxes[mine]

    def anchors(self, track_ids: Sequence[str]) -> tuple[Anchor, ...]:
        """Anchors of some tracks, in the order given.

        Raises:
            KeyError: There is no such track.
        """
        return tuple(self._anchor(self.row[name]) for name in track_ids)

    def _anchor(self, row: int) -> Anchor:
        faces = self._faces[self.video[row]]
        mine = faces.of(row)
        # Ends of tracks are their least certain boxes, so samples lie inside.
        at = (np.arange(MAX_BOXES) + 0.5) * len(mine) / MAX_BOXES
        boxes = [
            (
                round(float(faces.seconds[i]), 3),
                *(round(float(value), 1) for value in faces.boxes[i]),
            )
            for i in (mine[np.unique(at.astype(np.int64))] if len(mine) else ())
        ]
        kept = self.embedding is not None
        return Anchor(
            track_id=self.ids[row],
            video_id=self.video[row],
            start_seconds=round(float(self.start[row]), 3),
            end_seconds=round(float(self.end[row]), 3),
            boxes=tuple(boxes),  # type: ignore[arg-type]  # five numbers each
            embedding=pack_embedding(self.embedding[row]) if kept else "",  # type: ignore[index]
        )

    def find(self, anchor: Anchor, encoder: str = "", exact: bool = False) -> Found:
        """Find the tracks that show what an anchor shows.

        Args:
            anchor: Of this result or of another one.
            encoder: Hash of the encoder of its embedding.
            exact: Whether it is of this very result, so that its id is right.
        """
        if exact:
            there = anchor.track_id in self.row
            return Found((anchor.track_id,) if there else (), "id" if there else "lost")
        rows = self._by_boxes(anchor)
        if rows:
            return Found(tuple(self.ids[row] for row in rows), "box")
        row = self._by_embedding(anchor, encoder)
        return Found((), "lost") if row is None else Found((self.ids[row],), "embedding")

    def _by_boxes(self, anchor: Anchor) -> list[int]:
        """Rows of the tracks that most of the anchor's boxes within their time vote for."""
        faces = self._faces.get(anchor.video_id)
        if faces is None:
            return []
        votes: Counter[int] = Counter()
        for seconds, *box in anchor.boxes:
            row = _vote(faces, seconds, np.array(box, np.float32))
            if row is not None:
                votes[row] += 1
        times = np.array([box[0] for box in anchor.boxes])
        kept = []
        for row, count in sorted(votes.items()):
            inside = (times >= self.start[row]) & (times <= self.end[row])
            if count >= MIN_VOTES * max(1, int(inside.sum())):
                kept.append(row)
        return kept

    def _by_embedding(self, anchor: Anchor, encoder: str) -> int | None:
        """Row of the one track of that time whose embedding is close, if there is one."""
        comparable = encoder and encoder == self.encoder and anchor.embedding
        if not comparable or self.embedding is None:
            return None
        rows = np.array(
            [
                row
                for row, video in enumerate(self.video)
                if video == anchor.video_id
                and min(self.end[row], anchor.end_seconds)
                - max(self.start[row], anchor.start_seconds)
                > 0
            ],
            np.int64,
        )
        if not len(rows):
            return None
        cosine = self.embedding[rows] @ unpack_embedding(anchor.embedding)
        order = np.argsort(-cosine)
        second = cosine[order[1]] if len(rows) > 1 else -1.0
        best = cosine[order[0]]
        clear = best >= MIN_COSINE and best - second >= COSINE_LEAD
        return int(rows[order[0]]) if clear else None


def _vote(faces: _Faces, seconds: float, box: F32) -> int | None:
    """Row of the track whose face lies in a box at a time; None where none or several do."""
    low, high = np.searchsorted(
        faces.seconds, [seconds - MAX_APART_SECONDS, seconds + MAX_APART_SECONDS]
    )
    if low == high:
        return None
    rows = faces.row[low:high]
    apart = np.abs(faces.seconds[low:high] - seconds)
    overlap = iou(faces.boxes[low:high], box)
    best: dict[int, float] = {}
    for at in np.argsort(apart, kind="stable"):  # of each track, its face nearest in time
        best.setdefault(int(rows[at]), float(overlap[at]))
    ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    second = ranked[1][1] if len(ranked) > 1 else 0.0
    clear = ranked[0][1] >= MIN_IOU and ranked[0][1] - second >= MIN_LEAD
    return ranked[0][0] if clear else None


def iou(boxes: F32, box: F32) -> F64:
    """Intersection over union of boxes (n, 4) with one box (4,)."""
    low = np.maximum(boxes[:, :2], box[:2])
    high = np.minimum(boxes[:, 2:], box[2:])
    both = np.clip(high - low, 0, None).prod(axis=1).astype(np.float64)
    area = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    own = float(np.clip(box[2:] - box[:2], 0, None).prod())
    result: F64 = both / np.maximum(area + own - both, 1e-9)
    return result
