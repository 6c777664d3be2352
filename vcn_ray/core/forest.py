"""Which rows a graph connects, and by which shortest edges, when the edges exceed memory.

Edges come in tiles of a table of all pairs of rows. Only a minimum spanning forest is kept, with
the few edges that arrived since it was last updated. It knows nothing of distances or clusters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from vcn_ray.core.vectors import Floats, tiles
from vcn_ray.records import F64, I64, Mask

FOLD_EDGES = 1_000_000
"""Number of new edges after which the forest is updated: 24 MB."""

CORE_FRACTION = 0.98
"""Fraction of the forest's edges, shortest first, that show which pairs are already connected.

All of its edges would show more pairs, but only for edges longer than the longest of them."""


class Edges(NamedTuple):
    """Edges between rows."""

    left: I64  # (e,)
    right: I64  # (e,)
    length: F64  # (e,) over 0


class Forest:
    """A minimum spanning forest of a graph whose edges are offered tile by tile."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        none = np.zeros(0, np.int64)
        self._edges, self._waiting = Edges(none, none, np.zeros(0)), list[Edges]()
        self._reach = 0.0  # length of the longest edge in the core
        self._core = np.arange(rows, dtype=np.int32)  # component of each row by the core's edges

    def offer(self, edge: Mask, rows: slice, columns: slice, length: F64 | None = None) -> None:
        """Take the edges of a tile that can be part of the forest.

        An edge cannot be if shorter edges connect its rows already; those are the core, the edges
        of the forest up to some length.

        Args:
            edge: (r, c) true where there is an edge; overwritten.
            rows: The tile's rows.
            columns: The tile's columns; cells below the diagonal do not count.
            length: (r, c) over 0; without it, all edges have the same length.
        """
        useful = self._core[rows, None] != self._core[None, columns]
        if length is not None:
            useful |= length < self._reach
        edge &= useful
        if columns.start < rows.stop:
            number = np.arange(self._rows)
            edge &= number[columns] > number[rows, None]
        cell = np.flatnonzero(edge)
        if not len(cell):
            return
        taken = np.ones(len(cell)) if length is None else length.reshape(-1)[cell]
        down, across = np.divmod(cell, columns.stop - columns.start)
        self._waiting.append(Edges(down + rows.start, across + columns.start, taken))
        if sum(len(edges.left) for edges in self._waiting) > FOLD_EDGES:
            self._fold()

    def edges(self) -> Edges:
        """Return the forest's edges: the shortest that connect what all edges connect."""
        self._fold()
        return self._edges

    def components(self) -> I64:
        """Return the component (rows,) of each row, numbered from 0 in no order."""
        return _components(self.edges(), self._rows)

    def _fold(self) -> None:
        if not self._waiting:
            return
        every = Edges(*map(np.concatenate, zip(self._edges, *self._waiting, strict=True)))
        self._waiting = []
        # csgraph reads a stored zero as no edge
        graph = _graph(every._replace(length=np.maximum(every.length, 1e-300)), self._rows)
        tree = csgraph.minimum_spanning_tree(graph).tocoo()
        self._edges = Edges(tree.row.astype(np.int64), tree.col.astype(np.int64), tree.data)
        self._reach = float(np.quantile(tree.data, CORE_FRACTION, method="lower"))
        core = Edges(*(part[tree.data <= self._reach] for part in self._edges))
        self._core = _components(core, self._rows).astype(np.int32)


def product_components(rows: Floats, minimum: float) -> I64:
    """Return components (n,) of the graph of all pairs of rows whose product is over `minimum`.

    Products are computed in float32, and the limit is lowered by their largest error. So connected
    rows are in one component, but a component may hold rows that are not connected.

    Args:
        rows: (n, f).
        minimum: A pair with a product below it is no edge.
    """
    narrow = rows.astype(np.float32, copy=False)
    longest = float(np.linalg.vector_norm(narrow, axis=1).max())
    # a product sums f terms of two rounded numbers each, and `minimum` is rounded too
    error = (rows.shape[1] + 8) * 2.0**-24 * (longest * longest + abs(minimum))
    forest = Forest(len(rows))
    for down, across in tiles(len(rows), len(rows), above=True):
        forest.offer(narrow[down] @ narrow[across].T > float(minimum - error), down, across)
    return forest.components()


def _graph(edges: Edges, rows: int) -> sparse.csr_array:
    return sparse.csr_array((edges.length, (edges.left, edges.right)), shape=(rows, rows))


def _components(edges: Edges, rows: int) -> I64:
    _, component = csgraph.connected_components(_graph(edges, rows), directed=False)
    result: I64 = component.astype(np.int64)
    return result
