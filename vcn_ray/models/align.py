"""Aligners: from landmarks to upright square crops; they know no detector and no encoder.

`ArcFaceAligner` cuts the crops of ArcFace encoders, `DlibAligner` those of dlib's encoder.

The similarity that takes the landmarks of n faces to a template has one closed form for all faces:
with points as complex numbers it is z -> a z + b, and least squares gives a and b directly
(Umeyama, PAMI 1991, in two dimensions, where a rotation and a scale are one complex factor).

Letters of shapes: n faces, p landmarks of a face, h and w pixels of a frame.
"""

from __future__ import annotations

from math import ceil, floor
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from vcn_ray.core.pose import LandmarkOrder
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
"""(5, 2) x y of the eyes, the nose and the corners of the mouth, image-left first, in a crop of 112
pixels: the template that ArcFace encoders are trained with (insightface,
`face_align.arcface_dst`)."""

CHIP_LANDMARKS: F64 = np.array(
    [[48.5, 46.9], [101.5, 46.9], [75.0, 79.9], [52.7, 106.4], [97.3, 106.4]]
)
"""(5, 2) x y of the five landmarks of CenterFace in a chip of dlib: their medians over faces of
films that dlib's own detector and landmarks cut, made symmetric (benchmarks/method/chips.py)."""

MAX_WIDENED = 20
"""Largest part of a frame, in crop sizes, for which a fourth channel saves more than it costs."""

CHIP_PIXELS = 150
CHIP_PADDING = 0.25  # of the mean face on each side, as dlib's face-ID network was trained

