"""dlib's max-margin face detector (MMOD) as a batched torch network.

It knows the network, how its scores become boxes, and which of two overlapping boxes goes; it does
not know landmarks, crops or where frames come from. Boxes and scores equal those of dlib's
`cnn_face_detection_model_v1`, whose pyramid lies in dlib_pyramid.py.

The sliding window is 80 pixels square on each level and the largest level is the frame itself, so
the smallest face found is about 80 pixels high (a few under, where the face fills its window).
"""

from __future__ import annotations

from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vcn_ray.errors import PackError, ShapeError
from vcn_ray.models.dlib_pyramid import Tiling, fill, tile, to_picture
from vcn_ray.models.dlib_weights import (
    Affine,
    Conv,
    Layer,
    MmodOptions,
    read_layers,
    read_means,
    read_mmod_options,
)
from vcn_ray.records import F32, F64, I64, U8, Mask

CPU_BATCH = 1  # frames at once: more are no faster on a CPU, whose caches hold one better
GPU_BATCH = 8
MIN_FRAME = 7  # pixels; with the pyramid's margin the least that its first layers leave a cell of
CHANNELS = [16, 32, 32, 45, 45, 45, 1]
THRESHOLD = 0.0  # dlib's own: where the margin it was trained for puts faces and the rest apart

_NO_RECTANGLES: I64 = np.empty((0, 4), np.int64)
_NO_SCORES: F32 = np.empty(0, np.float32)


class Boxes(NamedTuple):
    """Faces of one frame, best first."""

    rectangles: I64  # (n, 4) left top right bottom pixel, all inside; may reach out of the frame
    scores: F32  # (n,) about 1 for a clear face, 0 at dlib's own threshold


class Mmod(nn.Module):
    """The network and its geometry.

    Args:
        data: Content of the detector's file.

    Attributes:
        options: Window and overlaps, from the file.
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
        """Normalised tiles (b, 3, h, w) to scores (b, rows, columns), one for each 8x8 pixels."""
        *early, last = self.convolutions.children()
        x = tiles
        for convolution in early:
            x = torch.relu_(convolution(x))
        scores: Tensor = last(x)
        return scores[:, 0]

    @torch.inference_mode()
    def find(self, frames: U8, threshold: float = THRESHOLD) -> list[Boxes]:
        """Faces of frames of one size.

        Args:
            frames: (b, h, w, 3) uint8 RGB.
            threshold: Scores must be over it; below 0 finds more, and more that are none.

        Returns:
            One Boxes for each frame.

        Raises:
            ShapeError: The frames are not such an array.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ShapeError(f"frames need uint8 (b, h, w, 3), got {frames.dtype} {frames.shape}")
        if min(frames.shape[1:3]) < MIN_FRAME:
            return [suppress(_NO_RECTANGLES, _NO_SCORES, self.options) for _ in frames]
        tiling = tile(*frames.shape[1:3])
        pictures = torch.from_numpy(np.require(frames, requirements=["C", "W"]))  # what torch needs
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
        """(n, 2) x y on the tile of cells of the score plane: the way back through each layer."""
        points = np.stack([columns, rows], axis=1).astype(np.float64)
        for conv in reversed(self._geometry):
            points = points * conv.stride - conv.padding + conv.weight.shape[2] // 2
        return points


def _folded(layers: list[Layer]) -> list[nn.Conv2d]:
    """One convolution for each of the file's, the scale and shift behind it folded in."""
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
    """Keep the best of overlapping rectangles, as dlib's test_box_overlap does.

    Two overlap when their intersection is more than `options.overlap` of the hull of both (dlib's
    `a + b` is the hull, not the union), or more than `options.covered` of either.
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
    """(n,) pixels of rectangles given by their first and last corner; 0 where they are empty."""
    sides: I64 = np.maximum(high - low + 1, 0)
    return sides[:, 0] * sides[:, 1]
