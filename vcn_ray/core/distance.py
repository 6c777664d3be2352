"""Distances between crops and tracks: the learned loss in closed form, and cosine distances.

With P = softmax((z - c) / tau_t) and Q = log softmax(z / tau_s), the loss of a pair is -<P, Q>
(METHOD 2.3). It is bilinear, so its mean over pairs of crops needs only sums (METHOD 4.2, 4.3,
closed form). Both kinds of distance need no table of all pairs, and no more directions than their
vectors span. It does not know where outputs come from, nor what merges.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy import linalg

from vcn_ray.core.vectors import Floats, group_sums, log_softmax, row_blocks, softmax, unit_rows
from vcn_ray.errors import ShapeError
from vcn_ray.records import F64, I64, SoftAssignments

ROUNDING = 2.0**-48
"""Fraction of all squares below which a direction is rounding: the square of float32's unit."""


def soft_assign(
    outputs: Floats, centre: Floats, teacher_temperature: float, student_temperature: float
) -> SoftAssignments:
    """Compute both sides of the loss for head outputs (METHOD 2.3).

    Args:
        outputs: (m, o) head outputs z.
        centre: (o,) running mean c of the teacher's outputs.
        teacher_temperature: tau_t, below tau_s: it sharpens.
        student_temperature: tau_s.

    Returns:
        P and Q, (m, o) float32.

    Raises:
        ShapeError: The centre is not as long as an output.
    """
    if outputs.ndim != 2 or outputs.shape[1:] != centre.shape:
        raise ShapeError(f"outputs (m, o) need a centre (o,), got {outputs.shape}, {centre.shape}")
    teacher = softmax((outputs.astype(np.float64) - centre) / teacher_temperature)
    student = log_softmax(outputs.astype(np.float64) / student_temperature)
    return SoftAssignments(teacher.astype(np.float32), student.astype(np.float32))


def mean_within_groups(teacher: Floats, student: Floats, group: I64, groups: int) -> F64:
    """Average the loss over the ordered pairs of distinct crops of each group (METHOD 4.2).

    Args:
        teacher: (m, o) P of each crop.
        student: (m, o) Q of each crop.
        group: (m,) number of each crop's group, for instance its track.
        groups: Number of groups.

    Returns:
        (groups,) `-(<sum P, sum Q> - sum_i <P_i, Q_i>) / (n (n - 1))` over a group's n crops,
        float64. A single crop has no pair: it gets its loss with itself. A group without crops
        gets 0.

    Raises:
        ShapeError: The two sides differ in shape.
    """
    if teacher.shape != student.shape or teacher.ndim != 2:
        raise ShapeError(f"P and Q need one shape (m, o), got {teacher.shape}, {student.shape}")
    left, right = teacher.astype(np.float64), student.astype(np.float64)
    itself = group_sums(np.einsum("mo,mo->m", left, right), group, groups)
    sums = group_sums(left, group, groups), group_sums(right, group, groups)
    every = np.einsum("go,go->g", *sums)
    crops = np.bincount(group, minlength=groups)
    pairs = crops * (crops - 1)
    result: F64 = np.where(pairs > 0, (itself - every) / np.maximum(pairs, 1), -itself)
    return result + 0.0  # an empty group's -0.0 becomes 0.0


class Space(NamedTuple):
    """A distance between tracks and its mean between sets of tracks: `offset - <mean, mean>`."""

    rows: F64  # (k, f) a vector for each track
    offset: float

    def take(self, tracks: I64) -> Space:
        """Return the distances of some tracks, without a copy if they are all."""
        return self if len(tracks) == len(self.rows) else Space(self.rows[tracks], self.offset)


def cosine_space(rows: Floats) -> Space:
    """Return the cosine distance `1 - cos` of track vectors (k, d).

    Vectors that span few directions are kept along these directions only.
    """
    basis = row_span((unit_rows(rows[block]) for block in row_blocks(*rows.shape)), rows.shape[1])
    if basis is None:
        return Space(unit_rows(rows), 1.0)
    unit = np.empty((len(rows), basis.shape[1]))
    for block in row_blocks(*rows.shape):
        unit[block] = unit_rows(rows[block]) @ basis
    return Space(unit, 1.0)


def mixed_space(first: Space, second: Space, weights: tuple[float, float]) -> Space:
    """Return the weighted sum of two distances; no weight may be negative."""
    both = zip((first, second), weights, strict=True)
    used = [(space, weight) for space, weight in both if weight] or [(first, 0.0)]
    rows = np.concatenate([space.rows for space, _ in used], axis=1)
    rows *= np.concatenate([np.full(s.rows.shape[1], sqrt(weight)) for s, weight in used])
    return Space(rows, sum(space.offset * weight for space, weight in used))


def row_span(blocks: Iterable[F64], columns: int) -> F64 | None:
    """Compute an orthonormal basis (o, r) of all that rows (k, o) span, up to float32 rounding.

    A head of K outputs is linear in its narrow last layer, so its z spans as many directions as
    that layer is wide, and Q one more. The eigenvectors of the rows' Gram matrix are these
    directions. Along an orthonormal basis of their span, rows keep their inner products. What is
    left out is below ROUNDING in every direction, so a product of unit rows changes by at most
    `k (o - r) ROUNDING`, which is 3e-7 for 100,000 rows and 768 directions, and only if all of it
    belongs to one row.

    Args:
        blocks: The rows in blocks; only one block is held at once.
        columns: o.

    Returns:
        The basis; None where the rows span all directions, or are too few to show their span.
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
    """Project rows (k, o) to a basis (o, r), float64; without a basis, return them unchanged."""
    if basis is None:
        return rows
    result = np.empty((len(rows), basis.shape[1]))
    for block in row_blocks(*rows.shape):
        result[block] = rows[block].astype(np.float64) @ basis
    return result
