"""Which way a face looks, from its five landmarks; it knows no pixels and no detector.

A face that turns by the angle y shows its eyes closer together, by cos y, and its nose, which lies
in front of the eyes, beside the middle line, by sin y. Both lengths are measured by the height of
the face, which a turn leaves alone, so they give the angle even where the eyes nearly coincide.

Letters of shapes: n faces. Points are complex numbers x + iy, y downwards.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, F64

LandmarkOrder = Literal["eyes_nose_mouth", "dlib"]
"""What the five points are. `eyes_nose_mouth`: eyes, tip of the nose, corners of the mouth,
image-left first (CenterFace, YuNet, SCRFD). `dlib`: outer and inner corner of the image-right eye,
outer and inner corner of the image-left eye, the spot under the nose."""

FRONTAL_WIDTH = {"eyes_nose_mouth": 0.87, "dlib": 1.29}
"""Distance of the eyes of a frontal face over its height: from the eyes to the mouth in ArcFace's
template, from the eyes to the spot under the nose in dlib's mean face."""

NOSE_DEPTH = 0.4
"""How far the nose lies in front of the eyes, over the same height; both orders give this value,
because dlib's spot lies less far in front and its height is smaller."""

FULL_WIDTH = 0.8
"""Above this fraction of the frontal width, eyes count as seen from the front: faces differ."""

Points = npt.NDArray[np.complex128]


class _Parts(NamedTuple):
    left: Points  # (n,) image-left eye of an upright face
    right: Points
    nose: Points
    low: Points  # (n,) middle of the mouth, or the spot under the nose


def frontality(landmarks: F32, order: LandmarkOrder = "eyes_nose_mouth") -> F32:
    """Measure how frontal faces are, whatever their size and turn in the picture.

    Args:
        landmarks: (n, 5, 2) x y, y downwards, in any unit.
        order: What the five points are.

    Returns:
        (n,) in [0, 1]: 1 from the front, about 0.5 for a turn of 45 degrees, near 0 in profile.

    Raises:
        ShapeError: A face has no five landmarks.
    """
    width, depth = _axes(landmarks, order)
    seen = np.maximum(width, 0)
    squares = seen**2 + depth**2
    ahead = np.divide(seen**2, squares, out=np.zeros_like(squares), where=squares > 0)  # cos² y
    return np.asarray(ahead * np.minimum(seen / FULL_WIDTH, 1), np.float32)


def yaw_degrees(landmarks: F32, order: LandmarkOrder = "eyes_nose_mouth") -> F32:
    """Estimate how far faces are turned to a side, (n,): below 0 to the left of the picture.

    Args:
        landmarks: (n, 5, 2) x y, y downwards, in any unit.
        order: What the five points are.

    Raises:
        ShapeError: A face has no five landmarks.
    """
    width, depth = _axes(landmarks, order)
    return np.rad2deg(np.arctan2(depth, np.maximum(width, 0))).astype(np.float32)


def roll_degrees(landmarks: F32, order: LandmarkOrder = "eyes_nose_mouth") -> F32:
    """Measure how far faces are turned in the picture, (n,) in (-180, 180].

    0 is upright, 90 a quarter turn clockwise (the forehead points to the right), 180 upside down.

    Args:
        landmarks: (n, 5, 2) x y, y downwards, in any unit.
        order: What the five points are.

    Raises:
        ShapeError: A face has no five landmarks.
    """
    return np.rad2deg(np.angle(_upright(_parts(landmarks, order), order))).astype(np.float32)


def _parts(landmarks: F32, order: LandmarkOrder) -> _Parts:
    if landmarks.ndim != 3 or landmarks.shape[1:] != (5, 2):
        raise ShapeError(f"landmarks need shape (n, 5, 2), got {landmarks.shape}")
    points = landmarks.astype(np.float64) @ np.array([1, 1j])
    if order == "dlib":
        right, left = points[:, :2].mean(axis=1), points[:, 2:4].mean(axis=1)
        return _Parts(left, right, points[:, 4], points[:, 4])
    return _Parts(points[:, 0], points[:, 1], points[:, 2], points[:, 3:].mean(axis=1))


def _upright(parts: _Parts, order: LandmarkOrder) -> Points:
    """A vector from image-left to image-right of the face; 0 where the points coincide."""
    across = parts.right - parts.left
    if order == "dlib":
        return across  # its lowest point is the nose, which leaves the middle as the face turns
    # In profile the eyes nearly coincide; the line from the eyes to the mouth then says more.
    return across - 1j * (parts.low - (parts.left + parts.right) / 2)


def _axes(landmarks: F32, order: LandmarkOrder) -> tuple[F64, F64]:
    """Distance of the eyes and sideways shift of the nose, (n,) each: cos and sin of the yaw."""
    parts = _parts(landmarks, order)
    turn = _upright(parts, order)
    length = np.abs(turn)
    turn = np.divide(turn, length, out=np.ones_like(turn), where=length > 0).conj()
    eyes = (parts.left + parts.right) / 2
    middle = eyes if order == "dlib" else (eyes + parts.low) / 2
    height = ((parts.low - eyes) * turn).imag
    height = np.where(height > 0, height, np.inf)  # no face has its eyes below its mouth
    width = ((parts.right - parts.left) * turn).real / height / FRONTAL_WIDTH[order]
    depth = ((parts.nose - middle) * turn).real / height / NOSE_DEPTH
    return width, depth
