"""Which faces of a frame are worth keeping (METHOD 1.3); it does not know what detects them."""

from __future__ import annotations

import cv2
import numpy as np
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT, Count, NonNegative
from vcn_ray.core.vectors import area, check_boxes
from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, KEPT, U8

SMALL = "small"
CROWD = "crowd"
BLURRED = "blurred"

SHARPNESS_SIDE = 112
"""Pixels to which every crop is resized before its sharpness is measured, whatever the pack."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FilterConfig:
    """Which faces are marked and left out of tracks. One setting for every title."""

    min_face_pixels: NonNegative = 10.0  # smaller side of the box, displayed pixels; METHOD 1.3
    max_faces: Count = 20  # the largest faces of a frame are kept; METHOD 1.3
    min_sharpness: NonNegative = 3.0  # variance of the Laplacian; smears without features are below


def mark_faces(boxes: F32, scores: F32, sharpness: F32, config: FilterConfig) -> tuple[str, ...]:
    """Decide for each face of one frame whether it is kept, or why not (METHOD 1.3).

    Args:
        boxes: (n, 4) displayed pixels.
        scores: (n,) break ties between faces of equal area.
        sharpness: (n,) of the aligned crops, by `face_sharpness`.
        config: The limits.

    Returns:
        KEPT, SMALL, CROWD or BLURRED for each face. Small faces do not count towards `max_faces`.

    Raises:
        ShapeError: The arrays differ in length.
    """
    check_boxes(boxes)
    if not len(boxes) == len(scores) == len(sharpness):
        raise ShapeError(
            f"{len(boxes)} boxes need as many scores and sharpnesses, "
            f"got {len(scores)} and {len(sharpness)}"
        )
    status = np.full(len(boxes), KEPT, dtype=object)
    small = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) < config.min_face_pixels
    status[small] = SMALL
    order = np.lexsort((-scores, -area(boxes)))
    status[order[~small[order]][config.max_faces :]] = CROWD
    status[(status == KEPT) & (sharpness < config.min_sharpness)] = BLURRED
    return tuple(status.tolist())


def face_sharpness(crop: U8) -> float:
    """Return the variance of the Laplacian of an aligned face.

    Args:
        crop: (p, p) grey or (p, p, 3) RGB uint8; resized to SHARPNESS_SIDE first.

    Returns:
        At least 0; over a hundred for a sharp face, a few for a smear.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) if crop.ndim == 3 else crop
    if grey.shape != (SHARPNESS_SIDE, SHARPNESS_SIDE):
        side = (SHARPNESS_SIDE, SHARPNESS_SIDE)
        shrinks = min(grey.shape) > SHARPNESS_SIDE
        grey = cv2.resize(grey, side, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())
