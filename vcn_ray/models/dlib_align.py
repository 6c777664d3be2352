"""dlib's face chip: five landmarks to an upright 150-pixel crop.

It knows dlib's mean face and how dlib resamples; it knows no detector and no encoder.
"""

from __future__ import annotations

import cv2
import numpy as np

from vcn_ray.models.align import fit_similarities
from vcn_ray.records import F32, F64, U8, Detections

CHIP_PIXELS = 150
CHIP_PADDING = 0.25  # of the mean face on each side, as dlib's face-ID network was trained

MEAN_FACE: F64 = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
"""(5, 2) x y in units of the face (dlib, `get_face_chip_details`): outer and inner corner of the
image-right eye, outer and inner corner of the image-left eye, the spot under the nose."""

_TEMPLATE: F32 = np.asarray(
    (MEAN_FACE + CHIP_PADDING) / (1 + 2 * CHIP_PADDING) * CHIP_PIXELS, np.float32
)
_HALVING_SHIFT = np.array(
    [-0.25, 0.25]
)  # dlib's own half pixel off, x and y, in its pyramid_down<2>


class DlibAligner:
    """Crops equal to `dlib.get_face_chip(size=150, padding=0.25)`.

    Attributes:
        input_pixels: Side of the crops, 150.
    """

    def __init__(self) -> None:
        self.input_pixels = CHIP_PIXELS

    def align(self, frame: U8, detections: Detections) -> U8:
        """Crops of one frame, bilinear, black beyond the frame's edge (METHOD 1.5).

        Args:
            frame: (h, w, 3) uint8 RGB.
            detections: n faces with dlib's five landmarks.

        Returns:
            (n, 150, 150, 3) uint8 RGB.
        """
        chips = np.empty((len(detections), CHIP_PIXELS, CHIP_PIXELS, 3), np.uint8)
        for chip, landmarks in zip(chips, detections.landmarks, strict=True):
            chip[:] = cut_chip(frame, chip_to_frame(landmarks))
        return chips


def chip_to_frame(landmarks: F32) -> F64:
    """The affine map from a chip's pixels to the frame's.

    dlib fits the mean face to the landmarks (not the landmarks to the mean face, which would give a
    larger square), takes the square around its middle, and lays the chip's outer pixels on the
    square's outer pixels.

    Args:
        landmarks: (5, 2) x y of one face, pixels.

    Returns:
        (2, 3).
    """
    fitted = fit_similarities(_TEMPLATE[None], landmarks.astype(np.float64))[0]
    middle = fitted @ [CHIP_PIXELS / 2, CHIP_PIXELS / 2, 1]
    scale = np.hypot(fitted[0, 0], fitted[1, 0])
    if scale == 0:  # all landmarks on one spot: a chip of that spot
        return np.array([[0.0, 0.0, middle[0]], [0.0, 0.0, middle[1]]])
    turn = fitted[:, :2] * (CHIP_PIXELS - 1 / scale) / (CHIP_PIXELS - 1)
    offset = middle - turn @ np.full(2, (CHIP_PIXELS - 1) / 2)
    return np.column_stack([turn, offset])


def cut_chip(frame: U8, matrix: F64) -> U8:
    """Resample one chip; a face over twice the chip's size is halved first, so it does not alias.

    Args:
        frame: (h, w, 3) uint8.
        matrix: (2, 3) from the chip's pixels to the frame's.

    Returns:
        (150, 150, 3) uint8.
    """
    side = np.hypot(matrix[0, 0], matrix[1, 0]) * (CHIP_PIXELS - 1) + 1
    halvings = 0
    while side / 2 ** (halvings + 1) > CHIP_PIXELS:
        halvings += 1
    picture, matrix = _around(frame, matrix, margin=2 ** (halvings + 2))
    for _ in range(halvings):
        picture = cv2.pyrDown(picture)
        matrix = matrix / 2
        matrix[:, 2] += _HALVING_SHIFT
    size = (CHIP_PIXELS, CHIP_PIXELS)
    chip: U8 = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return chip


def _around(frame: U8, matrix: F64, margin: int) -> tuple[U8, F64]:
    """The part of the frame that a chip needs, and the map into it."""
    last = CHIP_PIXELS - 1
    corners = matrix @ np.array([[0, last, 0, last], [0, 0, last, last], [1, 1, 1, 1]])
    size = np.array(frame.shape[1::-1])
    low = np.clip(np.floor(corners.min(axis=1)).astype(int) - margin, 0, size - 1)
    high = np.clip(np.ceil(corners.max(axis=1)).astype(int) + margin + 1, low + 1, size)
    moved = matrix.copy()
    moved[:, 2] -= low
    return frame[low[1] : high[1], low[0] : high[0]], moved
