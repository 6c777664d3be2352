import numpy as np
import pytest

from tests import reference
from vcn_ray.core import vectors
from vcn_ray.core.distance import (
    along,
    cosine_space,
    mean_within_groups,
    mixed_space,
    row_span,
    soft_assign,
)
from vcn_ray.core.vectors import log_softmax, softmax, unit_rows
from vcn_ray.errors import ShapeError

TAU_T, TAU_S = 0.07, 0.1


def sides(outputs, centre):
    """P and Q in float64, as the literal formula has them."""
    return (
        softmax((outputs - centre) / TAU_T),
        log_softmax(outputs / TAU_S),
    )


def mean_within(teacher, student):
    """METHOD 4.2 of one set."""
    (mean,) = mean_within_groups(teacher, student, np.zeros(len(teacher), np.int64), 1)
    return mean


@pytest.fixture
def crops():
    rng = np.random.default_rng(3)
    return rng.normal(0, 0.4, (9, 12)), rng.normal(0, 0.2, 12)


def test_the_closed_form_of_a_pair_is_the_loss(crops):
    outputs, centre = crops
    teacher, student = sides(outputs, centre)
    for i, k in [(0, 1), (1, 0), (4, 4)]:
        literal = reference.loss(outputs[i], outputs[k], centre, TAU_T, TAU_S)
        assert -teacher[i] @ student[k] == pytest.approx(literal, abs=1e-10)


@pytest.mark.parametrize("rows", [[0], [0, 1], [2, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8]])
def test_mean_within_equals_the_double_loop(crops, rows):
    teacher, student = (side[rows] for side in sides(*crops))
    literal = reference.mean_within(teacher, student)
    assert mean_within(teacher, student) == pytest.approx(literal, abs=1e-10)


def test_mean_within_of_large_outputs_equals_the_double_loop():
    rng = np.random.default_rng(5)
    teacher, student = sides(rng.normal(0, 30, (6, 40)), np.zeros(40))
    literal = reference.mean_within(teacher, student)
    assert mean_within(teacher, student) == pytest.approx(literal, rel=1e-12)


def test_mean_within_of_groups_equals_that_of_each(crops):
    teacher, student = sides(*crops)
    group = np.array([3, 0, 3, 0, 0, 2, 3, 3, 0])
    found = mean_within_groups(teacher, student, group, 5)
    literal = [
        reference.mean_within(teacher[group == g], student[group == g]) if (group == g).any() else 0
        for g in range(5)
    ]
    assert np.abs(found - literal).max() < 1e-10


def test_soft_assign_is_the_two_sides_in_float32(crops):
    outputs, centre = crops
    found = soft_assign(outputs, centre, TAU_T, TAU_S)
    for got, want in zip(found, sides(outputs, centre), strict=True):
        assert got.dtype == np.float32
        assert np.allclose(got, want, atol=1e-5)


def test_shapes_that_do_not_belong_together_are_refused(crops):
    outputs, centre = crops
    with pytest.raises(ShapeError, match="centre"):
        soft_assign(outputs, centre[1:], TAU_T, TAU_S)
    with pytest.raises(ShapeError, match="one shape"):
        mean_within_groups(outputs, outputs[1:], np.zeros(9, np.int64), 1)


def table(space):
    return space.offset - space.rows @ space.rows.T


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
    assert space.rows.shape == (300, 12)
    unit = unit_rows(rows)
    assert np.abs(table(space) - (1 - unit @ unit.T)).max() < 1e-12


def test_a_track_in_a_direction_of_its_own_keeps_it():
    rows = head_outputs(300)
    rows[7, 3] += 1e-3
    unit = unit_rows(rows)
    space = cosine_space(rows)
    assert space.rows.shape == (300, 13)
    assert np.abs(table(space) - (1 - unit @ unit.T)).max() < 1e-12


def test_rows_of_all_directions_and_few_rows_stay_as_they_are():
    rng = np.random.default_rng(0)
    for rows in (rng.normal(size=(50, 8)), head_outputs(40)):
        space = cosine_space(rows)
        assert np.array_equal(space.rows, unit_rows(rows))
        assert cosine_space(np.zeros((40, 3))).rows.shape == (40, 3)


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


def test_some_tracks_keep_their_distances():
    space = cosine_space(np.random.default_rng(0).normal(size=(6, 5)))
    rows = np.array([1, 4])
    assert np.array_equal(table(space.take(rows)), table(space)[np.ix_(rows, rows)])
    assert space.take(np.arange(6)) is space
