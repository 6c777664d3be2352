"""Arithmetic on rows that several parts of the core share; it knows nothing of faces or tracks.

What works in blocks never makes a float64 copy of a whole array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, device, to_device

from vcn_ray.errors import ShapeError
from vcn_ray.records import F64, I64

Floats = npt.NDArray[np.floating[Any]]

Array = Any
"""Of numpy, or of another namespace that array-api-compat knows: a torch tensor on a GPU."""

BLOCK_CELLS = 4_000_000
"""Cells of a block of rows against all columns: 32 MB in float64, whatever the number of rows."""

TINY = 1e-12
"""Keeps a division by the norm of a zero vector finite."""


def on_host(values: Array) -> npt.NDArray[Any]:
    """The same values as a numpy array."""
    return np.asarray(to_device(values, "cpu"))


def beside(values: npt.NDArray[Any], like: Array) -> Array:
    """Values in the namespace and on the device of `like`: the only way onto a device."""
    return array_namespace(like).asarray(values, device=device(like))


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices that cover `rows` rows so that a block has about BLOCK_CELLS cells."""
    step = max(1, BLOCK_CELLS // max(columns, 1))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def tiles(rows: int, columns: int, above: bool = False) -> Iterator[tuple[slice, slice]]:
    """Pairs of slices that cover a table in tiles, each a quarter of BLOCK_CELLS at most.

    A tile is small enough for a processor's cache and wide enough for a quick matrix product.

    Args:
        rows: Rows of the table.
        columns: Columns.
        above: Leave out what lies under the diagonal, as far as whole tiles do.
    """
    tall = max(1, isqrt(BLOCK_CELLS) // 4)
    wide = max(1, BLOCK_CELLS // 4 // tall)
    for top in range(0, rows, tall):
        for left in range(top if above else 0, columns, wide):
            yield slice(top, min(top + tall, rows)), slice(left, min(left + wide, columns))


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
    result: F64 = log_softmax(rows)
    return np.exp(result, out=result)


def row_dots(left: Floats, right: Floats) -> F64:
    """(n,) products of each row of `left` (n, d) with the same row of `right`, in float64."""
    result = np.empty(len(left))
    for rows in row_blocks(*left.shape):
        result[rows] = np.einsum("nd,nd->n", left[rows].astype(np.float64), right[rows])
    return result


def group_sums(rows: npt.NDArray[Any], group: I64, groups: int) -> F64:
    """Sums (g, ...) over the rows (n, ...) of each group; `group` (n,) has numbers 0..groups-1."""
    if len(rows) != len(group):
        raise ShapeError(f"{len(rows)} rows need as many group numbers, got {group.shape = }")
    sums, columns = np.zeros((groups, *rows.shape[1:])), int(np.prod(rows.shape[1:]))
    return add_groups(sums, lambda some: rows[some].astype(np.float64), group, columns)


def add_groups(sums: F64, rows_of: Callable[[I64], F64], group: I64, columns: int) -> F64:
    """`group_sums` of rows that are made when they are needed.

    Args:
        sums: (g, ...) what the rows of each group are added to; overwritten.
        rows_of: Row numbers (b,) to their rows (b, ...).
        group: (n,) group of each row, 0..g-1.
        columns: Numbers held for a row while it is made.

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
