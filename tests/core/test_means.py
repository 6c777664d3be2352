import numpy as np
import pytest
import torch

from vcn_ray.core.means import Means, Sides
from vcn_ray.core.vectors import on_host


def made(seed, one):
    rng = np.random.default_rng(seed)
    left = rng.normal(size=(6, 3))
    return Sides(left, left if one else rng.normal(size=(6, 3)))


@pytest.mark.parametrize("like", [np.asarray, torch.asarray], ids=["numpy", "torch"])
@pytest.mark.parametrize("one", [True, False])
def test_means_are_those_of_all_rows_that_were_merged(one, like):
    plain, weight = made(0, one), np.array([1.0, 2, 3, 4, 5, 6])
    left = like(plain.left.copy())
    sides = Sides(left, left if one else like(plain.right.copy()))
    means = Means.of(sides, weight.copy())
    means.merge(np.array([0, 2]), np.array([4, 3]))
    means.keep(np.array([0, 1, 2, 5]))
    means.merge(np.array([0]), np.array([3]))
    assert (means.sides.right is means.sides.left) == one
    groups = [[0, 4, 5], [1], [2, 3]]
    assert means.weight[:3].tolist() == [weight[group].sum() for group in groups]
    for side, given in zip(means.sides, plain, strict=True):
        want = [np.average(given[group], axis=0, weights=weight[group]) for group in groups]
        assert np.allclose(on_host(side)[:3], want, atol=1e-14)
    assert np.array_equal(on_host(sides.left), plain.left)


def test_the_rows_of_one_array_are_one_array():
    rows = made(0, True).rows(np.array([1, 3]))
    assert rows.right is rows.left
    assert len(rows.left) == 2
