"""dlib's face detector: the max-margin network (MMOD) in torch, in batches, and five landmarks.

It knows the network, how its scores become boxes, and which of two overlapping boxes is dropped; it
does not know crops or where frames come from. Boxes and scores equal those of dlib's
`cnn_face_detection_model_v1`; the picture pyramid is in dlib_pyramid.py. The landmarks come from
dlib's own regression trees.

The sliding window is 80 pixels square on each level of the pyramid, and the largest level is the
frame itself, so the smallest face found is about 80 pixels high, or slightly smaller if the face
fills its window.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import NamedTuple

import dlib
import numpy as np
import torch
from torch import Tensor, nn

from vcn_ray.errors import PackError
from vcn_ray.models.detector_inputs import check_frames
from vcn_ray.models.dlib_pyramid import Tiling, fill, tile, to_picture
from vcn_ray.models.dlib_weights import (
    LANDMARK_FILE,
    MMOD_FILE,
    Affine,
    Conv,
    Layer,
    MmodOptions,
    model_file,
    read_layers,
    read_means,
    read_mmod_options,
)
from vcn_ray.records import F32, F64, I64, U8, Detections, Mask

CPU_BATCH = 1  # frames: a CPU's caches hold one frame better, and more are no faster
GPU_BATCH = 8
MIN_FRAME_PIXELS = 7  # with the pyramid's margin, the first layers need this for one cell
CHANNELS = [16, 32, 32, 45, 45, 45, 1]
THRESHOLD = 0.0  # as in dlib: the margin of training separates faces from the rest here

_NO_RECTANGLES: I64 = np.empty((0, 4), np.int64)
_NO_SCORES: F32 = np.empty(0, np.float32)


class Boxes(NamedTuple):
    """Faces of one frame, the best first."""

    rectangles: I64  # (n, 4) left top right bottom pixel, inclusive; may reach out of the frame
    scores: F32  # (n,) about 1 for a clear face, 0 at dlib's own threshold


class DlibDetector:
    """MMOD boxes with dlib's five landmarks.

    Landmarks: outer and inner corner of the image-right eye, outer and inner corner of the
    image-left eye, the spot under the nose. Frames keep their size.

    Args:
        device: Where the network runs, as torch names it.

    Raises:
        PackError: The weights are missing or have another checksum, or the device is missing.
    """

    def __init__(self, device: str = "cpu") -> None:
        network = Mmod(model_file(MMOD_FILE).read_bytes())
        try:
            self._network = network.to(device)
        except (RuntimeError, AssertionError) as error:  # the latter from torch without CUDA
            raise PackError(f"device {device!r} cannot be used: {error}") from error
        self._predictor = dlib.shape_predictor(str(model_file(LANDMARK_FILE)))

    def detect(self, frames: U8) -> list[Detections]:
        """Find the faces of each frame.

        Args:
            frames: (b, h, w, 3) uint8 RGB; rows need not be contiguous.

        Returns:
            One record per frame, float32, the best score first; boxes and landmarks are in pixels
            of the frame, and boxes may reach out of it.

        Raises:
            ShapeError: The frames are no such array, or have no pixels.
        """
        found = self._network.find(frames)
        return [self._finish(frame, boxes) for frame, boxes in zip(frames, found, strict=True)]

    def _finish(self, frame: U8, boxes: Boxes) -> Detections:
        picture = np.ascontiguousarray(frame)
        landmarks = [self._landmarks(picture, r) for r in boxes.rectangles.tolist()]
        corners = boxes.rectangles.astype(np.float32)
        corners[:, 2:] += 1  # from the last pixel inside to the edge
        return Detections(
            boxes=corners,
            scores=boxes.scores,
            landmarks=np.array(landmarks, np.float32).reshape(-1, 5, 2),
        )

    def _landmarks(self, picture: U8, rectangle: list[int]) -> F32:
        shape = self._predictor(picture, dlib.rectangle(*rectangle))
        return np.array([(p.x, p.y) for p in shape.parts()], np.float32)


class Mmod(nn.Module):
    """The network and its geometry.

    Args:
        data: Content of the detector's file.

    Attributes:
        options: Window and overlaps, from the file.

    Raises:
        PackError: The file holds another network.
    """

    means: Tensor

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.options: MmodOptions = read_mmod_options(data)
        self.register_buffer("means", torch.from_numpy(read_means(data)).view(1, 3, 1, 1))
        layers = read_layers(data)
        self.convolutions = nn.Sequential(*_folded(layers))
        self._geometry = [layer for layer in layers if isinstance(layer, Conv)]
        self.eval().requires_grad_(False)

    def forward(self, tiles: Tensor) -> Tensor:
        """Map normalised tiles (b, 3, h, w) to scores (b, rows, columns), one per 8x8 pixels."""
        *early, last = self.convolutions.children()
        x = tiles
        for convolution in early:
            x = torch.relu_(convolution(x))
        scores: Tensor = last(x)
        return scores[:, 0]

    @torch.inference_mode()
    def find(self, frames: U8, threshold: float = THRESHOLD) -> list[Boxes]:
        """Find the faces of frames of one size.

        Args:
            frames: (b, h, w, 3) uint8 RGB.
            threshold: Scores must exceed it; a value below 0 finds more faces and more false ones.

        Returns:
            One Boxes per frame.

        Raises:
            ShapeError: The frames are no such array, or have no pixels.
        """
        check_frames(frames)
        if min(frames.shape[1:3]) < MIN_FRAME_PIXELS:
            return [suppress(_NO_RECTANGLES, _NO_SCORES, self.options) for _ in frames]
        tiling = tile(*frames.shape[1:3])
        pictures = torch.from_numpy(np.require(frames, requirements=["C", "W"]))  # as torch needs
        step = CPU_BATCH if self.means.is_cpu else GPU_BATCH
        found: list[Boxes] = []
        for start in range(0, len(frames), step):
            part = pictures[start : start + step].to(self.means.device)
            pixels = part.permute(0, 3, 1, 2).float()
            scores = self(fill((pixels - self.means) / 256, tiling)).cpu().numpy()
            found += [self._boxes(plane, tiling, threshold) for plane in scores]
        return found

    def _boxes(self, scores: F32, tiling: Tiling, threshold: float) -> Boxes:
        rows, columns = np.nonzero(scores > threshold)
        rectangles = to_picture(self._centres(rows, columns), self.options.window, tiling)
        return suppress(rectangles, scores[rows, columns], self.options)

    def _centres(self, rows: I64, columns: I64) -> F64:
        """(n, 2) x y on the tile of cells of the score plane, traced back through each layer."""
        points = np.stack([columns, rows], axis=1).astype(np.float64)
        for conv in reversed(self._geometry):
            points = points * conv.stride - conv.padding + conv.weight.shape[2] // 2
        return points


def _folded(layers: list[Layer]) -> list[nn.Conv2d]:
    """Make one convolution per convolution of the file, with the scale and shift behind it."""
    convolutions: list[nn.Conv2d] = []
    for layer, after in zip_longest(layers, layers[1:]):
        if isinstance(layer, Conv):
            affine = after if isinstance(after, Affine) else None
            convolutions.append(_convolution(layer, affine))
    if [c.out_channels for c in convolutions] != CHANNELS:
        raise PackError(f"wanted convolutions to {CHANNELS} channels: not dlib's face detector")
    return convolutions


def _convolution(conv: Conv, affine: Affine | None) -> nn.Conv2d:
    out, inputs, height, width = conv.weight.shape
    scale = affine.scale if affine else np.ones(out, np.float32)
    shift = affine.shift if affine else np.zeros(out, np.float32)
    module = nn.Conv2d(inputs, out, (height, width), conv.stride, conv.padding)
    weight = torch.from_numpy(conv.weight * scale[:, None, None, None])
    module.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
    module.bias = nn.Parameter(torch.from_numpy(conv.bias * scale + shift))
    return module


def suppress(rectangles: I64, scores: F32, options: MmodOptions) -> Boxes:
    """Keep the best of overlapping rectangles, as dlib's `test_box_overlap` does.

    Two rectangles overlap if their intersection exceeds `options.overlap` of their common hull
    (dlib's `a + b` is the hull, not the union), or `options.covered` of either one.

    Args:
        rectangles: (n, 4) left top right bottom pixel, inclusive.
        scores: (n,).
        options: The thresholds.
    """
    order = np.argsort(-scores, kind="stable")
    rectangles, scores = rectangles[order], scores[order]
    kept: list[int] = []
    for index, rectangle in enumerate(rectangles):
        if not _overlaps(rectangle, rectangles[kept], options).any():
            kept.append(index)
    return Boxes(rectangles[kept], scores[kept])


def _overlaps(one: I64, others: I64, options: MmodOptions) -> Mask:
    inner = _area(np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:]))
    hull = _area(np.minimum(one[:2], others[:, :2]), np.maximum(one[2:], others[:, 2:]))
    smaller = np.minimum(_area(one[None, :2], one[None, 2:]), _area(others[:, :2], others[:, 2:]))
    return (inner > options.overlap * hull) | (inner > options.covered * smaller)


def _area(low: I64, high: I64) -> I64:
    """Count the pixels (n,) of rectangles given by their first and last corner; 0 if empty."""
    sides: I64 = np.maximum(high - low + 1, 0)
    return sides[:, 0] * sides[:, 1]
