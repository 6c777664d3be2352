"""Turns outputs of detector networks into faces, in numpy, for a batch at once; it runs no network.

It knows three kinds of heads: distances from the cells of a grid to the sides of a face (SCRFD, and
RetinaFace as insightface exports it), YuNet's, and CenterFace's maps.

Letters of shapes: b pictures, m faces in all of them, c cells of a level, a faces per cell, h and w
cells of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vcn_ray.errors import ShapeError
from vcn_ray.models.detector_inputs import Tile
from vcn_ray.records import F32, F64, I64, Detections, Mask, check_rows

LANDMARKS = 5

YUNET_STRIDES = (8, 16, 32)
YUNET_OUTPUTS = tuple(
    f"{head}_{stride}" for head in ("cls", "obj", "bbox", "kps") for stride in YUNET_STRIDES
)
"""Names of the outputs of a YuNet graph, in the order of `decode_yunet`."""

CENTERFACE_STRIDE = 4
CENTERFACE_CHANNELS = (1, 2, 2, 2 * LANDMARKS)
"""Channels of the four maps: score, log of the sides, offset of the centre, landmarks."""

SCRFD_STRIDES = {9: (8, 16, 32), 15: (8, 16, 32, 64, 128)}
"""Strides by the number of outputs: a graph with landmarks has three outputs per level."""

CUT_FRACTION = 0.01
"""Fraction of a tile's side: a face that comes so near to a side inside the frame counts as cut."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Faces of a batch of pictures, sorted by picture and then by falling score."""

    picture: I64  # (m,) index of the picture, rising
    boxes: F32  # (m, 4) x0 y0 x1 y1, pixels
    scores: F32  # (m,) in [0, 1]
    landmarks: F32  # (m, 5, 2) x y in pixels, image-left eye first

    def __post_init__(self) -> None:
        check_rows(self, len(self.picture))

    def __len__(self) -> int:
        return len(self.picture)

    def take(self, rows: I64) -> Candidates:
        """Select faces, in the order of `rows`."""
        return Candidates(
            self.picture[rows], self.boxes[rows], self.scores[rows], self.landmarks[rows]
        )

    def enlarged(self, shrunk: F32 | float) -> Candidates:
        """Convert pixels of pictures to pixels of the frames that were shrunk to them.

        Args:
            shrunk: Picture size over frame size: one factor, or (2,) for x and y.
        """
        corners = self.boxes.reshape(-1, 2, 2) / shrunk
        return Candidates(
            self.picture, corners.reshape(-1, 4), self.scores, self.landmarks / shrunk
        )

    def split(self, pictures: int) -> list[Detections]:
        """Make one record per picture, with contiguous float32 arrays."""
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
    """Merge faces of the same pictures from one or more sources, and sort them."""
    joined = Candidates(
        np.concatenate([part.picture for part in parts]),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.landmarks for part in parts]),
    )
    # The sort is stable: of equal scores the finer grid, then the earlier cell comes first, as in
    # insightface and OpenCV.
    return joined.take(np.lexsort((-joined.scores, joined.picture)))


def decode_distances(
    outputs: Sequence[F32], strides: Sequence[int], size: tuple[int, int], min_score: float
) -> Candidates:
    """Decode heads that give distances, in units of the stride, from a cell's corner.

    Args:
        outputs: float32 arrays: scores (b, c * a, 1) of each level, then boxes (b, c * a, 4) as
            distances to left, top, right and bottom, then landmarks (b, c * a, 10) as x y
            distances.
        strides: Pixels from cell to cell, for each level.
        size: Height and width of the pictures, multiples of the strides.
        min_score: Faces with a lower score are left out.

    Returns:
        Faces before suppression, in pixels of the pictures.

    Raises:
        ShapeError: The outputs are of another kind, or of pictures of another size.
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
    """Decode YuNet's heads: a centre in units of the stride, and the logarithm of the sides.

    Args:
        outputs: float32 arrays: class scores (b, c, 1) of each level, then object scores (b, c, 1)
            of each level, then boxes (b, c, 4), then landmarks (b, c, 10).
        strides: Pixels from cell to cell, for each level.
        size: Height and width of the pictures, multiples of the strides.
        min_score: Faces with a lower score are left out; a face's score is the geometric mean of
            its class score and its object score.

    Returns:
        Faces before suppression, in pixels of the pictures.

    Raises:
        ShapeError: The outputs are of another kind, or of pictures of another size.
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
        low = centre - extent / 2
        boxes = np.hstack([low, low + extent])
        landmarks = points[picture, row].reshape(-1, LANDMARKS, 2) * stride
        parts.append(Candidates(picture, boxes, scores[picture, row], corner[:, None] + landmarks))
    return join(parts)


