"""Arithmetic on rows that several parts of the core share; it knows nothing of faces or tracks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from vcn_ray.errors import ShapeError
from vcn_ray.records import F64, I64

Floats = npt.NDArray[np.floating[Any]]

BLOCK_CELLS = 4_000_000
"""Cells of a block of rows against all columns: 32 MB in float64, whatever the number of rows."""

TINY = 1e-12
"""Keeps a division by the norm of a zero vector finite."""


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices that cover `rows` rows so that a block has about BLOCK_CELLS cells."""
    step = max(1, BLOCK_CELLS // max(columns, 1))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def unit_rows(rows: Floats) -> F64:
    """(n, d) with each row divided by its norm, float64; a zero row stays zero."""
    wide: F64 = rows.astype(np.float64)
    wide /= np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), TINY)
    return wide


def log_softmax(rows: Floats) -> F64:
    """Logarithm of the softmax of each row (n, o), float64, safe for any size of value."""
    wide: F64 = rows.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True, initial=-np.inf)
    wide -= np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return wide


def softmax(rows: Floats) -> F64:
    """Softmax of each row (n, o), float64."""
    result: F64 = np.exp(log_softmax(rows))
    return result


def group_sums(rows: Floats, group: I64, groups: int) -> F64:
    """Sums (g, ...) over the rows (n, ...) of each group; `group` (n,) has numbers 0..groups-1."""
    if len(rows) != len(group):
        raise ShapeError(f"{len(rows)} rows need as many group numbers, got {group.shape = }")
    sums = np.zeros((groups, *rows.shape[1:]))
    order = np.argsort(group, kind="stable")
    present, starts = np.unique(group[order], return_index=True)
    if len(present):
        sums[present] = np.add.reduceat(rows[order].astype(np.float64), starts, axis=0)
    return sums


def renumber(label: I64) -> I64:
    """The same partition (n,) with clusters numbered 0, 1, ... by their first row."""
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    result: I64 = rank[inverse.reshape(-1)]
    return result


def check_pairs(pairs: I64, rows: int) -> None:
    """Raise ShapeError unless `pairs` is (c, 2) with row numbers under `rows`."""
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ShapeError(f"pairs of rows need shape (c, 2), got {pairs.shape}")
    if len(pairs) and (pairs.min() < 0 or pairs.max() >= rows):
        raise ShapeError(f"pairs must name rows 0..{rows - 1}, got {pairs.min()}..{pairs.max()}")
