"""Outputs of detector networks to faces, in numpy, for all pictures of a batch at once.

Two kinds of head are known: distances from the cells of a grid to the sides of a face (SCRFD, and
RetinaFace as insightface exports it), and YuNet's. Networks, pictures and files are not known here.

Letters: b pictures, m faces in all of them, c cells of a level, a faces that a cell may report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, F64, I64, Detections, check_rows

LANDMARKS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Faces found in a batch of pictures: picture by picture, in each the best score first."""

    picture: I64  # (m,) which one, rising
    boxes: F32  # (m, 4) x0 y0 x1 y1, pixels
    scores: F32  # (m,) in [0, 1]
    landmarks: F32  # (m, 5, 2) x y, image-left eye first

    def __post_init__(self) -> None:
        check_rows(self, len(self.picture))

    def __len__(self) -> int:
        return len(self.picture)

    def take(self, rows: I64) -> Candidates:
        """Some of the faces, in the order of `rows`."""
        return Candidates(
            self.picture[rows], self.boxes[rows], self.scores[rows], self.landmarks[rows]
        )

    def enlarged(self, shrunk: F32 | float) -> Candidates:
        """In pixels of frames that were shrunk by one factor, or by (2,) in x and y."""
        corners = self.boxes.reshape(-1, 2, 2) / shrunk
        return Candidates(
            self.picture, corners.reshape(-1, 4), self.scores, self.landmarks / shrunk
        )

    def split(self, pictures: int) -> list[Detections]:
        """One record a picture, contiguous float32."""
        bounds = np.searchsorted(self.picture, np.arange(pictures + 1))
        return [
            Detections(
                boxes=np.ascontiguousarray(self.boxes[start:end], np.float32),
                scores=np.ascontiguousarray(self.scores[start:end], np.float32),
                landmarks=np.ascontiguousarray(self.landmarks[start:end], np.float32),
            )
            for start, end in pairwise(bounds)
        ]


def join(parts: Sequence[Candidates]) -> Candidates:
    """Faces of the same pictures from several places, at least one, in order."""
    together = Candidates(
        np.concatenate([part.picture for part in parts]),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.landmarks for part in parts]),
    )
    # Stable: of equal scores the one of the finer grid, then of the earlier cell comes first, as
    # where insightface and OpenCV sort.
    return together.take(np.lexsort((-together.scores, together.picture)))