def decode_centerface(
    outputs: Sequence[F32], size: tuple[int, int], min_score: float
) -> Candidates:
    """Decode CenterFace's four maps (Xu et al., CenterFace, Scientific Programming 2020).

    Every cell is a face's possible centre. The maps list y before x.

    Args:
        outputs: float32 arrays (b, channels * h, w) of the maps, in the order of
            CENTERFACE_CHANNELS, as `BatchSession.run` flattens them.
        size: Height and width of the pictures, multiples of the stride.
        min_score: Faces with a lower score are left out.

    Returns:
        Faces before suppression, in pixels of the pictures, cut off at their edges.

    Raises:
        ShapeError: The outputs are of another kind, or of pictures of another size.
    """
    height, width = (side // CENTERFACE_STRIDE for side in size)
    if len(outputs) != len(CENTERFACE_CHANNELS):
        raise ShapeError(f"CenterFace has {len(CENTERFACE_CHANNELS)} outputs, got {len(outputs)}")
    for output, channels in zip(outputs, CENTERFACE_CHANNELS, strict=True):
        if output.shape[1:] != (channels * height, width) or not height:
            raise ShapeError(
                f"maps of {size[0]}x{size[1]} pixels need (b, {channels} * {height}, {width}), "
                f"got {output.shape}"
            )
    heat, sides, offset, points = (
        output.reshape(len(output), -1, height, width) for output in outputs
    )
    picture, y, x = np.nonzero(heat[:, 0] >= min_score)
    extent = np.exp(sides[picture, ::-1, y, x]) * CENTERFACE_STRIDE  # (m, 2) width, height
    cell = np.stack([x, y], axis=1).astype(np.float32)
    centre = (cell + offset[picture, ::-1, y, x] + 0.5) * CENTERFACE_STRIDE
    edge = np.array(size[::-1], np.float32)
    low = np.clip(centre - extent / 2, 0, edge)
    boxes = np.hstack([low, np.minimum(low + extent, edge)])
    away = points[picture, :, y, x].reshape(-1, LANDMARKS, 2)[..., ::-1]  # x y, in face sides
    landmarks = away * extent[:, None] + low[:, None]
    return join([Candidates(picture, boxes, heat[picture, 0, y, x], landmarks)])


def cell_count(stride: int, size: tuple[int, int]) -> int:
    """Count the cells of a level in a picture of height and width `size`."""
    return (size[0] // stride) * (size[1] // stride)


def cell_corners(cells: I64, stride: int, size: tuple[int, int]) -> F32:
    """Give the corners (n, 2) x y, in pixels, of cells (n,) that are numbered row by row."""
    y, x = np.divmod(cells, size[1] // stride)
    return np.stack([x, y], axis=1).astype(np.float32) * stride


def check_level(
    outputs: Sequence[F32], columns: Sequence[int], stride: int, size: tuple[int, int]
) -> None:
    """Raise ShapeError unless a level's outputs are (b, rows, k) with whole rows per cell."""
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
        found: Faces, the best first in each picture.
        boxes: (m, 4) the boxes whose overlap counts, usually `found.boxes`.
        threshold: A face is dropped if its intersection over union with a better one exceeds this.
        edge: Added to each side's length: 1 if corners are the last pixels inside.

    Returns:
        The kept faces, in order.
    """
    kept = np.zeros(len(found), bool)
    alive = np.arange(len(found))
    while alive.size:
        # Each round keeps the best remaining face of each picture and drops those it overlaps.
        picture, first = np.unique(found.picture[alive], return_index=True)
        best = alive[first]
        kept[best] = True
        rival = best[np.searchsorted(picture, found.picture[alive])]
        overlap = pairwise_overlap(boxes[alive], boxes[rival], edge)
        alive = alive[(overlap <= threshold) & (alive != rival)]
    return found.take(np.flatnonzero(kept))


def pairwise_overlap(one: F32 | F64, other: F32 | F64, edge: float) -> F32 | F64:
    """Compute the intersection over union (n,) of box i with box i; 1 if both are empty."""
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    common = np.maximum(high - low + edge, 0).prod(axis=1)
    areas = [(box[:, 2:] - box[:, :2] + edge).prod(axis=1) for box in (one, other)]
    union = areas[0] + areas[1] - common
    overlap: F32 | F64 = np.divide(common, union, out=np.ones_like(union), where=union != 0)
    return overlap


def best_of_each(found: Candidates, count: int) -> Candidates:
    """Keep at most `count` faces of each picture, the best."""
    first = np.searchsorted(found.picture, found.picture)
    return found.take(np.flatnonzero(np.arange(len(found)) - first < count))


def place_tile(found: Candidates, tile: Tile, height: int, width: int) -> Candidates:
    """Move the faces of a tile to their place in the frame, and drop those that the tile cuts.

    Args:
        found: Faces in pixels of the tile.
        tile: The tile's place in the frame.
        height: Height of the frame, pixels.
        width: Width of the frame, pixels.
    """
    whole = found.take(np.flatnonzero(~_is_cut(found, tile, height, width)))
    corner = np.array([tile.x, tile.y], np.float32)
    boxes = whole.boxes + np.tile(corner, 2)
    return Candidates(whole.picture, boxes, whole.scores, whole.landmarks + corner)


def _is_cut(found: Candidates, tile: Tile, height: int, width: int) -> Mask:
    """(m,) true for a face that reaches a side of its tile that is no side of the frame."""
    inner_low = np.array([tile.x > 0, tile.y > 0])
    inner_high = np.array([tile.x + tile.width < width, tile.y + tile.height < height])
    side = np.array([tile.width, tile.height])
    low = (found.boxes[:, :2] < CUT_FRACTION * side) & inner_low
    high = (found.boxes[:, 2:] > (1 - CUT_FRACTION) * side) & inner_high
    reaches: Mask = (low | high).any(axis=1)
    return reaches
