"""Turns frames into the pictures that detector networks take; it knows no network.

A frame is resized and padded (letterboxed), as a whole or in overlapping tiles. Sizes are pixels.
Letters of shapes: b frames, h height, w width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, U8

TILE_OVERLAP = 0.25
"""Fraction of a tile that the next tile repeats, so one of them holds a face of up to that size."""


def check_frames(frames: U8) -> None:
    """Raise ShapeError unless `frames` is (b, h, w, 3) uint8 with at least one pixel per frame."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ShapeError(
            f"frames need shape (b, h, w, 3) and dtype uint8, got {frames.shape} {frames.dtype}"
        )
    if 0 in frames.shape[1:3]:
        raise ShapeError(f"frames need at least one pixel, got {frames.shape}")


def fit_within(height: int, width: int, max_side: int | None) -> tuple[int, int]:
    """Shrink a height and width in proportion until no side exceeds `max_side`; never enlarge."""
    if max_side is None or max(height, width) <= max_side:
        return height, width
    scale = max_side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrink(picture: U8, max_side: int) -> U8:
    """Shrink a picture (h, w, 3) to the size of `fit_within`, averaging pixels by area."""
    height, width = picture.shape[:2]
    tall, wide = fit_within(height, width, max_side)
    if (tall, wide) == (height, width):
        return picture
    shrunk: U8 = cv2.resize(picture, (wide, tall), interpolation=cv2.INTER_AREA)
    return shrunk


def round_up(side: int, stride: int) -> int:
    """Give the smallest multiple of a stride that is at least `side`."""
    return -(-side // stride) * stride


def fit_to(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """Scale a frame to fill a picture in proportion, rounded as insightface rounds.

    Args:
        height: Height of the frame.
        width: Width of the frame.
        size: Height and width of the picture.

    Returns:
        Height and width of the scaled frame; one of them equals the picture's.
    """
    ratio = height / width
    if ratio > size[0] / size[1]:
        return size[0], max(1, int(size[0] / ratio))
    return max(1, int(size[1] * ratio)), size[1]


def pad(frames: U8, within: tuple[int, int], size: tuple[int, int], method: int) -> U8:
    """Resize frames and put each at the top left of a black picture.

    Args:
        frames: (b, h, w, 3) uint8; rows need not be contiguous.
        within: Height and width of the resized frames.
        size: Height and width of the pictures, at least `within`.
        method: OpenCV's interpolation flag, for frames of another size than `within`.

    Returns:
        (b, *size, 3) uint8.
    """
    height, width = within
    pictures = np.zeros((len(frames), *size, 3), np.uint8)
    for picture, frame in zip(pictures, frames, strict=True):
        if frame.shape[:2] != within:
            frame = cv2.resize(frame, (width, height), interpolation=method)
        picture[:height, :width] = frame
    return pictures


def to_planes(pictures: U8, channels: Sequence[int], mean: float, std: float) -> F32:
    """Scale pictures to (x - mean) / std and store one plane per channel, as networks take them.

    Args:
        pictures: (b, h, w, 3) uint8.
        channels: Source channel of each plane.
        mean: Grey level that becomes 0.
        std: Number of grey levels that becomes 1; a power of two keeps the result exact.

    Returns:
        (b, 3, h, w) float32.
    """
    planes = np.empty((len(pictures), 3, *pictures.shape[1:3]), np.float32)
    for plane, picture in zip(planes, pictures, strict=True):
        split = cv2.split(picture)  # far faster than numpy's walk over every third byte
        for number, channel in enumerate(channels):
            np.multiply(split[channel], np.float32(1 / std), out=plane[number])
    if mean:
        planes -= np.float32(mean / std)
    return planes


class Tile(NamedTuple):
    """A part of a frame, in pixels."""

    x: int
    y: int
    width: int
    height: int


def tile_frame(height: int, width: int, count: int) -> list[Tile]:
    """Lay count x count overlapping tiles of one size over a frame, row by row.

    Args:
        height: Height of the frame.
        width: Width of the frame.
        count: Tiles along each side, at least 1.
    """
    rows, columns = _tile_starts(height, count), _tile_starts(width, count)
    tall, wide = _tile_side(height, count), _tile_side(width, count)
    return [Tile(x, y, wide, tall) for y in rows for x in columns]


def _tile_side(side: int, count: int) -> int:
    """Length of each of `count` tiles along a side."""
    return min(side, int(np.ceil(side / (count - (count - 1) * TILE_OVERLAP))))


def _tile_starts(side: int, count: int) -> list[int]:
    """First pixel of each tile along a side; the last tile ends with the frame."""
    return [round(start) for start in np.linspace(0, side - _tile_side(side, count), count)]
