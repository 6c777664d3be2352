"""Which distances between tracks clustering looks at; it neither merges nor cuts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import sqrt

import numpy as np
from array_api_compat import array_namespace
from scipy import linalg

from vcn_ray.core.linkage import Space
from vcn_ray.core.vectors import Array, Floats, beside, row_blocks, unit_rows
from vcn_ray.records import F64, TrackOutputs

ROUNDING = 2.0**-48
"""Share of all squares under which a direction is rounding: the square of float32's unit."""


def loss_space(outputs: TrackOutputs) -> Space:
    """The learned loss, mean over pairs of tracks, both directions averaged (METHOD 4.3).

    Q lies in few directions (see `row_span`), and the loss looks at P along Q only.
    """
    basis = row_span(_wide_blocks(outputs.student), outputs.student.shape[1])
    teacher, student = along(outputs.teacher, basis), along(outputs.student, basis)
    left = np.hstack([teacher, student], dtype=np.float64)
    right = np.hstack([student, teacher], dtype=np.float64)
    right /= 2
    return Space(left, right, 0.0)


def cosine_space(rows: Floats, like: Array | None = None) -> Space:
    """Cosine distance `1 - cos` of track vectors (k, d); one array (k, r), r <= d, is both sides.

    Args:
        rows: Track vectors; those of few directions are kept along these only.
        like: An array whose namespace and device the result has; numpy without it.
    """
    basis = row_span((unit_rows(rows[block]) for block in row_blocks(*rows.shape)), rows.shape[1])
    unit = unit_rows(rows) if basis is None else np.empty((len(rows), basis.shape[1]))
    if basis is not None:
        for block in row_blocks(*rows.shape):
            unit[block] = unit_rows(rows[block]) @ basis
    both = unit if like is None else beside(unit, like)
    return Space(both, both, 1.0)


def mixed_space(first: Space, second: Space, weights: tuple[float, float]) -> Space:
    """The weighted sum of two distances; weights are not negative.

    Each side is scaled by the square root of the weight, so that one array stays both sides.
    """
    both = zip((first, second), weights, strict=True)
    used = [(space, weight) for space, weight in both if weight] or [(first, 0.0)]
    offset = sum(space.offset * weight for space, weight in used)
    left = _scaled([(space.left, weight) for space, weight in used])
    if all(space.right is space.left for space, _ in used):
        return Space(left, left, offset)
    return Space(left, _scaled([(space.right, weight) for space, weight in used]), offset)


def _scaled(sides: list[tuple[Array, float]]) -> Array:
    """Sides (k, f) next to each other, each times the root of its weight."""
    result = array_namespace(sides[0][0]).concat([side for side, _ in sides], axis=1)
    roots = [np.full(side.shape[1], sqrt(weight)) for side, weight in sides]
    result *= beside(np.concatenate(roots), result)
    return result


def row_span(blocks: Iterable[F64], columns: int) -> F64 | None:
    """Orthonormal basis (o, r) of all that rows (k, o) span, up to float32 rounding.

    A head of K outputs is linear in its narrow last layer, so its z spans as many directions as
    that layer is wide, and Q one more. The Gram matrix of the rows has these as its
    eigenvectors. Inner products of rows along an orthonormal basis of their span are those of the
    rows; what is left out is under ROUNDING in every direction, so of unit rows no product
    changes by more than `k (o - r) ROUNDING`, which is 3e-7 for 100,000 rows and 768 directions,
    and that only if all of it were of one row.

    Args:
        blocks: The rows, in blocks; no more than one block is held.
        columns: o.

    Returns:
        The basis; none where rows span all directions, or are too few to know.
    """
    gram, rows = np.zeros((columns, columns)), 0
    for block in blocks:
        gram += block.T @ block
        rows += len(block)
    if rows <= columns:
        return None
    squares, directions = linalg.eigh(gram)
    kept = squares > ROUNDING * squares.sum()
    if kept.all() or not kept.any():
        return None
    return np.ascontiguousarray(directions[:, kept])


def along(rows: Floats, basis: F64 | None) -> Floats:
    """Rows (k, o) along a basis (o, r), float64; the rows themselves where there is none."""
    if basis is None:
        return rows
    result = np.empty((len(rows), basis.shape[1]))
    for block, wide in zip(row_blocks(*rows.shape), _wide_blocks(rows), strict=True):
        result[block] = wide @ basis
    return result


def _wide_blocks(rows: Floats) -> Iterator[F64]:
    return (rows[block].astype(np.float64) for block in row_blocks(*rows.shape))
