"""Arithmetic on boxes x0 y0 x1 y1; it does not know what is in them."""

from __future__ import annotations

import numpy as np

from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, F64


def area(boxes: F32) -> F64:
    """Square pixels of each box, (n,) of (n, 4); 0 for one turned inside out."""
    check_boxes(boxes)
    sides = np.clip(np.asarray(boxes[:, 2:] - boxes[:, :2], dtype=np.float64), 0.0, None)
    return np.asarray(sides.prod(axis=1), dtype=np.float64)


def pairwise_iou(left: F32, right: F32) -> F64:
    """Intersection over union of every box with every other.

    Args:
        left: (n, 4).
        right: (m, 4).

    Returns:
        (n, m) in [0, 1]; 0 where both are empty.
    """
    check_boxes(left)
    check_boxes(right)
    low = np.maximum(left[:, None, :2], right[None, :, :2]).astype(np.float64)
    high = np.minimum(left[:, None, 2:], right[None, :, 2:]).astype(np.float64)
    shared = np.clip(high - low, 0.0, None).prod(axis=2)
    union = area(left)[:, None] + area(right)[None, :] - shared
    iou: F64 = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def carry_box(box: F32, motion: F32) -> F32:
    """A box (4,) after a camera motion (2, 3): its middle moves, its sides stretch by the zoom."""
    middle = motion[:, :2] @ ((box[:2] + box[2:]) / 2) + motion[:, 2]
    half = (box[2:] - box[:2]) / 2 * np.hypot(motion[0, 0], motion[1, 0])
    return np.concatenate([middle - half, middle + half]).astype(np.float32)


def check_boxes(boxes: F32) -> None:
    """Raise ShapeError unless `boxes` is (n, 4)."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError(f"boxes need the shape (n, 4), got {boxes.shape}")
