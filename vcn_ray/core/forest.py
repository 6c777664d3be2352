"""Which rows edges connect, and by which shortest ones, when there may be more edges than memory.

Edges come in tiles of a table of all pairs. What is kept of them is a minimum spanning forest,
and the few that came since it was last folded. It knows nothing of distances or clusters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace, device
from scipy import sparse
from scipy.sparse import csgraph

from vcn_ray.core.vectors import Array, beside, on_host, tiles
from vcn_ray.records import F64, I64

FOLD_EDGES = 1_000_000
"""Edges that wait before they are folded: 24 MB."""

CORE_SHARE = 0.98
"""Share of the forest's edges, shortest first, that say which pairs are connected already.

All edges would say it of most pairs, but only of lengths over the forest's longest."""


class Edges(NamedTuple):
    """Edges between rows."""

    left: I64  # (e,)
    right: I64  # (e,)
    length: F64  # (e,) over 0


class Forest:
    """A minimum spanning forest over edges that are offered tile by tile.

    Args:
        rows: How many rows there are.
        like: An array; tiles are of its namespace and on its device.
    """

    def __init__(self, rows: int, like: Array) -> None:
        self._rows, self._like = rows, like
        none = np.zeros(0, np.int64)
        self._edges, self._waiting = Edges(none, none, np.zeros(0)), list[Edges]()
        self._reach = 0.0
        self._core = beside(np.arange(rows, dtype=np.int32), like)

    def offer(self, edge: Array, rows: slice, columns: slice, length: Array | None = None) -> None:
        """Take the edges of a tile of the table of pairs, as far as they may be of use.

        A pair is of no use where shorter edges connect it already: those of the forest up to some
        length, its core.

        Args:
            edge: (r, c) true where there is an edge; overwritten.
            rows: The tile's rows.
            columns: The tile's columns; cells under the diagonal do not count.
            length: (r, c) over 0; without, all edges are as long.
        """
        xp = array_namespace(edge)
        useful = self._core[rows, None] != self._core[None, columns]
        if length is not None:
            useful |= length < self._reach
        edge &= useful
        if columns.start < rows.stop:
            number = xp.arange(self._rows, device=device(edge))
            edge &= number[columns] > number[rows, None]
        if not xp.any(edge):
            return
        cell = xp.nonzero(xp.reshape(edge, (-1,)))[0]
        taken = np.ones(len(cell))
        if length is not None:
            taken = on_host(xp.take(xp.reshape(length, (-1,)), cell))
        down, across = np.divmod(on_host(cell), columns.stop - columns.start)
        self._waiting.append(Edges(down + rows.start, across + columns.start, taken))
        if sum(len(edges.left) for edges in self._waiting) > FOLD_EDGES:
            self._fold()

    def edges(self) -> Edges:
        """The forest's edges: the shortest that connect what all edges connect."""
        self._fold()
        return self._edges

    def components(self) -> I64:
        """(rows,) component of each row, 0, 1, ... in no order."""
        return _components(self.edges(), self._rows)

    def _fold(self) -> None:
        if not self._waiting:
            return
        every = Edges(*map(np.concatenate, zip(self._edges, *self._waiting, strict=True)))
        self._waiting = []
        # a stored zero would be no edge to csgraph
        graph = _graph(every._replace(length=np.maximum(every.length, 1e-300)), self._rows)
        tree = csgraph.minimum_spanning_tree(graph).tocoo()
        self._edges = Edges(tree.row.astype(np.int64), tree.col.astype(np.int64), tree.data)
        self._reach = float(np.quantile(tree.data, CORE_SHARE, method="lower"))
        core = Edges(*(part[tree.data <= self._reach] for part in self._edges))
        self._core = beside(_components(core, self._rows).astype(np.int32), self._like)


def product_components(left: Array, right: Array, least: float) -> I64:
    """(n,) components of the graph of all pairs of rows whose product is over `least`.

    Products are in float32 (of torch's two kinds on a GPU the exact one, its default), and as much
    more is allowed as these can be wrong: what is connected is in one component, but not all of a
    component need be connected.

    Args:
        left: (n, f) floating.
        right: (n, f) such that <left_i, right_j> = <left_j, right_i>; or `left` itself.
        least: Below it a product is no edge.
    """
    xp, one = array_namespace(left), right is left
    left = xp.astype(left, xp.float32, copy=False)
    right = left if one else xp.astype(right, xp.float32, copy=False)
    longest = [float(xp.max(xp.linalg.vector_norm(side, axis=1))) for side in (left, right)]
    # a sum of f products, each of two rounded numbers, and `least` itself rounded
    error = (left.shape[1] + 8) * 2.0**-24 * (longest[0] * longest[1] + abs(least))
    forest = Forest(len(left), left)
    for rows, columns in tiles(len(left), len(left), above=True):
        forest.offer(left[rows] @ right[columns].T > float(least - error), rows, columns)
    return forest.components()


def _graph(edges: Edges, rows: int) -> sparse.csr_array:
    return sparse.csr_array((edges.length, (edges.left, edges.right)), shape=(rows, rows))


def _components(edges: Edges, rows: int) -> I64:
    _, component = csgraph.connected_components(_graph(edges, rows), directed=False)
    result: I64 = component.astype(np.int64)
    return result
