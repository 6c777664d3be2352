"""The picture pyramid of dlib's face detector: all levels, packed into one picture, the tile.

It knows the size and place of each level and how a place on the tile maps back to the picture; it
knows nothing of the network that reads the tile. Layout and mapping are those of dlib's
image_pyramid.h for pyramid_down<6>, so that boxes equal dlib's own.

Rectangles are dlib's: left, top, right and bottom pixel, inclusive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vcn_ray.records import F64, I64

RATE = 5 / 6  # size of a level over the size of the level before it
GAP = 10  # pixels between levels; they hold 0, the mean colour
MARGIN = 11  # pixels around all levels
MIN_HEIGHT = 5  # pixels of the smallest level
UP_OFFSET = 0.3  # pixels added per level on the way back: dlib's correction of its resampling


@dataclass(frozen=True, slots=True, eq=False)
class Tiling:
    """The places of the levels of a picture of one size."""

    height: int  # pixels of the tile
    width: int  # pixels of the tile
    levels: I64  # (l, 4) left top right bottom of each level, largest first


@lru_cache(maxsize=16)
def tile(height: int, width: int) -> Tiling:
    """Lay out the pyramid of a picture: down a first column, then up a second one at its right.

    Args:
        height: Pixels of the picture, at least 1.
        width: Pixels of the picture, at least 1.
    """
    sizes = [(height, width)]
    while True:
        h, w = math.floor(RATE * sizes[-1][0]), math.floor(RATE * sizes[-1][1])
        if h < MIN_HEIGHT or w < 1:
            break
        sizes.append((h, w))
    column = _first_column(sizes)
    levels: list[tuple[int, int, int, int]] = []
    y = MARGIN
    for h, w in sizes[:column]:
        levels.append((MARGIN, y, MARGIN + w - 1, y + h - 1))
        y += h + GAP
    y -= GAP
    tile_height = y + MARGIN
    right = MARGIN + width - 1
    for h, w in sizes[column:]:
        if y - h <= levels[0][3]:
            break  # the second column has reached the first level
        levels.append((right - w + 1, y - h, right, y - 1))
        y -= h + GAP
    return Tiling(tile_height, width + 2 * MARGIN, np.array(levels, np.int64))


def _first_column(sizes: list[tuple[int, int]]) -> int:
    """Count the levels of the first column: the rest fits beside them."""
    total = sum(h + GAP for h, _ in sizes) - 2 * GAP
    height, before = 0, 0
    for count, (h, w) in enumerate(sizes):
        fits_beside = w <= sizes[0][1] - before - GAP
        if fits_beside and 2 * (height - sizes[0][0]) >= total - sizes[0][0]:
            return count
        height += h + GAP
        before = w
    return len(sizes)


def fill(pictures: Tensor, tiling: Tiling) -> Tensor:
    """Draw the tiles of a batch.

    Args:
        pictures: (b, 3, h, w) float32, normalised.
        tiling: The result of `tile(h, w)`.

    Returns:
        (b, 3, tile height, tile width), channels last; each level is made from the one before.
    """
    tiles = torch.empty(
        (len(pictures), 3, tiling.height, tiling.width),
        device=pictures.device,
        memory_format=torch.channels_last,  # twice as fast in the first convolution
    ).zero_()
    level = pictures
    for left, top, right, bottom in tiling.levels.tolist():
        size = (bottom - top + 1, right - left + 1)
        if size != tuple(level.shape[2:]):
            level = functional.interpolate(level, size, mode="bilinear", align_corners=True)
        tiles[:, :, top : bottom + 1, left : right + 1] = level
    return tiles


def to_picture(centres: F64, window: tuple[int, int], tiling: Tiling) -> I64:
    """Map windows on the tile to rectangles in the picture.

    Args:
        centres: (n, 2) x y of the windows' centres, pixels of the tile.
        window: Width and height of a window, pixels of the tile.
        tiling: The picture's pyramid.

    Returns:
        (n, 4) left top right bottom pixel; they may reach out of the picture.
    """
    level = _nearest_level(centres, tiling.levels)
    half = (np.array(window) - 1) / 2
    origin = tiling.levels[level, :2]
    corners = np.concatenate([centres - half - origin, centres + half - origin], axis=1)
    ratio = 1 / RATE
    for depth in range(1, len(tiling.levels)):
        corners = np.where((level >= depth)[:, None], corners * ratio + UP_OFFSET, corners)
    return np.floor(corners + 0.5).astype(np.int64)


def _nearest_level(centres: F64, levels: I64) -> I64:
    """Find the level (n,) that holds each point, or the closest one."""
    points = np.floor(centres + 0.5)[:, None]
    inside = np.clip(points, levels[:, :2], levels[:, 2:])
    closest: I64 = np.square(inside - points).sum(axis=2).argmin(axis=1)
    return closest
