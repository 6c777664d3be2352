import numpy as np
import pytest
from scipy.sparse import csgraph, csr_array

from vcn_ray.core import forest, vectors
from vcn_ray.core.forest import Forest, product_components


def lengths(rows, seed, ties=False):
    """(n, n) symmetric."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(1, 6, (rows, rows)) if ties else rng.uniform(0.1, 1, (rows, rows))
    return np.minimum(drawn, drawn.T).astype(float)


def grown(table, edge):
    """A forest that has seen every edge of a table, in tiles."""
    made = Forest(len(table))
    for rows, columns in vectors.tiles(len(table), len(table), above=True):
        made.offer(edge[rows, columns].copy(), rows, columns, table[rows, columns])
    return made


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("fold_edges", [0, 50, 10_000])
def test_folding_on_the_way_keeps_the_shortest_edges(fold_edges, ties, monkeypatch):
    monkeypatch.setattr(forest, "FOLD_EDGES", fold_edges)
    monkeypatch.setattr(vectors, "BLOCK_CELLS", 400)
    for seed in range(5):
        table = lengths(60, seed, ties)
        edge = table < np.quantile(table, 0.04 * (seed + 1))
        edge[np.diag_indices(60)] = False
        made = grown(table, edge)
        graph = csr_array(np.where(np.triu(edge), table, 0))
        want = csgraph.minimum_spanning_tree(graph)
        found = made.edges()
        assert sorted(found.length) == pytest.approx(sorted(want.data))
        assert (found.left < found.right).all()
        assert edge[found.left, found.right].all()
        assert np.array_equal(table[found.left, found.right], found.length)
        _, component = csgraph.connected_components(graph, directed=False)
        assert np.array_equal(
            vectors.renumber(made.components()), vectors.renumber(component.astype(np.int64))
        )


def test_an_edge_without_length_is_an_edge():
    made = grown(np.zeros((4, 4)), np.eye(4, k=2, dtype=bool))
    assert made.edges().left.tolist() == [0, 1]
    assert vectors.renumber(made.components()).tolist() == [0, 1, 0, 1]


def test_no_rows_and_no_edges():
    assert Forest(0).components().tolist() == []
    assert len(set(Forest(3).components())) == 3


@pytest.mark.parametrize("seed", range(3))
def test_components_of_products_hold_every_pair_over_the_minimum(seed):
    rng = np.random.default_rng(seed)
    rows = vectors.unit_rows(rng.normal(size=(80, 6)))
    products = rows @ rows.T
    minimum = np.sort(products[np.triu_indices(80, 1)])[-60]
    component = product_components(rows, minimum)
    edge = csr_array(np.triu(products >= minimum, 1))
    _, want = csgraph.connected_components(edge, directed=False)
    assert np.array_equal(vectors.renumber(component), vectors.renumber(want.astype(np.int64)))
