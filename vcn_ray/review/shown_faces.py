"""The faces that a page of review shows, kept in memory as Arrow; it reads no storage."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.io.tables import column_array
from vcn_ray.records import I64

MAX_CROPS = 3  # of a track without pictures for people, as in older outputs


class ShownFaces:
    """The pictures of each track of a title: those for people, or else some of its crops.

    Args:
        track_ids: Of the k tracks, in order.
        crops: CROPS of these tracks.

    Attributes:
        counts: (k,) number of pictures of each track.
    """

    def __init__(self, track_ids: list[str], crops: pa.Table) -> None:
        ids = pa.array(track_ids, pa.string())
        owner = pc.index_in(crops.column("track_id"), ids).to_numpy().astype(np.int64)
        face, image = (
            pc.is_valid(crops.column(name)).to_numpy(zero_copy_only=False)
            for name in ("face", "image")
        )
        pictured = np.zeros(len(track_ids), np.bool_)
        pictured[owner[face]] = True
        rows = np.flatnonzero(face | (image & ~pictured[owner]))
        frame = column_array(crops, "frame")
        rows = rows[np.lexsort((frame[rows], owner[rows]))]
        rows = rows[face[rows] | _thinned(owner[rows])]
        shown = crops.select(["face", "image"]).take(pa.array(rows))
        pictures = pc.coalesce(shown.column("face"), shown.column("image")).combine_chunks()
        self._pictures = pictures.cast(pa.large_binary())
        self._frame: I64 = frame[rows].astype(np.int64)
        self._first: I64 = np.searchsorted(owner[rows], np.arange(len(track_ids) + 1))
        self.counts: I64 = np.diff(self._first)

    @property
    def nbytes(self) -> int:
        """Memory that the pictures take."""
        return int(self._pictures.nbytes)

    def jpeg(self, row: int, number: int) -> bytes | None:
        """A picture of a track, by its number; None: it has no such picture."""
        if not (0 <= row < len(self.counts) and 0 <= number < self.counts[row]):
            return None
        data: bytes = self._pictures[int(self._first[row]) + number].as_py()
        return data

    def number_at(self, row: int, frame: int) -> int:
        """Number of the picture of a track that is nearest to a frame; 0 where it has none."""
        frames = self._frame[self._first[row] : self._first[row + 1]]
        return int(np.argmin(np.abs(frames - frame))) if len(frames) else 0


def _thinned(owner: I64) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """True for MAX_CROPS rows of each owner, spread evenly; owners are in order."""
    _, first, count = np.unique(owner, return_index=True, return_counts=True)
    kept = np.zeros(len(owner), np.bool_)
    for number in range(MAX_CROPS):
        kept[first + (2 * number + 1) * count // (2 * MAX_CROPS)] = True
    return kept
