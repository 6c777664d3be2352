import numpy as np
import pytest
import torch

from vcn_ray.core import vectors
from vcn_ray.core.spaces import along, cosine_space, mixed_space, row_span
from vcn_ray.core.vectors import log_softmax, softmax, unit_rows


def table(space):
    return space.offset - space.left @ space.right.T


def head_outputs(rows, outputs=96, bottleneck=12, seed=0, bend=0.0):
    """What a head of a narrow last layer says, in float32 as a network gives it."""
    rng = np.random.default_rng(seed)
    hidden = unit_rows(rng.normal(size=(rows, bottleneck)) + bend).astype(np.float32)
    last = unit_rows(rng.normal(size=(outputs, bottleneck))).astype(np.float32)
    return hidden @ last.T


@pytest.mark.parametrize("bend", [0.0, 20.0], ids=["spread", "nearly one direction"])
@pytest.mark.parametrize("cells", [500, 4_000_000])
def test_wide_rows_are_kept_along_their_span_without_a_change_of_distance(cells, bend, monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)
    rows = head_outputs(300, bend=bend)
    space = cosine_space(rows)
    assert space.left.shape == (300, 12)
    assert space.right is space.left
    unit = unit_rows(rows)
    assert np.abs(table(space) - (1 - unit @ unit.T)).max() < 1e-12


def test_a_track_in_a_direction_of_its_own_keeps_it():
    rows = head_outputs(300)
    rows[7, 3] += 1e-3
    unit = unit_rows(rows)
    space = cosine_space(rows)
    assert space.left.shape == (300, 13)
    assert np.abs(table(space) - (1 - unit @ unit.T)).max() < 1e-12


def test_rows_of_all_directions_and_few_rows_stay_as_they_are():
    rng = np.random.default_rng(0)
    for rows in (rng.normal(size=(50, 8)), head_outputs(40)):
        space = cosine_space(rows)
        assert np.array_equal(space.left, unit_rows(rows))
        assert space.right is space.left
    assert cosine_space(np.zeros((40, 3))).left.shape == (40, 3)


def test_the_loss_along_the_span_of_q_is_the_loss():
    z = head_outputs(400)
    p, q = softmax(z / 0.07).astype(np.float32), log_softmax(z / 0.1).astype(np.float32)
    basis = row_span([q[:150].astype(np.float64), q[150:].astype(np.float64)], 96)
    assert basis.shape == (96, 13)
    assert np.allclose(basis.T @ basis, np.eye(13), atol=1e-12)
    exact = p.astype(np.float64) @ q.astype(np.float64).T
    rounding = 2.0**-24 * np.abs(q).max()
    assert np.abs(along(p, basis) @ along(q, basis).T - exact).max() < 2 * rounding < 3e-6
    assert along(p, None) is p


@pytest.mark.parametrize("weights", [(2.0, 0.5), (0.0, 3.0), (1.0, 0.0), (0.0, 0.0)])
def test_a_mixed_space_is_the_weighted_sum(weights):
    rng = np.random.default_rng(0)
    first, second = (cosine_space(rng.normal(size=(6, 5))) for _ in range(2))
    mixed = mixed_space(first, second, weights)
    want = weights[0] * table(first) + weights[1] * table(second)
    assert np.allclose(table(mixed), want)
    assert mixed.right is mixed.left
    two = mixed_space(first, second._replace(right=second.right.copy()), weights)
    assert np.allclose(table(two), want)


def test_a_space_can_be_made_on_another_device():
    rows = head_outputs(30)
    space = cosine_space(rows, torch.zeros(1))
    assert isinstance(space.left, torch.Tensor)
    mixed = mixed_space(space, space, (1.0, 1.0))
    assert mixed.right is mixed.left
    assert np.allclose(table(mixed).numpy(), 2 * table(cosine_space(rows)))