DLIB_MEAN_FACE: F64 = np.array(
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

_CHIP_TEMPLATE: F32 = np.asarray(
    (DLIB_MEAN_FACE + CHIP_PADDING) / (1 + 2 * CHIP_PADDING) * CHIP_PIXELS, np.float32
)
_HALVING_SHIFT = np.array([-0.25, 0.25])  # x y, the half-pixel error of dlib's pyramid_down<2>


def fit_similarities(landmarks: F32, template: F64) -> F64:
    """Fit the rotation, scale and shift that take landmarks to a template, by least squares.

    Args:
        landmarks: (n, p, 2) x y of p points of n faces, in any unit.
        template: (p, 2) x y of the points' places in the crop.

    Returns:
        (n, 2, 3) affine matrices from landmarks to template; only a shift if all points of a face
        coincide.

    Raises:
        ShapeError: The number of points differs.
    """
    if landmarks.ndim != 3 or landmarks.shape[1:] != template.shape:
        raise ShapeError(f"landmarks need shape (n, *{template.shape}), got {landmarks.shape}")
    source, target = as_complex(landmarks), as_complex(template)
    source_mean = source.sum(axis=1) / len(template)
    target_mean = target.sum() / len(template)
    centred = source - source_mean[:, None]
    variance = np.vecdot(centred, centred).real
    product = np.vecdot(centred, target - target_mean)
    factor = np.divide(product, variance, out=np.ones_like(product), where=variance > 0)
    shift = target_mean - factor * source_mean
    matrices = np.empty((len(landmarks), 2, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = factor.real
    matrices[:, 1, 0] = factor.imag
    matrices[:, 0, 1] = -factor.imag
    matrices[:, 0, 2] = shift.real
    matrices[:, 1, 2] = shift.imag
    return matrices


def as_complex(points: F32 | F64) -> npt.NDArray[np.complex128]:
    """View points (..., 2) of x y as complex numbers x + iy (...)."""
    pairs = np.ascontiguousarray(points, np.float64)
    return pairs.view(np.complex128)[..., 0]


class FrameRegion(NamedTuple):
    """A rectangle of a frame, in pixels; x1 and y1 are one past the last pixel."""

    x0: int
    y0: int
    x1: int
    y1: int


def region_shown(matrix: list[list[float]], side: int, height: int, width: int) -> FrameRegion:
    """Find the region of a frame that a crop shows; it is empty if the crop shows none of it.

    Args:
        matrix: Similarity from frame to crop, two rows of three plain numbers: arrays for one face
            would take longer than its warp.
        side: Pixels of the crop.
        height: Height of the frame, pixels.
        width: Width of the frame, pixels.
    """
    (real, _, right), (imag, _, down) = matrix
    size = real**2 + imag**2
    if size == 0:
        return FrameRegion(0, 0, 1, 1)  # the whole crop shows one pixel, as in OpenCV
    real, imag = real / size, imag / size  # the inverse turns by -imag
    middle = (side - 1) / 2
    x = real * (middle - right) + imag * (middle - down)
    y = real * (middle - down) - imag * (middle - right)
    # A turned square extends equally far in x and y. Bilinear sampling needs one more pixel, and
    # rounding another.
    reach = middle * (abs(real) + abs(imag)) + 2
    return FrameRegion(
        min(max(floor(x - reach), 0), width),
        min(max(floor(y - reach), 0), height),
        min(max(ceil(x + reach) + 1, 0), width),
        min(max(ceil(y + reach) + 1, 0), height),
    )


class FaceWarper:
    """Warps faces of frames, bilinear, black beyond the frame's edge.

    OpenCV warps four channels 2.5 times as fast as three, so the part of the frame that a crop
    shows gets a fourth channel, unless that part is large. New memory costs as much as the warp, so
    the memory for parts is kept, and an instance serves one thread.

    Args:
        side: Pixels of the crops.
    """

    def __init__(self, side: int) -> None:
        self._side = side
        self._part = np.empty(MAX_WIDENED * side**2 * 4, np.uint8)
        self._crop = np.empty((side, side, 4), np.uint8)

    def warp(self, frame: U8, matrices: F64) -> U8:
        """Cut the crops of one frame.

        Args:
            frame: (h, w, 3) uint8.
            matrices: (n, 2, 3) similarities from frame to crop.

        Returns:
            (n, side, side, 3) uint8.
        """
        side = self._side
        crops = np.zeros((len(matrices), side, side, 3), np.uint8)
        for crop, matrix in zip(crops, matrices, strict=True):
            x0, y0, x1, y1 = region_shown(matrix.tolist(), side, *frame.shape[:2])
            part = frame[y0:y1, x0:x1]
            moved = matrix.copy()
            moved[:, 2] += matrix[:, 0] * x0 + matrix[:, 1] * y0
            if part.size > MAX_WIDENED * crop.size:
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


class TemplateAligner:
    """Crops in which eyes, nose and corners of the mouth lie near the places of a template.

    Args:
        template: (5, 2) x y, pixels of the crop.
        input_pixels: Side of the crops.

    Attributes:
        input_pixels: Side of the crops.
        landmark_order: What the five points are.
    """

    landmark_order: LandmarkOrder = "eyes_nose_mouth"

    def __init__(self, template: F64, input_pixels: int) -> None:
        self.input_pixels = input_pixels
        self._warper = FaceWarper(input_pixels)
        self._template = template

    def align(self, frame: U8, detections: Detections) -> U8:
        """Cut the crops of one frame, bilinear, black beyond the frame's edge (METHOD 1.5).

        Args:
            frame: (h, w, 3) uint8 RGB.
            detections: n faces; landmarks are eyes, nose and corners of the mouth, image-left
                first, in pixels of the frame.

        Returns:
            (n, input_pixels, input_pixels, 3) uint8 RGB, in the order of the detections.

        Raises:
            ShapeError: A face has no five landmarks.
        """
        return self._warper.warp(frame, fit_similarities(detections.landmarks, self._template))


class ArcFaceAligner(TemplateAligner):
    """Crops for ArcFace encoders, from the landmarks of CenterFace, YuNet, SCRFD or RetinaFace.

    The crops equal those of insightface's `face_align.norm_crop` within one grey level.

    Args:
        input_pixels: Side of the crops; the template is scaled to it.
    """

    def __init__(self, input_pixels: int = ARCFACE_PIXELS) -> None:
        super().__init__(ARCFACE_TEMPLATE * (input_pixels / ARCFACE_PIXELS), input_pixels)


class ChipAligner(TemplateAligner):
    """Crops for dlib's encoder, from the landmarks of CenterFace."""

    def __init__(self) -> None:
        super().__init__(CHIP_LANDMARKS, CHIP_PIXELS)


class DlibAligner:
    """Crops equal to `dlib.get_face_chip(size=150, padding=0.25)` within a few grey levels.

    Attributes:
        input_pixels: Side of the crops, 150.
        landmark_order: What the five points are.
    """

    landmark_order: LandmarkOrder = "dlib"

    def __init__(self) -> None:
        self.input_pixels = CHIP_PIXELS

    def align(self, frame: U8, detections: Detections) -> U8:
        """Cut the crops of one frame, bilinear, black beyond the frame's edge (METHOD 1.5).

        Args:
            frame: (h, w, 3) uint8 RGB.
            detections: n faces; landmarks are dlib's five, in the order of DLIB_MEAN_FACE, in
                pixels of the frame.

        Returns:
            (n, 150, 150, 3) uint8 RGB, in the order of the detections.

        Raises:
            ShapeError: A face has no five landmarks.
        """
        chips = np.empty((len(detections), CHIP_PIXELS, CHIP_PIXELS, 3), np.uint8)
        for chip, landmarks in zip(chips, detections.landmarks, strict=True):
            chip[:] = cut_chip(frame, chip_to_frame(landmarks))
        return chips


def chip_to_frame(landmarks: F32) -> F64:
    """Compute the affine map from a chip's pixels to the frame's.

    Like dlib, it fits the mean face to the landmarks (to fit the landmarks to the mean face would
    give a larger square), takes the square around the fitted face's middle, and lays the chip's
    outer pixels on the square's outer pixels.

    Args:
        landmarks: (5, 2) x y of one face, pixels.

    Returns:
        (2, 3).
    """
    fitted = fit_similarities(_CHIP_TEMPLATE[None], landmarks.astype(np.float64))[0]
    middle = fitted @ [CHIP_PIXELS / 2, CHIP_PIXELS / 2, 1]
    scale = np.hypot(fitted[0, 0], fitted[1, 0])
    if scale == 0:  # all landmarks coincide: the chip shows that spot
        return np.array([[0.0, 0.0, middle[0]], [0.0, 0.0, middle[1]]])
    turn = fitted[:, :2] * (CHIP_PIXELS - 1 / scale) / (CHIP_PIXELS - 1)
    offset = middle - turn @ np.full(2, (CHIP_PIXELS - 1) / 2)
    return np.column_stack([turn, offset])


def cut_chip(frame: U8, matrix: F64) -> U8:
    """Resample one chip; a face over twice the chip's size is halved first, to avoid aliasing.

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
    picture, matrix = _crop_to_chip(frame, matrix, margin=2 ** (halvings + 2))
    for _ in range(halvings):
        picture = cv2.pyrDown(picture)
        matrix = matrix / 2
        matrix[:, 2] += _HALVING_SHIFT
    size = (CHIP_PIXELS, CHIP_PIXELS)
    chip: U8 = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return chip


def _crop_to_chip(frame: U8, matrix: F64, margin: int) -> tuple[U8, F64]:
    """Cut out the part of the frame that a chip needs, and map into that part."""
    last = CHIP_PIXELS - 1
    corners = matrix @ np.array([[0, last, 0, last], [0, 0, last, last], [1, 1, 1, 1]])
    size = np.array(frame.shape[1::-1])
    low = np.clip(np.floor(corners.min(axis=1)).astype(int) - margin, 0, size - 1)
    high = np.clip(np.ceil(corners.max(axis=1)).astype(int) + margin + 1, low + 1, size)
    moved = matrix.copy()
    moved[:, 2] -= low
    return frame[low[1] : high[1], low[0] : high[0]], moved
