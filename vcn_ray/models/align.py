"""Alignment: landmarks to upright square crops; it knows no detector and no encoder.

The similarity that takes n faces' landmarks to the template is one closed form over all faces:
with points as complex numbers it is z -> a z + b, and least squares gives a and b directly
(Umeyama 1991 for two dimensions, where a rotation and a scale are one complex factor).
"""

from __future__ import annotations

import cv2
import numpy as np

from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, F64, U8, Detections

ARCFACE_PIXELS = 112
ARCFACE_TEMPLATE: F64 = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""(5, 2) x y of the eyes, the nose and the mouth's corners, image-left first, in a 112-pixel crop:
the template that ArcFace encoders are trained with (insightface, `face_align.arcface_dst`)."""


def fit_similarities(landmarks: F32, template: F64) -> F64:
    """Rotation, scale and shift that bring landmarks closest to a template, in least squares.

    Args:
        landmarks: (n, p, 2) x y of p points of n faces, in any one unit.
        template: (p, 2) x y where they belong.

    Returns:
        (n, 2, 3) affine matrices from landmarks to template. Where all points of a face coincide,
        a shift alone.

    Raises:
        ShapeError: Where the count of points differs.
    """
    if landmarks.ndim != 3 or landmarks.shape[1:] != template.shape:
        raise ShapeError(f"landmarks need shape (n, *{template.shape}), got {landmarks.shape}")
    source = landmarks[..., 0].astype(np.float64) + 1j * landmarks[..., 1]
    target = template[:, 0] + 1j * template[:, 1]
    source_mean, target_mean = source.mean(axis=1), target.mean()
    centred = source - source_mean[:, None]
    spread = (np.abs(centred) ** 2).sum(axis=1)
    product = (centred.conj() * (target - target_mean)).sum(axis=1)
    factor = np.divide(product, spread, out=np.ones_like(product), where=spread > 0)
    shift = target_mean - factor * source_mean
    rows = [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    return np.moveaxis(np.array(rows), -1, 0)


class ArcFaceAligner:
    """Crops as ArcFace encoders want them, from the five landmarks of YuNet, SCRFD or RetinaFace.

    Attributes:
        input_pixels: Side p of the crops.
    """

    def __init__(self, input_pixels: int = ARCFACE_PIXELS) -> None:
        self.input_pixels = input_pixels
        self._template = ARCFACE_TEMPLATE * (input_pixels / ARCFACE_PIXELS)

    def align(self, frame: U8, detections: Detections) -> U8:
        """Crops of one frame, bilinear, black beyond the frame's edge (METHOD 1.5).

        Args:
            frame: (h, w, 3) uint8 RGB.
            detections: n faces with eyes, nose and mouth's corners, image-left first.

        Returns:
            (n, p, p, 3) uint8 RGB.
        """
        side = self.input_pixels
        crops = np.empty((len(detections), side, side, 3), np.uint8)
        for crop, matrix in zip(
            crops, fit_similarities(detections.landmarks, self._template), strict=True
        ):
            crop[:] = cv2.warpAffine(frame, matrix, (side, side))
        return crops
