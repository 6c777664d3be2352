"""Alignment: landmarks to upright square crops; it knows no detector and no encoder.

The similarity that takes n faces' landmarks to the template is one closed form over all faces:
with points as complex numbers it is z -> a z + b, and least squares gives a and b directly
(Umeyama 1991 for two dimensions, where a rotation and a scale are one complex factor).
"""

from __future__ import annotations

from math import ceil, floor
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

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


MOST_WIDENED = 20
"""Sizes of a crop: up to it, adding a channel to a part of a frame costs less than it saves."""


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
    source, target = as_complex(landmarks), as_complex(template)
    source_mean = source.sum(axis=1) / len(template)
    target_mean = target.sum() / len(template)
    centred = source - source_mean[:, None]
    spread = np.vecdot(centred, centred).real
    product = np.vecdot(centred, target - target_mean)
    factor = np.divide(product, spread, out=np.ones_like(product), where=spread > 0)
    shift = target_mean - factor * source_mean
    matrices = np.empty((len(landmarks), 2, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = factor.real
    matrices[:, 1, 0] = factor.imag
    matrices[:, 0, 1] = -factor.imag
    matrices[:, 0, 2] = shift.real
    matrices[:, 1, 2] = shift.imag
    return matrices


def as_complex(points: F32 | F64) -> npt.NDArray[np.complex128]:
    """Points (..., 2) of x y as x + iy (...)."""
    pairs = np.ascontiguousarray(points, np.float64)
    return pairs.view(np.complex128)[..., 0]


def invert_similarities(matrices: F64) -> F64:
    """(n, 2, 3) matrices that undo (n, 2, 3) similarities; zeros for one that shrinks all away."""
    turn = matrices[:, :, :2].transpose(0, 2, 1)
    size = (matrices[:, :1, :1] ** 2) + (matrices[:, 1:, :1] ** 2)
    inverse = np.zeros_like(matrices)
    np.divide(turn, size, out=inverse[:, :, :2], where=size > 0)
    inverse[:, :, 2:] = -(inverse[:, :, :2] @ matrices[:, :, 2:])
    return inverse


class Part(NamedTuple):
    """A rectangle of a frame, pixels; the ends do not belong to it."""

    x0: int
    y0: int
    x1: int
    y1: int


def part_shown(matrix: list[list[float]], side: int, height: int, width: int) -> Part:
    """What of a frame a crop is made of; empty where the crop shows none of it.

    Args:
        matrix: Similarity from frame to crop, two rows of three. Plain numbers, since arrays of
            one face would take longer than its warp.
        side: Pixels of the crop.
        height: Of the frame.
        width: Likewise.
    """
    (real, _, right), (imag, _, down) = matrix
    size = real**2 + imag**2
    if size == 0:
        return Part(0, 0, 1, 1)  # all of the crop shows one pixel, as in OpenCV
    real, imag = real / size, imag / size  # of the way back, which turns by -imag
    middle = (side - 1) / 2
    x = real * (middle - right) + imag * (middle - down)
    y = real * (middle - down) - imag * (middle - right)
    # A turned square reaches as far up as aside; and a pixel more than bilinear needs, against
    # rounding.
    reach = middle * (abs(real) + abs(imag)) + 2
    return Part(
        min(max(floor(x - reach), 0), width),
        min(max(floor(y - reach), 0), height),
        min(max(ceil(x + reach) + 1, 0), width),
        min(max(ceil(y + reach) + 1, 0), height),
    )


class FaceWarper:
    """Warps faces of frames on the CPU, bilinear, black beyond the frame's edge.

    OpenCV warps four channels 2.5 times as fast as three, so the part of the frame that a crop is
    made of gets a fourth, unless that part is large. Fresh memory costs as much as the warp, so
    that for parts is kept: one thread at a time.

    Args:
        side: Pixels of the crops.
    """

    def __init__(self, side: int) -> None:
        self._side = side
        self._part = np.empty(MOST_WIDENED * side**2 * 4, np.uint8)
        self._crop = np.empty((side, side, 4), np.uint8)

    def warp(self, frame: U8, matrices: F64) -> U8:
        """Crops of one frame.

        Args:
            frame: (h, w, 3) uint8.
            matrices: (n, 2, 3) similarities from frame to crop.

        Returns:
            (n, side, side, 3) uint8.
        """
        side = self._side
        crops = np.zeros((len(matrices), side, side, 3), np.uint8)
        for crop, matrix in zip(crops, matrices, strict=True):
            x0, y0, x1, y1 = part_shown(matrix.tolist(), side, *frame.shape[:2])
            part = frame[y0:y1, x0:x1]
            moved = matrix.copy()
            moved[:, 2] += matrix[:, 0] * x0 + matrix[:, 1] * y0
            if part.size > MOST_WIDENED * crop.size:
                cv2.warpAffine(part, moved, (side, side), dst=crop)
            elif part.size:
                self._warp_widened(part, moved, crop)
        return crops

    def _warp_widened(self, part: U8, matrix: F64, crop: U8) -> None:
        height, width = part.shape[:2]
        wide = self._part[: height * width * 4].reshape(height, width, 4)
        cv2.cvtColor(part, cv2.COLOR_RGB2RGBA, dst=wide)
        cv2.warpAffine(wide, matrix, (self._side, self._side), dst=self._crop)
        cv2.cvtColor(self._crop, cv2.COLOR_RGBA2RGB, dst=crop)


def warp_on_device(frame: Tensor, matrices: F64, side: int) -> Tensor:
    """Crops of one frame by torch, for frames that are on a GPU; on a CPU FaceWarper is faster.

    Args:
        frame: (h, w, 3) uint8 on any device.
        matrices: (n, 2, 3) similarities from frame to crop.
        side: Pixels of the crops.

    Returns:
        (n, side, side, 3) uint8 on that device, within one grey level of FaceWarper's.
    """
    height, width = frame.shape[:2]
    y, x = np.mgrid[:side, :side].reshape(2, -1)
    places = np.stack([x, y, np.ones_like(x)], axis=1)
    found = places @ invert_similarities(matrices).transpose(0, 2, 1)
    # grid_sample counts from -1 in the middle of the first pixel to 1 in that of the last; what is
    # one pixel wide has no such measure, and gets a black second one.
    padded = functional.pad(frame.permute(2, 0, 1), (0, int(width == 1), 0, int(height == 1)))
    last = np.array([padded.shape[2] - 1, padded.shape[1] - 1])
    grid = torch.from_numpy((2 * found / last - 1).astype(np.float32)).to(frame.device)
    seen = functional.grid_sample(padded[None].float(), grid[None], align_corners=True)
    crops = seen[0].permute(1, 2, 0).reshape(-1, side, side, 3)
    return crops.round().to(torch.uint8)


class ArcFaceAligner:
    """Crops as ArcFace encoders want them, from the five landmarks of YuNet, SCRFD or RetinaFace.

    Attributes:
        input_pixels: Side p of the crops.
    """

    def __init__(self, input_pixels: int = ARCFACE_PIXELS) -> None:
        self.input_pixels = input_pixels
        self._warper = FaceWarper(input_pixels)
        self._template = ARCFACE_TEMPLATE * (input_pixels / ARCFACE_PIXELS)

    def align(self, frame: U8, detections: Detections) -> U8:
        """Crops of one frame, bilinear, black beyond the frame's edge (METHOD 1.5).

        Args:
            frame: (h, w, 3) uint8 RGB.
            detections: n faces with eyes, nose and mouth's corners, image-left first.

        Returns:
            (n, p, p, 3) uint8 RGB.
        """
        return self._warper.warp(frame, fit_similarities(detections.landmarks, self._template))

    def align_on_device(self, frame: Tensor, detections: Detections) -> Tensor:
        """As `align`, for a frame that is on a GPU already; the crops stay there.

        Args:
            frame: (h, w, 3) uint8 RGB on any device.
            detections: n faces of that frame.

        Returns:
            (n, p, p, 3) uint8 RGB on that device, within one grey level of `align`.
        """
        matrices = fit_similarities(detections.landmarks, self._template)
        return warp_on_device(frame, matrices, self.input_pixels)
