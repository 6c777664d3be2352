"""Overlapping parts of a frame, for faces too small in the whole; it knows no network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vcn_ray.models.anchors import Candidates
from vcn_ray.records import Mask

OVERLAP = 0.25
"""Share of a tile that the next one shows too: a face up to that size is whole in one of them."""

CUT_SHARE = 0.01
"""Share of a tile's side: what comes so near to a side inside the frame is taken for cut there."""


class Tile(NamedTuple):
    """A part of a frame, pixels."""

    x: int
    y: int
    width: int
    height: int


def tile_frame(height: int, width: int, count: int) -> list[Tile]:
    """Lay count x count tiles of one size over a frame, row by row.

    Args:
        height: Of the frame, pixels.
        width: Likewise.
        count: Tiles along each side.
    """
    rows, columns = tile_starts(height, count), tile_starts(width, count)
    tall, wide = tile_side(height, count), tile_side(width, count)
    return [Tile(x, y, wide, tall) for y in rows for x in columns]


def tile_side(side: int, count: int) -> int:
    """Pixels of a tile, of `count` along a side."""
    return min(side, int(np.ceil(side / (count - (count - 1) * OVERLAP))))


def tile_starts(side: int, count: int) -> list[int]:
    """Where each tile begins; the last ends with the frame."""
    return [round(start) for start in np.linspace(0, side - tile_side(side, count), count)]


def place(found: Candidates, tile: Tile, height: int, width: int) -> Candidates:
    """Faces of a tile, in pixels of the frame, less those that the tile's sides cut.

    Args:
        found: In pixels of the tile.
        tile: Where it lies.
        height: Of the frame.
        width: Likewise.
    """
    whole = found.take(np.flatnonzero(~cut(found, tile, height, width)))
    corner = np.array([tile.x, tile.y], np.float32)
    boxes = whole.boxes + np.tile(corner, 2)
    return Candidates(whole.picture, boxes, whole.scores, whole.landmarks + corner)


def cut(found: Candidates, tile: Tile, height: int, width: int) -> Mask:
    """(m,) whether a face reaches a side of its tile that is not one of the frame."""
    inner_low = np.array([tile.x > 0, tile.y > 0])
    inner_high = np.array([tile.x + tile.width < width, tile.y + tile.height < height])
    side = np.array([tile.width, tile.height])
    low = (found.boxes[:, :2] < CUT_SHARE * side) & inner_low
    high = (found.boxes[:, 2:] > (1 - CUT_SHARE) * side) & inner_high
    reaches: Mask = (low | high).any(axis=1)
    return reaches
