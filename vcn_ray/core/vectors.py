"""Arithmetic that several parts of the core share: vectors, groups and pairs of rows, and boxes.

Functions that work in blocks never make a float64 copy of a whole array. It knows nothing of faces
or tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, F64, I64

Floats = npt.NDArray[np.floating[Any]]

BLOCK_CELLS = 4_000_000
"""Cells of a block of rows against all columns: 32 MB in float64 for any number of rows."""

TINY = 1e-12
"""Keeps a division by the norm of a zero vector finite."""


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Cut `rows` rows into slices of about BLOCK_CELLS cells each."""
    step = max(1, BLOCK_CELLS // max(columns, 1))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def tiles(rows: int, columns: int, above: bool = False) -> Iterator[tuple[slice, slice]]:
    """Cut a table into tiles of at most a quarter of BLOCK_CELLS; give each as a pair of slices.

    A tile is small enough for a processor's cache and wide enough for a fast matrix product.

    Args:
        rows: Number of rows of the table.
        columns: Number of its columns.
        above: Leave out the tiles that lie wholly below the diagonal.
    """
    tall = max(1, isqrt(BLOCK_CELLS) // 4)
    wide = max(1, BLOCK_CELLS // 4 // tall)
    for top in range(0, rows, tall):
        for left in range(top if above else 0, columns, wide):
            yield slice(top, min(top + tall, rows)), slice(left, min(left + wide, columns))


def unit_rows(rows: Floats) -> F64:
    """Divide each row (n, d) by its norm, in float64; a zero row stays zero."""
    wide: F64 = rows.astype(np.float64)
    wide /= np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), TINY)
    return wide


def log_softmax(rows: Floats) -> F64:
    """Return the logarithm of each row's softmax (n, o), float64, safe for values of any size."""
    wide: F64 = rows.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True, initial=-np.inf)
    wide -= np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return wide


def softmax(rows: Floats) -> F64:
    """Return the softmax of each row (n, o), float64."""
    result: F64 = log_softmax(rows)
    return np.exp(result, out=result)


def row_dots(left: Floats, right: Floats) -> F64:
    """Return the product (n,) of each row of `left` (n, d) with that of `right`, in float64."""
    result = np.empty(len(left))
    for rows in row_blocks(*left.shape):
        result[rows] = np.einsum("nd,nd->n", left[rows].astype(np.float64), right[rows])
    return result


def group_sums(rows: npt.NDArray[Any], group: I64, groups: int) -> F64:
    """Sum the rows (n, ...) of each group to (g, ...), float64; `group` (n,) is 0..groups-1."""
    if len(rows) != len(group):
        raise ShapeError(f"{len(rows)} rows need as many group numbers, got {group.shape = }")
    sums, columns = np.zeros((groups, *rows.shape[1:])), int(np.prod(rows.shape[1:]))
    return add_groups(sums, lambda some: rows[some].astype(np.float64), group, columns)


def add_groups(sums: F64, rows_of: Callable[[I64], F64], group: I64, columns: int) -> F64:
    """Add to `sums` the rows of each group, which are computed block by block.

    Args:
        sums: (g, ...) to which the rows of each group are added; overwritten.
        rows_of: Maps row numbers (b,) to their rows (b, ...).
        group: (n,) group of each row, 0..g-1.
        columns: How many numbers one row takes while it is computed.

    Returns:
        The sums.
    """
    order = np.argsort(group, kind="stable")
    for block in row_blocks(len(order), columns):
        some = order[block]
        present, starts = np.unique(group[some], return_index=True)
        sums[present] += np.add.reduceat(rows_of(some), starts, axis=0)
    return sums


def renumber(label: I64) -> I64:
    """Number the clusters of a partition (n,) as 0, 1, ... in the order of their first rows."""
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    result: I64 = rank[inverse.reshape(-1)]
    return result


def check_pairs(pairs: I64, rows: int) -> None:
    """Raise ShapeError unless `pairs` is (c, 2) with row numbers below `rows`."""
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ShapeError(f"pairs of rows need shape (c, 2), got {pairs.shape}")
    if len(pairs) and (pairs.min() < 0 or pairs.max() >= rows):
        raise ShapeError(f"pairs must name rows 0..{rows - 1}, got {pairs.min()}..{pairs.max()}")


def area(boxes: F32) -> F64:
    """Return the area (n,) of boxes x0 y0 x1 y1 (n, 4); 0 for one with swapped corners."""
    check_boxes(boxes)
    sides = np.clip(np.asarray(boxes[:, 2:] - boxes[:, :2], dtype=np.float64), 0.0, None)
    return np.asarray(sides.prod(axis=1), dtype=np.float64)


def pairwise_iou(left: F32, right: F32) -> F64:
    """Return the intersection over union (n, m) of every box (n, 4) with every other (m, 4).

    It is in [0, 1], and 0 where both boxes are empty.
    """
    check_boxes(left)
    check_boxes(right)
    low = np.maximum(left[:, None, :2], right[None, :, :2]).astype(np.float64)
    high = np.minimum(left[:, None, 2:], right[None, :, 2:]).astype(np.float64)
    shared = np.clip(high - low, 0.0, None).prod(axis=2)
    union = area(left)[:, None] + area(right)[None, :] - shared
    iou: F64 = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def paired_iou(left: F32, right: F32) -> F64:
    """Return the intersection over union (n,) of each box (n, 4) with the box of the same row.

    It is in [0, 1], and 0 where both boxes are empty.

    Raises:
        ShapeError: The two differ in length.
    """
    check_boxes(left)
    check_boxes(right)
    if len(left) != len(right):
        raise ShapeError(f"paired boxes need one length, got {len(left)}, {len(right)}")
    low = np.maximum(left[:, :2], right[:, :2]).astype(np.float64)
    high = np.minimum(left[:, 2:], right[:, 2:]).astype(np.float64)
    shared = np.clip(high - low, 0.0, None).prod(axis=1)
    union = area(left) + area(right) - shared
    iou: F64 = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def check_boxes(boxes: F32) -> None:
    """Raise ShapeError unless `boxes` is (n, 4)."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError(f"boxes need the shape (n, 4), got {boxes.shape}")
