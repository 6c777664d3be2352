"""Frames to the pictures that detector networks take; it knows no network."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, U8


def check_frames(frames: U8) -> None:
    """Raise ShapeError unless `frames` is (b, h, w, 3) uint8 with at least one pixel a frame."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ShapeError(
            f"frames need shape (b, h, w, 3) and dtype uint8, got {frames.shape} {frames.dtype}"
        )
    if 0 in frames.shape[1:3]:
        raise ShapeError(f"frames need at least one pixel, got {frames.shape}")


def fit_within(height: int, width: int, longest: int | None) -> tuple[int, int]:
    """Height and width shrunk, in proportion, until no side is over `longest`; never enlarged."""
    if longest is None or max(height, width) <= longest:
        return height, width
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrink(picture: U8, longest: int) -> U8:
    """A picture (h, w, 3) as `fit_within` says, each pixel the mean of those it stands for."""
    height, width = picture.shape[:2]
    tall, wide = fit_within(height, width, longest)
    if (tall, wide) == (height, width):
        return picture
    shrunk: U8 = cv2.resize(picture, (wide, tall), interpolation=cv2.INTER_AREA)
    return shrunk


def round_up(side: int, stride: int) -> int:
    """The smallest multiple of a stride that holds `side` pixels."""
    return -(-side // stride) * stride


def inside(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a frame that fills a picture, in proportion, rounded as insightface does.

    Args:
        height: Of the frame.
        width: Likewise.
        size: Height and width of the picture.
    """
    ratio = height / width
    if ratio > size[0] / size[1]:
        return size[0], max(1, int(size[0] / ratio))
    return max(1, int(size[1] * ratio)), size[1]


def pad(frames: U8, within: tuple[int, int], size: tuple[int, int], method: int) -> U8:
    """Resize frames and put each at the top left of a black picture.

    Args:
        frames: (b, h, w, 3); rows need not be contiguous.
        within: Height and width of the resized frames.
        size: Height and width of the pictures, no less.
        method: How OpenCV resizes, where it has to.

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


def to_planes(pictures: U8, channels: Sequence[int], mean: float, spread: float) -> F32:
    """Pictures as networks take them: (x - mean) / spread, one plane a channel.

    Args:
        pictures: (b, h, w, 3) uint8.
        channels: Which channel each plane shows.
        mean: Grey level that becomes 0.
        spread: Grey levels that become 1; a power of two keeps this exact.

    Returns:
        (b, 3, h, w) float32.
    """
    planes = np.empty((len(pictures), 3, *pictures.shape[1:3]), np.float32)
    for plane, picture in zip(planes, pictures, strict=True):
        split = cv2.split(picture)  # far faster than numpy's walk over every third byte
        for number, channel in enumerate(channels):
            np.multiply(split[channel], np.float32(1 / spread), out=plane[number])
    if mean:
        planes -= np.float32(mean / spread)
    return planes
