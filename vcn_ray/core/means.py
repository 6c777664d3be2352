"""Weighted means of rows that merge; it does not know what merges, nor why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from array_api_compat import array_namespace

from vcn_ray.core.vectors import Array, beside
from vcn_ray.records import F64, I64


class Sides(NamedTuple):
    """Both sides of a product of rows; `right` is the very array `left` where they are equal."""

    left: Array  # (n, f) float64
    right: Array  # (n, f)

    def rows(self, chosen: I64) -> Sides:
        """These rows, rising; no copy where they are all."""
        if self.right is self.left:
            left = _take(self.left, chosen)
            return Sides(left, left)
        return Sides(_take(self.left, chosen), _take(self.right, chosen))


def _take(side: Array, rows: I64) -> Array:
    if len(rows) == len(side):
        return side
    return array_namespace(side).take(side, beside(rows, side), axis=0)


@dataclass(slots=True)
class Means:
    """Means of both sides over the rows that each cluster is made of, and their weights."""

    sides: Sides  # of n clusters
    weight: F64  # (n,)

    @classmethod
    def of(cls, sides: Sides, weight: F64) -> Means:
        """Each row a cluster of its own, in float64; arrays are copied, for they will change."""
        xp = array_namespace(sides.left)
        left = xp.astype(sides.left, xp.float64, copy=True)
        if sides.right is sides.left:
            return cls(Sides(left, left), weight)
        return cls(Sides(left, xp.astype(sides.right, xp.float64, copy=True)), weight)

    def merge(self, a: I64, b: I64) -> None:
        """Make each cluster of `a` that of its own rows and those of its one of `b`."""
        share = self.weight[a] / (self.weight[a] + self.weight[b])
        self.weight[a] += self.weight[b]
        one = self.sides.right is self.sides.left
        for side in self.sides[: 1 if one else 2]:
            into, of_a = beside(a, side), beside(share[:, None], side)
            side[into] = side[into] * of_a + _take(side, b) * (1 - of_a)

    def keep(self, kept: I64) -> None:
        """Drop all other clusters."""
        self.sides = self.sides.rows(kept)
        self.weight = self.weight[kept]
