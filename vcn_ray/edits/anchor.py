"""Anchors: how a track of one result is found again in another result of the same videos.

A track is found by where its face is seen: boxes of the same moment that overlap vote for the
tracks that they belong to. Where a video as a whole is shown otherwise, as one that is turned now,
the embedding decides among the tracks of the same time. It knows no edits, and guesses nothing:
what is not clear is not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from vcn_ray.core.vectors import pairwise_iou
from vcn_ray.edits.record import MAX_BOXES, Anchor, pack_embedding, unpack_embedding
from vcn_ray.io.tables import column_array, read_boxes
from vcn_ray.records import F32, F64, I64, Mask

MAX_APART_SECONDS = 0.3  # between an anchor's box and the only face that it is compared with
MAX_GAP_SECONDS = 1.0  # between two faces whose boxes are interpolated
MIN_IOU = 0.4
MIN_LEAD = 0.15  # of the best box over that of any other track
MIN_VOTES = 0.5  # fraction of the anchor's boxes within a track's time that must be of this track
MIN_OVERLAP = 0.5  # of the shorter of two tracks, where only the embedding says that they are one
MIN_COSINE = 0.6  # of two embeddings of one face, seen at the same time
MIN_ELSEWHERE = 5  # anchors of a video that must be there to say that its picture lies elsewhere
MAX_IN_PLACE = 0.2  # fraction of them that may still be found by their boxes
COSINE_LEAD = 0.15  # over any other track of that time
ROUNDED_SECONDS = 0.002  # over what rounding changes, and under the time of a frame
SAME_SECONDS = 0.01  # between the ends of a track and those that an anchor of it has, rounded

How = Literal["id", "box", "embedding", "lost"]


@dataclass(frozen=True, slots=True)
class Found:
    """What an anchor is in a result."""

    tracks: tuple[str, ...]  # ids; several where the track is cut in parts there
    how: How


@dataclass(frozen=True, slots=True, eq=False)
class _Faces:
    """All faces of the tracks of a video, by track and time."""

    seconds: F64  # (n,)
    boxes: F32  # (n, 4)
    row: I64  # (n,) of the track
    tracks: I64  # (k,) rows of the tracks of this video
    begin: I64  # (k + 1,) place of the first face of each; faces are by track and time

    def of(self, row: int) -> slice:
        """Places of the faces of one track, in order of time."""
        at = int(np.searchsorted(self.tracks, row))
        return slice(int(self.begin[at]), int(self.begin[at + 1]))

    def box_at(self, row: int, seconds: float) -> F32 | None:
        """The box (4,) of a track at a time; None where it has no face near that time."""
        mine = self.of(row)
        times, boxes = self.seconds[mine], self.boxes[mine]
        return _interpolate(times, boxes, seconds)


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
        self._known: dict[Anchor, list[int]] = {}  # what was found by boxes
        self._faces = self._by_video(faces)

    def _by_video(self, faces: pa.Table) -> dict[str, _Faces]:
        row = np.array([self.row[name] for name in faces.column("track_id").to_pylist()], np.int64)
        seconds, boxes = column_array(faces, "seconds").astype(np.float64), read_boxes(faces)
        video = np.array(self.video, object)[row] if len(row) else np.zeros(0, object)
        found = {}
        places = np.array(self.video, object)
        for name in dict.fromkeys(self.video):
            mine = np.flatnonzero(video == name)
            mine = mine[np.lexsort((seconds[mine], row[mine]))]
            tracks = np.flatnonzero(places == name)
            begin = np.append(np.searchsorted(row[mine], tracks), len(mine))
            found[name] = _Faces(seconds[mine], boxes[mine], row[mine], tracks, begin)
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
        own = faces.of(row)
        mine = np.arange(own.start, own.stop)
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

    def videos_elsewhere(self, anchors: Iterable[Anchor]) -> frozenset[str]:
        """Ids of the videos whose picture lies elsewhere than in the result of some anchors.

        In any other video, a face of the same time in another place is another face, however like
        it looks: to an encoder, small faces are all alike.
        """
        placed: dict[str, list[bool]] = {}
        for anchor in {anchor for anchor in anchors if anchor.boxes}:
            placed.setdefault(anchor.video_id, []).append(bool(self._by_boxes(anchor)))
        return frozenset(
            video
            for video, found in placed.items()
            if len(found) >= MIN_ELSEWHERE and sum(found) <= MAX_IN_PLACE * len(found)
        )

    def find(
        self, anchor: Anchor, encoder: str = "", exact: bool = False, elsewhere: bool = False
    ) -> Found:
        """Find the tracks that show what an anchor shows.

        Args:
            anchor: Of this result or of another one.
            encoder: Hash of the encoder of its embedding.
            exact: Whether it is of this very result, so that its id is right. Where it is not so,
                as after the result was made again on another kind of machine, boxes decide.
            elsewhere: Whether the picture of its video lies elsewhere now: the embedding decides.
        """
        if exact and self._is_here(anchor):
            return Found((anchor.track_id,), "id")
        rows = self._by_boxes(anchor)
        if rows:
            return Found(tuple(self.ids[row] for row in rows), "box")
        row = self._by_embedding(anchor, encoder) if elsewhere else None
        return Found((), "lost") if row is None else Found((self.ids[row],), "embedding")

    def _is_here(self, anchor: Anchor) -> bool:
        row = self.row.get(anchor.track_id)
        return (
            row is not None
            and self.video[row] == anchor.video_id
            and abs(self.start[row] - anchor.start_seconds) < SAME_SECONDS
            and abs(self.end[row] - anchor.end_seconds) < SAME_SECONDS
        )

    def _by_boxes(self, anchor: Anchor) -> list[int]:
        if anchor not in self._known:
            self._known[anchor] = self._find_boxes(anchor)
        return self._known[anchor]

    def _find_boxes(self, anchor: Anchor) -> list[int]:
        """Rows of the tracks that most of the anchor's boxes within their time vote for.

        Where faces swapped in the middle of a track, no track has more votes than others have.
        """
        faces = self._faces.get(anchor.video_id)
        if faces is None:
            return []
        votes = [
            self._vote(faces, seconds, np.array(box, np.float32)) for seconds, *box in anchor.boxes
        ]
        times = np.array([box[0] for box in anchor.boxes])
        kept = []
        for row in sorted({row for row in votes if row is not None}):
            inside = np.flatnonzero(self._seen_at(row, times))
            cast = [votes[at] for at in inside]
            own, others = cast.count(row), sum(vote not in (None, row) for vote in cast)
            if own >= MIN_VOTES * len(cast) and own > others:
                kept.append(row)
        return kept

    def _seen_at(self, row: I64 | int, seconds: F64 | float) -> Mask:
        """Whether tracks are seen at times that are rounded to milliseconds; their ends are not."""
        late = seconds + ROUNDED_SECONDS
        seen: Mask = (self.start[row] <= late) & (late < self.end[row])
        return seen

    def _vote(self, faces: _Faces, seconds: float, box: F32) -> int | None:
        """Row of the track whose face lies in a box at a time; None where none or several do.

        A track that is over by then, or not begun, has no say: after a cut, another face may stand
        in the same place.
        """
        seen = self._seen_at(faces.tracks, seconds)
        at = {int(row): faces.box_at(int(row), seconds) for row in faces.tracks[seen]}
        rows = [row for row, place in at.items() if place is not None]
        if not rows:
            return None
        overlap = iou(np.stack([place for place in at.values() if place is not None]), box)
        ranked = sorted(zip(-overlap, rows, strict=True))
        best, second = -ranked[0][0], -ranked[1][0] if len(ranked) > 1 else 0.0
        return ranked[0][1] if best >= MIN_IOU and best - second >= MIN_LEAD else None

    def _by_embedding(self, anchor: Anchor, encoder: str) -> int | None:
        """Row of the one track of that time whose embedding is close, if there is one."""
        comparable = encoder and encoder == self.encoder and anchor.embedding
        if not comparable or self.embedding is None:
            return None
        faces, wanted = self._faces.get(anchor.video_id), unpack_embedding(anchor.embedding)
        if faces is None or len(wanted) != self.embedding.shape[1]:
            return None
        start, end = self.start[faces.tracks], self.end[faces.tracks]
        both = np.minimum(end, anchor.end_seconds) - np.maximum(start, anchor.start_seconds)
        shorter = np.minimum(end - start, anchor.seconds)
        rows = faces.tracks[(both > 0) & (both >= MIN_OVERLAP * shorter)]
        if not len(rows):
            return None
        cosine = self.embedding[rows] @ wanted
        order = np.argsort(-cosine)
        second = cosine[order[1]] if len(rows) > 1 else -1.0
        best = cosine[order[0]]
        clear = best >= MIN_COSINE and best - second >= COSINE_LEAD
        return int(rows[order[0]]) if clear else None


def _interpolate(times: F64, boxes: F32, seconds: float) -> F32 | None:
    """The box (4,) between those (n, 4) of rising times; None where none is near."""
    if not len(times):
        return None
    after = min(int(np.searchsorted(times, seconds)), len(times) - 1)
    before = max(after - 1, 0) if times[after] > seconds else after
    gap = times[after] - times[before]
    if 0 < gap <= MAX_GAP_SECONDS and times[before] <= seconds:
        part = (seconds - times[before]) / gap
        between: F32 = ((1 - part) * boxes[before] + part * boxes[after]).astype(np.float32)
        return between
    near = before if seconds - times[before] <= times[after] - seconds else after
    nearest: F32 = boxes[near]
    return nearest if abs(times[near] - seconds) <= MAX_APART_SECONDS else None


def is_same_face(one: Anchor, other: Anchor) -> bool:
    """True where two anchors show one face: they are seen at the same time in the same place."""
    if one.video_id != other.video_id or not one.boxes or not other.boxes:
        return False
    times, boxes = _boxes_of(one)
    found = []
    for seconds, *box in other.boxes:
        if one.start_seconds <= seconds <= one.end_seconds:
            near = np.array(
                [np.interp(seconds, times, boxes[:, side]) for side in range(4)], np.float32
            )
            found.append(bool(iou(near[None], np.array(box, np.float32))[0] >= MIN_IOU))
    return bool(found) and found.count(True) > MIN_VOTES * len(found)


def _boxes_of(anchor: Anchor) -> tuple[F64, F32]:
    numbers = np.array(anchor.boxes, np.float64)
    return numbers[:, 0], numbers[:, 1:].astype(np.float32)


def iou(boxes: F32, box: F32) -> F64:
    """Intersection over union (n,) of boxes (n, 4) with one box (4,)."""
    return pairwise_iou(boxes, box[None])[:, 0]
