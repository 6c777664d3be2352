"""How far two matchings of one title's tracks agree: when they do, matching again tells no more.

It knows labels and pairs of rows only; not how they were found.
"""

from __future__ import annotations

import numpy as np

from vcn_ray.errors import ShapeError
from vcn_ray.records import I64


def partition_agreement(left: I64, right: I64) -> float:
    """Jaccard index of the pairs of rows that two partitions hold together.

    Counted from the sizes of groups and of their overlaps, so it takes time for rows, not pairs.

    Args:
        left: (k,) group of each row.
        right: (k,) the same of another partition.

    Returns:
        Pairs together in both, as a share of those together in either, 0..1; 1 where no two rows
        are together in either.

    Raises:
        ShapeError: The two differ in length.
    """
    if left.shape != right.shape or left.ndim != 1:
        raise ShapeError(f"partitions need one shape (k,), got {left.shape}, {right.shape}")
    groups, left = np.unique(left, return_inverse=True)
    right = np.unique(right, return_inverse=True)[1]
    both = _pairs_inside(right * len(groups) + left)  # cells of the contingency table
    either = _pairs_inside(left) + _pairs_inside(right) - both
    return both / either if either else 1.0


def pair_agreement(left: I64, right: I64) -> float:
    """The same of two lists of pairs (p, 2), (q, 2) of rows, each pair once and in either order."""
    rows = max(left.max(initial=0), right.max(initial=0)) + 1
    keys = [np.sort(pairs, axis=1) @ np.array([rows, 1]) for pairs in (left, right)]
    both = len(np.intersect1d(keys[0], keys[1], assume_unique=True))
    either = len(left) + len(right) - both
    return both / either if either else 1.0


def _pairs_inside(label: I64) -> int:
    """Number of pairs of rows with one label; Python's numbers do not overflow."""
    sizes = np.unique(label, return_counts=True)[1]
    return sum(size * (size - 1) // 2 for size in sizes.tolist())