def decode_distances(
    outputs: Sequence[F32], strides: Sequence[int], size: tuple[int, int], min_score: float
) -> Candidates:
    """Faces of heads that give distances, in units of the stride, from a cell's corner.

    Args:
        outputs: Scores (b, c * a, 1) of each level, then boxes (b, c * a, 4) as distances to left,
            top, right and bottom, then landmarks (b, c * a, 10) as x y distances.
        strides: Pixels from cell to cell of each level.
        size: Height and width of the pictures, multiples of the strides.
        min_score: Faces under it are left out.

    Returns:
        Faces before suppression, in pixels of the pictures.

    Raises:
        ShapeError: The outputs are not of this kind, or of pictures of another size.
    """
    levels = len(strides)
    if len(outputs) != 3 * levels:
        raise ShapeError(f"{levels} strides need {3 * levels} outputs, got {len(outputs)}")
    parts = []
    for level, stride in enumerate(strides):
        scores, distances, points = outputs[level::levels]
        check_level((scores, distances, points), (1, 4, 2 * LANDMARKS), stride, size)
        picture, row = np.nonzero(scores[..., 0] >= min_score)
        anchors = scores.shape[1] // cell_count(stride, size)
        centre = cell_corners(row // anchors, stride, size)
        away = distances[picture, row] * stride
        landmarks = points[picture, row].reshape(-1, LANDMARKS, 2) * stride
        parts.append(
            Candidates(
                picture,
                np.hstack([centre - away[:, :2], centre + away[:, 2:]]),
                scores[picture, row, 0],
                centre[:, None] + landmarks,
            )
        )
    return join(parts)


def decode_yunet(
    outputs: Sequence[F32], strides: Sequence[int], size: tuple[int, int], min_score: float
) -> Candidates:
    """Faces of YuNet's heads: a centre in units of the stride, and the logarithm of the sides.

    Args:
        outputs: For each level class scores (b, c, 1), then likewise object scores (b, c, 1), boxes
            (b, c, 4) and landmarks (b, c, 10).
        strides: Pixels from cell to cell of each level.
        size: Height and width of the pictures, multiples of the strides.
        min_score: Faces under it are left out; a face's score is the two scores' geometric mean.

    Returns:
        Faces before suppression, in pixels of the pictures.

    Raises:
        ShapeError: The outputs are not of this kind, or of pictures of another size.
    """
    levels = len(strides)
    if len(outputs) != 4 * levels:
        raise ShapeError(f"{levels} strides need {4 * levels} outputs, got {len(outputs)}")
    parts = []
    for level, stride in enumerate(strides):
        classes, objects, sides, points = outputs[level::levels]
        check_level((classes, objects, sides, points), (1, 1, 4, 2 * LANDMARKS), stride, size)
        scores = np.sqrt(np.clip(classes[..., 0], 0, 1) * np.clip(objects[..., 0], 0, 1))
        picture, row = np.nonzero(scores >= min_score)
        corner = cell_corners(row, stride, size)
        found = sides[picture, row]
        centre = corner + found[:, :2] * stride
        extent = np.exp(found[:, 2:]) * stride
        landmarks = points[picture, row].reshape(-1, LANDMARKS, 2) * stride
        low = centre - extent / 2
        parts.append(
            Candidates(
                picture,
                np.hstack([low, low + extent]),
                scores[picture, row],
                corner[:, None] + landmarks,
            )
        )
    return join(parts)


def cell_count(stride: int, size: tuple[int, int]) -> int:
    """Cells of the level of a stride in a picture of this height and width."""
    return (size[0] // stride) * (size[1] // stride)


def cell_corners(cells: I64, stride: int, size: tuple[int, int]) -> F32:
    """(n, 2) x y pixels of the corners of cells that are counted row by row."""
    y, x = np.divmod(cells, size[1] // stride)
    return np.stack([x, y], axis=1).astype(np.float32) * stride


def check_level(
    outputs: Sequence[F32], columns: Sequence[int], stride: int, size: tuple[int, int]
) -> None:
    """Raise ShapeError unless a level's outputs are (b, rows, k), rows whole times its cells."""
    cells = cell_count(stride, size)
    rows = outputs[0].shape[1] if outputs[0].ndim == 3 else 0
    if cells == 0 or rows == 0 or rows % cells:
        raise ShapeError(
            f"stride {stride} of {size[0]}x{size[1]} pixels needs outputs (b, n * {cells}, k), "
            f"got {outputs[0].shape}"
        )
    for output, count in zip(outputs, columns, strict=True):
        if output.shape != (len(outputs[0]), rows, count):
            raise ShapeError(
                f"stride {stride} needs an output {(len(outputs[0]), rows, count)}, "
                f"got {output.shape}"
            )


def suppress(found: Candidates, boxes: F32 | F64, threshold: float, edge: float = 0) -> Candidates:
    """Greedy non-maximum suppression in all pictures at once.

    Args:
        found: Faces, best first in each picture.
        boxes: (m, 4) what overlap is measured on, usually `found.boxes`.
        threshold: A face that overlaps a better one by more (intersection over union) goes.
        edge: Added to each side's length: 1 where corners are the last pixels inside.

    Returns:
        Those that stay, in order.
    """
    kept = np.zeros(len(found), bool)
    alive = np.arange(len(found))
    while alive.size:
        # One round keeps the best of what is left of each picture, and drops what overlaps it.
        picture, first = np.unique(found.picture[alive], return_index=True)
        best = alive[first]
        kept[best] = True
        rival = best[np.searchsorted(picture, found.picture[alive])]
        overlap = pairwise_overlap(boxes[alive], boxes[rival], edge)
        alive = alive[(overlap <= threshold) & (alive != rival)]
    return found.take(np.flatnonzero(kept))


def pairwise_overlap(one: F32 | F64, other: F32 | F64, edge: float) -> F32 | F64:
    """(n,) intersection over union of box i of one with box i of the other, 1 of empty ones."""
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    common = np.maximum(high - low + edge, 0).prod(axis=1)
    areas = [(box[:, 2:] - box[:, :2] + edge).prod(axis=1) for box in (one, other)]
    union = areas[0] + areas[1] - common
    overlap: F32 | F64 = np.divide(common, union, out=np.ones_like(union), where=union != 0)
    return overlap
